"""
Which partitions can hold what starts within a window of time (``store/bounds.py``).

Rows lie in the week in which their run was first received, whatever time they say: without this a window
opens every partition. To be asked in the transaction whose statement it is for, so that both see one
snapshot.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, date, datetime
from typing import NamedTuple

from sqlalchemy import ColumnElement, Connection, Date, FromClause, and_, bindparam, literal, or_, select

from store.kept import Kept, rows
from store.partitions import WEEK
from store.queries.conditions import Condition
from store.schema import partition_bounds

_STARTED = "started"
"""Name of the field in the vocabularies of runs and steps."""


class Window(NamedTuple):
    """The days of a window, both included; None = open."""

    first: date | None = None
    last: date | None = None

    def meets(self, first: date, last: date) -> bool:
        """Whether the two have a day in common."""
        return (self.last is None or first <= self.last) and (self.first is None or last >= self.first)


def window(conditions: Iterable[Condition]) -> Window:
    """Return the days that conditions leave to ``started_at``; open where they say nothing of it."""
    first: date | None = None
    last: date | None = None
    for condition in conditions:
        if condition.field != _STARTED or not isinstance(condition.value, datetime):
            continue
        day = condition.value.astimezone(UTC).date()
        if condition.operator in ("gt", "ge"):
            first = day if first is None else max(first, day)
        elif condition.operator in ("lt", "le"):
            last = day if last is None else min(last, day)
    return Window(first, last)


def run_days(connection: Connection, row: FromClause, table: str, asked: Window) -> list[ColumnElement[bool]]:
    """
    Return conditions on ``row.run_day`` that no row of ``table`` in the window fails.

    row: what has the run_day, the table itself or one that is joined with it by run. table: whose
    started_at the window is of, runs or steps. None when nothing can be left out.
    """
    return within(row, kept_days(connection, table, asked))


Days = Sequence[tuple[date | None, date | None]]
"""Ranges [first, until), ascending; None = open. Empty = all days."""


def kept_days(connection: Connection, table: str, asked: Window) -> Days:
    """Return the days outside which no row of ``table`` is in the window, as of ``run_days``."""
    return [] if asked == Window() else list(_kept(_left_out(connection, table, asked)))


def within(row: FromClause, days: Days, *, named: bool = False) -> list[ColumnElement[bool]]:
    """
    Return the conditions.

    named: their parameters have no values, but the names that ``given_days`` gives.
    """
    day, kept = row.c.run_day, []
    for number, (first, until) in enumerate(days):
        ends = [] if first is None else [day >= _end(_FIRST.format(number) if named else None, first)]
        if until is not None:
            ends.append(day < _end(_UNTIL.format(number) if named else None, until))
        kept.append(and_(*ends))
    return [or_(*kept)] if kept else []


def _end(name: str | None, end: date) -> ColumnElement[date]:
    return literal(end, Date) if name is None else bindparam(name, type_=Date)


def given_days(days: Days) -> dict[str, date]:
    """Return the values of the parameters of ``within``, by name."""
    firsts = {_FIRST.format(number): first for number, (first, _) in enumerate(days)}
    untils = {_UNTIL.format(number): until for number, (_, until) in enumerate(days)}
    return {name: end for name, end in {**firsts, **untils}.items() if end is not None}


_FIRST, _UNTIL = "first_{}", "until_{}"


def _left_out(connection: Connection, table: str, asked: Window) -> list[date]:
    """Weeks, ascending, that hold nothing in the window; one that nobody has measured is not among them."""
    (known,) = rows(connection, (_KNOWN, {}))
    found = ((row["week"], row[f"{table}_first"], row[f"{table}_last"]) for row in known)
    return [week for week, first, last in found if first is None or not asked.meets(first, last)]


_KNOWN = Kept(select(partition_bounds).order_by(partition_bounds.c.week))


def _kept(left_out: list[date]) -> Iterator[tuple[date | None, date | None]]:
    """The days between the weeks that are left out, as ranges [first, until); none when all days are kept."""
    if not left_out:
        return
    first: date | None = None
    for week in left_out:
        if first is None or first < week:
            yield first, week
        first = week + WEEK
    yield first, None
