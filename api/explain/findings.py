"""
What is out of the ordinary in a run, each finding with the numbers that show it.

A finding compares the run with itself (counts, errors, the winner's evidence) or with its
baseline. Comparisons with the baseline allow for chance: a clean run must stay without
findings, or nobody reads them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from api.explain.flow import JUDGES
from api.explain.funnel import CUTS_BY_SIZE, last_attempts
from api.explain.records import AuditLine, Finding, Items, Material, Winner
from api.explain.stories import PASSING
from api.explain.words import counted, error_in_words, executions, percent, reasons_in_words
from store.queries.baseline import Baseline, Spread, StepBaseline
from store.queries.types import StepRecord

MIN_BASELINE = 8
"""
Executions of a step below which nothing is said about what is usual for it: with fewer, the median
distance from the median is itself a guess, and one odd run among them moves both.
"""
DEVIATIONS = 5 * 1.4826
"""Five standard deviations, where the median distance is 1/1.4826 of one (normal distribution)."""
DROP_RATIO_SLACK = 0.1
MISSING_SLACK = 0.05
"""Differences below these are not worth a person's time, however narrow the baseline is."""
USUAL_FACTOR = 3
"""
A reason given to up to this many times its usual share of candidates is usual. Generous, because shares
differ from query to query, and what is called usual is still told; it only puts no step at fault.
"""
SHOWN_ITEMS = 100
"""Items of a gap that are named; their number is told in full."""
NAMED_IN_TEXT = 3
RARE_COUNT = 3
"""Upper 95 % bound of the expected number of an event that was not seen (the "rule of three")."""


def find(material: Material, audit: Sequence[AuditLine], winner: Winner | None) -> list[Finding]:
    """All findings, by rule and then in the order of the steps."""
    steps = last_attempts(material.detail.steps)
    found = [
        *_errors(steps),
        *_count_gaps(audit),
        *_kept_without_value(steps, winner, material.baseline),
        *_all_eliminated(steps),
    ]
    for step in steps:
        usual = material.baseline.steps.get(step.name)
        if usual is not None and usual.n >= MIN_BASELINE and step.status == "ok":
            found += _new_reasons(step, usual)
            found += _missing_fields(step, usual)
            found += _drop_ratio(step, usual)
    return found


def _errors(steps: Sequence[StepRecord]) -> Iterator[Finding]:
    for step in steps:
        if step.status == "error":
            what = error_in_words(step.error_type, step.error_message)
            text = f"{step.name} ended in error" + (f" ({what})" if what else "")
            evidence = {
                "attempt": step.attempt,
                "error_type": step.error_type,
                "error_message": step.error_message,
            }
            yield Finding("step_error", step.step_id, step.name, text, evidence)


def _count_gaps(audit: Sequence[AuditLine]) -> Iterator[Finding]:
    for line in audit:
        if line.unaccounted:
            if line.unaccounted > 0:
                text = (
                    f"{line.step} took in {line.candidates_in:,} candidates and gave a verdict on "
                    f"{line.accounted:,}: {counted(line.unaccounted, 'candidate')} unaccounted for"
                    f"{_few(line.vanished)}"
                )
            else:
                text = (
                    f"{line.step} gave {line.accounted:,} verdicts on {line.candidates_in:,} candidates: "
                    f"{counted(-line.unaccounted, 'candidate')} too many"
                )
            evidence = {
                "in": line.candidates_in,
                "accounted": line.accounted,
                "unaccounted": line.unaccounted,
            }
            yield Finding("count_gap", line.step_id, line.step, text, evidence | _named(line))
        if line.handover_difference or (not line.unaccounted and (line.vanished.total or line.ghosts.total)):
            between = {
                "in": line.candidates_in,
                "handed_over": line.handed_over,
                "difference": line.handover_difference,
                "previous_step_ids": list(line.previous_step_ids),
            }
            yield Finding("handover_gap", line.step_id, line.step, _handover(line), between | _named(line))


def _handover(line: AuditLine) -> str:
    """What went wrong between a step and those it took its candidates from."""
    said = []
    if line.vanished.total:
        text = (
            f"{line.step} did not record {counted(line.vanished.total, 'candidate')} that it was handed"
            f"{_few(line.vanished)}"
        )
        if line.reappeared:
            of_them = "they" if line.reappeared == line.vanished.total else f"{line.reappeared:,} of them"
            text += f"; {of_them} went on all the same"
        said.append(text)
    if line.ghosts.total:
        who = "it" if said else line.step
        said.append(
            f"{who} took in {counted(line.ghosts.total, 'candidate')} that no step before let pass"
            f"{_few(line.ghosts)}"
        )
    if said:
        return "; ".join(said)
    difference = line.handover_difference or 0
    verb = "were lost" if difference > 0 else "appeared"
    return (
        f"{line.step} took in {line.candidates_in or 0:,} candidates, the step before gave out "
        f"{line.handed_over or 0:,}: {abs(difference):,} {verb} on the way"
    )


def _few(items: Items) -> str:
    """Some of the items in brackets; nothing when none is known."""
    if not items.total:
        return ""
    more = items.total - NAMED_IN_TEXT
    names = ", ".join(items.items[:NAMED_IN_TEXT])
    return f" ({names} and {more:,} more)" if more > 0 else f" ({names})"


