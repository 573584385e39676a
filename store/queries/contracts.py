"""
How many runs satisfy a condition, and of how many that cannot be told yet: what contracts ask.

A run that still runs is left out, as it may yet come to satisfy the condition or not to. One that went
silent, or of which the ledger says that its steps are lost, has an incomplete record: it counts on
neither side.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import (
    Boolean,
    ColumnElement,
    Connection,
    and_,
    case,
    cast,
    exists,
    false,
    func,
    or_,
    select,
    true,
)

from store.queries.derived import RUN_FUNNEL, of_run, of_step
from store.queries.filters import Filters
from store.queries.shown import SHOWN
from store.queries.status import RUN_STATUS, clock
from store.schema import losses, runs, steps

EVIDENCE = 20
"""Runs that an answer names."""


@dataclass(frozen=True, slots=True)
class RunShare:
    """Runs that ended, by whether they satisfy a condition."""

    runs: int
    matching: int
    """Of ``runs``, those that surely do."""
    unsure: int
    """Of ``runs``, those of which the record is incomplete."""
    pending: int
    """Runs beside them that still run."""
    named_matching: Sequence[str]
    """The newest of them, at most ``EVIDENCE``."""
    named_others: Sequence[str]
    """The newest of those that surely do not."""


def share_of_runs(
    connection: Connection,
    scope: Filters,
    condition: Filters,
    *,
    now: datetime,
    default_timeout_s: float,
) -> RunShare:
    """Return how many runs of the scope satisfy the condition. One statement over all runs of the scope."""
    satisfied = cast(func.coalesce(and_(true(), *condition.clauses()), false()), Boolean)
    asked = select(
        runs.c.run_id,
        runs.c.started_at,
        RUN_STATUS.in_(("running", "waiting")).label("pending"),
        or_(RUN_STATUS == "incomplete", _lost_steps()).label("unsure"),
        satisfied.label("satisfied"),
    ).where(*scope.clauses(), SHOWN)
    if scope.needs_funnel or condition.needs_funnel:
        asked = asked.join_from(runs, RUN_FUNNEL, true())
    # Materialised: the status and the condition of a run are worked out once.
    run = asked.cte("judged").prefix_with("MATERIALIZED", dialect="postgresql")
    state = case((run.c.pending, "pending"), (run.c.unsure, "unsure"), (run.c.satisfied, "yes"), else_="no")
    numbered = select(
        run.c.run_id,
        state.label("state"),
        func.count().over(partition_by=state).label("total"),
        func.row_number()
        .over(partition_by=state, order_by=(run.c.started_at.desc(), run.c.run_id))
        .label("number"),
    ).subquery()
    rows = connection.execute(
        select(numbered).where(numbered.c.number <= EVIDENCE).order_by(numbered.c.state, numbered.c.number),
        clock(now, default_timeout_s),
    ).all()
    totals = {row.state: row.total for row in rows}
    named = {state: [row.run_id for row in rows if row.state == state] for state in ("yes", "no")}
    return RunShare(
        runs=sum(total for state, total in totals.items() if state != "pending"),
        matching=totals.get("yes", 0),
        unsure=totals.get("unsure", 0),
        pending=totals.get("pending", 0),
        named_matching=named["yes"],
        named_others=named["no"],
    )


def _lost_steps() -> ColumnElement[bool]:
    """Whether the ledger says that a step or a copy of the run is lost, and no other way brought it."""
    step = steps.alias("came_after_all")
    came = exists().where(of_step(losses, step))
    lost = exists().where(of_run(losses, runs), losses.c.what.in_(("runs", "steps")), ~came)
    return lost.correlate(runs)
