"""
How far a run is from its baseline, step by step and figure by figure.

A figure counts in deviations: the robust spread over the baseline, widened where the run has fewer
candidates than usual, and never below what chance alone does. A figure that stands out is held
against what earlier steps of the run were like, too: what follows from them in the baseline is no
sign of a fault here, only of one before. So is what a step decides held against what it was given
to compare: a limit that the query sets explains how many pass.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from api.explain.usual import Column, Place, Usual, absent
from store.queries.figures import Figures

LOOK = 1.5
"""Deviations from which on a figure is held against earlier ones."""
NARROWEST = 0.35
"""Of its spread, what stays of a figure's when earlier ones tell all about it: they never quite do."""
NEAR = 40
"""Steps before that a step is held against at most: each costs time for every figure."""
GIVEN = ("level:threshold", "level:value", "part:without a value", "part:value as before")
"""Beginnings of figures of what a step compares, before it decides."""


class Unusual(NamedTuple):
    """One figure of a step in deviations from what is usual."""

    figure: str
    value: float
    usual: float
    """Median of the baseline."""
    deviations: float
    """From the median."""
    own: float
    """Deviations that do not follow from earlier figures; never more than ``deviations``."""
    seen: bool
    """Whether the value lies between the least and the largest of the baseline."""
    runs: int
    """Of the baseline, those that the figure is known of."""


class Executed(NamedTuple):
    """A step of the run that is looked at."""

    name: str
    figures: Figures


class _Met(NamedTuple):
    """A figure of the run and its column."""

    column: Column
    value: float


def unusual(steps: Sequence[Executed], usual: Usual) -> list[list[Unusual]]:
    """For each step, all its figures, the farthest first; empty where the baseline does not suffice."""
    found: list[list[Unusual]] = []
    earlier: deque[dict[Place, _Met]] = deque(maxlen=NEAR)
    for step in steps:
        met = _met(step, usual)
        given = {place: one for place, one in met.items() if place[1].startswith(GIVEN)}
        before = _before(earlier, usual)
        within = _before([*earlier, given], usual) if given else before
        judged = [
            _judged(place[1], one, step.figures, before if place in given else within)
            for place, one in met.items()
        ]
        found.append(sorted(judged, key=lambda one: -abs(one.own)))
        earlier.append(met)
    return found


class _Before(NamedTuple):
    """What a figure is held against."""

    met: Mapping[Place, _Met]
    columns: Mapping[Place, Column]
    key: int
    """The same for the same columns."""


def _before(earlier: Iterable[Mapping[Place, _Met]], usual: Usual) -> _Before:
    met = {place: one for of_step in earlier for place, one in of_step.items()}
    return _Before(met, {place: one.column for place, one in met.items()}, usual.key(tuple(met)))


def _met(step: Executed, usual: Usual) -> dict[Place, _Met]:
    found = {}
    for name, column in usual.columns(step.name, step.figures).items():
        value = step.figures.values.get(name, absent(name, step.figures.values))
        if value is not None:
            found[step.name, name] = _Met(column, value)
    return found


def _judged(figure: str, met: _Met, figures: Figures, before: _Before) -> Unusual:
    column, value = met
    middle = column.median
    if figure == "amount:out" and "share:out" in figures.values and value < middle:
        # A step that keeps a number of candidates cannot keep more than it gets.
        middle = max(value, min(middle, math.log1p(figures.size)))
    deviation = column.deviation(figures.size)
    z = (value - middle) / deviation
    own = z if abs(z) < LOOK or not before.met else _own(met, z, deviation, before)
    seen = column.low <= value <= column.high
    return Unusual(figure, value, column.median, z, own, seen, column.known)


def _own(met: _Met, z: float, deviation: float, before: _Before) -> float:
    """Deviations that are left after what follows from earlier figures."""
    model = met.column.model(before.columns, before.key)
    if not model.terms:
        return z
    left, doubt = met.value - met.column.median, 0.0
    for term in model.terms:
        other = before.met.get(term.place)
        if other is None:
            return z
        distance = other.value - other.column.median
        left -= term.slope * distance
        # A slope is a guess: far from the usual it says less.
        doubt += distance * distance * term.doubt
    narrowed = max(met.column.widened(model.spread, deviation), NARROWEST * deviation)
    own = left / math.sqrt(narrowed * narrowed + doubt)
    return own if abs(own) < abs(z) else z
