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
_PAUSE_S = 0.2


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


def _today() -> date:
    return datetime.now(UTC).date()


def task(policy: Policy) -> Task:
    """Return the task of ``store/upkeep.py``."""
    return Task("retention", INTERVAL_S, lambda connection: expire(connection, policy))


def expire(connection: psycopg.Connection[Any], policy: Policy, today: Callable[[], date] = _today) -> None:
    """
    Drop and delete what has expired; the connection is in autocommit.

    What a policy of before has begun is ended too. Raises ``psycopg.errors.LockNotAvailable`` and the like
    when readers that take long hold a partition: then the next turn goes on.
    """
    floors = raise_floors(connection, policy.floors(today()))
    if expired_partitions(connection, floors):
        # Nobody stores steps there any more, so what is counted now stays right.
        Rollups().turn(connection)
    drop_expired(connection, floors)
    delete_expired(connection, floors)


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


def drop_expired(connection: psycopg.Connection[Any], floors: Floors) -> None:
    """Drop the partitions below the floors, but those of which the roll-ups wait for the steps."""
    behind = _behind(connection, floors)
    found = [
        each
        for each in expired_partitions(connection, floors)
        if each.parent != "steps" or week_in(each.name) not in behind
    ]
    whole = [each for each in found if each.attached and not each.pending]
    if whole and not detach_at_once(connection, whole):
        _detach_one_by_one(connection, whole)
    for each in found:
        if each.pending:
            detach_behind_readers(connection, each)
    if found:
        # In a transaction of its own: deleting the files of large tables takes a while, and no lock on
        # the tables that others use is held meanwhile.
        names = sql.SQL(", ").join(sql.Identifier(each.name) for each in found)
        connection.execute(sql.SQL("DROP TABLE {}").format(names))
    connection.execute(
        "DELETE FROM partition_bounds WHERE week < %s AND week <> ALL (%s)", [floors.runs, list(behind)]
    )


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


def _behind(connection: psycopg.Connection[Any], floors: Floors) -> frozenset[date]:
    """Weeks whose steps are not counted yet in the roll-ups, and that can wait for it."""
    marked = connection.execute(
        "SELECT DISTINCT week FROM rollup_marks WHERE week < %s AND week >= %s",
        [floors.runs, _before(floors.runs)],
    )
    return frozenset(week for (week,) in marked)


def _before(floor: date) -> date:
    return floor - _GIVE_UP if floor > date.min + _GIVE_UP else date.min


def detach_at_once(connection: psycopg.Connection[Any], partitions: Sequence[Expired]) -> bool:
    """
    Detach partitions, all or none, while everybody stands still for a moment; return whether it was done.

    Nobody waits for longer than ``_PATIENCE`` before: when those who use the tables do not leave a gap in
    that time, however often it is tried, it is not done.
    """
    parents = sql.SQL(", ").join(
        sql.SQL("ONLY {}").format(sql.Identifier(name))
        for name in sorted({each.parent for each in partitions})
    )
    for attempt in range(_TRIES):
        if attempt:
            sleep(_PAUSE_S)
        try:
            with connection.transaction():
                # Of the statement, not of each lock: it takes several.
                connection.execute("SELECT set_config('statement_timeout', %s, true)", [_PATIENCE])
                connection.execute(sql.SQL("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE").format(parents))
                for each in partitions:
                    connection.execute(_detach(each, ""))
            return True
        except (errors.QueryCanceled, errors.LockNotAvailable, errors.DeadlockDetected):
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


def delete_expired(connection: psycopg.Connection[Any], floors: Floors) -> None:
    """Delete rows of days below the floors in small batches; a crash in between may bring some back."""
    # Nobody is told that they are gone, so nothing has to wait for the disk.
    connection.execute("SELECT set_config('synchronous_commit', 'off', false)")
    if floors.runs > date.min:
        midnight = datetime(*floors.runs.timetuple()[:3], tzinfo=UTC)
        for choose, delete, floor in (
            (
                "SELECT run_key FROM runs WHERE run_day < %s ORDER BY run_day LIMIT %s",
                "DELETE FROM runs WHERE run_key = ANY (%s)",
                floors.runs,
            ),
            (
                "SELECT run_key FROM traces WHERE received_at < %s ORDER BY received_at LIMIT %s",
                "DELETE FROM traces WHERE run_key = ANY (%s)",
                midnight,
            ),
            (
                "SELECT report_id FROM sender_losses WHERE received_at < %s ORDER BY received_at LIMIT %s",
                "DELETE FROM sender_losses WHERE report_id = ANY (%s)",
                midnight,
            ),
        ):
            while keys := [key for (key,) in connection.execute(choose, [floor, _BATCH_ROWS], binary=True)]:
                # Sorted, as writers lock them.
                connection.execute(delete, [sorted(keys)])
    if floors.rollups > date.min:
        # By both: an hour may be long before the week in which its steps came.
        midnight = datetime(*floors.rollups.timetuple()[:3], tzinfo=UTC)
        connection.execute("DELETE FROM step_hours WHERE hour < %s AND week < %s", [midnight, floors.rollups])
