"""
Retention: what is older than its kind is kept is dropped, week by week, and rows that name it deleted.

First a floor is committed (``store/floors.py``), so that nobody writes below it any more; then the
partitions below it go, without holding up whoever writes to others; then, in small batches, the rows of
tables that are not partitioned. A turn that is interrupted anywhere leaves the rest to the next one.
Decision 0035.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from time import sleep
from typing import Any, NamedTuple

import psycopg
from psycopg import errors, sql

from store.floors import Floors, read_floors
from store.partitions import lock, week_in, week_of
from store.rollups import Rollups
from store.schema import PARTITIONED_TABLES
from store.upkeep import Task

INTERVAL_S = 3600.0
_BATCH_ROWS = 500
_GIVE_UP = timedelta(days=7)
"""Steps that are this much older than they may be are dropped, counted or not: disks must not fill up."""
_PATIENCE = "50ms"
"""How long all others may have to queue behind us, each time that we wait for a gap between them."""
_TRIES = 20
_PAUSE_S = 0.1


@dataclass(frozen=True)
class Policy:
    """For how many days each kind of data is kept, counted from the day of its run; 0 = for ever."""

    runs_days: int = 0
    """Runs and steps, with all that belongs to them: nothing of a run outlives it but its roll-ups."""
    decisions_days: int = 0
    artifacts_days: int = 0
    rollups_days: int = 0

    def floors(self, today: date) -> Floors:
        """Return from which day on something is kept: only whole weeks expire."""
        return Floors(*(_floor(days, today) for days in self._days()))

    def _days(self) -> tuple[int, ...]:
        return (self.runs_days, self.decisions_days, self.artifacts_days, self.rollups_days)

    @property
    def keeps_all(self) -> bool:
        """Whether nothing ever expires."""
        return not any(self._days())


class Expired(NamedTuple):
    """A partition, attached or left behind, all of whose rows have expired."""

    parent: str
    name: str
    attached: bool
    pending: bool
    """Of which a detaching was interrupted."""


def _floor(days: int, today: date) -> date:
    return week_of(today - timedelta(days=days)) if days else date.min


def earlier_day(connection: psycopg.Connection[Any], here: date) -> date:
    """Return our day or the database's: what is dropped by a clock that is ahead is gone for good."""
    row = connection.execute("SELECT (clock_timestamp() AT TIME ZONE 'UTC')::date").fetchone()
    assert row is not None  # of a statement that always gives one
    there: date = row[0]
    return min(here, there)


def task(policy: Policy) -> Task:
    """Return the task of ``store/upkeep.py``."""
    return Task("retention", INTERVAL_S, lambda connection: expire(connection, policy))


def expire(
    connection: psycopg.Connection[Any], policy: Policy, today: Callable[[], date] | None = None
) -> None:
    """
    Drop and delete what has expired; the connection is in autocommit.

    What a policy of before has begun is ended too. Raises ``psycopg.errors.LockNotAvailable`` and the like
    when readers that take long hold a partition: then the next turn goes on.

    today: of a story; None = by the clocks.
    """
    day = earlier_day(connection, datetime.now(UTC).date()) if today is None else today()
    floors = raise_floors(connection, policy.floors(day))
    try:
        if expired_partitions(connection, floors):
            # Nobody stores steps there any more, so what is counted now stays right.
            Rollups().turn(connection, before=floors.runs)
    finally:  # an hour that cannot be counted does not hold up all that has expired
        ready = counted(connection, floors)
        drop_expired(connection, ready)
        delete_expired(connection, ready)


def raise_floors(connection: psycopg.Connection[Any], wanted: Floors) -> Floors:
    """Commit how far retention has come, and return it: a floor never goes back."""
    with connection.transaction():
        # From here on nobody makes partitions below.
        lock(connection)
        for kind, first_day in wanted._asdict().items():
            if first_day > date.min:
                connection.execute(
                    "INSERT INTO retention_floors AS f (kind, first_day) VALUES (%s, %s)"
                    " ON CONFLICT (kind) DO UPDATE SET first_day = greatest(f.first_day, excluded.first_day)",
                    [kind, first_day],
                )
        return read_floors(connection)


def counted(connection: psycopg.Connection[Any], floors: Floors) -> Floors:
    """
    The floors without the weeks of runs whose steps the roll-ups have not counted yet, and that can wait.

    A step may be counted under a name that its run gives: so the runs wait with their steps.
    """
    row = connection.execute(
        "SELECT min(week) FROM rollup_marks WHERE week < %s AND week >= %s",
        [floors.runs, _before(floors.runs)],
    ).fetchone()
    return floors if row is None or row[0] is None else floors._replace(runs=row[0])


def _before(floor: date) -> date:
    return floor - _GIVE_UP if floor > date.min + _GIVE_UP else date.min


def drop_expired(connection: psycopg.Connection[Any], floors: Floors) -> None:
    """Drop the partitions below the floors."""
    found = expired_partitions(connection, floors)
    for each in found:
        # First: a table detaches one partition behind its readers, and the next when that is done.
        if each.pending:
            detach_behind_readers(connection, each)
    for parent in sorted({each.parent for each in found}):
        whole = [each for each in found if each.parent == parent and each.attached and not each.pending]
        if whole and not detach_at_once(connection, whole):
            _detach_one_by_one(connection, whole)
    if found:
        # Here nobody waits for us: what is detached is in no table that others use.
        names = sql.SQL(", ").join(sql.Identifier(each.name) for each in found)
        connection.execute(sql.SQL("DROP TABLE {}").format(names))
    connection.execute("DELETE FROM partition_bounds WHERE week < %s", [floors.runs])


