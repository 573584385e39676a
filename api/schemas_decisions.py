"""The answers about candidates: decisions, estimates, and the way of an item."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import Field

from api.schemas import Answer, Count, RunCompleteness, Scalar, StepCompleteness
from api.schemas_outcomes import Outcome


class Decision(Answer):
    """What a step decided about one candidate."""

    item_id: str
    verdict: str = Field(description="kept, eliminated, scored, selected, not_selected, deferred or merged.")
    reason: str | None = Field(description="Code.")
    reason_text: str | None
    score: float | None
    value: Scalar = Field(description="The observed value.")
    threshold: Scalar
    value_missing: bool = Field(description="The observed value was missing, not merely not recorded.")
    checks: list[dict[str, Any]] | None = Field(description="{name, value, threshold, passed} each.")
    probability: float | None = Field(description="Inclusion probability when sampled.")
    attempt: int | None = Field(description="null only while the decision's step has not arrived.")


class Estimate(Answer):
    """A figure about all decisions, known from those that were kept."""

    value: float
    low: float | None = Field(description="Lower end of the 95 % interval; null: too few were kept to tell.")
    high: float | None = Field(description="Upper end of it.")
    exact: bool = Field(description="Whether all decisions were kept, so that nothing is estimated.")


class Estimates(Answer):
    """Of the decisions that have the figure."""

    number: Estimate = Field(description="How many have it.")
    total: Estimate
    mean: Estimate | None = Field(description="null when none has it.")


class StepEstimates(Answer):
    """Totals and means over the decisions of a step that satisfy all filters."""

    decisions: Estimate = Field(description="How many there are.")
    score: Estimates
    value: Estimates = Field(description="Of observed values that are numbers.")
    decisions_read: int = Field(description="Kept decisions that satisfy the filters.")
    completeness: StepCompleteness


class ItemDecision(Decision):
    """What one step of one run decided about an item."""

    run_id: str
    pipeline: str | None
    pipeline_version: str | None
    entity: str | None = Field(description="What the run decided about.")
    step_id: str
    name: str = Field(description="Name of the step.")
    step_type: str | None
    started_at: datetime = Field(description="Start of the step.")


class HistoricDecision(ItemDecision):
    """What one step of one run decided about an item, with what became known of the item in the run."""

    outcomes: list[Outcome] = Field(description="Late ones of the item in the run.")


class ItemCompleteness(Answer):
    """How much of the record the search has seen, for this page; each step is counted once."""

    state: Literal["exact", "partial"] = Field(
        description="exact: every step that was searched has its full record; partial: the item may have "
        "passed some of them unseen, as many as the counts say."
    )
    steps_searched: int = Field(description="Steps looked at that satisfy the filters.")
    searched_back_to: datetime | None = Field(description="Start of the oldest step looked at.")
    running: int = Field(description="Steps whose end has not arrived, and decisions may yet.")
    sampled: int = Field(description="Steps with a declared sample, without the item in it.")
    partial: int = Field(description="Steps of which not every candidate's decision can be read.")
    none: int = Field(description="Steps that took candidates and recorded no decisions.")


class StepReference(Answer):
    """Which step it was."""

    step_id: str
    attempt: int
    index: int
    name: str
    step_type: str | None
    status: Literal["running", "ok", "error"]
    candidates_in: Count
    candidates_out: Count


class JourneyStep(Answer):
    """What one step had to say about the item."""

    step: StepReference
    presence: Literal["recorded", "absent", "unknown"] = Field(
        description="absent: the step's evidence is full and does not name the item; "
        "unknown: the evidence is not full, the item may have passed unseen."
    )
    decisions: list[Decision] = Field(description="Several when the step judged the item repeatedly.")
    probability: float | None = Field(
        description="Of a sampled step that does not name the item: had it judged the item, its decision "
        "would be here with at least this probability."
    )


class Journey(Answer):
    """The way of one item through the steps of one run, in order."""

    run_id: str
    item_id: str
    final_verdict: str = Field(description="Verdict of the last recorded decision about the item.")
    final_step_id: str
    outcomes: list[Outcome] = Field(description="Late ones of the item in the run.")
    steps: list[JourneyStep]
    completeness: RunCompleteness


class DecisionList(Answer):
    """Decisions in the order they were judged, attempt by attempt."""

    items: list[Decision]
    next_cursor: str | None = Field(description="null on the last page.")
    completeness: StepCompleteness


class ItemHistory(Answer):
    """Decisions about one item in all runs, newest step first."""

    item_id: str
    items: list[HistoricDecision]
    next_cursor: str | None = Field(
        description="null when all steps were searched. One answer looks at 20,000 steps at most, so a page "
        "may end before it is full, or be empty; the cursor goes on from there."
    )
    completeness: ItemCompleteness
