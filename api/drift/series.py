"""
The share of a reason over time: its level before a window, how much it varies anyway, and how far off the
window is.

Runs vary more than chance has candidates vary, and hours more than runs: both are estimated from the time
before the window, as a variance between runs and one between time buckets on top (DerSimonian and Laird
1986). What it leaves out, such as levels that last for some hours, shows in how far earlier windows were
off, and widens the spread.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

MIN_BUCKETS = 8
"""With runs, before the window; of fewer the variance between them is not known."""
MIN_STEPS = 5
"""Executions in the window."""


class Bucket(NamedTuple):
    """One time bucket."""

    steps: int
    share_sum: float
    square_sum: float
    candidates: int
    """That got the reason."""

    @property
    def mean(self) -> float:
        """The mean share of an execution."""
        return self.share_sum / self.steps


class Level(NamedTuple):
    """A share over several buckets."""

    mean: float
    variance: float
    """Of the mean."""


class Spread(NamedTuple):
    """How much the share varies in quiet times."""

    within: float
    """Variance between the executions of a bucket …"""
    between: float
    """… and that between buckets."""
    buckets: int
    """That it was estimated from."""


def spread(buckets: Sequence[Bucket]) -> Spread:
    """Estimate the spread from buckets with executions; at least two."""
    steps = sum(bucket.steps for bucket in buckets)
    squares = math.fsum(b.square_sum - b.share_sum * b.mean for b in buckets)
    within = max(0.0, squares) / max(1, steps - len(buckets))
    if within == 0:
        means = [bucket.mean for bucket in buckets]
        middle = math.fsum(means) / len(means)
        between = math.fsum((mean - middle) ** 2 for mean in means) / (len(means) - 1)
        return Spread(0.0, between, len(buckets))
    weights = [bucket.steps / within for bucket in buckets]
    whole = math.fsum(weights)
    middle = math.fsum(w * b.mean for w, b in zip(weights, buckets, strict=True)) / whole
    distance = math.fsum(w * (b.mean - middle) ** 2 for w, b in zip(weights, buckets, strict=True))
    scale = whole - math.fsum(w * w for w in weights) / whole
    between = max(0.0, (distance - (len(buckets) - 1)) / scale) if scale > 0 else 0.0
    return Spread(within, between, len(buckets))


def level(buckets: Sequence[Bucket], known: Spread) -> Level:
    """The share over buckets with executions, those that tell more the heavier."""
    variances = [known.between + known.within / bucket.steps for bucket in buckets]
    if not all(variances):
        return Level(math.fsum(bucket.mean for bucket in buckets) / len(buckets), 0.0)
    weights = [1 / variance for variance in variances]
    whole = math.fsum(weights)
    mean = math.fsum(w * b.mean for w, b in zip(weights, buckets, strict=True)) / whole
    return Level(mean, 1 / whole)


def unrest(buckets: Sequence[Bucket | None], parts: int, known: Spread) -> tuple[float, int]:
    """
    Sum of squares of how far windows of ``parts`` buckets before the window are off, in expected
    deviations, and the degrees of freedom that it has.
    """
    windows = []
    for start in range(len(buckets) % parts, len(buckets), parts):
        filled = [bucket for bucket in buckets[start : start + parts] if bucket is not None]
        if filled:
            windows.append(level(filled, known))
    if len(windows) < 3 or not all(window.variance for window in windows):
        return 0.0, 0
    weights = [1 / window.variance for window in windows]
    middle = math.fsum(w * one.mean for w, one in zip(weights, windows, strict=True)) / math.fsum(weights)
    off = math.fsum(w * (one.mean - middle) ** 2 for w, one in zip(weights, windows, strict=True))
    return off, len(windows) - 1


def t_tail(t: float, freedom: float) -> float:
    """The probability that Student's t lies as far from 0, both ways."""
    return _incomplete_beta(freedom / 2, 0.5, freedom / (freedom + t * t))


def _incomplete_beta(a: float, b: float, x: float) -> float:
    """The regularised incomplete beta function, by its continued fraction (Lentz)."""
    if x <= 0 or x >= 1:
        return float(x >= 1)
    front = math.exp(
        math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    )
    if x > (a + 1) / (a + b + 2):
        return 1 - front * _fraction(b, a, 1 - x) / b
    return front * _fraction(a, b, x) / a


def _fraction(a: float, b: float, x: float) -> float:
    tiny = 1e-300
    c, d = 1.0, 1 / max(tiny, 1 - (a + b) * x / (a + 1))
    made = d
    for m in range(1, 300):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        for term in (even, odd):
            d = 1 / ((1 + term * d) or tiny)
            c = (1 + term / c) or tiny
            made *= c * d
        if abs(c * d - 1) < 1e-14:
            break
    return made
