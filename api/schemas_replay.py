"""The answers about what other rules would have decided, as ``api/schemas.py`` holds all others."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from api.schemas import Answer, Scalar

Certainty = Literal["certain", "assumed", "unknown"]
_CERTAINTY = (
    "certain: follows from what was recorded and declared; assumed: if the steps have no rules but those "
    "that the record shows, filters judge each candidate alone rankings go by recorded scores; unknown."
)


class Cause(Answer):
    """Why something is not certain."""

    cause: str = Field(description="A word for programs: short_circuit, depends_on_others, never_judged …")
    text: str = Field(description="The same in words.")
    count: int = Field(description="Items of which it is the reason.")


class ReplayCompleteness(Answer):
    """How much of the answer is known, and what the rest lacks."""

    state: Literal["exact", "estimated", "partial"] = Field(
        description="exact: of every item it is certain what would have become of it; estimated: a sampled "
        "step's count is estimated and nothing else is missing; partial: see the causes, or the run has not "
        "ended or lacks steps, so that later ones may have decided otherwise."
    )
    run: Literal["complete", "partial", "running", "incomplete"] = Field(
        description="State of the run's own record."
    )
    unknown: list[Cause] = Field(description="Items of which it is not known what would have become of them.")
    assumed: list[Cause] = Field(description="Items of which it is not certain.")
    sampled_steps: list[str] = Field(description="Steps that recorded a sample of their decisions.")
    incomplete_steps: list[str] = Field(description="Steps of which decisions were not recorded or are lost.")


class CitedDecision(Answer):
    """A decision that the answer rests on, as it was recorded."""

    step_id: str
    step: str
    item_id: str
    verdict: str
    reason: str | None
    score: float | None
    value: Scalar
    threshold: Scalar
    value_missing: bool
    checks: list[dict[str, Any]] | None = Field(description="{name, value, threshold, passed} each.")


class AppliedChange(Answer):
    """A change as it was understood."""

    step_id: str
    step: str
    rule: str | None = Field(
        description="Reason, or name of the check; null for top_k and where none is named."
    )
    comparator: str | None = Field(
        description="What holds between value and threshold of a candidate that passes; '< or <=' where no "
        "candidate at the limit tells; null where the record shows none."
    )
    comparator_source: Literal["declared", "recorded"] | None
    thresholds_before: list[float | int] = Field(description="Recorded, at most 10 different ones.")
    threshold: float | int | None = None
    scale: float | None = None
    remove: bool = False
    top_k: int | None = None


class EstimatedCount(Answer):
    """A number of candidates with its 95 % interval."""

    value: float
    low: float | None
    high: float | None


class ReplayedStep(Answer):
    """How many candidates would have gone on from a step."""

    step_id: str
    step: str
    evidence: Literal["full", "sampled", "partial", "none"]
    was: int = Field(description="Recorded decisions that let a candidate go on.")
    low: int = Field(description="Certainly at least so many.")
    high: int | None = Field(
        description="Certainly at most; null where candidates that were not recorded count."
    )
    expected: int | None = Field(description="On the assumptions; null where even they do not tell.")
    estimate: EstimatedCount | None = Field(description="Of a sampled step: of all its candidates.")
    unknown: dict[str, int] = Field(description="Cause to the decisions that are not known for it.")


class ReplayedItem(Answer):
    """What would have become of an item."""

    item_id: str
    was: str | None = Field(description="The recorded verdict that decided what became of it.")
    was_at: str = Field(description="Id of the step that gave it.")
    now: str = Field(description="The verdict that would have; unknown.")
    now_at: str = Field(description="Id of the step; of unknown, where it was lost sight of.")
    certainty: Certainty = Field(description=_CERTAINTY)
    cause: str | None = Field(description="Why it is not certain.")
    cause_text: str | None
    because: list[CitedDecision]


class Replay(Answer):
    """A run under changed rules."""

    run_id: str
    changes: list[AppliedChange]
    steps: list[ReplayedStep] = Field(description="From the first changed one on.")
    counts: dict[str, dict[str, int]] = Field(description="Certainty to verdict to items.")
    changed: int = Field(description="Items with another verdict or step, certain and assumed.")
    items: list[ReplayedItem] = Field(
        description="The items asked for; without any, those that change, certain ones first, then those "
        "that are not known; at most limit."
    )
    completeness: ReplayCompleteness


class FlipChange(Answer):
    """The smallest change of one threshold or number that turns a verdict, proved by replaying it."""

    item_id: str
    step_id: str
    step: str
    rule: str | None
    comparator: str | None
    kind: Literal["threshold", "scale", "top_k"]
    before: float | int
    after: float | int = Field(description="To the last bit: the next double would not do.")
    relative: float | None = Field(description="Size as a share of before; null where that is 0.")
    passes: bool = Field(description="Whether the item goes on from the step after it.")
    certainty: Certainty = Field(description=f"Of that. {_CERTAINTY}")
    outcome: str = Field(description="What would become of the item in the end, unknown included.")
    outcome_certainty: Certainty


class Margin(Answer):
    """How far a candidate was from the limit of one rule."""

    rule: str | None
    comparator: str | None
    value: Scalar
    threshold: Scalar
    passed: bool | None
    margin: float | None = Field(description="Above 0 on the side that passes.")
    relative: float | None = Field(description="The same as a share of the threshold.")


class ContrastSide(Answer):
    """What the step said of one of the two."""

    item_id: str
    presence: Literal["passes", "fails", "absent", "unknown"]
    said: list[CitedDecision]
    margins: list[Margin]
    position: int | None = Field(description="By score from 1, where the recorded order follows from scores.")


class ContrastFate(Answer):
    """What became of one of the two in the end."""

    item_id: str
    verdict: str | None = Field(description="null: no decision of the run names it.")
    step_id: str | None


class ContrastCompleteness(Answer):
    """Whether all is there that the answer rests on."""

    state: Literal["exact", "partial"]
    sampled_steps: list[str]
    incomplete_steps: list[str]


class Contrast(Answer):
    """Why one item and not another."""

    run_id: str
    kind: Literal["parted", "same_fate", "never_entered", "unknown"] = Field(
        description="parted: the step let one go on and not the other; same_fate: no step told them apart; "
        "never_entered: no source gave one of them; unknown: it happened where not all was recorded."
    )
    step_id: str | None
    step: str | None
    step_type: str | None
    item: ContrastSide | None
    over: ContrastSide | None
    score_difference: float | None = Field(description="The item's score less the other's, at the step.")
    fates: list[ContrastFate]
    sources: list[str] = Field(description="For never_entered: the sources, none of which gave it.")
    flip: FlipChange | None = Field(
        description="The smallest change that turns the step's word on one of them."
    )
    flips: list[FlipChange] = Field(description="For each of the two the smallest one.")
    no_flip: str | None = Field(description="Why there is none.")
    summary: list[str] = Field(description="The same in sentences.")
    completeness: ContrastCompleteness


class NearMiss(Answer):
    """One comparison that nearly went otherwise."""

    item_id: str
    step_id: str
    step: str
    verdict: str
    rule: str | None = Field(description="Name of the check, else the reason.")
    value: float | int
    threshold: float | int
    passed: bool | None
    distance: float
    relative: float = Field(description="Distance as a share of the threshold.")


class NearMissList(Answer):
    """Comparisons near their limit, nearest first."""

    run_id: str
    within: float
    count: int = Field(description="All of them; items holds at most limit.")
    items: list[NearMiss]
    completeness: ContrastCompleteness