def _named(line: AuditLine) -> dict[str, Any]:
    """What vanished and appeared, as far as it is shown; nothing where the evidence does not tell."""
    found: dict[str, Any] = {}
    if line.vanished.total:
        found = {
            "items": list(line.vanished.items[:SHOWN_ITEMS]),
            "items_total": line.vanished.total,
            "reappeared": line.reappeared,
        }
    if line.ghosts.total:
        found |= {"ghosts": list(line.ghosts.items[:SHOWN_ITEMS]), "ghosts_total": line.ghosts.total}
    return found


def _kept_without_value(
    steps: Sequence[StepRecord], winner: Winner | None, baseline: Baseline
) -> Iterator[Finding]:
    if winner is None:
        return
    by_id = {step.step_id: step for step in steps}
    for passage in winner.journey:
        step = by_id.get(passage.step_id)
        if step is None or not passage.value_missing or passage.verdict not in PASSING:
            continue
        count = step.reasons.get(passage.reason) if passage.reason is not None else None
        usual = baseline.steps.get(step.name)
        reason = f" (reason {passage.reason})" if passage.reason else ""
        text = (
            f"{step.name} kept {winner.item_id} although the value it checks was missing{reason}: "
            "the check did not apply"
        )
        if count is not None and count > 1:
            text += f"; {count:,} of {step.candidates_in or 0:,} candidates were judged for that reason"
        habit = _usual(passage.reason, count, step, usual)
        if habit:
            text += ", as usual in this pipeline"
        evidence = {
            "item_id": winner.item_id,
            "attempt": step.attempt,
            "verdict": passage.verdict,
            "reason": passage.reason,
            "value_missing": True,
            "threshold": passage.threshold,
            "reason_count": count,
            "judged": step.candidates_in,
            "baseline_reason_count": None if usual is None else usual.reasons.get(passage.reason or "", 0),
            "baseline_judged": usual.judged if usual is not None else None,
            "baseline_n": usual.reasons_n if usual is not None else 0,
            "usual": habit,
        }
        yield Finding("kept_without_value", step.step_id, step.name, text, evidence)


def _usual(reason: str | None, count: int | None, step: StepRecord, usual: StepBaseline | None) -> bool:
    """Whether the baseline gives the reason about as often: then it is a habit of the pipeline."""
    if usual is None or usual.reasons_n < MIN_BASELINE or not usual.judged or not step.candidates_in:
        return False
    if reason is None or count is None:
        return False
    return count / step.candidates_in <= USUAL_FACTOR * usual.reasons.get(reason, 0) / usual.judged


def _all_eliminated(steps: Sequence[StepRecord]) -> Iterator[Finding]:
    for step in steps:
        judges = step.step_type in JUDGES and step.step_type != "select"
        if judges and step.candidates_in and step.candidates_out == 0:
            text = f"{step.name} let none of {counted(step.candidates_in, 'candidate')} pass"
            if step.reasons:
                text += f" ({reasons_in_words(step.reasons)})"
            evidence = {"in": step.candidates_in, "out": 0, "reasons": dict(step.reasons)}
            yield Finding("all_eliminated", step.step_id, step.name, text, evidence)


def _new_reasons(step: StepRecord, usual: StepBaseline) -> Iterator[Finding]:
    if usual.reasons_n < MIN_BASELINE or not usual.judged:
        return
    expected = RARE_COUNT * (step.candidates_in or 0) / usual.judged
    for code, count in step.reasons.items():
        if usual.reasons.get(code, 0) == 0 and count > RARE_COUNT + RARE_COUNT * expected:
            text = (
                f"{step.name} gave the reason {code} to {counted(count, 'candidate')}; "
                f"in {executions(usual.reasons_n, 'other ')} it never occurred"
            )
            evidence = {
                "reason": code,
                "count": count,
                "judged": step.candidates_in,
                "baseline_count": 0,
                "baseline_judged": usual.judged,
                "baseline_n": usual.reasons_n,
            }
            yield Finding("new_reason", step.step_id, step.name, text, evidence)


def _missing_fields(step: StepRecord, usual: StepBaseline) -> Iterator[Finding]:
    for name, statistics in step.fields.items():
        share, spread = statistics.get("missing"), usual.missing.get(name)
        if share is None or spread is None or spread.n < MIN_BASELINE:
            continue
        if share - spread.median > MISSING_SLACK + DEVIATIONS * spread.deviation:
            text = (
                f"of the items that left {step.name}, {percent(share)} had no {name} "
                f"(median of {executions(spread.n)}: {percent(spread.median)})"
            )
            yield Finding(
                "missing_field_rise",
                step.step_id,
                step.name,
                text,
                {"field": name, "missing": share, **_compared(spread)},
            )


def _drop_ratio(step: StepRecord, usual: StepBaseline) -> Iterator[Finding]:
    spread = usual.drop_ratio
    if step.drop_ratio is None or spread is None or spread.n < MIN_BASELINE or step.step_type in CUTS_BY_SIZE:
        return
    if abs(step.drop_ratio - spread.median) > DROP_RATIO_SLACK + DEVIATIONS * spread.deviation:
        text = (
            f"{step.name} dropped {percent(step.drop_ratio)} of its candidates "
            f"(median of {executions(spread.n)}: {percent(spread.median)})"
        )
        evidence = {"drop_ratio": step.drop_ratio, **_compared(spread)}
        yield Finding("drop_ratio_unusual", step.step_id, step.name, text, evidence)


def _compared(spread: Spread) -> dict[str, float]:
    return {
        "baseline_median": spread.median,
        "baseline_deviation": spread.deviation,
        "baseline_n": spread.n,
    }
