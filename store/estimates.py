"""
Totals and means over sampled decisions, with 95 % intervals (decision 0024).

A decision that was kept with probability p stands for 1 / p decisions (Horvitz and
Thompson). The decisions of one verdict, reason and probability below 1 are read as a simple
random sample of a known number of them, which is how ``xray_otel`` samples; a single one as
kept independently of all others. What is certain, or not sampled at all, adds no uncertainty.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Hashable, Iterable, Sequence
from statistics import NormalDist
from typing import NamedTuple

_Z = NormalDist().inv_cdf(0.975)
_SMALL_T = (12.706, 4.303, 3.182, 2.776, 2.571)
"""Student's t for one to five degrees of freedom, where the expansion in ``_t`` is not close enough."""
_PEAKEDNESS = 2.0
"""
Excess kurtosis that figures of a mean are taken to have, between a normal distribution's 0 and an
exponential one's 6. A handful of figures does not tell its own.
"""
_NO_SKEWNESS = 1e-6
_LOWEST_PROBABILITY = 1e-18
"""No sampling keeps one of more decisions than that."""
_LARGEST = sys.float_info.max


class Observed(NamedTuple):
    """One kept decision."""

    stratum: Hashable
    """What was sampled as one: verdict and reason."""
    probability: float
    """With which it was kept, above 0 and at most 1."""
    figure: float | None
    """What is added up; None when it has none, or is none of those that are asked about."""


class Estimate(NamedTuple):
    """A figure about all decisions, known from those that were kept."""

    value: float
    low: float | None
    """Lower end of the 95 % interval, ``value`` itself when exact; None when too few were kept to tell."""
    high: float | None
    exact: bool
    """Whether every decision that matters was kept."""


class Estimates(NamedTuple):
    """Of the decisions that have a figure: how many, and of the figures; no mean where there is none."""

    number: Estimate
    total: Estimate
    mean: Estimate | None


class _Group:
    """The decisions of one stratum that were kept with one probability."""

    __slots__ = ("figures", "kept", "probability")

    def __init__(self, probability: float) -> None:
        self.probability = probability
        self.kept = 0
        self.figures: list[float] = []
        """Of those that have one."""

    def spread(self, figures: Sequence[float], others: int = 0) -> _Spread:
        """
        How uncertain the sum of all such figures is.

        others: kept decisions that count as 0.
        """
        p, n = self.probability, len(figures) + others
        if p >= 1 or not n:
            return _Spread(0.0, 0.0, 0.0)
        if n == 1:
            return _Spread((1 - p) / p**2 * math.fsum(f * f for f in figures), 0.0, 1.0)
        center = math.fsum(figures) / n
        apart = [figure - center for figure in figures]
        squares = math.fsum(a * a for a in apart) + others * center**2
        cubes = math.fsum(a**3 for a in apart) - others * center**3
        return _Spread((1 - p) / p**2 * n / (n - 1) * squares, (1 - p) * (1 - 2 * p) / p**3 * cubes, n - 1.0)

    def spread_around(self, mean: float) -> _Spread:
        """
        How uncertain the sum of the deviations from a mean is.

        Only decisions with a figure tell how figures differ, be the sample ever so large: the variance of
        a few of them rests on fewer observations than there are when figures are not normal
        (Satterthwaite's: (n - 1) / (1 + excess kurtosis / 2)), and on none when there is but one.
        """
        found, n = self.spread([figure - mean for figure in self.figures]), len(self.figures)
        if not found.freedom or n < 2:
            return found._replace(freedom=0.0)
        # The third moment of a few without bias, as that of squares is.
        skew = found.skew * n * n / ((n - 1) * (n - 2)) if n > 2 else found.skew
        return found._replace(skew=skew, freedom=max(1.0, (n - 1) / (1 + _PEAKEDNESS / 2)))


class _Spread(NamedTuple):
    """Variance and third central moment of an estimate, and the degrees of freedom behind them."""

    variance: float
    skew: float
    freedom: float


