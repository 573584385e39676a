"""Which runs the bench makes, and what is true of each."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from random import Random
from typing import NamedTuple

from benchmarks.faults.pipeline import USUAL, Conditions, Pipeline

CONFOUNDERS: Mapping[str, Conditions] = {
    "none": USUAL,
    "traffic_mix": Conditions(mix=True),
    "much_smaller": Conditions(size_factor=0.15),
    "much_larger": Conditions(size_factor=4.0),
    "slow_machine": Conditions(work_factor=6),
    "new_version": USUAL,
    "sampled": USUAL,
}
"""What is unlike the baseline in a run without any fault."""
SIZES = ("much_smaller", "much_larger")
"""Confounders under which it is right to answer that the run is outside of what is known."""
PURPOSES = ("tune", "report")
"""Seeds of the one are never used for the other."""


class Trial(NamedTuple):
    """One run that is asked about. ``fault`` is None for a healthy one."""

    pipeline: str
    seed: str
    confounder: str = "none"
    fault: str | None = None
    step: str | None = None
    """Name of the step at fault."""
    strength: str | None = None
    intensity: float = 0.0

    @property
    def conditions(self) -> Conditions:
        """Under what it takes place."""
        return CONFOUNDERS[self.confounder]


Strengths = Mapping[str, Mapping[str, Mapping[str, Mapping[str, float]]]]
"""Pipeline → step → fault → strength → intensity (``strengths.py``)."""


def plan(pipelines: Sequence[Pipeline], runs: int, seed: str, strengths: Strengths) -> list[Trial]:
    """
    As many faulty and as many healthy runs of each pipeline, in turns over the pipelines.

    Kinds of fault come in turns, then strength and step by lot; of the healthy runs half are as usual, the
    others go through the confounders.
    """
    others = [name for name in CONFOUNDERS if name != "none"]
    trials = []
    lots = {pipeline.name: _faults(pipeline, seed, strengths[pipeline.name]) for pipeline in pipelines}
    for number in range(runs):
        # Shifted by the pipeline, so that few runs of many pipelines see all confounders, too.
        for place, pipeline in enumerate(pipelines):
            odd = others[(number // 2 + place) % len(others)]
            trials.append(next_fault(lots[pipeline.name], pipeline, f"{seed}-fault-{number}", number))
            trials.append(Trial(pipeline.name, f"{seed}-null-{number}", odd if number % 2 else "none"))
    return trials


class Lots(NamedTuple):
    """What can be planted in a pipeline: kinds in a drawn order, and strength, step, intensity of each."""

    kinds: Sequence[str]
    places: Mapping[str, Sequence[tuple[str, str, float]]]
    random: Random


def _faults(
    pipeline: Pipeline, seed: str, strengths: Mapping[str, Mapping[str, Mapping[str, float]]]
) -> Lots:
    places: dict[str, list[tuple[str, str, float]]] = defaultdict(list)
    for step, faults in strengths.items():
        for fault, levels in faults.items():
            places[fault] += [(strength, step, intensity) for strength, intensity in levels.items()]
    kinds = sorted(places)
    random = Random(f"{pipeline.name}/{seed}/lots")
    random.shuffle(kinds)
    return Lots(kinds, places, random)


def next_fault(lots: Lots, pipeline: Pipeline, seed: str, number: int) -> Trial:
    """The faulty run of that number."""
    kind = lots.kinds[number % len(lots.kinds)]
    open_places = lots.places[kind]
    strength = lots.random.choice(sorted({place[0] for place in open_places}))
    _, step, intensity = lots.random.choice([place for place in open_places if place[0] == strength])
    return Trial(pipeline.name, seed, "none", kind, step, strength, intensity)
