"""The answers about two runs and two groups of runs; the parts are the records of the analysis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from pydantic import Field

from api import schemas
from api.compare import records


class DiffRun(schemas.Answer):
    """One of the two runs."""

    run_id: str
    pipeline: str | None
    pipeline_version: str | None
    entity: str | None
    status: str
    steps_count: int


class Difference(schemas.Answer):
    """One field with another value; null where the run does not have it."""

    field: str
    a: schemas.Scalar
    b: schemas.Scalar


class Judgement(schemas.Answer):
    """What the step decided about the item in one run."""

    verdict: str
    reason: str | None
    score: float | None
    rank: int | None = Field(description="By score in its step, from 1; equal scores share a rank.")
    value: schemas.Scalar
    threshold: schemas.Scalar
    value_missing: bool


class ItemChange(schemas.Answer):
    """An item about which the step decided otherwise."""

    item_id: str
    changed: Sequence[records.Change]
    a: Judgement | None
    b: Judgement | None


class ItemChanges(schemas.Answer):
    """What became of the items of a step."""

    both: int = Field(description="Judged in both runs, as far as was recorded.")
    total: int = Field(description="Items that the step decided otherwise, or that one run lacks.")
    changed: Mapping[str, int] = Field(description="Kind of change to the number of items that have it.")
    examples: Sequence[ItemChange] = Field(description="At most limit over all steps, the first step first.")


class DiffStep(schemas.Answer):
    """How one step differs."""

    name: str
    step_id_a: str | None = Field(description="Null when a does not have the step.")
    step_id_b: str | None
    step_type: str | None
    renamed: bool
    standing: records.Standing = Field(
        description="differs: it did something else with what it received; follows: it differs, and so did "
        "a step before it; unknown: equal counts, and not each decision was recorded."
    )
    kinds: Sequence[records.Kind] = Field(description="In what, the most telling first.")
    received: str = Field(description="same, other or unknown: the candidates that came in.")
    config: Sequence[Difference]
    differences: Sequence[Difference]
    items: ItemChanges
    evidence: str


class Divergence(schemas.Answer):
    """The first step that did something else with what it received."""

    step: str
    step_id_a: str | None
    step_id_b: str | None
    kind: records.Kind
    certain: bool = Field(description="False where the record cannot tell it from possible_steps.")
    possible_steps: Sequence[str]
    text: str


class DiffCompleteness(schemas.Answer):
    """Whether the two records hold all that could differ."""

    state: Literal["exact", "partial"] = Field(
        description="partial: of some steps not each decision can be read, steps are missing, or a run "
        "has not ended."
    )
    unknown_steps: Sequence[str] = Field(description="Names of steps that may differ in more than is said.")
    a: schemas.RunCompleteness
    b: schemas.RunCompleteness


class RunDiff(schemas.Answer):
    """How two runs differ; the other way round the same with a and b turned."""

    a: DiffRun
    b: DiffRun
    same: bool = Field(description="Nothing that was recorded differs, but ids and times.")
    differences: Sequence[Difference] = Field(description="Of the runs: version, tags, input, outcome, …")
    steps: Sequence[DiffStep] = Field(description="Steps that differ or are not known not to, in order.")
    steps_compared: int
    first_divergence: Divergence | None
    first_decision_change: Divergence | None = Field(
        description="The first step whose decisions differ, where first_divergence has no such effect."
    )
    changed: Mapping[str, int] = Field(description="Items by kind of change, over all steps.")
    summary: Sequence[str]
    completeness: DiffCompleteness


def run_diff(found: records.Diff, limit: int) -> RunDiff:
    """Return the answer. limit: items that are shown over all steps."""
    left = limit
    steps = []
    for step in found.steps:
        if step.standing == "same" and not step.differences and not step.pair.renamed:
            continue
        shown = step.items.examples[:left]
        left -= len(shown)
        steps.append(_step(step, shown))
    values = {name: getattr(found, name) for name in ("same", "differences", "changed", "summary")}
    values |= {name: getattr(found, name) for name in ("first_divergence", "first_decision_change")}
    return RunDiff.model_validate(
        values
        | {
            "a": found.a.run,
            "b": found.b.run,
            "steps": steps,
            "steps_compared": len(found.steps),
            "completeness": {
                "state": "exact" if found.whole else "partial",
                "unknown_steps": [step.name for step in found.steps if not step.whole],
                "a": found.a.run.completeness,
                "b": found.b.run.completeness,
            },
        }
    )


def _step(step: records.StepDiff, shown: Sequence[records.ItemChange]) -> dict[str, object]:
    a, b = step.pair.a, step.pair.b
    types = {one.step_type for one in (a, b) if one is not None}
    return {
        "name": step.name,
        "step_id_a": None if a is None else a.step_id,
        "step_id_b": None if b is None else b.step_id,
        "step_type": next(iter(types)) if len(types) == 1 else None,
        "renamed": step.pair.renamed,
        "standing": step.standing,
        "kinds": step.kinds,
        "received": step.received,
        "config": step.config,
        "differences": step.differences,
        "items": {
            "both": step.items.both,
            "total": step.items.total,
            "changed": step.items.changed,
            "examples": shown,
        },
        "evidence": step.evidence,
    }
