"""
What is usual: the figures of each step over a baseline, and which of them follow from earlier ones.

Everything here is true of the baseline alone and found when it is first asked for, so that many runs can
be held against one baseline for little more than the price of one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cached_property
from itertools import chain, compress, count
from operator import mul
from statistics import median
from typing import NamedTuple

from store.queries.figures import Figures

MIN_RUNS = 20
"""Executions in the baseline below which nothing is said."""
FEATURES = 3
"""Figures of earlier steps that one is held against at most."""
OPEN = 16
"""Of all earlier figures, those that are looked at for the second and the third."""
MIN_CORRELATION = 0.35
"""Of 200 runs and some hundred figures, chance alone seldom reaches it."""
CHANCE = 3.5
"""The same in standard deviations of a correlation by chance, 1 / √n."""
NORMAL = 1.4826
"""Standard deviations to a median distance from the median, of a normal distribution."""
TAIL, TAIL_DEVIATIONS = 0.97, 2.17
"""The share of a normal distribution within so many deviations: wider tails widen the spread."""
FEW, FEW_MEANS = 16.0, 2.0
"""
A spread of n runs is a guess, widened by this many n-ths, and that of n means of runs.

The latter makes 40 values of a normal distribution err no more often than many do. Those of single runs
are not normal: figures known of 40 went beyond three deviations four times as often as those of 200.
"""
FLOORS = {"share": 0.004, "part": 0.004, "runs": 0.004, "level": 1e-9, "amount": 0.02}
RELATIVE_FLOOR = 0.01
"""Of a level's own size."""

_FIGURE_BYTES, _VALUE_BYTES, _NUMBER_BYTES = 100, 8, 32
"""A figure of a run in its dictionary, one that it shares, and a number of one's own, with their places."""
_STEP_BYTES, _PLACE_BYTES, _MODEL_BYTES = 300, 8, 600

Place = tuple[str, str]
"""Name of a step and of its figure."""


class Term(NamedTuple):
    """What one earlier figure tells about another."""

    place: Place
    slope: float
    doubt: float
    """Variance of the slope."""


class Model(NamedTuple):
    """What earlier figures tell about another; without terms nothing."""

    terms: Sequence[Term]
    spread: float
    """Of what they do not tell."""


class Column:
    """One figure of one step over the baseline."""

    def __init__(
        self, kind: str, values: Sequence[float | None], usual_size: float, together: int = 1
    ) -> None:
        """
        values: a run each, None where it lacks the figure. usual_size: of the step's executions.

        together: runs that each value is the mean of, as is what is held against them.
        """
        numbers = sorted([value for value in values if value is not None])
        self.kind = kind
        self.median = _middle(numbers)
        self.low, self.high = numbers[0], numbers[-1]
        self.runs = bytes([value is not None for value in values])
        """1 for each run that has the figure."""
        self.known = len(numbers)
        self.together = together
        self._values = values
        self._spread = _widening(len(numbers), together) * spread([one - self.median for one in numbers])
        self._usual_size = usual_size
        self._models: dict[int, Model] = {}
        self._centred: dict[bytes, tuple[list[float], float]] = {}

    def deviation(self, size: int) -> float:
        """One deviation, of an execution with so many candidates."""
        # What is least for one run is less for the mean of several.
        floor = FLOORS[self.kind] / math.sqrt(self.together)
        if self.kind == "amount":
            return max(self._spread, floor)
        # What comes of few candidates varies more: as the root of their number.
        wide = self._spread * math.sqrt(max(1.0, self._usual_size / size))
        if self.kind == "level":
            return max(wide, floor, RELATIVE_FLOOR * abs(self.median) / math.sqrt(self.together))
        # Of a share that is 0 in all runs, one candidate is no wonder; nor one run of those together.
        cases = self.together * (1 if self.kind == "runs" else size)
        share = min(max(self.median, 0.5 / cases), 1 - 0.5 / cases)
        return max(wide, floor, 0.5 * math.sqrt(share * (1 - share) / cases))

    def centred(self, runs: bytes) -> tuple[list[float], float]:
        """Distances from the median in some runs, 0 where the figure is not known, and the sum of squares."""
        found = self._centred.get(runs)
        if found is None:
            middle = self.median
            distances = [0.0 if value is None else value - middle for value in compress(self._values, runs)]
            found = self._centred[runs] = distances, sum(map(mul, distances, distances))
        return found

    def widened(self, spread_of_rest: float, deviation: float) -> float:
        """What is not told by others, as much wider as the deviation is than the spread."""
        return spread_of_rest * deviation / self._spread if self._spread else 0.0

    def bytes(self) -> int:
        """About what is kept here."""
        distances = sum(len(distances) for distances, _ in list(self._centred.values()))
        return len(self._values) * _VALUE_BYTES + distances * _NUMBER_BYTES + len(self._models) * _MODEL_BYTES

    def model(self, earlier: Mapping[Place, Column], key: int) -> Model:
        """What earlier figures tell about this one; fitted once for each ``key`` (``Usual.key``)."""
        found = self._models.get(key)
        if found is None:
            found = self._models[key] = _fit(self, earlier)
        return found


