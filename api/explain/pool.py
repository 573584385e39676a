"""
Which step the runs since a change are unlike those before in, where no single one of them shows it.

The mean of each figure over the runs since is held against means over groups of runs before, by the very
ranking that judges one run (``culprits``): what is off by half a deviation in each of 20 runs is two off in
their mean. A group has n·b / (n + b) runs, n since and b before, and not n, for what is usual is a mean of
chance, too (decision 0033).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence, Set
from random import Random
from statistics import fmean
from typing import NamedTuple

from api.explain.culprits import Looked, Ranked, rank_steps
from api.explain.records import Culprit
from api.explain.usual import MIN_RUNS, Usual, absent
from store.queries.figures import Figures

LIMIT = 4.0
"""As of ``culprits``, of pools; four in a hundred healthy ones have more."""
STRETCH = 5
"""Runs in succession that come into a group together: runs that are near in time may be alike."""
SHARES = ("share:",)
"""Kinds that are 0 where they are not recorded."""
AS_OFTEN = 0.8
"""Least share of the runs since with a figure, of that before: a mean of fewer varies more than a group's."""
SHOWN_RUNS = 5
ENDED = "runs:ended without error"
"""The share of the runs that executed the step to a good end; the other figures are of those only."""

Run = Mapping[str, Figures]
"""Figures of the steps of a run, by name; executions that ended in error are left out."""


class Pooled(NamedTuple):
    """What is concluded from the runs together."""

    ranked: Ranked
    """Of steps by name, for they are no single executions; their confidence, of single runs, says nothing."""
    farthest: Mapping[str, Sequence[int]]
    """Name of a culprit → places of the runs that its first figure is farthest in, the farthest first."""


def rank_pool(since: Sequence[Run], before: Sequence[Run]) -> Pooled:
    """Hold the runs since against those before; each at least one. The same runs give the same answer."""
    steps = _steps(before)
    groups = _groups(len(since), len(before))
    known = {step: _known(before, step) for step in steps}
    baseline = _means(before, steps, groups, {step: set(known[step]) for step in steps})
    wanted = {step: _as_often(_known(since, step), len(since), known[step], len(before)) for step in steps}
    own = _means(since, steps, [range(len(since))], wanted)[0]
    looked = [Looked(name, name, "share:out" not in known[name], (), failed=False) for name in steps]
    ranked = rank_steps(looked, own, Usual(baseline, together=len(groups[0])), LIMIT)
    return Pooled(ranked, {one.step: _farthest(one, since) for one in ranked.culprits})


def _steps(runs: Sequence[Run]) -> list[str]:
    """Names of the steps that enough runs have, in the order in which they mostly start."""
    places: dict[str, list[float]] = {}
    for run in runs:
        for place, name in enumerate(run, start=1):
            places.setdefault(name, []).append(place / len(run))
    often = [name for name, found in places.items() if len(found) >= MIN_RUNS]
    return sorted(often, key=lambda name: (fmean(places[name]), name))


def _known(runs: Sequence[Run], step: str) -> Counter[str]:
    """Name of a figure of the step → runs that have it."""
    return Counter(name for run in runs if step in run for name in run[step].values)


def _as_often(own: Counter[str], since: int, known: Counter[str], before: int) -> set[str]:
    """Figures that about as many of the runs since have: the mean of fewer varies more than a group's."""
    return {
        name
        for name, count in own.items()
        if name.startswith(SHARES) or count / since >= AS_OFTEN * known[name] / before
    }


def _groups(since: int, before: int) -> list[list[int]]:
    """Places of runs before, as many groups as there are runs; the same for the same numbers."""
    random = Random(f"{since}/{before}")
    size = max(1, round(since * before / (since + before)))
    groups = []
    for _ in range(before):
        starts = [random.randrange(before) for _ in range(-(-size // STRETCH))]
        groups.append([(start + step) % before for start in starts for step in range(STRETCH)][:size])
    return groups


def _means(
    runs: Sequence[Run], steps: Sequence[str], groups: Sequence[Sequence[int]], wanted: Mapping[str, Set[str]]
) -> list[Run]:
    """For each group, the mean of each figure that is wanted over those of its runs that have it."""
    found: list[dict[str, Figures]] = [{} for _ in groups]
    for step in steps:
        of_runs = [run.get(step) for run in runs]
        columns = {name: _column(name, of_runs) for name in sorted(wanted[step])}
        sizes = [None if one is None else float(one.size) for one in of_runs]
        columns[ENDED] = [0.0 if one is None else 1.0 for one in of_runs]
        for place, group in enumerate(groups):
            means = {name: _mean(column, group) for name, column in columns.items()}
            values = {name: mean for name, mean in means.items() if mean is not None}
            found[place][step] = Figures(max(1, round(_mean(sizes, group) or 0)), values)
    return list(found)


def _column(name: str, of_runs: Sequence[Figures | None]) -> list[float | None]:
    return [None if one is None else one.values.get(name, absent(name, one.values)) for one in of_runs]


def _mean(column: Sequence[float | None], group: Sequence[int]) -> float | None:
    known = [value for place in group if (value := column[place]) is not None]
    return sum(known) / len(known) if known else None


def _farthest(culprit: Culprit, since: Sequence[Run]) -> list[int]:
    first = culprit.evidence[0]
    name = f"{first.kind}:{first.figure}"
    if name == ENDED:
        return [place for place, run in enumerate(since) if (culprit.step in run) == (first.deviations > 0)][
            :SHOWN_RUNS
        ]
    column = _column(name, [run.get(culprit.step) for run in since])
    way = math.copysign(1.0, first.deviations)
    known = sorted((-way * value, place) for place, value in enumerate(column) if value is not None)
    return [place for _, place in known[:SHOWN_RUNS]]
