"""
How far a run is from its baseline, step by step and figure by figure.

A figure counts in deviations: the robust spread over the baseline, widened where the run has fewer
candidates than usual, and never below what chance alone does. A figure that stands out is held
against what earlier steps of the run were like, too: what follows from them in the baseline is no
sign of a fault here, only of one before.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from operator import mul
from statistics import fmean, median
from typing import NamedTuple

from store.queries.figures import Figures

MIN_RUNS = 20
"""Executions in the baseline below which nothing is said."""
LOOK = 1.5
"""Deviations from which on a figure is held against earlier steps."""
FEATURES = 3
"""Figures of earlier steps that one is held against at most."""
MIN_CORRELATION = 0.35
"""Of 200 runs and some hundred figures, chance alone seldom reaches it."""
NORMAL = 1.4826
"""Standard deviations to a median distance from the median, of a normal distribution."""
TAIL, TAIL_DEVIATIONS = 0.97, 2.17
"""The share of a normal distribution within so many deviations: wider tails widen the spread."""
FLOORS = {"share": 0.004, "level": 1e-9, "amount": 0.02}
RELATIVE_FLOOR = 0.01
"""Of a level's own size."""


class Unusual(NamedTuple):
    """One figure of a step in deviations from what is usual."""

    figure: str
    value: float
    usual: float
    """Median of the baseline."""
    deviations: float
    """From the median."""
    own: float
    """Deviations that do not follow from earlier steps; never more than ``deviations``."""


class Executed(NamedTuple):
    """A step of the run that is looked at."""

    name: str
    figures: Figures


class Column(NamedTuple):
    """One figure of one step over the baseline, None where a run lacks it."""

    values: Sequence[float | None]
    median: float
    deviation: float
    run: float
    """The value in the run that is looked at."""
    z: float


def unusual(steps: Sequence[Executed], baseline: Sequence[Mapping[str, Figures]]) -> list[list[Unusual]]:
    """For each step, all its figures, the farthest first; empty where the baseline does not suffice."""
    found: list[list[Unusual]] = []
    earlier: list[Column] = []
    for step in steps:
        known = [run.get(step.name) for run in baseline]
        columns = _columns(step.figures, known)
        judged = [
            Unusual(name, column.run, column.median, column.z, _own(column, earlier))
            for name, column in columns.items()
        ]
        found.append(sorted(judged, key=lambda one: -abs(one.own)))
        earlier += columns.values()
    return found


def _columns(own: Figures, known: Sequence[Figures | None]) -> dict[str, Column]:
    present = [figures for figures in known if figures is not None]
    if len(present) < MIN_RUNS:
        return {}
    names = dict.fromkeys([*own.values, *(name for figures in present for name in figures.values)])
    usual_size = median(figures.size for figures in present)
    columns = {}
    for name in names:
        kind = name.partition(":")[0]
        # A share that is not recorded is one of nobody; a level that is not recorded is unknown.
        absent = 0.0 if kind == "share" else None
        values = [None if figures is None else figures.values.get(name, absent) for figures in known]
        value = own.values.get(name, absent)
        numbers = [number for number in values if number is not None]
        if value is not None and len(numbers) >= MIN_RUNS:
            middle = median(numbers)
            deviation = _deviation(kind, numbers, middle, own.size, usual_size)
            columns[name] = Column(values, middle, deviation, value, (value - middle) / deviation)
    return columns


def _deviation(kind: str, numbers: Sequence[float], middle: float, size: int, usual_size: float) -> float:
    spread = _spread([number - middle for number in numbers])
    if kind == "amount":
        return max(spread, FLOORS[kind])
    # What comes of few candidates varies more: as the root of their number.
    spread *= math.sqrt(max(1.0, usual_size / size))
    if kind == "level":
        return max(spread, FLOORS[kind], RELATIVE_FLOOR * abs(middle))
    # Of a share that is 0 in all runs, one candidate is no wonder.
    share = min(max(middle, 0.5 / size), 1 - 0.5 / size)
    return max(spread, FLOORS[kind], 0.5 * math.sqrt(share * (1 - share) / size))


def _spread(differences: Sequence[float]) -> float:
    """Robust against a few odd runs in the baseline, and honest about long tails."""
    distances = sorted(map(abs, differences))
    tail = distances[min(len(distances) - 1, int(TAIL * len(distances)))]
    return max(NORMAL * median(distances), tail / TAIL_DEVIATIONS)


def _own(column: Column, earlier: Sequence[Column]) -> float:
    """Deviations that are left after what follows from earlier steps."""
    if abs(column.z) < LOOK or not earlier:
        return column.z
    rest = [0.0 if value is None else value - column.median for value in column.values]
    left = column.run - column.median
    doubt = 0.0
    used: list[Column] = []
    for _ in range(FEATURES):
        best, slope, strength = _best(rest, [one for one in earlier if one not in used])
        if best is None or strength < MIN_CORRELATION:
            break
        used.append(best)
        centred = _centred(best)
        rest = [one - slope * other for one, other in zip(rest, centred, strict=True)]
        distance = best.run - best.median
        left -= slope * distance
        # A slope is a guess: far from the usual it says less.
        squares = math.fsum(map(mul, centred, centred))
        doubt += distance * distance * math.fsum(map(mul, rest, rest)) / len(rest) / squares
    if not used:
        return column.z
    narrowed = max(_spread(rest), 0.35 * column.deviation)
    own = left / math.sqrt(narrowed * narrowed + doubt)
    return own if abs(own) < abs(column.z) else column.z


def _centred(column: Column) -> list[float]:
    return [0.0 if value is None else value - column.median for value in column.values]


def _best(rest: Sequence[float], earlier: Sequence[Column]) -> tuple[Column | None, float, float]:
    """The earlier figure that goes with the rest the most; the slope, and the correlation without sign."""
    best, found, strength = None, 0.0, 0.0
    middle = fmean(rest)
    own = math.fsum((one - middle) ** 2 for one in rest)
    for column in earlier:
        centred = _centred(column)
        squares = math.fsum(map(mul, centred, centred))
        if squares <= 0 or own <= 0:
            continue
        product = math.fsum(map(mul, rest, centred))
        correlation = abs(product) / math.sqrt(own * squares)
        if correlation > strength:
            best, found, strength = column, product / squares, correlation
    return best, found, strength
