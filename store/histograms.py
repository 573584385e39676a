"""
Distributions of values as numbers that can be added (decision 0034).

A histogram is one ``numeric``: the steps in bucket b stand in the twelve decimal digits from 10 ** (12 b)
on. ``sum`` then merges any number of histograms within the database, for some 0.2 µs each, where arrays
would have to be taken apart and put together again; and what lies before the first and behind the
last bucket in use takes no space.

A share from 0 to 1 has 64 buckets of equal width, and 0 and 1 have one of their own. Any other number
has buckets of which each reaches 5 % further than the one before, on either side of 0, as in DDSketch
(Masson, Rim, Lee, 2019).
"""

from __future__ import annotations

import math
import struct
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

_SHARES = 64
_ACCURACY = 0.025
_LOG_BASE = math.log((1 + _ACCURACY) / (1 - _ACCURACY))
_LEAST = 1e-6
"""What is nearer to 0 counts as 0."""
_SIDE = math.ceil(math.log(1e15 / _LEAST) / _LOG_BASE)
"""Buckets on either side; what lies further out than 1e15 is in the last one."""

SHARE_ERROR = 0.5 / _SHARES
"""How far a value may lie from the middle of its bucket."""
RELATIVE_ERROR = _ACCURACY
"""… as a part of the value, in the other form."""

_SHARE_BUCKET = (
    f"CASE WHEN {{0}} <= 0 THEN 0 WHEN {{0}} >= 1 THEN {_SHARES + 1}"
    f" ELSE 1 + floor({{0}} * {_SHARES})::integer END"
)
_LOG_BUCKET = (
    f"CASE WHEN abs({{0}}) < {_LEAST!r} THEN {_SIDE} ELSE {_SIDE} + sign({{0}})::integer * greatest(1, least("
    f"{_SIDE}, ceil((ln(abs({{0}})) - {math.log(_LEAST)!r}) / {_LOG_BASE!r})))::integer END"
)
_DIGITS = 3
"""Of a bucket, in a numeric's own base."""
_BASE = 10_000


@dataclass(frozen=True, slots=True)
class Histogram:
    """Values of some steps, at least one."""

    share: bool
    """Which of the two forms the buckets have."""
    smallest: float
    largest: float
    buckets: Sequence[int]
    """Those that are not empty, ascending, as their values do."""
    counts: Sequence[int]

    @classmethod
    def received(cls, sent: bytes, *, share: bool, smallest: float, largest: float) -> Histogram:
        """From the sum of histograms as ``numeric_send`` gives it."""
        digits, weight = struct.unpack_from("!Hh", sent)
        found: dict[int, int] = {}
        for place, digit in enumerate(struct.unpack_from(f"!{digits}H", sent, 8)):
            bucket, power = divmod(weight - place, _DIGITS)
            if digit:
                found[bucket] = found.get(bucket, 0) + digit * _BASE**power
        buckets = sorted(found)
        return cls(share, smallest, largest, buckets, [found[bucket] for bucket in buckets])

    @property
    def size(self) -> int:
        """How many values there are."""
        return sum(self.counts)

    def percentiles(self, fractions: Sequence[float]) -> list[float]:
        """What ``percentile_cont`` says of the values, each of them moved by the error at most."""
        up_to = list(accumulate(self.counts))
        return [self._percentile(up_to, fraction) for fraction in fractions]

    def _percentile(self, up_to: Sequence[int], fraction: float) -> float:
        place = fraction * (up_to[-1] - 1)
        below = math.floor(place)
        low = self._value(up_to, below)
        if place == below:
            return low
        return low + (self._value(up_to, below + 1) - low) * (place - below)

    def _value(self, up_to: Sequence[int], rank: int) -> float:
        """The value of this rank, from 0."""
        if rank == 0:
            return self.smallest
        if rank == up_to[-1] - 1:
            return self.largest
        middle = self._middle(self.buckets[bisect_right(up_to, rank)])
        return min(max(middle, self.smallest), self.largest)

    def _middle(self, bucket: int) -> float:
        if self.share:
            inner = 0 < bucket <= _SHARES
            return (bucket - 0.5) / _SHARES if inner else float(bucket > 0)
        distance = abs(bucket - _SIDE)
        if distance == 0:
            return 0.0
        if distance == _SIDE:  # reaches as far as doubles do
            return math.copysign(math.inf, bucket - _SIDE)
        return math.copysign(_LEAST * (1 - _ACCURACY) * math.exp(distance * _LOG_BASE), bucket - _SIDE)


def histogram_sql(value: str, *, share: bool) -> str:
    """The histogram of a single value, as SQL; value: SQL of a double."""
    bucket = (_SHARE_BUCKET if share else _LOG_BUCKET).format(value)
    return f"('1e' || {4 * _DIGITS} * ({bucket}))::numeric"