_PARTITIONS = """
SELECT p.relname AS parent, c.relname AS name, i.inhrelid IS NOT NULL AS attached,
    coalesce(i.inhdetachpending, false) AS pending
FROM pg_class p
JOIN pg_class c ON c.relnamespace = p.relnamespace AND c.relkind = 'r'
    AND c.relname ~ ('^' || p.relname || '_p[0-9]{8}$')
LEFT JOIN pg_inherits i ON i.inhrelid = c.oid AND i.inhparent = p.oid
WHERE p.oid = ANY (%s::regclass[])
ORDER BY right(c.relname, 8), p.relname
"""


def expired_partitions(connection: psycopg.Connection[Any], floors: Floors) -> list[Expired]:
    """Return the partitions below the floors, the oldest first, and tables that a turn before detached."""
    rows = connection.execute(_PARTITIONS, [[table.name for table in PARTITIONED_TABLES]])
    found = (Expired(*row) for row in rows.fetchall())
    return [each for each in found if week_in(each.name) < floors.of(each.parent)]


def detach_at_once(connection: psycopg.Connection[Any], partitions: Sequence[Expired]) -> bool:
    """
    Detach partitions of one table, all or none, while its users stand still; return whether it was done.

    Nobody waits for longer than ``_PATIENCE`` before: when those who use the table do not leave a gap in
    that time, however often it is tried, it is not done. Then it takes some milliseconds for each.
    """
    (parent,) = {each.parent for each in partitions}
    # In one round trip. Who uses a partition by the table is gone when the table is ours; who uses it by its
    # own name, as autovacuum does, is not waited for. What is forgotten in a crash is done again: so
    # nobody stands still until it is on the disk.
    statements = sql.SQL("; ").join(
        [
            sql.SQL("SET LOCAL synchronous_commit = off; SET LOCAL lock_timeout = {}").format(_PATIENCE),
            sql.SQL("LOCK TABLE ONLY {} IN ACCESS EXCLUSIVE MODE").format(sql.Identifier(parent)),
            sql.SQL("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE NOWAIT").format(
                sql.SQL(", ").join(sql.Identifier(each.name) for each in partitions)
            ),
            *(_detach(each, "") for each in partitions),
        ]
    )
    for attempt in range(_TRIES):
        if attempt:
            sleep(_PAUSE_S)
        try:
            with connection.transaction():
                connection.execute(statements)
            return True
        except (errors.LockNotAvailable, errors.DeadlockDetected):
            continue
    return False


def _detach_one_by_one(connection: psycopg.Connection[Any], partitions: Sequence[Expired]) -> None:
    if connection.execute("SELECT 1 FROM pg_extension WHERE extname = 'citus'").fetchone():
        # It knows no other way (decision 0035).
        raise errors.LockNotAvailable("the tables are in use all the time; the next turn tries again")
    for each in partitions:
        detach_behind_readers(connection, each)


def detach_behind_readers(connection: psycopg.Connection[Any], partition: Expired) -> None:
    """
    Detach a partition while everybody goes on: this waits for those who may be reading it.

    What is interrupted leaves a partition that nobody sees any more, and is ended by the next call.
    """
    connection.execute(_detach(partition, "FINALIZE" if partition.pending else "CONCURRENTLY"))


def _detach(partition: Expired, how: str) -> sql.Composed:
    return sql.SQL("ALTER TABLE {} DETACH PARTITION {} {}").format(
        sql.Identifier(partition.parent), sql.Identifier(partition.name), sql.SQL(how)
    )


_ROWS = (
    # table, key, its type, by what it expires
    ("runs", "run_key", "uuid", "run_day"),
    ("traces", "run_key", "uuid", "received_at"),
    ("sender_losses", "report_id", "text", "received_at"),
)


def delete_expired(connection: psycopg.Connection[Any], floors: Floors) -> None:
    """Delete rows of days below the floors in small batches; a crash in between may bring some back."""
    # Nobody is told that they are gone, so nothing has to wait for the disk.
    connection.execute("SET synchronous_commit = off")
    if floors.runs > date.min:
        for table, key, type_, expires_by in _ROWS:
            _delete_rows(connection, table, key, type_, expires_by, _midnight(floors.runs))
    if floors.rollups > date.min:
        # By both: an hour may be long before the week in which its steps came.
        connection.execute(
            "DELETE FROM step_hours WHERE hour < %s AND week < %s",
            [_midnight(floors.rollups), floors.rollups],
        )


def _delete_rows(
    connection: psycopg.Connection[Any], table: str, key: str, type_: str, expires_by: str, until: datetime
) -> None:
    names = {"table": sql.Identifier(table), "key": sql.Identifier(key), "by": sql.Identifier(expires_by)}
    # As text, which is the same whatever the connection makes of the type.
    choose = sql.SQL("SELECT {key}::text FROM {table} WHERE {by} < %s ORDER BY {by} LIMIT %s").format(**names)
    delete = sql.SQL("DELETE FROM {table} WHERE {key} = ANY (%s::{type}[])").format(
        type=sql.Identifier(type_), **names
    )
    limit = until.date() if expires_by == "run_day" else until
    while keys := [each for (each,) in connection.execute(choose, [limit, _BATCH_ROWS])]:
        # Sorted, as writers lock them.
        connection.execute(delete, [sorted(keys)])


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)
