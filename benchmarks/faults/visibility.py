"""
Whether a planted fault can be seen in the record, measured against the run's twin.

The twin has the same seed and no fault, so that every difference is the fault's. A difference counts
by the standard deviation of the figure over healthy runs: below ``LIMIT`` of them chance hides it.
Looked at are counts, reasons, scores, values, fields and metrics of a step, each by itself: a fault
that only a relation between two figures shows is called invisible here.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from statistics import fmean, stdev
from typing import Literal, NamedTuple

from benchmarks.faults.pipeline import Pipeline, draw, execute
from benchmarks.faults.steps import Outcome
from xray_otel import MISSING

Visibility = Literal["clear", "downstream", "invisible"]
"""In the record of the faulty step itself, only in those of later ones, in none."""

LIMIT = 3.0
"""Standard deviations from which on a difference is seen."""
RUNS = 40
"""Healthy runs that the deviations are taken from."""
_SHARE_FLOOR = 0.005
"""Least deviation of a share, for those that are the same in all healthy runs."""
_RELATIVE_FLOOR = 0.01

Figures = dict[str, float]


class Usual(NamedTuple):
    """What healthy runs have in one figure."""

    mean: float
    deviation: float


class Seen(NamedTuple):
    """How far the record of a faulty run is from its twin's, in deviations."""

    own: float
    downstream: float

    @property
    def visibility(self) -> Visibility:
        """As what the fault counts."""
        if self.own >= LIMIT:
            return "clear"
        return "downstream" if self.downstream >= LIMIT else "invisible"


def figures(outcome: Outcome, handed_over: int | None) -> Figures:
    """What the record of a step says, as numbers; ``share:`` before those between 0 and 1."""
    rows, taken_in = outcome.rows, outcome.taken_in
    judged = max(1, len(rows))
    found: Figures = {"share:error": float(outcome.error is not None)}
    found["share:repeated"] = 1 - len({row.item_id for row in rows}) / judged
    if taken_in is not None:
        found["share:drop"] = 1 - len(outcome.out) / max(1, taken_in)
        found["share:unaccounted"] = 1 - len(rows) / max(1, taken_in)
        if handed_over is not None:
            found["share:lost_before"] = 1 - taken_in / max(1, handed_over)
    found["out"] = float(len(outcome.out))
    if outcome.fields:
        for source, count in Counter(item["source"] for item in outcome.out).items():
            found[f"share:source:{source}"] = count / max(1, len(outcome.out))
    for reason, count in Counter(row.reason for row in rows if row.reason is not None).items():
        found[f"share:reason:{reason}"] = count / judged
    found |= _distribution("score", [row.score for row in rows if row.score is not None])
    values = [row.value for row in rows]
    found["share:value_missing"] = sum(value is MISSING for value in values) / judged
    found |= _distribution("value", [value for value in values if isinstance(value, int | float)])
    limits = [row.threshold for row in rows if isinstance(row.threshold, int | float)]
    if limits:
        found["threshold"] = fmean(limits)
    for name in outcome.fields:
        column = [item.get(name) for item in outcome.out]
        known = [value for value in column if isinstance(value, int | float)]
        found[f"share:missing:{name}"] = 1 - len(known) / max(1, len(column))
        found |= _distribution(f"field:{name}", known)
    for name, value in outcome.metrics.items():
        found[f"share:metric:{name}"] = value / judged
    return found


def _distribution(name: str, values: Sequence[float]) -> Figures:
    if not values:
        return {}
    ordered = sorted(values)
    return {f"{name}:mean": fmean(ordered)} | {
        f"{name}:p{place}": ordered[place * (len(ordered) - 1) // 100] for place in (10, 50, 90)
    }


def of_run(outcomes: Sequence[Outcome]) -> list[Figures]:
    """The figures of each step."""
    before = [None, *(len(outcome.out) for outcome in outcomes[:-1])]
    return [figures(outcome, handed) for outcome, handed in zip(outcomes, before, strict=True)]


def usual(pipeline: Pipeline, seed: str) -> list[Mapping[str, Usual]]:
    """For each step, what healthy runs have in each figure."""
    columns: list[defaultdict[str, list[float]]] = [defaultdict(list) for _ in pipeline.steps]
    for number in range(RUNS):
        query, items = draw(pipeline, f"{seed}-usual-{number}")
        for column, found in zip(
            columns, of_run(execute(pipeline.steps, query, items).outcomes), strict=True
        ):
            for name, value in found.items():
                column[name].append(value)
    return [{name: _usual(name, values) for name, values in column.items()} for column in columns]


def _usual(name: str, values: Sequence[float]) -> Usual:
    # A share that a run does not have is 0 in it, as a reason that nobody was given.
    if name.startswith("share:"):
        values = [*values, *[0.0] * (RUNS - len(values))]
    mean = fmean(values)
    deviation = stdev(values) if len(values) > 1 else 0.0
    floor = _SHARE_FLOOR if name.startswith("share:") else _RELATIVE_FLOOR * abs(mean) + 1e-9
    return Usual(mean, max(deviation, floor))


def seen(
    at: int, faulty: Sequence[Outcome], twin: Sequence[Outcome], habits: Sequence[Mapping[str, Usual]]
) -> Seen:
    """How far the step at fault, and the farthest of the later ones, are from the twin."""
    distances = [
        _distance(one, other, habit)
        for one, other, habit in zip(of_run(faulty), of_run(twin), habits, strict=True)
    ]
    return Seen(distances[at], max(distances[at + 1 :], default=0.0))


def _distance(one: Figures, other: Figures, habit: Mapping[str, Usual]) -> float:
    largest = 0.0
    for name in one.keys() | other.keys():
        known = habit.get(name)
        if name.startswith("share:"):
            deviation = _SHARE_FLOOR if known is None else known.deviation
            largest = max(largest, abs(one.get(name, 0.0) - other.get(name, 0.0)) / deviation)
        elif known is not None and name in one and name in other:
            largest = max(largest, abs(one[name] - other[name]) / known.deviation)
    return largest
