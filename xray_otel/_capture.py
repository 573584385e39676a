"""
Which decisions are kept as evidence when a step is captured ``sampled`` (decision 0024).

Decisions are looked at by pair of verdict and reason. Kept for certain, with probability 1:
all of a pair that occurs at most ``sample_size`` times, selected items, items that the
pipeline follows, the first and the last of each pair, and of each pair up to
``sample_size`` whose value was closest to its threshold, or missing.

Of what is left of a pair, exactly ``sample_size`` decisions are drawn, those with the
smallest hash of run and item. That is a simple random sample without replacement, so each
has the probability ``sample_size / left``, and the same items tend to be drawn in all
steps of a run. All probabilities follow from exact counts: a pair's kept decisions,
weighted with 1 / probability, add up to the pair.
"""

from __future__ import annotations

import math
import zlib
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from hashlib import blake2b
from heapq import nsmallest
from itertools import compress, repeat
from operator import lt

from xray_otel._columns import SELECTED, Columns, counts_of
from xray_otel._encode import MISSING

BORDERLINE = 0.05
"""A value is close to its threshold when they differ by at most this share of the threshold."""

Pair = str | None
Pairs = Sequence[Pair]

_LOWEST_HASH = -(2**63)


def sample(columns: Columns, sample_size: int, seed: str, followed: Collection[str] = frozenset()) -> Columns:
    """
    The kept rows in their order, with the probability that each had of being kept.

    seed: what ties the steps of a run together. followed: ids of items that are always kept.
    """
    count = len(columns)
    pairs, letters = _pairs(columns)
    # Where a pair is its reason, the reasons have been counted before.
    sizes = counts_of(columns) if pairs is columns.reasons else Counter(pairs)
    large = {pair: size for pair, size in sizes.items() if size > sample_size and letters[pair] != SELECTED}
    if not large:
        columns.probabilities = [1.0] * count
        return columns
    certain = _certain(columns, pairs, large, sample_size)
    if len(large) < len(sizes):
        certain.update(compress(range(count), map((sizes.keys() - large.keys()).__contains__, pairs)))
    if followed:
        certain.update(compress(range(count), map(followed.__contains__, columns.items)))
    left = large.copy()
    for at in certain:
        if pairs[at] in left:
            left[pairs[at]] -= 1
    shares = {pair: min(1.0, sample_size / size) for pair, size in left.items() if size}
    drawn = _drawn(columns.items, pairs, sizes, certain, left, sample_size, seed)
    positions = sorted(certain.union(drawn))
    taken = columns.take(positions)
    taken.probabilities = [1.0 if at in certain else shares[pairs[at]] for at in positions]
    return taken


def _pairs(columns: Columns) -> tuple[Pairs, dict[Pair, str]]:
    """
    For each row what stands for its verdict and reason, and the verdict of each of these.

    Mostly that is the reason itself, because its hash is known and each reason comes with
    one verdict; otherwise a string of both.
    """
    letters, reasons = columns.verdicts, columns.reasons
    if reasons is None:
        return letters, {letter: letter for letter in set(letters)}
    found = set(zip(reasons, letters, strict=True))
    if len(found) == len(counts_of(columns)):
        return reasons, dict(found)
    names = {(reason, letter): f"{letter} {reason or ''}" for reason, letter in found}
    pairs = list(map(names.__getitem__, zip(reasons, letters, strict=True)))
    return pairs, {name: letter for (_, letter), name in names.items()}


def _certain(columns: Columns, pairs: Pairs, large: Collection[Pair], sample_size: int) -> set[int]:
    """Positions of the rows of large pairs that are kept for what they are."""
    backwards = pairs[::-1]
    certain = {pairs.index(pair) for pair in large}
    certain |= {len(pairs) - 1 - backwards.index(pair) for pair in large}
    near: dict[Pair, list[tuple[float, int]]] = {}
    for margin, at in _margins(columns):
        if pairs[at] in large:
            near.setdefault(pairs[at], []).append((margin, at))
    for margins in near.values():
        certain.update(at for _, at in nsmallest(sample_size, margins))
    return certain


