"""What questions about candidates are answered with: decisions, and the way of an item."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from store.estimates import Estimate, Estimates
from store.queries.types import RunCompleteness, StepCompleteness, StepRecord
from store.queries.types_outcomes import OutcomeRecord


@dataclass(frozen=True, slots=True)
class DecisionRecord:
    """What one step decided about one candidate."""

    item_id: str
    verdict: str
    """A word: kept, eliminated, scored, selected, not_selected, deferred, merged."""
    reason: str | None
    reason_text: str | None
    score: float | None
    value: int | float | str | bool | None
    threshold: int | float | str | bool | None
    value_missing: bool
    """The observed value was missing, which differs from not recorded (``value`` None)."""
    checks: Sequence[Mapping[str, Any]] | None
    """``{name, value, threshold, passed}`` per check of a step that made several."""
    probability: float | None
    """Inclusion probability when sampled."""
    attempt: int | None
    """None only when the decisions arrived and their step did not."""


@dataclass(frozen=True, slots=True)
class DecisionPage:
    """Decisions of a step in the order they were judged, attempt by attempt."""

    items: Sequence[DecisionRecord]
    next_cursor: str | None
    completeness: StepCompleteness
    """Of all attempts the query covers, filters on candidates aside."""


@dataclass(frozen=True, slots=True)
class StepEstimates:
    """Totals and means over the decisions of a step that satisfy a question."""

    decisions: Estimate
    """How many there are."""
    score: Estimates
    value: Estimates
    """Of the observed values that are numbers."""
    decisions_read: int
    """Kept decisions that satisfy the question."""
    completeness: StepCompleteness
    """Of all attempts that the question covers. What is lost is not estimated."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemDecision(DecisionRecord):
    """What one step of one run decided about an item."""

    run_id: str
    pipeline: str | None
    pipeline_version: str | None
    entity: str | None
    step_id: str
    name: str
    step_type: str | None
    started_at: datetime
    """Start of the step."""
    outcomes: Sequence[OutcomeRecord] = ()
    """Late ones of the item in the run; of exports, none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemCompleteness:
    """
    How much of the record a search for an item has seen.

    ``exact``: each step that was searched has its full record. ``partial``: the item may have passed
    some of them unseen; the counts say how many, each step once.
    """

    state: Literal["exact", "partial"]
    steps_searched: int
    """Steps looked at for this page that satisfy the filters."""
    searched_back_to: datetime | None
    """Start of the oldest step looked at; None when there was none."""
    running: int
    """Steps whose end has not arrived, and decisions may yet."""
    sampled: int
    """Steps of which a declared sample was recorded, without the item in it."""
    partial: int
    """Steps of which not every candidate's decision can be read, none of those about the item."""
    none: int
    """Steps that took candidates and of which no decision was recorded."""


@dataclass(frozen=True, slots=True)
class ItemHistory:
    """Decisions about one item in all runs, newest step first."""

    item_id: str
    items: Sequence[ItemDecision]
    next_cursor: str | None
    """None when all steps were searched; a page may end before it is full, even empty."""
    completeness: ItemCompleteness


@dataclass(frozen=True, slots=True)
class JourneyStep:
    """What one step had to say about the item."""

    step: StepRecord
    presence: Literal["recorded", "absent", "unknown"]
    """
    ``absent``: the step's evidence is full and does not name the item. ``unknown``: the evidence is
    sampled, partial or was not recorded, so the item may have passed unseen.
    """
    decisions: Sequence[DecisionRecord]
    """Usually one; several when the step judged the item repeatedly."""
    probability: float | None = None
    """
    At least so probably a decision of this sampled step would be here; None where it is not ``unknown``,
    or nothing says how probably.
    """


@dataclass(frozen=True, slots=True)
class Journey:
    """The way of one item through the steps of one run."""

    run_id: str
    item_id: str
    final_verdict: str
    """Verdict of the last recorded decision about the item."""
    final_step_id: str
    steps: Sequence[JourneyStep]
    """The first ``MAX_STEPS`` steps of the run in order, and of the later ones those that name the item."""
    completeness: RunCompleteness
    outcomes: Sequence[OutcomeRecord] = ()
    """Late ones of the item in the run."""
