"""Totals and means over the decisions of a step, exact or estimated from a sample."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sqlalchemy import Connection

from store.estimates import Estimates, Observed, estimate
from store.ids import run_key
from store.queries.decisions import attempts_of, combined, split, walk
from store.queries.filters import Filters
from store.queries.types_decisions import DecisionRecord, StepEstimates


def estimate_decisions(
    connection: Connection, run_id: str, step_id: str, filters: Filters
) -> StepEstimates | None:
    """
    Return how many decisions of a step satisfy all filters, and totals and means of their scores and
    values; None when neither the step nor decisions of it are known.

    Opens all chunks of the step: two milliseconds per 5,000 decisions that were kept.
    """
    key = run_key(run_id)
    attempts = attempts_of(connection, key, step_id)
    if not attempts:
        return None
    numbers, others = split(connection, key, filters)
    covered = [a for a in attempts if all(condition.holds(a.number) for condition in numbers)]
    kept = [
        (record, all(holds(record) for holds in others))
        for _, record in walk(connection, key, step_id, covered, None)
    ]
    return StepEstimates(
        decisions=_estimates(kept, lambda _: 1.0).number,
        score=_estimates(kept, lambda record: record.score),
        value=_estimates(kept, lambda record: _number(record.value)),
        decisions_read=sum(counts for _, counts in kept),
        completeness=combined([attempt.completeness for attempt in covered]),
    )


def _estimates(
    kept: Sequence[tuple[DecisionRecord, bool]], figure: Callable[[DecisionRecord], float | None]
) -> Estimates:
    return estimate(
        Observed(
            (record.attempt, record.verdict, record.reason),
            1.0 if record.probability is None else record.probability,
            figure(record) if counts else None,
        )
        for record, counts in kept
    )


def _number(value: object) -> float | None:
    return float(value) if type(value) in (int, float) else None  # type: ignore[arg-type]  # one of them