def _margins(columns: Columns) -> Iterable[tuple[float, int]]:
    """(distance from the threshold, position) of the borderline rows; a missing value is at distance 0."""
    values, thresholds = columns.values, columns.thresholds
    if values is None:
        return []
    if not columns.plain:
        missing = [(0.0, at) for at, value in enumerate(values) if value is MISSING]
        return [*missing, *_margins_one_by_one(values, thresholds)]
    limit = None if thresholds is None else thresholds[0]
    if limit is None or thresholds is None or thresholds.count(limit) < len(thresholds):
        return _margins_one_by_one(values, thresholds)
    low, high = limit - BORDERLINE * abs(limit), limit + BORDERLINE * abs(limit)
    try:
        return [(abs(value - limit), at) for at, value in enumerate(values) if low <= value <= high]
    except TypeError:  # None is among them
        return _margins_one_by_one(values, thresholds)


def _margins_one_by_one(
    values: Sequence[object], thresholds: Sequence[object] | None
) -> list[tuple[float, int]]:
    found = []
    for at, (value, limit) in enumerate(zip(values, thresholds or (), strict=False)):
        if type(value) in (float, int) and type(limit) in (float, int):
            with suppress(OverflowError):  # a huge integer is not close to anything
                margin = abs(float(value) - float(limit))  # type: ignore[arg-type]  # numbers, by the line above
                if margin <= BORDERLINE * abs(limit):  # type: ignore[arg-type]  # likewise
                    found.append((margin, at))
    return found


def _drawn(
    items: Sequence[str],
    pairs: Pairs,
    sizes: Iterable[Pair],
    certain: set[int],
    left: dict[Pair, int],
    sample_size: int,
    seed: str,
) -> list[int]:
    """Positions of the ``sample_size`` rows of each pair in ``left`` with the smallest hashes."""
    hashes = _hashes(items, seed)
    # All but surely below these limits lie enough; so only few hashes are looked at in Python.
    enough = sample_size + 8 * math.isqrt(sample_size) + 16
    limits = dict.fromkeys(sizes, _LOWEST_HASH)
    for pair, size in left.items():
        limits[pair] += int(min(1.0, enough / max(1, size)) * 2**64)
    low = compress(range(len(pairs)), map(lt, hashes, map(limits.__getitem__, pairs)))
    candidates: dict[Pair, list[tuple[int, int]]] = {pair: [] for pair in left}
    for at in low:
        if at not in certain:
            candidates[pairs[at]].append((hashes[at], at))
    drawn: list[int] = []
    for pair, found in candidates.items():
        if len(found) < min(sample_size, left[pair]):
            found = [(hashes[at], at) for at, its in enumerate(pairs) if its == pair and at not in certain]
        drawn += [at for _, at in sorted(found)[:sample_size]]
    return drawn


def _hashes(items: Sequence[str], seed: str) -> list[int]:
    """
    For each item a number from -2^63 to below 2^63 that looks random and depends on item and seed alone.

    CRC is linear, so similar ids stay near each other; hashing a tuple of integers (xxHash,
    the same in every process) parts them at the speed of C. Three times each, because after
    fewer rounds some items are drawn noticeably more often than others over many seeds. An item
    that is judged again gets another number, so that its decisions are not all drawn or all left.
    """
    digest = blake2b(seed.encode("utf-8", "replace"), digest_size=21).digest()
    one, two, three = (repeat(int.from_bytes(digest[at : at + 7], "big")) for at in (0, 7, 14))
    try:
        sums = list(map(zlib.crc32, map(str.encode, items)))
    except UnicodeEncodeError:
        sums = [zlib.crc32(item.encode("utf-8", "replace")) for item in items]
    if len(set(sums)) < len(sums):
        sums = _renumbered(sums)
    return list(map(hash, zip(sums, one, sums, two, sums, three, strict=False)))


def _renumbered(sums: list[int]) -> list[int]:
    """The sums, of which each repeated one is moved above all others, by how often it came before."""
    before: Counter[int] = Counter()
    found = []
    for number in sums:
        found.append(number + (before[number] << 32))
        before[number] += 1
    return found
