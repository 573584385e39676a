"""Numbers and lists as a person reads them."""

from __future__ import annotations

from collections.abc import Mapping

from api.explain.records import Evidence
from api.missing import missing_in_words
from store.queries.types import RunCompleteness

MANY_REASONS = 4


def percent(share: float) -> str:
    """0.2537 → ``25.4 %``."""
    return f"{100 * share:.1f} %"


def counted(number: int, noun: str) -> str:
    """``1 candidate``, ``1,234 candidates``."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def executions(number: int, which: str = "") -> str:
    """``1 execution``, ``12 other executions``."""
    return counted(number, f"{which}execution")


def error_in_words(error_type: str | None, message: str | None) -> str:
    """``ValueError: no scores``, as far as it was told."""
    return ": ".join(part for part in (error_type, message) if part)


def reasons_in_words(reasons: Mapping[str, int]) -> str:
    """The most frequent reasons with their counts; those that did not occur are left out."""
    occurred = sorted((-count, code) for code, count in reasons.items() if count)
    words = [f"{code} {-count:,}" for count, code in occurred[:MANY_REASONS]]
    if len(occurred) > MANY_REASONS:
        words.append(f"{len(occurred) - MANY_REASONS} more")
    return ", ".join(words)


def value_in_words(value: float | str | bool | None, *, missing: bool) -> str:
    """An observed value; a missing one is said to be so."""
    if missing:
        return "missing"
    if isinstance(value, float):
        return f"{value:.12g}"
    return "not recorded" if value is None else str(value)


def completeness_in_words(completeness: RunCompleteness) -> str:
    """What the reader has to know about the record before trusting what it does not show."""
    state = {
        "complete": "The record of this run is complete.",
        "partial": "Part of this run's evidence is missing: counts are exact, candidates may be absent.",
        "running": "This run has not ended: everything here may still change.",
        "incomplete": "This run fell silent without an end: what happened after the last step is not known.",
    }[completeness.state]
    if any(entry.what in _METRICS for entry in completeness.missing):
        state = f"{_METRICS_LOST} {state}" if completeness.state != "partial" else _METRICS_LOST
    detail = {
        "full": "",
        "sampled": " Single candidates were recorded as a sample.",
        "partial": " Not every step recorded every candidate.",
        "none": " Single candidates were not recorded.",
    }[completeness.evidence]
    if completeness.missing:
        # That evidence was lost is the graver; it is said by what became of it.
        lost = [missing_in_words(entry.cause, entry.what, entry.count) for entry in completeness.missing]
        detail = f" Missing: {'; '.join(lost)}."
    return state + detail


def evidence_in_words(evidence: Evidence) -> str:
    """``“reason dear” is 30.0 % (median of 120 runs: 1.0 %)``."""
    if evidence.kind in ("share", "part", "runs"):
        shown, usual = percent(evidence.value), percent(evidence.usual)
    elif evidence.kind == "amount":
        shown, usual = f"{evidence.value:,.0f}", f"{evidence.usual:,.0f}"
    else:
        shown, usual = f"{evidence.value:.4g}", f"{evidence.usual:.4g}"
    runs = counted(evidence.baseline_runs, "run")
    return f"“{evidence.figure}” is {shown} (median of {runs}: {usual})"


_METRICS = ("runs", "steps")
_METRICS_LOST = "Part of this run is missing, not only evidence: steps and counts may be absent."
