"""
Weekly partitions of the tables that belong to runs, made before rows need them.

A week runs from Monday to Sunday (UTC). Retention drops whole partitions; nothing else
looks at their names.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, timedelta

import psycopg
from psycopg import sql

from store.schema import PARTITIONED_TABLES

_WEEK = timedelta(days=7)
_ADVISORY_LOCK = 0x78726170
"""Held while partitions are made: two collectors that find one missing make it one after the other."""


def week_of(day: date) -> date:
    """The Monday of the day's week."""
    return day - timedelta(days=day.weekday())


def partition_name(table: str, week: date) -> str:
    """Name of a table's partition, by its Monday: ``steps_p20261116``."""
    return f"{table}_p{week:%Y%m%d}"


class Partitions:
    """
    Makes sure that partitions exist; remembers those that do, so that asking is free.

    Not thread-safe; one per writer. A partition that is dropped meanwhile is not made again
    for rows of its time: data for an expired run are refused by the database and counted.
    """

    def __init__(self) -> None:
        self._known: set[date] = set()

    def ensure(self, connection: psycopg.Connection, days: Iterable[date]) -> None:
        """
        Make the partitions of these days' weeks and of the week after each, where missing.

        Commits in a transaction of its own; ``connection`` must not be in one. Writers are
        not held up: attaching takes no lock that conflicts with theirs.
        """
        weeks = {week_of(day) for day in days}
        if weeks <= self._known:
            return
        # The week after as well: so a row never waits for a partition at midnight on Sunday.
        wanted = sorted({week + offset for week in weeks for offset in (timedelta(0), _WEEK)})
        with connection.transaction():
            connection.execute("SELECT pg_advisory_xact_lock(%s)", [_ADVISORY_LOCK])
            present = _present(connection)
            for table in PARTITIONED_TABLES:
                for week in wanted:
                    if partition_name(table.name, week) not in present:
                        _make(connection, table.name, week)
        self._known |= weeks


def _present(connection: psycopg.Connection) -> frozenset[str]:
    found = connection.execute(
        "SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid"
        " WHERE i.inhparent = ANY (%s::regclass[])",
        [[table.name for table in PARTITIONED_TABLES]],
    )
    return frozenset(name for (name,) in found)


def _make(connection: psycopg.Connection, table: str, week: date) -> None:
    # CREATE TABLE … PARTITION OF would lock the parent against writers; ATTACH does not
    # (PostgreSQL manual, ALTER TABLE … ATTACH PARTITION: SHARE UPDATE EXCLUSIVE).
    name = sql.Identifier(partition_name(table, week))
    parent = sql.Identifier(table)
    connection.execute(
        sql.SQL("CREATE TABLE {} (LIKE {} INCLUDING DEFAULTS INCLUDING STORAGE)").format(name, parent)
    )
    connection.execute(
        sql.SQL("ALTER TABLE {} ATTACH PARTITION {} FOR VALUES FROM ({}) TO ({})").format(
            parent, name, sql.Literal(week), sql.Literal(week + _WEEK)
        )
    )
