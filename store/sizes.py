"""
How large the database is, what makes it grow, and what retention will free: for ``xray db status``.

Sizes are exact, with indexes and what lies out of line. Rows are what the planner takes them to be, so
that looking takes milliseconds whatever the size; small tables of which it knows nothing yet are counted.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

import psycopg
from psycopg import sql

from store.database import lasting_conninfo
from store.errors import Unavailable
from store.floors import KIND_OF
from store.partitions import WEEK, week_in
from store.retention import Policy
from store.schema import PARTITIONED_TABLES, metadata

_CONNECT_TIMEOUT_S = 5
_SAMPLED_ROWS = 2_000
_COUNTED_BYTES = 8 * 1024 * 1024
_GROWTH_WEEKS = 4


@dataclass(frozen=True)
class TableSize:
    """A table with all of its partitions."""

    table: str
    bytes: int
    rows: int
    """An estimate."""
    bytes_per_row: float | None


@dataclass(frozen=True)
class WeekSize:
    """What one kind of data takes that belongs to the runs of a week."""

    week: date
    """Its Monday."""
    kind: str
    """runs, decisions, artifacts."""
    bytes: int
    rows: int
    expires_on: date | None
    """The day on which the policy frees it; None = never."""


@dataclass(frozen=True)
class Turn:
    """What is noted of a task of upkeep."""

    task: str
    started_at: datetime
    succeeded_at: datetime | None
    duration_s: float | None
    error: str | None
    failures: int


@dataclass(frozen=True)
class Sizes:
    """The database in numbers."""

    bytes: int
    """Of the whole database."""
    bytes_per_day: float | None
    """Growth by what the last weeks have left; None while nothing is stored."""
    bytes_per_step: float | None
    bytes_per_decision: float | None
    """By a sample of the chunks."""
    tables: Sequence[TableSize]
    """The largest first."""
    weeks: Sequence[WeekSize]
    """The oldest first."""
    floors: Mapping[str, date]
    """By kind, the day before which everything has expired."""
    upkeep: Sequence[Turn]


_TABLES = """
SELECT c.relname, pg_total_relation_size(c.oid), pg_relation_size(c.oid), c.reltuples::bigint
FROM pg_class c WHERE c.oid = ANY (%s::regclass[]) AND c.relkind = 'r'
"""
_PARTITIONS = """
SELECT p.relname, c.relname, pg_total_relation_size(c.oid), pg_relation_size(c.oid), c.reltuples::bigint
FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid JOIN pg_class p ON p.oid = i.inhparent
WHERE p.oid = ANY (%s::regclass[])
"""
_TURNS = """
SELECT task, started_at, succeeded_at, duration_s, error, failures FROM upkeep_turns ORDER BY task
"""


def sizes(url: str, policy: Policy, today: date | None = None) -> Sizes:
    """Measure a migrated database. Raises ``Unavailable``."""
    today = datetime.now(UTC).date() if today is None else today
    try:
        with psycopg.connect(lasting_conninfo(url), connect_timeout=_CONNECT_TIMEOUT_S) as connection:
            return _measure(connection, policy, today)
    except psycopg.Error as error:
        raise Unavailable("the database cannot be measured now") from error


def _measure(connection: psycopg.Connection[Any], policy: Policy, today: date) -> Sizes:
    connection.execute("SET TRANSACTION READ ONLY")
    parents = [table.name for table in PARTITIONED_TABLES]
    others = [name for name in metadata.tables if name not in parents]
    (whole,) = _one(connection, "SELECT pg_database_size(current_database())")
    partitions = connection.execute(_PARTITIONS, [parents]).fetchall()
    tables = {
        name: (size, _rows(connection, name, heap, planned))
        for name, size, heap, planned in connection.execute(_TABLES, [others]).fetchall()
    }
    tables |= dict.fromkeys(parents, (0, 0))
    kinds: dict[tuple[date, str], tuple[int, int]] = defaultdict(lambda: (0, 0))
    for parent, name, size, heap, planned in partitions:
        rows = _rows(connection, name, heap, planned)
        tables[parent] = _add(tables[parent], size, rows)
        key = (week_in(name), KIND_OF.get(parent, "runs"))
        kinds[key] = _add(kinds[key], size, rows)
    weeks = [
        WeekSize(week, kind, *kinds[week, kind], _expires_on(policy, kind, week))
        for week, kind in sorted(kinds)
    ]
    chunk = tables["decisions"]
    return Sizes(
        bytes=whole,
        bytes_per_day=_growth(weeks, today),
        bytes_per_step=_ratio(*tables["steps"]),
        bytes_per_decision=_ratio(chunk[0], chunk[1] * _items_per_chunk(connection, chunk[1])),
        tables=[
            TableSize(name, size, rows, _ratio(size, rows))
            for name, (size, rows) in sorted(tables.items(), key=lambda table: -table[1][0])
        ],
        weeks=weeks,
        floors=dict(connection.execute("SELECT kind, first_day FROM retention_floors").fetchall()),
        upkeep=[Turn(*row) for row in connection.execute(_TURNS)],
    )


def _one(connection: psycopg.Connection[Any], query: sql.SQL | sql.Composed | str) -> tuple[Any, ...]:
    row: tuple[Any, ...] | None = connection.execute(query).fetchone()
    assert row is not None  # of statements that always give one
    return row


def _rows(connection: psycopg.Connection[Any], table: str, heap_bytes: int, planned: int) -> int:
    """planned: -1 until the table was analysed, which no table is before its first 50 rows have changed."""
    if planned >= 0 or not 0 < heap_bytes <= _COUNTED_BYTES:
        return max(planned, 0)
    (counted,) = _one(connection, sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(table)))
    return int(counted)


def _add(one: tuple[int, int], size: int, rows: int) -> tuple[int, int]:
    return one[0] + size, one[1] + rows


def _ratio(size: float, rows: float) -> float | None:
    return size / rows if rows else None


def _items_per_chunk(connection: psycopg.Connection[Any], chunks: int) -> float:
    """By whole pages of the table, some thousand rows at most."""
    share = min(100.0, 100.0 * _SAMPLED_ROWS / max(chunks, 1))
    sample = sql.SQL("SELECT coalesce(avg(item_count), 0) FROM decisions TABLESAMPLE SYSTEM ({})")
    row = connection.execute(sample.format(sql.Literal(share))).fetchone()
    return float(row[0]) if row else 0.0


def _growth(weeks: Sequence[WeekSize], today: date) -> float | None:
    """By the last weeks, this one included, as far as they are still there."""
    since = today - timedelta(days=today.weekday()) - (_GROWTH_WEEKS - 1) * WEEK
    recent = [week for week in weeks if since <= week.week <= today and week.rows]
    if not recent:
        return None
    days = (today - min(week.week for week in recent)).days + 1
    return sum(week.bytes for week in recent) / days


def _expires_on(policy: Policy, kind: str, week: date) -> date | None:
    days = [policy.runs_days, getattr(policy, f"{kind}_days")]
    kept = [each for each in days if each]
    # The day on which the last day of the week is as old as it may get (``Policy.floors``).
    return week + WEEK + timedelta(days=min(kept)) if kept else None
