"""
How far the times of runs and steps reach beyond the week of their runs, kept by whoever stores them.

Rows lie in the week in which their run was first received, and may say any time. With this noted a
question about a window of time opens the partitions that can answer it, and no others
(``store/queries/bounds.py``). Noted in the commit that stores the rows, so that no snapshot holds a row
that lies outside of what is noted; by whole days, so that a writer has something to note once a day.
Decision 0035.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any, NamedTuple

import psycopg

from store.partitions import week_of
from store.wire import array

_DAY_US = 86_400_000_000
_EPOCH_ORDINAL = date(1970, 1, 1).toordinal()
TABLES = ("runs", "steps")

_READ = (
    "SELECT week, runs_first, runs_last, steps_first, steps_last FROM partition_bounds WHERE week = ANY (%s)"
)
_WIDEN = """
UPDATE partition_bounds b SET
    runs_first = least(b.runs_first, k.runs_first), runs_last = greatest(b.runs_last, k.runs_last),
    steps_first = least(b.steps_first, k.steps_first), steps_last = greatest(b.steps_last, k.steps_last)
FROM unnest(%s::date[], %s::date[], %s::date[], %s::date[], %s::date[])
    AS k (week, runs_first, runs_last, steps_first, steps_last)
WHERE b.week = k.week
"""
"""Of null and a day, least and greatest give the day."""


class Bounds(NamedTuple):
    """The first and the last day on which runs and steps of a week started; None = nothing did."""

    runs_first: date | None = None
    runs_last: date | None = None
    steps_first: date | None = None
    steps_last: date | None = None

    def hold(self, other: Bounds) -> bool:
        """Whether the other adds nothing."""
        return self.widened(other) == self

    def widened(self, other: Bounds) -> Bounds:
        """What holds both."""
        return Bounds(
            _least(self.runs_first, other.runs_first),
            _greatest(self.runs_last, other.runs_last),
            _least(self.steps_first, other.steps_first),
            _greatest(self.steps_last, other.steps_last),
        )


_ANY = Bounds(date.min, date.max, date.min, date.max)


class Reach:
    """The times of the rows that one transaction stores."""

    def __init__(self) -> None:
        self._noted: dict[str, dict[date, tuple[int, int]]] = {table: {} for table in TABLES}
        """By table and day of the run: the earliest and the latest start in microseconds."""

    def note(self, table: str, run_day: date, started_us: int) -> None:
        """A row starts at this time."""
        noted = self._noted[table]
        first, last = noted.get(run_day, (started_us, started_us))
        noted[run_day] = (min(first, started_us), max(last, started_us))

    def note_all(self, table: str, run_days: Sequence[date], started_us: Sequence[int]) -> None:
        """Rows, at least one, start at these times."""
        if len(set(run_days)) == 1:
            self.note(table, run_days[0], min(started_us))
            self.note(table, run_days[0], max(started_us))
            return
        for run_day, time_us in zip(run_days, started_us, strict=True):
            self.note(table, run_day, time_us)

    def by_week(self) -> dict[date, Bounds]:
        """The bounds that hold what was noted."""
        found: dict[date, Bounds] = {}
        for table, noted in self._noted.items():
            for run_day, (first, last) in noted.items():
                week = week_of(run_day)
                days = {f"{table}_first": _day(first), f"{table}_last": _day(last)}
                found[week] = found.get(week, Bounds()).widened(Bounds(**days))
        return found


def widen(cursor: psycopg.Cursor[Any], reach: Reach, known: Mapping[date, Bounds]) -> dict[date, Bounds]:
    """
    Note how far the rows reach that this transaction has stored; return what is worth remembering of it.

    known: what the caller knows to be committed. A week without a row stays without one: then nobody
    takes it to end anywhere.
    """
    beyond = {
        week: bounds
        for week, bounds in reach.by_week().items()
        if week not in known or not known[week].hold(bounds)
    }
    if not beyond:
        return {}
    found = cursor.execute(_READ, [array("date", beyond)], binary=True)
    stored = {week: Bounds(*days) for week, *days in found}
    learned = {week: stored.get(week, _ANY).widened(bounds) for week, bounds in beyond.items()}
    wider = sorted(week for week, bounds in stored.items() if bounds != learned[week])
    if wider:
        columns = zip(*(learned[week] for week in wider), strict=True)
        cursor.execute(_WIDEN, [wider, *map(list, columns)])
    return learned


def _day(time_us: int) -> date:
    # What the database refuses may be noted, too.
    return date.fromordinal(max(1, min(_EPOCH_ORDINAL + time_us // _DAY_US, date.max.toordinal())))


def _least(one: date | None, other: date | None) -> date | None:
    return min(day for day in (one, other) if day is not None) if one or other else None


def _greatest(one: date | None, other: date | None) -> date | None:
    return max(day for day in (one, other) if day is not None) if one or other else None
