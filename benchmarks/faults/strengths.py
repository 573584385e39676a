"""
How strong a fault has to be planted to change a stated share of verdicts.

    python -m benchmarks.faults.strengths

writes ``strengths.json``: pipeline → step → fault → strength → intensity. It is made on seeds that
are used for nothing else, and only what comes near the stated share is in it.
"""

from __future__ import annotations

import json
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

from benchmarks.faults.pipeline import Executed, Pipeline, draw, execute
from benchmarks.faults.plants import PLANTS
from benchmarks.faults.registry import PIPELINES
from benchmarks.faults.steps import Item, Outcome, Query, Step

STRENGTHS: Mapping[str, float] = {"faint": 0.05, "middle": 0.15, "strong": 0.4}
"""Word → the share of the candidates of the faulty step whose further fate changes."""
NEAR = 1.5
"""A planted fault has the strength when it changes this many times more or less at most."""
FILE = Path(__file__).with_name("strengths.json")
SEEDS = [f"strength-{number}" for number in range(6)]
_INTENSITIES = [0.01, 0.02, 0.04, 0.07, 0.11, 0.16, 0.23, 0.32, 0.44, 0.6, 0.8, 1.0]


class Prefix(NamedTuple):
    """What a step gets in a run, and what happens from there without a fault."""

    query: Query
    items: Sequence[Item]
    healthy: Executed


Fates = dict[str, list[tuple[int, str, str | None]]]


def fates(outcomes: Sequence[Outcome]) -> Fates:
    """Item → its verdicts and reasons over the steps."""
    found: Fates = defaultdict(list)
    for at, outcome in enumerate(outcomes):
        for row in outcome.rows:
            found[row.item_id].append((at, row.verdict, row.reason))
    return found


def changed_share(healthy: Sequence[Outcome], faulty: Sequence[Outcome]) -> float:
    """
    Of the candidates of the first step of either, the share whose fate from there on differs.

    Both begin with the step at fault.
    """
    one, other = fates(healthy), fates(faulty)
    # What the first step did not get is not its candidate; one that it lost is.
    names = one.keys() | other.keys()
    return sum(one.get(name) != other.get(name) for name in names) / len(names) if names else 0.0


def prefixes(pipeline: Pipeline, seeds: Sequence[str]) -> list[list[Prefix]]:
    """For each step, what it gets in the runs of the seeds."""
    found: list[list[Prefix]] = [[] for _ in pipeline.steps]
    for seed in seeds:
        query, items = draw(pipeline, seed)
        whole = execute(pipeline.steps, query, items)
        current: Sequence[Item] = items
        for at, outcome in enumerate(whole.outcomes):
            found[at].append(Prefix(query, current, Executed(query, whole.outcomes[at:])))
            current = outcome.out
    return found


def share_at(steps: Sequence[Step], planted: Step, runs: Sequence[Prefix]) -> float:
    """Mean share of fates that the planted step changes; ``steps``: itself, healthy, and the later ones."""
    return fmean(
        changed_share(run.healthy.outcomes, execute((planted, *steps[1:]), run.query, run.items).outcomes)
        for run in runs
    )


def calibrate(pipeline: Pipeline, runs: Sequence[Sequence[Prefix]]) -> dict[str, dict[str, dict[str, float]]]:
    """Step → fault → strength → intensity."""
    made: dict[str, dict[str, dict[str, float]]] = {}
    for at, step in enumerate(pipeline.steps):
        faults = {}
        for name, plant in PLANTS.items():
            if plant(step, 1.0) is not None:
                found = _search(pipeline.steps[at:], name, runs[at])
                if found:
                    faults[name] = found
        made[step.name] = faults
    return made


def _search(steps: Sequence[Step], fault: str, runs: Sequence[Prefix]) -> dict[str, float]:
    shares: dict[float, float] = {}

    def share(intensity: float) -> float:
        if intensity not in shares:
            planted = PLANTS[fault](steps[0], intensity)
            assert planted is not None  # the caller asked for one that fits
            shares[intensity] = share_at(steps, planted, runs)
        return shares[intensity]

    found = {}
    for strength, target in STRENGTHS.items():
        # The share grows with the intensity, nearly: the first that reaches it, and the best around it.
        place = bisect_left(_INTENSITIES, target, key=share)
        low = _INTENSITIES[place - 1] if place else 0.0
        high = _INTENSITIES[min(place, len(_INTENSITIES) - 1)]
        for _ in range(3):
            middle = round((low + high) / 2, 5)
            low, high = (middle, high) if share(middle) < target else (low, middle)
        best = min(shares, key=lambda intensity: abs(shares[intensity] - target))
        if target / NEAR <= shares[best] <= target * NEAR:
            found[strength] = best
    return found


def load() -> dict[str, dict[str, dict[str, dict[str, float]]]]:
    """Pipeline → step → fault → strength → intensity, as calibrated."""
    read: dict[str, dict[str, dict[str, dict[str, float]]]] = json.loads(FILE.read_text())
    return read


def main() -> None:
    """Calibrate all pipelines."""
    made = {}
    for name, pipeline in PIPELINES.items():
        made[name] = calibrate(pipeline, prefixes(pipeline, SEEDS))
        places = sum(len(strengths) for faults in made[name].values() for strengths in faults.values())
        print(f"{name}: {places} planted faults")
    FILE.write_text(json.dumps(made, indent=1) + "\n")


if __name__ == "__main__":
    main()
