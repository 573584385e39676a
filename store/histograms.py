"""
How values of steps are put into buckets, and what a percentile read from buckets is worth.

A share from 0 to 1 has a bucket for each hundredth, and 0 and 1 have one of their own. Any other
number has buckets of which each reaches 4 % further than the one before, on either side of 0, as in
DDSketch (Masson, Rim, Lee, 2019). Bucket numbers ascend with the values.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

_SHARES = 100
_ACCURACY = 0.02
_LOG_BASE = math.log((1 + _ACCURACY) / (1 - _ACCURACY))
_OFFSET = 20_000
"""Above the number of any double's bucket, so that the two sides of 0 do not meet."""

SHARE_ERROR = 0.5 / _SHARES
"""How far a value may lie from its bucket's."""
RELATIVE_ERROR = _ACCURACY
"""… as a part of the value, in the other form."""

_SHARE_BUCKET = (
    f"CASE WHEN {{0}} <= 0 THEN 0 WHEN {{0}} >= 1 THEN {_SHARES + 1}"
    f" ELSE least(1 + floor({{0}} * {_SHARES}), {_SHARES}) END::integer"
)
_LOG_BUCKET = (
    "CASE WHEN {0} = 0 THEN 0"
    f" ELSE sign({{0}}) * (ceil(ln(abs({{0}})) / {_LOG_BASE!r}) + {_OFFSET}) END::integer"
)


@dataclass(frozen=True, slots=True)
class Histogram:
    """Steps by bucket of one value; at least one step."""

    share: bool
    """Which of the two forms the buckets have."""
    smallest: float
    largest: float
    buckets: Sequence[int]
    """Ascending."""
    counts: Sequence[int]

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
        bucket = self.buckets[bisect_right(up_to, rank)]
        middle = _middle_of_share(bucket) if self.share else _middle(bucket)
        return min(max(middle, self.smallest), self.largest)


def bucket_sql(value: str, *, share: bool) -> str:
    """The bucket of a value, as SQL; value: SQL of a double that is not null."""
    return (_SHARE_BUCKET if share else _LOG_BUCKET).format(value)


def _middle_of_share(bucket: int) -> float:
    if bucket <= 0:
        return 0.0
    return 1.0 if bucket > _SHARES else (bucket - 0.5) / _SHARES


def _middle(bucket: int) -> float:
    if bucket == 0:
        return 0.0
    power = (abs(bucket) - _OFFSET) * _LOG_BASE + math.log1p(-_ACCURACY)
    try:
        return math.copysign(math.exp(power), bucket)
    except OverflowError:  # the bucket of the largest doubles reaches beyond them
        return math.copysign(math.inf, bucket)
