"""Which runs of two groups are held against each other: like with like, and no group the larger by far."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any, NamedTuple

from store.queries.groups import Groups, Member

FIELDS = ("pipeline", "pipeline_version", "day")
"""What runs are matched by, as far as the groups share it."""
MAX_RUNS = 1500
"""Of each group: enough to tell shares of 5 and 8 % apart."""
RATIO = 4
"""Runs of one group for each of the other: more add little to what can be told."""
_COVERED = 0.5
"""A field by which more runs of a group have no counterpart is one in which the groups differ."""


class Matched(NamedTuple):
    """Runs that are compared; places of a stratum are in both groups."""

    bad: Sequence[Member]
    good: Sequence[Member]
    strata: dict[Any, int]
    """Key of the run to the number of its stratum."""
    matched_by: tuple[str, ...]
    not_matched_by: tuple[str, ...]
    """Fields in which the groups hardly overlap: they are tested, not held equal."""


def match(groups: Groups, max_runs: int = MAX_RUNS) -> Matched:
    """
    Choose the runs to compare: of each stratum at most ``RATIO`` of one group for each of the other.

    Which of several like runs are taken hangs on the hashes of their ids alone.
    """
    fields = list(FIELDS)
    while fields and _covered(groups, fields) < _COVERED:
        # The field without which most find a counterpart; of equal ones the last.
        fields.remove(max(reversed(fields), key=lambda name: _covered(groups, _without(fields, name))))
    of_bad, of_good = _by_stratum(groups.bad, fields), _by_stratum(groups.good, fields)
    shared = sorted(of_bad.keys() & of_good.keys(), key=_order)
    bad: list[Member] = []
    good: list[Member] = []
    strata: dict[Any, int] = {}
    sizes = [_equalised(len(of_bad[key]), len(of_good[key])) for key in shared]
    factor_bad = _factor(sum(size[0] for size in sizes), max_runs)
    factor_good = _factor(sum(size[1] for size in sizes), max_runs)
    for number, (key, (bad_size, good_size)) in enumerate(zip(shared, sizes, strict=True)):
        taken_bad = of_bad[key][: _part(bad_size, factor_bad)]
        taken_good = of_good[key][: _part(good_size, factor_good)]
        strata |= {member.run_key: number for member in (*taken_bad, *taken_good)}
        bad += taken_bad
        good += taken_good
    left_out = tuple(name for name in FIELDS if name not in fields)
    return Matched(bad, good, strata, tuple(fields), left_out)


def _without(fields: Sequence[str], name: str) -> list[str]:
    return [field for field in fields if field != name]


def _by_stratum(members: Sequence[Member], fields: Sequence[str]) -> dict[Any, list[Member]]:
    found: defaultdict[Any, list[Member]] = defaultdict(list)
    for member in members:
        found[tuple(getattr(member, name) for name in fields)].append(member)
    return found


def _covered(groups: Groups, fields: Sequence[str]) -> float:
    """The share of runs with a counterpart, in the group where it is smaller."""
    bad, good = _by_stratum(groups.bad, fields), _by_stratum(groups.good, fields)
    shares = []
    for mine, others in ((bad, good), (good, bad)):
        total = sum(map(len, mine.values()))
        shares.append(sum(len(runs) for key, runs in mine.items() if key in others) / max(1, total))
    return min(shares)


def _equalised(bad: int, good: int) -> tuple[int, int]:
    return min(bad, RATIO * good), min(good, RATIO * bad)


def _factor(found: int, most: int) -> float:
    return min(1.0, most / max(1, found))


def _part(size: int, factor: float) -> int:
    return max(1, int(size * factor))


def _order(key: tuple[Any, ...]) -> tuple[tuple[bool, str], ...]:
    return tuple((part is None, str(part)) for part in key)
