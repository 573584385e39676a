"""The answers about reasons over time, and about reasons behind others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Literal

from pydantic import Field

from api import schemas
from api.drift.detect import Detected, Drift
from api.drift.masked import Masked
from store.queries.drift import PARTS, DriftQuestion, History
from store.queries.types import StepCompleteness


class Coincidence(schemas.Answer):
    """A setting that was new about when the drift began."""

    field: str = Field(description="pipeline_version, config_fingerprint or model.")
    value: str
    since: datetime = Field(description="Start of the time bucket in which it was first seen.")
    share_with: float = Field(description="Mean share of the reason in the window, of steps that had it.")
    share_without: float | None = Field(description="… that had not; null when all had.")
    steps: int = Field(description="Executions in the window that had it.")


class ReasonDrift(schemas.Answer):
    """One reason that is given otherwise than before."""

    pipeline: str | None
    step: str
    step_type: str | None
    reason: str
    kind: Literal["new", "vanished", "shifted"]
    share_before: float = Field(description="Mean over executions, of the candidates that came in.")
    share_now: float
    difference_low: float = Field(description="Of the 95 % interval of the difference.")
    difference_high: float
    steps_before: int = Field(description="Executions before the window.")
    steps_now: int
    count_now: int = Field(description="Candidates that got the reason in the window.")
    p_value: float
    p_adjusted: float = Field(description="Corrected for all reasons that were looked at (Holm).")
    since: datetime = Field(description="Start of the time bucket from which on it differs.")
    coincides_with: Sequence[Coincidence]
    text: str


class DriftCompleteness(schemas.Answer):
    """Of how much the answer speaks."""

    state: Literal["exact", "partial"] = Field(
        description="partial: of some reasons there are too few executions, before the window or in it."
    )
    untested: int


class DriftAnswer(schemas.Answer):
    """Reasons given more or less often than before, new ones, vanished ones; the least probable first."""

    pipeline: str | None
    window_start: datetime
    window_end: datetime
    against_start: datetime
    alarms_per_1000: float = Field(description="Of quiet windows, how many give any drift at most.")
    tested: int = Field(description="Reasons of steps that were looked at.")
    drifts: int
    items: Sequence[ReasonDrift]
    completeness: DriftCompleteness


class MaskedCheck(schemas.Answer):
    """One check of the step's candidates; numbers of candidates, of which a sample is weighted up."""

    check: str
    failed: float
    first: float = Field(description="Of these it was the first that failed, in the order recorded.")
    alone: float = Field(description="Of these the only one: without it they would have gone on.")
    masked: float = Field(description="These failed it behind another.")
    together: Mapping[str, float] = Field(description="Other check to candidates that failed both.")
    reasons: Mapping[str, float] = Field(description="Reasons that were given where it failed first.")


class MaskedReasons(schemas.Answer):
    """Which checks hide others, from candidates all of whose checks were recorded."""

    run_id: str
    step_id: str
    items: Sequence[MaskedCheck]
    evaluated: int = Field(description="Candidates of which all checks were recorded.")
    partly: int = Field(description="Only some were, as where the step stops at the first that fails.")
    unchecked: int
    estimated: bool = Field(description="A sample was recorded and weighted up.")
    whole: bool = Field(description="False: the step has more decisions than were looked at, the first.")
    completeness: schemas.StepCompleteness


def drift_answer(question: DriftQuestion, history: History, detected: Detected) -> DriftAnswer:
    """Return the answer."""
    return DriftAnswer(
        pipeline=question.pipeline,
        window_start=history.start_of(history.buckets),
        window_end=history.start_of(history.buckets + PARTS),
        against_start=history.start,
        alarms_per_1000=question.alarms_per_1000,
        tested=detected.tested,
        drifts=len(detected.drifts),
        items=[_drift(one) for one in detected.drifts[: question.limit]],
        completeness=DriftCompleteness(
            state="partial" if detected.untested else "exact", untested=detected.untested
        ),
    )


def masked_answer(
    run_id: str, step_id: str, found: Masked, stated: StepCompleteness, *, whole: bool
) -> MaskedReasons:
    """Return the answer. whole: all decisions were looked at."""
    return MaskedReasons.model_validate(
        {
            "run_id": run_id,
            "step_id": step_id,
            "items": found.checks,
            "evaluated": found.evaluated,
            "partly": found.partly,
            "unchecked": found.unchecked,
            "estimated": found.estimated,
            "whole": whole,
            "completeness": stated,
        }
    )


def _drift(one: Drift) -> ReasonDrift:
    names = ("reason", "kind", "steps_before", "steps_now", "count_now", "since")
    values = {name: getattr(one, name) for name in names} | one.place._asdict()
    rounded = ("share_before", "share_now", "difference_low", "difference_high", "p_value", "p_adjusted")
    values |= {name: _rounded(getattr(one, name)) for name in rounded}
    values["coincides_with"] = [
        Coincidence(
            field=with_.field,
            value=with_.value,
            since=with_.since,
            share_with=_rounded(with_.share_with),
            share_without=None if with_.share_without is None else _rounded(with_.share_without),
            steps=with_.steps,
        )
        for with_ in one.coincides_with
    ]
    return ReasonDrift.model_validate(values | {"text": _text(one)})


def _rounded(value: float) -> float:
    """Six digits: what lies behind may hang on the order of a sum."""
    return float(f"{value:.6g}")


def _text(one: Drift) -> str:
    before, now = f"{100 * one.share_before:.3g} %", f"{100 * one.share_now:.3g} %"
    said = {
        "new": f"{one.place.step} gives {one.reason}, which it never gave before: {now} of its candidates",
        "vanished": f"{one.place.step} no longer gives {one.reason}, before {before} of its candidates",
        "shifted": f"{one.place.step} gives {one.reason} to {now} of its candidates, before {before}",
    }[one.kind]
    said += f", since about {one.since:%Y-%m-%d %H:%M} UTC"
    if one.coincides_with:
        said += "; with " + " and ".join(f"{with_.field} {with_.value}" for with_ in one.coincides_with)
    return said
