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
from statistics import median
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
CHANCE = 3.5
"""The same in standard deviations of a correlation by chance, 1 / √n."""
NARROWEST = 0.35
"""Of its spread, what stays of a figure's when earlier steps tell all about it: they never quite do."""
NORMAL = 1.4826
"""Standard deviations to a median distance from the median, of a normal distribution."""
TAIL, TAIL_DEVIATIONS = 0.97, 2.17
"""The share of a normal distribution within so many deviations: wider tails widen the spread."""
FLOORS = {"share": 0.004, "part": 0.004, "level": 1e-9, "amount": 0.02}
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
    places = [at for at, value in enumerate(column.values) if value is not None]
    rest = [(column.values[at] or 0.0) - column.median for at in places]
    # Of few runs, chance finds something that goes with anything.
    least = max(MIN_CORRELATION, CHANCE / math.sqrt(len(places)))
    left, doubt = column.run - column.median, 0.0
    open_ones = [(one, _centred(one, places)) for one in earlier]
    used = 0
    for _ in range(FEATURES):
        best = _best(rest, open_ones)
        if best is None or best.correlation < least:
            break
        used += 1
        rest = [one - best.slope * other for one, other in zip(rest, best.centred, strict=True)]
        distance = best.column.run - best.column.median
        left -= best.slope * distance
        # A slope is a guess: far from the usual it says less.
        doubt += distance * distance * math.fsum(map(mul, rest, rest)) / len(rest) / best.squares
        open_ones = [pair for pair in open_ones if pair[0] is not best.column]
    if not used:
        return column.z
    narrowed = max(_spread(rest), NARROWEST * column.deviation)
    own = left / math.sqrt(narrowed * narrowed + doubt)
    return own if abs(own) < abs(column.z) else column.z


class _Fit(NamedTuple):
    column: Column
    centred: Sequence[float]
    squares: float
    slope: float
    correlation: float


def _centred(column: Column, places: Sequence[int]) -> list[float]:
    values = column.values
    return [0.0 if (value := values[at]) is None else value - column.median for at in places]


def _best(rest: Sequence[float], open_ones: Sequence[tuple[Column, Sequence[float]]]) -> _Fit | None:
    """The earlier figure that goes with the rest the most."""
    best: _Fit | None = None
    own = math.fsum(map(mul, rest, rest))
    if own <= 0:
        return None
    for column, centred in open_ones:
        squares = sum(map(mul, centred, centred))
        if squares <= 0:
            continue
        product = sum(map(mul, rest, centred))
        correlation = abs(product) / math.sqrt(own * squares)
        if best is None or correlation > best.correlation:
            best = _Fit(column, centred, squares, product / squares, correlation)
    return best