def estimate(decisions: Iterable[Observed]) -> Estimates:
    """
    Count, total and mean of the figures of all decisions that were made, from those that were kept.

    Give all kept decisions, also those that do not count (figure None): a stratum's size is
    known from them. Unbiased for count and total; the mean is their quotient, with a bias that
    vanishes as 1 / decisions kept. How often the intervals hold: ``benchmarks.sampling``.
    """
    found, scale = _grouped(decisions)
    exact = all(group.probability >= 1 for group in found)
    count = math.fsum(len(group.figures) / group.probability for group in found)
    total = math.fsum(math.fsum(group.figures) / group.probability for group in found)
    counts = [(group, [1.0] * len(group.figures), group.kept - len(group.figures)) for group in found]
    number = _interval([group.spread(ones, others) for group, ones, others in counts], count, exact=exact)
    if number.low is not None and number.high is not None:
        # At least as many as were seen, at most as many as there are.
        seen = float(sum(len(group.figures) for group in found))
        all_there_are = math.fsum(group.kept / group.probability for group in found)
        number = number._replace(low=max(number.low, seen), high=min(number.high, max(count, all_there_are)))
    totals = _interval(
        [group.spread(group.figures, others) for group, _, others in counts], total, exact=exact
    )
    if not count:
        return Estimates(number, totals, None)
    mean = total / count
    means = _interval([group.spread_around(mean) for group in found], mean, count, exact=exact)
    return Estimates(number, _scaled(totals, scale), _scaled(means, scale))


def _grouped(decisions: Iterable[Observed]) -> tuple[list[_Group], float]:
    """
    The groups, their figures divided by a power of two, and that power.

    Senders may give any number: of figures near 1 no square or cube overflows.
    """
    groups: dict[tuple[Hashable, float], _Group] = {}
    largest = 0.0
    for stratum, given, figure in decisions:
        probability = max(given, _LOWEST_PROBABILITY)
        group = groups.get((stratum, probability))
        if group is None:
            group = groups[stratum, probability] = _Group(probability)
        group.kept += 1
        if figure is not None:
            group.figures.append(figure)
            largest = max(largest, abs(figure))
    scale = math.ldexp(1.0, math.frexp(largest)[1] - 1) if largest else 1.0
    for group in groups.values():
        group.figures = [figure / scale for figure in group.figures]
    return list(groups.values()), scale


def _scaled(estimate: Estimate, scale: float) -> Estimate:
    """The estimate times ``scale``, within what a float can be."""
    value, low, high = (
        None if figure is None else max(-_LARGEST, min(_LARGEST, figure * scale)) for figure in estimate[:3]
    )
    return Estimate(0.0 if value is None else value, low, high, estimate.exact)


def _interval(parts: Sequence[_Spread], value: float, divisor: float = 1.0, *, exact: bool) -> Estimate:
    """
    The 95 % interval by Student's t, corrected for skewness (Hall, On the removal of skewness by
    transformation, 1992): prices and scores are skewed, and a symmetric interval of 50 of them holds
    the truth in 91 cases of 100.
    """
    if not exact and not any(part.freedom for part in parts):
        return Estimate(value, None, None, exact)
    variance = math.fsum(part.variance for part in parts)
    if variance <= 0:
        # When all of a sample say the same, nothing measures how surely the others do.
        return Estimate(value, value, value, exact)
    # Welch's and Satterthwaite's: how many observations the variance rests on.
    rest = math.fsum(part.variance**2 / max(1.0, part.freedom) for part in parts)
    t = _t(variance * variance / rest)
    error = math.sqrt(variance)
    skewness = math.fsum(part.skew for part in parts) / error**3
    low, high = _unskewed(t, skewness), _unskewed(-t, skewness)
    return Estimate(value, value - low * error / divisor, value - high * error / divisor, exact)


def _unskewed(t: float, skewness: float) -> float:
    """Which deviation, in standard errors, Hall's transformation takes to ``t``."""
    if abs(skewness) < _NO_SKEWNESS:
        return t
    return 3 / skewness * (math.cbrt(1 + skewness * (t - skewness / 6)) - 1)


def _t(freedom: float) -> float:
    """
    Student's t, two-sided 95 %, for this many degrees of freedom, at least 1.

    From 5 on Cornish and Fisher's expansion (Abramowitz and Stegun 26.7.5), within 0.1 %; below,
    between the tabulated values, up to 3 % too wide and never too narrow.
    """
    if freedom < len(_SMALL_T):
        below = max(1, int(freedom))
        share = (below + 1) * (1 - below / max(1.0, freedom))
        return math.pow(_SMALL_T[below - 1], 1 - share) * math.pow(_SMALL_T[below], share)
    z, n = _Z, freedom
    return (
        z
        + (z**3 + z) / (4 * n)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * n**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * n**3)
    )
