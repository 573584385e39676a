"""
What is not stored because it follows from other rows: order and attempt numbers of steps, the
funnel of a run; for how much evidence arrived see ``chunks``. One subquery each, used for showing and for
filtering.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    DateTime,
    Double,
    FromClause,
    Integer,
    Subquery,
    and_,
    case,
    cast,
    func,
    literal,
    select,
    true,
)
from sqlalchemy.dialects.postgresql import aggregate_order_by

from store.schema import runs, steps

Condition = Callable[[FromClause], ColumnElement[bool]]


def anywhere(_: FromClause) -> ColumnElement[bool]:
    """In whichever partition; what ``keys.in_days`` is in place of."""
    return true()


_SEQUENCED = (
    "run_key",
    "run_day",
    "step_id",
    "attempt_key",
    "attempt",
    "step_index",
    "started_at",
    "ended_at",
    "candidates_in",
    "candidates_out",
)


def of_run(row: FromClause, run: FromClause) -> ColumnElement[bool]:
    """Return the join of a child table with its run; ``run_day`` lets all but one partition be skipped."""
    return and_(row.c.run_key == run.c.run_key, row.c.run_day == run.c.run_day)


def of_step(row: FromClause, step: FromClause) -> ColumnElement[bool]:
    """Return the join of a child of a step with the step's row."""
    return and_(of_run(row, step), row.c.step_id == step.c.step_id, row.c.attempt_key == step.c.attempt_key)


_STILL_RUNNING = literal(datetime(9999, 12, 31, tzinfo=UTC), DateTime(timezone=True))


_SOURCE = literal(-(2**62), BigInteger)


def _entering(step: FromClause) -> ColumnElement[Any]:
    """
    Rank steps that started together, as quick ones do by clocks of whole milliseconds (Node.js, browsers).

    Candidates only become fewer along most pipelines: the source comes first, then whoever took most.
    """
    is_source = and_(step.c.candidates_in.is_(None), step.c.candidates_out.is_not(None))
    return case((is_source, _SOURCE), else_=func.coalesce(-step.c.candidates_in, 0).cast(BigInteger))


def _ended(step: FromClause) -> ColumnElement[Any]:
    return func.coalesce(step.c.ended_at, _STILL_RUNNING)


def _sequence(step: FromClause) -> tuple[ColumnElement[Any], ...]:
    """The order of a run's steps: as sent when every step says, else by start (ties: by candidates, end)."""
    return (
        case((step.c.indexed, step.c.step_index)),
        step.c.started_at,
        _entering(step),
        _ended(step),
        step.c.step_id,
        step.c.attempt_key,
    )


def _indexed_steps(condition: Condition, outer: FromClause | None = None) -> Subquery:
    step = steps.alias()
    run = step.c.run_key
    indexed = func.count(step.c.step_index).over(partition_by=run) == func.count().over(partition_by=run)
    # Only the narrow columns: the window sorts them, and a step's JSON may be large.
    columns = (step.c[name] for name in _SEQUENCED)
    selected = select(*columns, indexed.label("indexed")).where(condition(step))
    return (selected if outer is None else selected.correlate(outer)).subquery()


def ordinals(condition: Condition, outer: FromClause | None = None) -> Subquery:
    """
    Number the steps of whole runs: columns run_key, run_day, step_id, attempt_key, index, attempt.

    condition: restricts the steps by run; it must take all steps of a run or none. outer: the
    row outside that the condition refers to, if it does. (sort_index, sort_started_at,
    sort_entering, sort_ended_at, step_id, attempt_key) is the order, without nulls.
    """
    step = _indexed_steps(condition, outer)
    position = func.row_number().over(partition_by=step.c.run_key, order_by=_sequence(step))
    attempt = func.row_number().over(
        partition_by=(step.c.run_key, step.c.step_id), order_by=(step.c.started_at, step.c.attempt_key)
    )
    return select(
        step.c.run_key,
        step.c.run_day,
        step.c.step_id,
        step.c.attempt_key,
        func.coalesce(case((step.c.indexed, step.c.step_index)), 0).label("sort_index"),
        step.c.started_at.label("sort_started_at"),
        _entering(step).label("sort_entering"),
        _ended(step).label("sort_ended_at"),
        case((step.c.indexed, step.c.step_index), else_=position - 1).cast(Integer).label("index"),
        func.coalesce(step.c.attempt, attempt).cast(Integer).label("attempt"),
    ).subquery()


def _ordinal(column: str) -> ColumnElement[int]:
    numbered = ordinals(lambda step: of_run(step, steps), steps)
    return (
        select(numbered.c[column])
        .where(numbered.c.step_id == steps.c.step_id, numbered.c.attempt_key == steps.c.attempt_key)
        .scalar_subquery()
    )


STEP_INDEX = _ordinal("index")
STEP_ATTEMPT = _ordinal("attempt")


def drop_ratio(candidates_in: ColumnElement[Any], candidates_out: ColumnElement[Any]) -> ColumnElement[Any]:
    """Return (in - out) / in; null when in is 0 or unknown, or out exceeds it (as for a step's own)."""
    return case(
        (
            and_(candidates_in > 0, candidates_out <= candidates_in),
            cast(candidates_in - candidates_out, Double) / cast(candidates_in, Double),
        )
    )


def funnel(run: FromClause, within: Condition = anywhere) -> FromClause:
    """
    Sum up a run's steps: steps_count, candidates_in, candidates_out, drop_ratio; one row, always.

    in: of the first step with counts, its in, or its out when it is a source. out: the last one sent.
    """
    step = _indexed_steps(lambda step: and_(of_run(step, run), within(step)), run)
    entering = func.coalesce(step.c.candidates_in, step.c.candidates_out)
    first = aggregate_order_by(entering, *_sequence(step))
    last = aggregate_order_by(step.c.candidates_out, *(term.desc() for term in _sequence(step)))
    ends = select(
        func.count().label("steps_count"),
        func.array_agg(first).filter(entering.is_not(None))[1].cast(BigInteger).label("candidates_in"),
        func.array_agg(last)
        .filter(step.c.candidates_out.is_not(None))[1]
        .cast(BigInteger)
        .label("candidates_out"),
    ).subquery()
    return select(ends, drop_ratio(ends.c.candidates_in, ends.c.candidates_out).label("drop_ratio")).lateral()


RUN_FUNNEL = funnel(runs)
"""Join with ``true()`` beside ``runs``."""
