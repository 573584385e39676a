"""
Which part of a question about metrics the hourly roll-ups answer, and which the steps (decision 0034).

Roll-ups answer for whole hours without a mark. Steps answer for the hours that are out of date, and
for what a window holds of the hour it begins in and of the one it ends in.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

from sqlalchemy import (
    ARRAY,
    ColumnElement,
    Connection,
    Date,
    DateTime,
    FromClause,
    Text,
    and_,
    bindparam,
    cast,
    column,
    func,
    literal,
    select,
    text,
)

from store.queries.conditions import Condition
from store.queries.derived import of_run
from store.queries.filters import Filters
from store.queries.metrics_groups import BUCKETS, Grouping
from store.rollups import RUN_MARKS, WEEKS
from store.schema import runs, steps
from store.schema_rollups import GROUPED_BY, step_hours

_HOUR = timedelta(hours=1)
_WEEK = timedelta(days=7)
_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
_FIRST, _LAST = datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, tzinfo=UTC)

_DIRTY = text(
    f"""
    SELECT week, hour FROM (
        SELECT week, hour FROM rollup_marks WHERE hour IS NOT NULL UNION ({RUN_MARKS})
    ) AS marked
    WHERE hour >= :first AND hour < :past AND week IN {WEEKS} ORDER BY week, hour
    """  # noqa: S608 - of constants
)


@dataclass(frozen=True, slots=True)
class Stretch:
    """A time within the steps of some days of runs."""

    since: datetime
    until: datetime
    first_day: date = date.min
    past_day: date = date.max


@dataclass(frozen=True, slots=True)
class Coverage:
    """Where the answer is read from."""

    first: datetime
    """The roll-ups of hours from this one on."""
    past: datetime
    """… up to before this one."""
    dirty: tuple[tuple[date, datetime], ...]
    """… without these, of week and hour."""
    stretches: tuple[Stretch, ...]
    """Times that no roll-up covers."""
    conditions: tuple[Condition, ...]
    """On what steps are grouped by, which roll-ups know."""

    def within(self, since: datetime, until: datetime) -> Coverage:
        """The same for a part of the time; since and until are whole hours."""
        first, past = max(self.first, since), min(self.past, until)
        return replace(
            self,
            first=first,
            past=max(first, past),
            stretches=tuple(
                replace(stretch, since=max(stretch.since, since), until=min(stretch.until, until))
                for stretch in self.stretches
                if stretch.since < until and stretch.until > since
            ),
        )

    def hours(self) -> list[ColumnElement[bool]]:
        """The conditions on ``step_hours``."""
        clauses: list[ColumnElement[bool]] = [
            step_hours.c.hour >= _instant(self.first),
            step_hours.c.hour < _instant(self.past),
            *(
                step_hours.c[condition.field] == literal(condition.value, Text)
                for condition in self.conditions
            ),
        ]
        if self.dirty:
            weeks, hours = zip(*self.dirty, strict=True)
            marked = func.unnest(_array(weeks, Date()), _array(hours, DateTime(timezone=True))).table_valued(
                column("week", Date), column("hour", DateTime(timezone=True)), name="dirty"
            )
            dirty = marked.render_derived()
            same = and_(dirty.c.week == step_hours.c.week, dirty.c.hour == step_hours.c.hour)
            clauses.append(~select(literal(1)).select_from(dirty).where(same).correlate(step_hours).exists())
        return clauses

    def steps(self) -> tuple[FromClause, list[ColumnElement[bool]]]:
        """What ``steps`` is joined with to give the rest, ``runs`` among it, and the conditions."""
        instant = DateTime(timezone=True)
        stretch = (
            func.unnest(
                _array([stretch.since for stretch in self.stretches], instant),
                _array([stretch.until for stretch in self.stretches], instant),
                _array([stretch.first_day for stretch in self.stretches], Date()),
                _array([stretch.past_day for stretch in self.stretches], Date()),
            )
            .table_valued(
                column("since", instant),
                column("until", instant),
                column("first_day", Date),
                column("past_day", Date),
                name="stretch",
            )
            .render_derived()
        )
        lies_in = and_(
            steps.c.started_at >= stretch.c.since,
            steps.c.started_at < stretch.c.until,
            steps.c.run_day >= stretch.c.first_day,
            steps.c.run_day < stretch.c.past_day,
        )
        source = stretch.join(steps, lies_in).join(runs, of_run(steps, runs))
        return source, [condition.clause() for condition in self.conditions]


def coverage(connection: Connection, filters: Filters, grouping: Grouping) -> Coverage | None:
    """Return how roll-ups help with a question; None when they cannot, or know nothing of its time."""
    if filters.question is not None or filters.step:
        return None
    if grouping.bucket is not None and BUCKETS[grouping.bucket] < _HOUR:
        return None
    times = [condition for condition in filters.own if condition.field == "started"]
    conditions = tuple(condition for condition in filters.own if condition.field != "started")
    if any(condition.field not in GROUPED_BY or condition.operator != "eq" for condition in conditions):
        return None
    since = max(
        (c.value for c in times if c.operator == "ge" and isinstance(c.value, datetime)), default=_FIRST
    )
    until = min(
        (c.value for c in times if c.operator == "lt" and isinstance(c.value, datetime)), default=_LAST
    )
    if since >= _LAST:
        return None
    first, past = _whole_hours(since, until)
    if first >= past:
        return None
    dirty = tuple((week, hour) for week, hour in connection.execute(_DIRTY, {"first": first, "past": past}))
    edges = [Stretch(since, first), Stretch(past, until)]
    stretches = (*(edge for edge in edges if edge.since < edge.until), *_stretches(dirty))
    found = Coverage(first, past, dirty, stretches, conditions)
    known = connection.scalar(
        select(select(literal(1)).select_from(step_hours).where(*found.hours()).exists())
    )
    return found if known else None


def _whole_hours(since: datetime, until: datetime) -> tuple[datetime, datetime]:
    """The first hour that begins in the window, and the first that does not end in it."""
    first = since - (since - _EPOCH) % _HOUR
    past = until - (until - _EPOCH) % _HOUR
    return (first if first == since else first + _HOUR), past


def _stretches(dirty: Iterable[tuple[date, datetime]]) -> Iterator[Stretch]:
    """Hours of a week that follow each other become one; given in that order."""
    last: Stretch | None = None
    for week, hour in dirty:
        if last is not None and (last.first_day, last.until) == (week, hour):
            last = replace(last, until=hour + _HOUR)
            continue
        if last is not None:
            yield last
        last = Stretch(hour, hour + _HOUR, week, week + _WEEK)
    if last is not None:
        yield last


def _instant(at: datetime) -> ColumnElement[datetime]:
    return literal(at, DateTime(timezone=True))


def _array(values: Iterable[Any], type_: Any) -> ColumnElement[Any]:
    return cast(bindparam(None, list(values), ARRAY(type_)), ARRAY(type_))
