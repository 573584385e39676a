"""
Two groups in one figure: how far they are apart, and how probable that is by chance. Runs are the unit.

Runs of different strata are not held against each other. Plain Python: nothing here needs more.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

_Z = 1.959963984540054
"""Of a 95 % interval."""
_EXACT_RUNS = 30
_EXACT_VARIANCE = 25.0
_FEW = 25
"""Of fewer runs with another than the usual value, ranks say no more than that they have one."""


Strata = Sequence[tuple[Sequence[float], Sequence[float]]]
"""Of each stratum the values of the bad runs and those of the good ones; neither is empty."""


class Result(NamedTuple):
    """How the groups differ in a figure."""

    bad_n: int
    good_n: int
    bad_mean: float
    good_mean: float
    effect: float
    """
    The probability that a bad run has the larger value, less that of the smaller: -1 to 1 (Cliff's delta).
    Of yes and no, the difference of the shares.
    """
    low: float
    high: float
    """Its 95 % interval, approximate."""
    p_value: float


def compare(both: Strata, *, binary: bool) -> Result:
    """Compare the groups. binary: the values are 1 and 0."""
    bad_n, good_n = sum(len(bad) for bad, _ in both), sum(len(good) for _, good in both)
    ranks = [_ranked(bad, good) for bad, good in both]
    effect = _weighted([(len(b), len(g), rank.delta) for (b, g), rank in zip(both, ranks, strict=True)])
    values = [value for bad, good in both for value in (*bad, *good)]
    usual, often = max(Counter(values).items(), key=lambda entry: (entry[1], -entry[0]))
    if binary or len(values) - often < _FEW:
        p_value = share_test([([v != usual for v in bad], [v != usual for v in good]) for bad, good in both])
    else:
        p_value = _rank_test(both, ranks)
    low, high = _interval(effect, bad_n, good_n)
    return Result(
        bad_n,
        good_n,
        _weighted([(len(b), len(g), math.fsum(b) / len(b)) for b, g in both]),
        _weighted([(len(b), len(g), math.fsum(g) / len(g)) for b, g in both]),
        effect,
        low,
        high,
        p_value,
    )


def adjusted(p_values: Sequence[float]) -> list[float]:
    """
    The false discovery rate at which each test would be called (Benjamini and Hochberg 1995).

    It holds for tests that go up and down together, as shares of one step and those behind it do.
    """
    count = len(p_values)
    found = [1.0] * count
    least = 1.0
    order = sorted(range(count), key=lambda place: p_values[place])
    for rank in range(count, 0, -1):
        place = order[rank - 1]
        least = min(least, p_values[place] * count / rank)
        found[place] = least
    return found


class _Ranks(NamedTuple):
    """One stratum by ranks."""

    surplus: float
    """Sum of the ranks of the bad runs less what chance gives."""
    variance: float
    delta: float
    doubled: Sequence[int]
    """Twice the rank of each run, ascending."""
    bad_sum: int
    """Twice the sum of ranks of the bad runs."""


def _ranked(bad: Sequence[float], good: Sequence[float]) -> _Ranks:
    count = len(bad) + len(good)
    ordered = sorted([(value, 1) for value in bad] + [(value, 0) for value in good])
    doubled: list[int] = []
    bad_sum, ties, start = 0, 0, 0
    while start < count:
        end, value, of_bad = start, ordered[start][0], 0
        while end < count and ordered[end][0] == value:
            of_bad += ordered[end][1]
            end += 1
        rank = start + end + 1
        bad_sum += rank * of_bad
        doubled += [rank] * (end - start)
        ties += (end - start) ** 3 - (end - start)
        start = end
    m, n = len(bad), len(good)
    surplus = bad_sum / 2 - m * (count + 1) / 2
    variance = m * n / 12 * ((count + 1) - ties / (count * (count - 1))) if count > 1 else 0.0
    return _Ranks(surplus, variance, 2 * surplus / (m * n), doubled, bad_sum)


def _rank_test(both: Strata, ranks: Sequence[_Ranks]) -> float:
    """The p-value of the sum of ranks over strata (van Elteren 1960); exact for few runs of one stratum."""
    weights = [1 / (len(bad) + len(good) + 1) for bad, good in both]
    variance = math.fsum(w * w * rank.variance for w, rank in zip(weights, ranks, strict=True))
    if variance <= 0:
        return 1.0
    surplus = abs(math.fsum(w * rank.surplus for w, rank in zip(weights, ranks, strict=True)))
    # A half rank of the smallest weight: the sum moves in steps.
    surplus = max(0.0, surplus - min(weights) / 2)
    p_value = math.erfc(surplus / math.sqrt(2 * variance))
    if len(both) == 1 and len(ranks[0].doubled) <= _EXACT_RUNS and p_value < 0.05:
        return _exact_ranks(tuple(ranks[0].doubled), len(both[0][0]), ranks[0].bad_sum)
    return p_value


@lru_cache(maxsize=512)
def _exact_ranks(doubled: tuple[int, ...], chosen: int, observed: int) -> float:
    """The probability of a sum of ranks as far from the middle, over all ways to choose the bad runs."""
    ways: list[Counter[int]] = [Counter() for _ in range(chosen + 1)]
    ways[0][0] = 1
    for rank in doubled:
        for size in range(chosen - 1, -1, -1):
            for total, count in ways[size].items():
                ways[size + 1][total + rank] += count
    middle = chosen * sum(doubled) / len(doubled)
    far = abs(observed - middle)
    extreme = sum(count for total, count in ways[chosen].items() if abs(total - middle) >= far - 1e-9)
    return min(1.0, extreme / math.comb(len(doubled), chosen))


def share_test(strata: Sequence[tuple[Sequence[bool], Sequence[bool]]]) -> float:
    """
    The p-value of a difference of shares over strata (Cochran, Mantel and Haenszel), exact while few have it.
    """
    tables = [(len(bad), len(good), sum(bad) + sum(good), sum(bad)) for bad, good in strata]
    observed = sum(table[3] for table in tables)
    expected = math.fsum(m * k / (m + n) for m, n, k, _ in tables)
    variance = math.fsum(
        m * n * k * (m + n - k) / ((m + n) ** 2 * (m + n - 1)) for m, n, k, _ in tables if m + n > 1
    )
    if variance <= 0:
        return 1.0
    if variance >= _EXACT_VARIANCE:
        return math.erfc(max(0.0, abs(observed - expected) - 0.5) / math.sqrt(2 * variance))
    chances = [1.0]
    lowest = 0
    for m, n, k, _ in tables:
        first, own = _hypergeometric(m, n, k)
        lowest += first
        chances = _convolved(chances, own)
    limit = chances[observed - lowest] * (1 + 1e-7)
    return min(1.0, math.fsum(chance for chance in chances if chance <= limit))


@lru_cache(maxsize=4096)
def _hypergeometric(m: int, n: int, k: int) -> tuple[int, tuple[float, ...]]:
    """The least number of bad runs among ``k`` drawn of ``m`` bad and ``n`` good, and chances from it on."""
    first, last = max(0, k - n), min(k, m)
    whole = _log_choose(m + n, k)
    return first, tuple(
        math.exp(_log_choose(m, x) + _log_choose(n, k - x) - whole) for x in range(first, last + 1)
    )


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)


def _convolved(one: Sequence[float], other: Sequence[float]) -> list[float]:
    if len(other) == 1:
        return [chance * other[0] for chance in one]
    made = [0.0] * (len(one) + len(other) - 1)
    for i, chance in enumerate(one):
        if chance > 1e-300:
            for j, second in enumerate(other):
                made[i + j] += chance * second
    return made


def _weighted(strata: Sequence[tuple[int, int, float]]) -> float:
    """The mean over strata, each as heavy as it is telling."""
    weights = [m * n / (m + n) for m, n, _ in strata]
    return math.fsum(w * one[2] for w, one in zip(weights, strata, strict=True)) / math.fsum(weights)


def _interval(effect: float, bad_n: int, good_n: int) -> tuple[float, float]:
    """
    The 95 % interval of the effect: Wilson's, of the probability that the bad run is the larger, with the
    harmonic mean of both sizes for the size, which is on the safe side.
    """
    size = 2 * bad_n * good_n / (bad_n + good_n)
    share = (effect + 1) / 2
    middle = (share + _Z * _Z / (2 * size)) / (1 + _Z * _Z / size)
    half = _Z / (1 + _Z * _Z / size) * math.sqrt(share * (1 - share) / size + _Z * _Z / (4 * size * size))
    return max(-1.0, 2 * (middle - half) - 1), min(1.0, 2 * (middle + half) - 1)