class Usual:
    """The figures of a baseline, by step."""

    def __init__(self, baseline: Sequence[Mapping[str, Figures]], together: int = 1) -> None:
        """together: runs that each entry is the mean of (``api.explain.pool``)."""
        self._baseline = baseline
        self._together = together
        self._steps: dict[str, dict[str, Column] | None] = {}
        """None where too few runs have the step."""
        self._keys: dict[tuple[Place, ...], int] = {}
        self._numbers = count()

    def __len__(self) -> int:
        return len(self._baseline)

    def key(self, places: tuple[Place, ...]) -> int:
        """A number that stands for these figures, and in any thread for no others."""
        found = self._keys.get(places)
        return self._keys.setdefault(places, next(self._numbers)) if found is None else found

    def bytes(self) -> int:
        """About what is kept here, with the figures of the runs; it grows with what is asked for."""
        columns = [column for of_step in list(self._steps.values()) for column in (of_step or {}).values()]
        places = sum(map(len, list(self._keys)))
        return self._given_bytes + places * _PLACE_BYTES + sum(column.bytes() for column in columns)

    @cached_property
    def _given_bytes(self) -> int:
        of_steps = [figures.values for run in self._baseline for figures in run.values()]
        each = len(self._baseline) + len(of_steps)
        return each * _STEP_BYTES + sum(map(len, of_steps)) * _FIGURE_BYTES

    def columns(self, step: str, own: Figures) -> dict[str, Column]:
        """Figure → column, also for shares that only ``own`` has; empty where too few runs have the step."""
        if step not in self._steps:
            self._steps[step] = self._made(step)
        found = self._steps[step]
        if found is None:
            return {}
        new = [name for name in own.values if name not in found and name.startswith("share:")]
        return found | _columns(new, self._known(step), self._together) if new else found

    def _made(self, step: str) -> dict[str, Column] | None:
        known = self._known(step)
        present = [figures for figures in known if figures is not None]
        if len(present) < MIN_RUNS:
            return None
        names = dict.fromkeys(chain.from_iterable(figures.values for figures in present))
        return _columns(names, known, self._together)

    def _known(self, step: str) -> list[Figures | None]:
        return [run.get(step) for run in self._baseline]


def absent(figure: str, figures: Mapping[str, float]) -> float | None:
    """
    What it means that a figure is not recorded.

    A share is one of nobody, and a source beside others gave nothing; all else is unknown.
    """
    if figure.startswith("share:"):
        return 0.0
    if figure.startswith("amount:from ") and any(name.startswith("amount:from ") for name in figures):
        return 0.0
    return None


def spread(differences: Sequence[float]) -> float:
    """Robust against a few odd runs in the baseline, and honest about long tails."""
    distances = sorted(map(abs, differences))
    tail = distances[min(len(distances) - 1, int(TAIL * len(distances)))]
    return max(NORMAL * _middle(distances), tail / TAIL_DEVIATIONS)


def _widening(values: int, together: int) -> float:
    return 1 + (FEW if together == 1 else FEW_MEANS) / values


def _middle(ascending: Sequence[float]) -> float:
    half = len(ascending) // 2
    return ascending[half] if len(ascending) % 2 else (ascending[half - 1] + ascending[half]) / 2


def _columns(
    names: Sequence[str] | Mapping[str, None], known: Sequence[Figures | None], together: int
) -> dict[str, Column]:
    size = median(figures.size for figures in known if figures is not None)
    by_run = [None if figures is None else figures.values for figures in known]
    found = {}
    for name in names:
        values = [None if own is None else own[name] if name in own else absent(name, own) for own in by_run]
        if len(values) - values.count(None) >= MIN_RUNS:
            found[name] = Column(name.partition(":")[0], values, size, together)
    return found


class _Candidate(NamedTuple):
    """An earlier figure, over the runs that the later one is known of."""

    place: Place
    centred: Sequence[float]
    squares: float


def _fit(column: Column, earlier: Mapping[Place, Column]) -> Model:
    """The up to three earlier figures that go with this one the most, one after the other."""
    rest, _ = column.centred(column.runs)
    # Of few runs, chance finds something that goes with anything.
    least = max(MIN_CORRELATION, CHANCE / math.sqrt(len(rest)))
    candidates = [_Candidate(place, *other.centred(column.runs)) for place, other in earlier.items()]
    terms: list[Term] = []
    for _ in range(FEATURES):
        own = sum(map(mul, rest, rest))
        if own <= 0:
            break
        ranked = sorted(
            (
                (abs(product) / math.sqrt(own * one.squares), product / one.squares, one)
                for one in candidates
                if 0 < one.squares < math.inf
                for product in (sum(map(mul, rest, one.centred)),)
            ),
            key=lambda found: -found[0],
        )
        if not ranked or ranked[0][0] < least:
            break
        _, slope, best = ranked[0]
        rest = [one - slope * other for one, other in zip(rest, best.centred, strict=True)]
        terms.append(Term(best.place, slope, sum(map(mul, rest, rest)) / len(rest) / best.squares))
        candidates = [one for _, _, one in ranked[1:OPEN]]
    return Model(terms, spread(rest) * _widening(len(rest), column.together) if terms else 0.0)
