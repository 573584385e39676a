"""
Conservation of candidates: none may vanish inside a step or on the way to the next.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from datetime import datetime

from api.explain.funnel import last_attempts
from api.explain.records import AuditLine
from store.queries.types import CountsByVerdict, StepRecord

JUDGES = frozenset(("filter", "rank", "select"))
"""Step types that give every candidate they take in a verdict; a search or llm step may not."""


def audit(steps: Sequence[StepRecord]) -> list[AuditLine]:
    """One line per step, in order; a step follows its parents, or else the last that counted before it."""
    effective = last_attempts(steps)
    by_id = {step.step_id: step for step in effective}
    crowded = _overlapping([step for step in effective if _counts(step)])
    lines: list[AuditLine] = []
    before: list[StepRecord] = []
    for step in effective:
        if step.candidates_in is None:
            feeding = []
        elif step.parents is not None:
            feeding = [by_id[parent] for parent in step.parents if parent in by_id]
        else:
            feeding = _feeding(step, before, crowded)
        lines.append(_line(step, feeding))
        if _counts(step):
            before.append(step)
    return lines


def _counts(step: StepRecord) -> bool:
    return step.candidates_in is not None or step.candidates_out is not None


def _feeding(step: StepRecord, before: Sequence[StepRecord], crowded: frozenset[str]) -> list[StepRecord]:
    """The step that handed over to one that does not say; none when several ran at the time."""
    previous = next((other for other in reversed(before) if not _overlap(other, step)), None)
    return [] if previous is None or previous.step_id in crowded else [previous]


def _overlap(one: StepRecord, other: StepRecord) -> bool:
    """Whether two steps ran at the same time, side by side or one in the other; unknown ends do not."""
    if one.ended_at is None or other.ended_at is None:
        return False
    return one.started_at < other.ended_at and other.started_at < one.ended_at


def _overlapping(steps: Sequence[StepRecord]) -> frozenset[str]:
    """Ids of the steps that overlap any other."""
    found = set()
    longest: StepRecord | None = None
    # By start: what overlaps an earlier step overlaps the one of them that ended last.
    for step in sorted((s for s in steps if s.ended_at is not None), key=lambda s: s.started_at):
        if longest is not None and _overlap(longest, step):
            found |= {longest.step_id, step.step_id}
        if longest is None or _end(step) > _end(longest):
            longest = step
    return frozenset(found)


def _end(step: StepRecord) -> datetime:
    assert step.ended_at is not None  # the caller leaves the others out
    return step.ended_at


def _line(step: StepRecord, feeding: Sequence[StepRecord]) -> AuditLine:
    accounted = _accounted(step.counts)
    outs = [parent.candidates_out for parent in feeding]
    handed_over = sum(out for out in outs if out is not None) if outs and None not in outs else None
    return AuditLine(
        step_id=step.step_id,
        step=step.name,
        candidates_in=step.candidates_in,
        accounted=accounted,
        unaccounted=_unaccounted(step, accounted),
        previous_step_ids=[parent.step_id for parent in feeding],
        handed_over=handed_over,
        handover_difference=_difference(step, handed_over, joined=len(feeding) > 1),
    )


def _accounted(counts: CountsByVerdict) -> int | None:
    values = [getattr(counts, verdict.name) for verdict in fields(counts)]
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def _unaccounted(step: StepRecord, accounted: int | None) -> int | None:
    if step.step_type not in JUDGES or step.candidates_in is None or accounted is None or step.status != "ok":
        return None
    return step.candidates_in - accounted


def _difference(step: StepRecord, handed_over: int | None, *, joined: bool) -> int | None:
    if handed_over is None or step.candidates_in is None:
        return None
    difference = handed_over - step.candidates_in
    # Branches may hand over the same candidate; only a join that takes in more than it got is odd.
    return 0 if joined and difference > 0 else difference
