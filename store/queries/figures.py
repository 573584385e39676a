"""
What the metrics of one execution of a step say, as named numbers that can be compared between runs.

The part of a name before its first colon says what kind of number it is: ``share`` between 0 and 1,
where one that is absent is 0; ``part`` likewise, where one that is absent is not known; ``level`` on a
scale of its own; ``amount`` a count as logarithm, where a difference is a factor.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

_SCORES = ("mean", "std", "p10", "p50", "p90")
_COUNTED = ("merged", "deferred", "not_selected")


class Figures(NamedTuple):
    """One execution."""

    size: int
    """Candidates that it is about: the fewer, the more its shares and levels owe to chance."""
    values: dict[str, float]


class Recorded(NamedTuple):
    """What figures are taken from; as in ``StepRecord``, whatever shape the store has it in."""

    candidates_in: int | None
    candidates_out: int | None
    counts: Mapping[str, int | None]
    """By verdict."""
    reasons: Mapping[str, int]
    score: Mapping[str, float | None]
    fields: Mapping[str, Mapping[str, float | None]]
    sources: Mapping[str, int]
    metrics: Mapping[str, float]


def figures(recorded: Recorded) -> Figures:
    """All figures of an execution; what was not recorded has none."""
    taken_in, out = recorded.candidates_in, recorded.candidates_out
    size = max(1, taken_in or out or 0)
    values: dict[str, float] = {}
    if out is not None:
        values["amount:out"] = math.log1p(out)
        if taken_in:
            values["share:out"] = min(1.0, out / taken_in)
    values |= {f"share:{verdict}": (recorded.counts.get(verdict) or 0) / size for verdict in _COUNTED}
    values |= {f"share:reason {code}": count / size for code, count in recorded.reasons.items()}
    for name in _SCORES:
        if (figure := recorded.score.get(name)) is not None:
            values[f"level:score {name}"] = figure
    for field, statistics in recorded.fields.items():
        values |= _field(field, statistics)
    if total := sum(recorded.sources.values()):
        for source, count in recorded.sources.items():
            values[f"amount:from {source}"] = math.log1p(count)
            values[f"share:from {source}"] = count / total
    values |= {f"level:metric {name}": figure / size for name, figure in recorded.metrics.items()}
    return Figures(size, values)


def _field(field: str, statistics: Mapping[str, float | None]) -> dict[str, float]:
    return {
        f"{'share' if name == 'missing' else 'level'}:{name} of {field}": figure
        for name, figure in statistics.items()
        if figure is not None
    }
