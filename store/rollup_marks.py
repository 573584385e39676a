"""
Marks of the hours whose roll-ups are out of date (decision 0034).

Whoever adds, changes or removes rows of ``steps`` leaves a mark for each hour and week it touched, in
the same transaction: so whoever sees the rows sees the marks, and a roll-up without a mark is exact.
Marks are only ever added, so writers never wait for each other.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import date
from typing import Any, NamedTuple

import psycopg
from psycopg import sql

from store.partitions import week_of
from store.wire import array

_HOUR_US = 3_600_000_000

_INSERT = sql.SQL("INSERT INTO rollup_marks (week, hour, run_key) VALUES {}")
_HOUR = sql.SQL("({}, to_timestamp({}), NULL)")
_RUN = sql.SQL("({}, NULL, {}::uuid)")

WEEK_OF_RUN_DAY = "(run_day - (extract(isodow FROM run_day)::integer - 1))"
"""``week_of`` in SQL; date_trunc would go by the session's time zone."""
HOUR_OF_STARTED_AT = "date_bin('1 hour', started_at, timestamptz '2000-01-01 00:00:00+00')"

_DELETE_STEPS = f"""
WITH gone AS (DELETE FROM steps WHERE run_key = ANY (%s) RETURNING run_day, started_at),
marked AS (
    INSERT INTO rollup_marks (week, hour)
    SELECT DISTINCT {WEEK_OF_RUN_DAY}, {HOUR_OF_STARTED_AT} FROM gone
)
SELECT count(*) FROM gone
"""  # noqa: S608 - of constants


class Slot(NamedTuple):
    """An hour of one week's partition."""

    week: date
    hour: int
    """Since 1970."""


class Renamed(NamedTuple):
    """A run of which the pipeline or its version is another than before."""

    run_key: bytes
    run_day: date


def slot_of(started_us: int, run_day: date) -> Slot:
    """Where a step is counted."""
    return Slot(week_of(run_day), started_us // _HOUR_US)


def slots_of(started_us: Sequence[int], run_days: Sequence[date]) -> set[Slot]:
    """Where steps are counted, at least one, column by column."""
    first, last = min(started_us) // _HOUR_US, max(started_us) // _HOUR_US
    if first == last:  # nearly always: a batch is about one moment
        return {Slot(week_of(day), first) for day in set(run_days)}
    hours = [time_us // _HOUR_US for time_us in started_us]
    return {Slot(week_of(day), hour) for day, hour in set(zip(run_days, hours, strict=True))}


def statement(slots: Iterable[Slot], renamed: Iterable[Renamed] = ()) -> sql.Composed:
    """The statement that leaves these marks, at least one; without parameters."""
    # In one order, as everything is written.
    marks = [_HOUR.format(sql.Literal(week), sql.Literal(3600 * hour)) for week, hour in sorted(slots)]
    marks += [
        _RUN.format(sql.Literal(week_of(run_day)), sql.Literal(key.hex())) for key, run_day in sorted(renamed)
    ]
    return _INSERT.format(sql.SQL(", ").join(marks))


def leave(cursor: psycopg.Cursor[Any], slots: Collection[Slot], renamed: Collection[Renamed] = ()) -> None:
    """Leave marks, if there are any to leave, in the open transaction."""
    if slots or renamed:
        cursor.execute(statement(slots, renamed))


def delete_steps(cursor: psycopg.Cursor[Any], run_keys: Iterable[bytes]) -> int:
    """
    Delete all steps of runs, with the marks that this takes, and return how many.

    One statement: marks by another would miss a step that is committed between the two. The
    connection must know ``wire.adapt``.
    """
    row = cursor.execute(_DELETE_STEPS, [array("uuid", run_keys)]).fetchone()
    assert row is not None  # an aggregate
    return int(row[0])
