"""
Which decisions are kept as evidence when a step is captured ``sampled``.

Kept for certain (p = 1): selected ones, the first and the last of each pair of verdict
and reason, and all of a pair that occurs at most ``sample_size`` times. Of a larger pair
each other decision is kept with p = sample_size / occurrences, by a hash of run and
item, so the same items are kept in all steps of a run and a repetition keeps the same.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import compress, repeat
from operator import lt

from xray_otel._columns import SELECTED, Columns


def sample(columns: Columns, sample_size: int, seed: str) -> Columns:
    """The kept rows in their order, with the probability that each had of being kept."""
    count = len(columns)
    pairs = _pairs(columns)
    shares = {
        pair: 1.0 if pair[0] == SELECTED else min(1.0, sample_size / occurrences)
        for pair, occurrences in Counter(pairs).items()
    }
    if all(share == 1.0 for share in shares.values()):
        columns.probabilities = [1.0] * count
        return columns
    limits = {pair: int(share * 2**64) - 2**63 for pair, share in shares.items()}
    drawn = map(lt, _hashes(columns.items, seed), map(limits.__getitem__, pairs))
    certain = set(dict(zip(pairs, range(count), strict=True)).values())
    certain |= set(dict(zip(reversed(pairs), range(count - 1, -1, -1), strict=True)).values())
    positions = sorted(certain.union(compress(range(count), drawn)))
    taken = columns.take(positions)
    taken.probabilities = [1.0 if at in certain else shares[pairs[at]] for at in positions]
    return taken


def _pairs(columns: Columns) -> Sequence[str]:
    """Verdict and reason of each row as one string, whose hash Python keeps; a letter alone has no reason."""
    if columns.reasons is None:
        return columns.verdicts
    names = {
        (letter, reason): letter if reason is None else f"{letter} {reason}"
        for letter, reason in set(zip(columns.verdicts, columns.reasons, strict=True))
    }
    return list(map(names.__getitem__, zip(columns.verdicts, columns.reasons, strict=True)))


def _hashes(items: Sequence[str], seed: str) -> Iterator[int]:
    """
    For each item a number from -2^63 to below 2^63 that looks random and depends on item and seed alone.

    CRC is linear, so similar ids stay near each other; hashing a tuple of integers (xxHash,
    the same in every process) parts them at the speed of C. Twice each, because one round
    leaves the differences of two items nearly constant over the seeds.
    """
    salt = repeat(zlib.crc32(seed.encode("utf-8", "replace")))
    try:
        data = list(map(str.encode, items))
    except UnicodeEncodeError:
        data = [item.encode("utf-8", "replace") for item in items]
    sums = list(map(zlib.crc32, data))
    return map(hash, zip(sums, salt, sums, salt, strict=False))
