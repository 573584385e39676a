"""The run as a funnel: its steps in order, each beside what is usual for it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from api.explain.records import Drop, FunnelLine, StepError
from store.queries.baseline import Baseline
from store.queries.types import StepRecord

CUTS_BY_SIZE = frozenset(("rank", "select"))
"""Step types that keep a number of candidates, however good the others are."""


def last_attempts(steps: Sequence[StepRecord]) -> list[StepRecord]:
    """One record per step id, of its last attempt, in the order given."""
    last: dict[str, StepRecord] = {}
    for step in steps:
        known = last.get(step.step_id)
        if known is None or step.attempt >= known.attempt:
            last[step.step_id] = step
    return [step for step in steps if last[step.step_id] is step]


def funnel(steps: Sequence[StepRecord], baseline: Baseline) -> list[FunnelLine]:
    """One line per step, in order."""
    attempts = Counter(step.step_id for step in steps)
    return [_line(step, attempts[step.step_id], baseline) for step in last_attempts(steps)]


def largest_drop(lines: Sequence[FunnelLine]) -> Drop | None:
    """The step with the largest drop ratio, of those that judge one by one; the first of equal ones."""
    drops = (drop for line in lines if (drop := _drop(line)) is not None)
    return max(drops, key=lambda drop: drop.drop_ratio, default=None)


def largest_deviation(lines: Sequence[FunnelLine]) -> Drop | None:
    """The step whose drop ratio is farthest from the baseline's median; None without a baseline."""
    drops = (drop for line in lines if (drop := _drop(line)) is not None and drop.difference is not None)
    return max(drops, key=lambda drop: abs(drop.difference or 0.0), default=None)


def first_error(steps: Sequence[StepRecord]) -> StepError | None:
    """The first execution in order that ended in error, whether or not a later attempt went well."""
    failed = next((step for step in steps if step.status == "error"), None)
    if failed is None:
        return None
    return StepError(failed.step_id, failed.name, failed.attempt, failed.error_type, failed.error_message)


def _line(step: StepRecord, attempts: int, baseline: Baseline) -> FunnelLine:
    usual = baseline.steps.get(step.name)
    spread = usual.drop_ratio if usual is not None else None
    return FunnelLine(
        step_id=step.step_id,
        step=step.name,
        step_type=step.step_type,
        attempts=attempts,
        status=step.status,
        candidates_in=step.candidates_in,
        candidates_out=step.candidates_out,
        drop_ratio=step.drop_ratio,
        baseline_drop_ratio=spread.median if spread is not None else None,
        baseline_n=spread.n if spread is not None else 0,
        reasons=step.reasons,
        why=step.why,
    )


def _drop(line: FunnelLine) -> Drop | None:
    if line.drop_ratio is None or line.step_type in CUTS_BY_SIZE:
        return None
    usual = line.baseline_drop_ratio
    difference = None if usual is None else line.drop_ratio - usual
    return Drop(line.step_id, line.step, line.drop_ratio, usual, difference, line.baseline_n)
