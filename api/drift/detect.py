"""Which reasons are given more or less often than before a window, are new, or are given no longer."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, NamedTuple

from api.drift.series import MIN_BUCKETS, MIN_STEPS, Bucket, Level, level, spread, t_tail, unrest
from store.queries.drift import PARTS, Executions, Given, History, Kind

SETTINGS = ("pipeline_version", "config_fingerprint", "model")
_MIN_WITH = 3
"""Executions with a new setting from which on it can be what the drift came with."""
_FREEDOM = 14
"""
Degrees of freedom at most: shares are skewed and levels last for hours, so that tails are heavier than the
number of buckets says. With 41, 13 of 1,000 quiet windows gave an alarm where 10 are stated; with 14, five.
"""
_Z = 1.959963984540054
_SAME = 1e-9
"""Shares as near as that are equal: the same sum in another order."""


class Place(NamedTuple):
    """A step of a pipeline."""

    pipeline: str | None
    step: str
    step_type: str | None


@dataclass(frozen=True, slots=True)
class Coincidence:
    """A setting that came with the drift."""

    field: str
    value: str
    since: datetime
    """Start of the time bucket in which it was first seen."""
    share_with: float
    """Mean share of the reason in the window where the step had the setting …"""
    share_without: float | None
    """… and where it had not; None when all had."""
    steps: int
    """Executions that had it."""


@dataclass(frozen=True, slots=True)
class Drift:
    """One reason that is given otherwise than before."""

    place: Place
    reason: str
    kind: Literal["new", "vanished", "shifted"]
    share_before: float
    """Mean over executions, of the candidates that came in."""
    share_now: float
    difference_low: float
    """Of the 95 % interval of the difference."""
    difference_high: float
    steps_before: int
    steps_now: int
    count_now: int
    """Candidates that got the reason in the window."""
    p_value: float
    p_adjusted: float
    """Corrected for all reasons that were looked at (Holm)."""
    since: datetime
    """Start of the time bucket of the window from which on it differs most."""
    coincides_with: Sequence[Coincidence]


@dataclass(frozen=True, slots=True)
class Detected:
    """What a window has."""

    drifts: Sequence[Drift]
    """The least probable first."""
    tested: int
    """Reasons of steps that were looked at."""
    untested: int
    """Those with too few executions, in the window or before."""


class _Series(NamedTuple):
    """One reason of one step."""

    place: Place
    reason: str
    buckets: Sequence[Bucket | None]
    """None where the step did not run."""
    executions: Sequence[Executions]
    """Of the step."""
    given: Sequence[Given]

    def before(self, history: History) -> list[Bucket]:
        """Those with executions before the window."""
        return [bucket for bucket in self.buckets[: history.buckets] if bucket is not None]

    def now(self, history: History) -> list[Bucket]:
        """Those of the window."""
        return [bucket for bucket in self.buckets[history.buckets :] if bucket is not None]


class _Test(NamedTuple):
    series: _Series
    kind: Literal["new", "vanished", "shifted"]
    before: Level
    now: Level
    factor: float
    p_value: float


def detect(history: History, alarms_per_1000: float) -> Detected:
    """
    Return the drifts of a window.

    alarms_per_1000: of quiet windows, how many may give any alarm, over all steps and reasons.
    """
    series = _series(history)
    usable = [one for one in series if _is_usable(one, history)]
    restless = _restless(usable, history)
    tests = [_test(one, restless[one.place], history) for one in usable]
    tests.sort(key=lambda test: (test.p_value, _name(test.series)))
    level_ = alarms_per_1000 / 1000
    drifts = []
    largest = 0.0
    for rank, test in enumerate(tests):
        # Holm: over any dependence of the reasons, and more telling than a plain division.
        largest = max(largest, min(1.0, test.p_value * (len(tests) - rank)))
        if largest > level_:
            break
        drifts.append(_drift(test, largest, history))
    return Detected(drifts, len(tests), len(series) - len(usable))


def _name(series: _Series) -> tuple[str, str, str]:
    return (series.place.pipeline or "", series.place.step, series.reason)


def _place(kind: Kind) -> Place:
    return Place(kind.pipeline, kind.step, kind.step_type)


def _series(history: History) -> list[_Series]:
    ran: defaultdict[Place, dict[int, int]] = defaultdict(dict)
    executions: defaultdict[Place, list[Executions]] = defaultdict(list)
    for one in history.executions:
        executions[_place(one.kind)].append(one)
        by_bucket = ran[_place(one.kind)]
        by_bucket[one.bucket] = by_bucket.get(one.bucket, 0) + one.steps
    given: defaultdict[tuple[Place, str], defaultdict[int, list[Given]]] = defaultdict(
        lambda: defaultdict(list)
    )
    for cell in history.given:
        given[_place(cell.kind), cell.reason][cell.bucket].append(cell)
    # One record for all reasons of a step that were not given: a reason may be one of thousands.
    quiet = {
        place: [_bucket(by_bucket[n], ()) if n in by_bucket else None for n in range(history.buckets + PARTS)]
        for place, by_bucket in ran.items()
    }
    made = []
    for (place, reason), cells in given.items():
        buckets = list(quiet[place])
        for number, of_bucket in cells.items():
            buckets[number] = _bucket(ran[place][number], of_bucket)
        # One that was declared and never given says nothing.
        if any(bucket is not None and bucket.candidates for bucket in buckets):
            given_here = [cell for of_bucket in cells.values() for cell in of_bucket]
            made.append(_Series(place, reason, buckets, executions[place], given_here))
    return sorted(made, key=_name)


def _bucket(steps: int, cells: Sequence[Given]) -> Bucket:
    return Bucket(
        steps,
        math.fsum(cell.share_sum for cell in cells),
        math.fsum(cell.square_sum for cell in cells),
        sum(cell.candidates for cell in cells),
    )


def _is_usable(series: _Series, history: History) -> bool:
    now = series.now(history)
    return len(series.before(history)) >= MIN_BUCKETS and sum(bucket.steps for bucket in now) >= MIN_STEPS


def _restless(usable: Sequence[_Series], history: History) -> Mapping[Place, float]:
    """Of each step, by how much the variance of its windows exceeds what its buckets tell; at least 1."""
    off: defaultdict[Place, float] = defaultdict(float)
    freedom: defaultdict[Place, int] = defaultdict(int)
    for series in usable:
        before = series.before(history)
        if sum(1 for bucket in before if bucket.candidates) >= MIN_BUCKETS:
            squares, more = unrest(series.buckets[: history.buckets], PARTS, spread(before))
            off[series.place] += squares
            freedom[series.place] += more
    return {
        place: max(1.0, off[place] / freedom[place]) if freedom[place] else 1.0
        for place in {series.place for series in usable}
    }


def _test(series: _Series, restless: float, history: History) -> _Test:
    before, now = series.before(history), series.now(history)
    given_before = sum(1 for bucket in before if bucket.candidates)
    given_now = sum(1 for bucket in now if bucket.candidates)
    known = spread(before)
    levels = level(before, known), level(now, known)
    if not given_before:
        p_value = _all_in(given_now, len(now), len(before) + len(now))
        return _Test(series, "new", *levels, restless, p_value)
    if not given_now:
        p_value = _all_in(given_before, len(before), len(before) + len(now))
        return _Test(series, "vanished", *levels, restless, p_value)
    variance = restless * (levels[0].variance + levels[1].variance)
    if not variance:
        # Always the same before: the chance that just these buckets are the ones with another share.
        other = sum(not math.isclose(bucket.mean, levels[0].mean, rel_tol=_SAME) for bucket in now)
        p_value = _all_in(other, len(now), len(before) + len(now)) if other else 1.0
        return _Test(series, "shifted", *levels, restless, p_value)
    t = (levels[1].mean - levels[0].mean) / math.sqrt(variance)
    p_value = t_tail(t, min(_FREEDOM, known.buckets - 1))
    # Seldom given: that the buckets with it fell so unevenly must be as improbable.
    more = levels[1].mean > levels[0].mean
    p_value = max(p_value, _uneven(given_before, len(before), given_now, len(now), more=more))
    return _Test(series, "shifted", *levels, restless, p_value)


def _all_in(given: int, buckets: int, of: int) -> float:
    """The probability that all ``given`` buckets with the reason lie among ``buckets`` of ``of``."""
    return math.comb(buckets, given) / math.comb(of, given)


def _uneven(given_before: int, before: int, given_now: int, now: int, *, more: bool) -> float:
    """
    Of a reason that few buckets have, the chance that as many of the window do, or as few; of others 0.
    """
    if given_before > before / 2:
        return 0.0
    given, of = given_before + given_now, before + now
    counts = range(given_now, min(now, given) + 1) if more else range(max(0, given - before), given_now + 1)
    ways = sum(math.comb(now, k) * math.comb(before, given - k) for k in counts)
    return min(1.0, 2 * ways / math.comb(of, given))


def _drift(test: _Test, adjusted: float, history: History) -> Drift:
    series = test.series
    before, now = series.before(history), series.now(history)
    since = _since(series, test.before.mean, history)
    difference = test.now.mean - test.before.mean
    half = _Z * math.sqrt(test.factor * (test.before.variance + test.now.variance))
    return Drift(
        place=series.place,
        reason=series.reason,
        kind=test.kind,
        share_before=_mean(before),
        share_now=_mean(now),
        difference_low=difference - half,
        difference_high=difference + half,
        steps_before=sum(bucket.steps for bucket in before),
        steps_now=sum(bucket.steps for bucket in now),
        count_now=sum(bucket.candidates for bucket in now),
        p_value=test.p_value,
        p_adjusted=adjusted,
        since=history.start_of(since),
        coincides_with=_coincidences(series, test.before.mean, since, history),
    )


def _mean(buckets: Sequence[Bucket]) -> float:
    return math.fsum(bucket.share_sum for bucket in buckets) / sum(bucket.steps for bucket in buckets)


def _since(series: _Series, usual: float, history: History) -> int:
    """The bucket of the window from which on the share differs most, for how many executions it does."""
    best, chosen = -1.0, history.buckets
    for start in range(history.buckets, history.buckets + PARTS):
        rest = [bucket for bucket in series.buckets[start:] if bucket is not None]
        if rest and series.buckets[start] is not None:
            off = abs(_mean(rest) - usual) * math.sqrt(sum(bucket.steps for bucket in rest))
            if off > best * (1 + 1e-9):
                best, chosen = off, start
    return chosen


def _coincidences(series: _Series, usual: float, since: int, history: History) -> list[Coincidence]:
    """Settings that were first seen about when the drift began, and with which it is the larger."""
    all_now = sum(one.steps for one in series.executions if one.bucket >= history.buckets)
    recent = [one for one in series.given if one.bucket >= history.buckets]
    all_sum = math.fsum(one.share_sum for one in recent)
    found = []
    for field in SETTINGS:
        # By value at once: a fingerprint may be another one in each execution.
        having: defaultdict[str | None, list[Executions]] = defaultdict(list)
        for one in series.executions:
            having[getattr(one.kind, field)].append(one)
        sums: defaultdict[str | None, list[float]] = defaultdict(list)
        for cell in recent:
            sums[getattr(cell.kind, field)].append(cell.share_sum)
        for value in sorted(value for value in having if value is not None):
            first = min(one.bucket for one in having[value])
            with_it = sum(one.steps for one in having[value] if one.bucket >= history.buckets)
            if with_it < _MIN_WITH or not history.buckets - PARTS <= first or first > since + 1:
                continue
            sum_with = math.fsum(sums[value])
            share_with = sum_with / with_it
            share_without = None
            if all_now > with_it:
                share_without = max(0.0, all_sum - sum_with) / (all_now - with_it)
                if abs(share_with - usual) <= abs(share_without - usual):
                    continue
            found.append(
                Coincidence(field, value, history.start_of(first), share_with, share_without, with_it)
            )
    return found
