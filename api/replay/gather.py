"""Reads what replay needs of a run; the only part of it that asks the store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from api.explain.funnel import last_attempts
from api.replay.facts import Declared, Evidence, StepFacts
from store.decisions import DecisionColumns, rows
from store.queries.types import RunRecord, StepRecord
from store.reader import Reader

_JUDGES = ("filter", "rank", "select")


@dataclass(frozen=True)
class Told:
    """A run as replay sees it."""

    run: RunRecord
    steps: Sequence[StepFacts]
    """Those that judged candidates, in order."""

    @property
    def is_whole(self) -> bool:
        """Whether the run has ended and none of its steps is known to be lost."""
        known = self.run.completeness
        lost = any(entry.what in ("runs", "steps") for entry in known.missing)
        return known.state in ("complete", "partial") and not lost

    def named(self, name: str) -> list[StepFacts]:
        """The step of this id, or those of this name."""
        of_id = [step for step in self.steps if step.step_id == name]
        return of_id or [step for step in self.steps if step.name == name]


def gather(reader: Reader, run_id: str) -> Told | None:
    """Return a run with all its decisions, None when it is unknown. Raises what ``Reader`` raises."""
    detail = reader.run_detail(run_id)
    if detail is None:
        return None
    last = _judging(last_attempts(detail.steps))
    ended_well = [step.step_id for step in detail.steps if step.status == "ok"]
    keys = [(step.step_id, step.attempt_key) for step in last]
    columns = reader.run_columns(run_id, keys)
    facts = []
    for step, key in zip(last, keys, strict=True):
        trouble = None
        if step.status != "ok":
            trouble = "step_failed"
        elif ended_well.count(step.step_id) > 1:
            trouble = "attempts"
        elif key in columns.unread:
            trouble = "too_many"
        facts.append(_facts(step, columns.by_step.get(key, ()), _feeds(step, last), trouble))
    return Told(detail.run, facts)


def _judging(steps: Sequence[StepRecord]) -> list[StepRecord]:
    """
    Those that judge candidates, also where none came: with other rules before them some might.
    """
    found: list[StepRecord] = []
    for step in steps:
        starved = bool(found) and found[-1].candidates_out in (0, None)
        if _counts(step) or step.step_type in _JUDGES or (starved and step.step_type != "search"):
            found.append(step)
    return found


def _counts(step: StepRecord) -> bool:
    return (
        step.candidates_in is not None
        or step.candidates_out is not None
        or step.completeness.decisions_stored > 0
    )


def _feeds(step: StepRecord, judging: Sequence[StepRecord]) -> Sequence[str]:
    """As declared, else the step before; none where steps ran side by side, or one inside the other."""
    if step.parents is not None:
        return step.parents
    if _is_source(step) or any(_overlap(step, other) for other in judging):
        return ()
    before = judging[: next(place for place, other in enumerate(judging) if other is step)]
    if not before or any(_overlap(before[-1], other) for other in judging):
        return ()
    return (before[-1].step_id,)


def _is_source(step: StepRecord) -> bool:
    return step.candidates_in is None and _counts(step)


def _overlap(one: StepRecord, other: StepRecord) -> bool:
    if one is other or one.ended_at is None or other.ended_at is None:
        return False
    return one.started_at < other.ended_at and other.started_at < one.ended_at


def _evidence(step: StepRecord) -> Evidence:
    """As read, but full where every candidate has its decision, whatever the step was to record."""
    known = step.completeness
    judged = step.candidates_in if step.candidates_in is not None else step.candidates_out
    if not known.missing and judged is not None and judged <= known.decisions_stored:
        return "full"
    return known.evidence


def _facts(
    step: StepRecord, chunks: Sequence[DecisionColumns], feeds: Sequence[str], trouble: str | None
) -> StepFacts:
    decisions = tuple(chain.from_iterable(rows(chunk) for chunk in chunks))
    said = [chunk.rules for chunk in chunks if chunk.rules]
    evidence = _evidence(step)
    return StepFacts(
        step_id=step.step_id,
        name=step.name,
        step_type=step.step_type or "custom",
        attempt=step.attempt,
        decisions=decisions,
        evidence="none" if trouble == "too_many" else evidence,
        feeds=tuple(feeds),
        says_feeds=step.parents is not None,
        is_source=_is_source(step),
        trouble=trouble or ("no_decisions" if evidence == "none" else None),
        top_k=step.top_k,
        reasons=frozenset(step.reasons),
        declared=_declared(said),
    )


def _declared(said: Sequence[Mapping[str, Any]]) -> Declared:
    """Chunks that a step sent while it ran declare nothing; those that do must agree."""
    if not said or any(other != said[0] for other in said):
        return Declared()
    known = said[0]
    missing = known.get("missing")
    by_rule = missing if isinstance(missing, Mapping) else {}
    return Declared(
        known.get("evaluation"),
        known.get("item_independent"),
        known.get("comparators") or {},
        missing=None if by_rule else missing,
        missing_by_rule=by_rule,
    )
