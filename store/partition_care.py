"""
What partitions need that nobody asks for: to be there before their time, and statistics of the whole.

Autovacuum analyses each partition, and never the partitioned table (PostgreSQL manual, Routine
Vacuuming); joins and groups over several of them are planned by the statistics of the latter.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any

import psycopg
from psycopg import sql

from store.partitions import Partitions, complete
from store.schema import PARTITIONED_TABLES
from store.upkeep import Task

INTERVAL_S = 3600.0

_STALE = """
SELECT c.relname FROM pg_class c
WHERE c.oid = ANY (%s::regclass[]) AND (
    SELECT coalesce(sum(part.reltuples) FILTER (WHERE part.reltuples > 0), 0)
    FROM pg_inherits i JOIN pg_class part ON part.oid = i.inhrelid WHERE i.inhparent = c.oid
) > 1.2 * greatest(c.reltuples, 1000)
"""
"""Tables that have a fifth more rows, by estimate, than when they were last analysed as a whole."""


def _today() -> date:
    return datetime.now(UTC).date()


def task() -> Task:
    """Return the task of ``store/upkeep.py``."""
    return Task("partitions", INTERVAL_S, care)


def care(connection: psycopg.Connection[Any], today: Callable[[], date] = _today) -> None:
    """Make this week's partitions and the next's before anything needs them; analyse what has grown."""
    # Those of tomorrow's week as well: whoever writes first on a Monday finds them made, and waits for nobody
    # who analyses the table just then.
    day = today()
    Partitions().ensure(connection, [day, day + timedelta(days=1)])
    complete(connection)
    names = [table.name for table in PARTITIONED_TABLES]
    for (table,) in connection.execute(_STALE, [names]).fetchall():
        connection.execute(sql.SQL("ANALYZE {}").format(sql.Identifier(table)))
