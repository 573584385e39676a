"""An explanation as lines of text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from api.explain.culprits import Ranked
from api.explain.records import (
    Drop,
    Finding,
    FunnelLine,
    Material,
    Passage,
    RunnerUp,
    Suspect,
    Winner,
)
from api.explain.usual import MIN_RUNS
from api.explain.words import (
    completeness_in_words,
    error_in_words,
    evidence_in_words,
    executions,
    percent,
    value_in_words,
)

SHOWN_STATIONS = 10
"""Of a long funnel, so many counts from its beginning and from its end make up the sentence."""


def summary(
    material: Material,
    funnel: Sequence[FunnelLine],
    findings: Sequence[Finding],
    suspect: Suspect | None,
    winner: Winner | None,
    rival: RunnerUp | None,
    drops: tuple[Drop | None, Drop | None],
    ranked: Ranked,
) -> list[str]:
    """The run, its candidates, the step at fault, the winner and how near the next item came."""
    so_far = material.detail.run.completeness.state == "running"
    return [
        _run(material),
        *_unread(material),
        *_candidates(funnel),
        *_fault(findings, suspect, ranked, so_far),
        *_winner(winner, rival, suspect, so_far),
        *_drops(*drops),
        completeness_in_words(material.detail.run.completeness),
    ]


def _run(material: Material) -> str:
    run = material.detail.run
    name = " ".join(part for part in (run.pipeline or "unnamed pipeline", run.pipeline_version) if part)
    line = f"Run {run.run_id} of {name}"
    if run.entity:
        line += f" for {run.entity}"
    line += f": {run.status}"
    if run.error_type or run.error_message:
        line += f" ({error_in_words(run.error_type, run.error_message)})"
    if run.outcome:
        line += f", outcome {run.outcome}" + (f" ({run.outcome_reason})" if run.outcome_reason else "")
    return line + "."


def _unread(material: Material) -> Iterator[str]:
    read, known = len(material.detail.steps), material.detail.run.steps_count
    if read < known:
        yield f"Only the first {read:,} of {known:,} steps were looked at."


def _candidates(funnel: Sequence[FunnelLine]) -> Iterator[str]:
    counted = [line for line in funnel if line.candidates_out is not None]
    if counted:
        first = counted[0].candidates_in
        stations = [] if first is None else [f"{first:,}"]
        stations += [f"{line.candidates_out:,} ({line.step})" for line in counted]
        if len(stations) > 2 * SHOWN_STATIONS:
            between = f"… {len(stations) - 2 * SHOWN_STATIONS:,} more …"
            stations = [*stations[:SHOWN_STATIONS], between, *stations[-SHOWN_STATIONS:]]
        yield "Candidates: " + " → ".join(stations) + "."


def _fault(
    findings: Sequence[Finding], suspect: Suspect | None, ranked: Ranked, so_far: bool
) -> Iterator[str]:
    culprit = ranked.culprits[0] if ranked.conclusion == "fault" else None
    if suspect is not None:
        with_confidence = "" if culprit is None else f", with {percent(culprit.confidence)} confidence"
        yield f"Step at fault: {suspect.step}{with_confidence}. {suspect.text}."
        for number in suspect.findings:
            if findings[number].text != suspect.text:
                yield f"It fits that {findings[number].text}."
    elif ranked.conclusion == "outside_baseline":
        yield "The run is so much larger or smaller than all others that they say little about it."
    elif not findings:
        yield "Nothing unusual has been found so far." if so_far else "Nothing unusual was found."
        if ranked.conclusion == "no_baseline":
            yield f"That says little: fewer than {MIN_RUNS} other runs tell what is usual."
    else:
        yield "No step is shown to be at fault."
    for evidence in culprit.evidence if culprit is not None else ():
        if suspect is None or evidence_in_words(evidence) != suspect.text:
            yield f"There {evidence_in_words(evidence)}."
    told = set(suspect.findings) if suspect is not None else set()
    for number, finding in enumerate(findings):
        if number not in told:
            yield f"Also: {finding.text}."


def _winner(
    winner: Winner | None, rival: RunnerUp | None, suspect: Suspect | None, so_far: bool
) -> Iterator[str]:
    if winner is None:
        yield "No item has been selected so far." if so_far else "No item was selected."
        return
    score = "" if winner.score is None else f" with a score of {winner.score:.4g}"
    yield f"Selected: {winner.item_id}{score}."
    if rival is None:
        return
    if rival.margin is None:
        yield f"Next: {rival.item_id}."
    elif rival.margin == 0:
        yield f"Next: {rival.item_id}, with the same score."
    elif rival.margin < 0:
        yield f"Next: {rival.item_id}, whose score is {-rival.margin:.4g} higher."
    else:
        yield f"Next: {rival.item_id}, {rival.margin:.4g} behind."
    if suspect is not None:
        own = _at(winner.journey, suspect.step_id)
        other = _at(rival.journey, suspect.step_id)
        if own is not None and other is not None and own.reason != other.reason:
            yield f"At {suspect.step}, {winner.item_id} {_verdict(own)}; {rival.item_id} {_verdict(other)}."


def _at(journey: Sequence[Passage], step_id: str) -> Passage | None:
    return next((passage for passage in journey if passage.step_id == step_id and passage.verdict), None)


def _verdict(passage: Passage) -> str:
    value = value_in_words(passage.value, missing=passage.value_missing)
    return f"was {passage.verdict} for {passage.reason or 'no stated reason'} (value {value})"


def _drops(largest: Drop | None, deviation: Drop | None) -> Iterator[str]:
    if largest is not None and largest.drop_ratio > 0:
        yield f"Largest drop: {largest.step} dropped {percent(largest.drop_ratio)}{_usual(largest)}."
    if deviation is not None and largest is not None and deviation.step_id != largest.step_id:
        dropped = f"{deviation.step} dropped {percent(deviation.drop_ratio)}"
        yield f"Farthest from usual: {dropped}{_usual(deviation)}."


def _usual(drop: Drop) -> str:
    if drop.baseline_drop_ratio is None:
        return " (nothing to compare with)"
    return f" (median of {executions(drop.baseline_n)}: {percent(drop.baseline_drop_ratio)})"
