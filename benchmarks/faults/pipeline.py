"""A pipeline of the bench, and one execution of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from random import Random
from typing import NamedTuple

from benchmarks.faults.fields import Draw, uniform
from benchmarks.faults.steps import Item, Outcome, Query, Step


@dataclass(frozen=True)
class Pipeline:
    """Items and queries as they are drawn, and the steps that decide about them."""

    name: str
    item: Mapping[str, Draw]
    query: Mapping[str, Draw]
    steps: tuple[Step, ...]
    shifted: Mapping[str, Draw]
    """Fields of items or queries as they are drawn under another mix of traffic."""
    size: int = 160
    """Items to search in, as a rule."""

    def step_at(self, name: str) -> int:
        """Position of the step of that name."""
        return next(at for at, step in enumerate(self.steps) if step.name == name)


class Conditions(NamedTuple):
    """Under what a run takes place, beside its seed; the defaults are the usual ones."""

    size_factor: float = 1.0
    mix: bool = False
    """Another mix of traffic."""
    work_factor: int = 1
    """How many times each step does its work: a machine as much slower."""


USUAL = Conditions()


@dataclass(slots=True)
class Executed:
    """One execution; ``outcomes`` are in the order of the steps."""

    query: Query
    outcomes: list[Outcome] = field(default_factory=list)


Observe = Callable[[Step], AbstractContextManager[Callable[[Outcome], None]]]
"""Makes what encloses a step, and is told its outcome."""


def draw(pipeline: Pipeline, seed: str, conditions: Conditions = USUAL) -> tuple[Query, list[Item]]:
    """The query and the items of a run. The same seed gives the same, whatever is planted in the steps."""
    random = Random(f"{pipeline.name}/{seed}")
    changed = pipeline.shifted if conditions.mix else {}
    size = pipeline.size * conditions.size_factor * math.exp(random.gauss(0.0, 0.15))
    query: dict[str, object] = {}
    for name, of_query in pipeline.query.items():
        query[name] = changed.get(name, of_query)(random, query)
    # How new an item is; the fault "stale_index" needs it of every pipeline.
    drawn = {
        "age": uniform(0.0, 1.0),
        **pipeline.item,
        **{n: d for n, d in changed.items() if n in pipeline.item},
    }
    items = []
    for _ in range(max(4, round(size))):
        item: Item = {"id": f"{random.getrandbits(44):011x}"}
        for name, of_item in drawn.items():
            item[name] = of_item(random, item)
        items.append(item)
    return query, items


def execute(
    steps: Sequence[Step],
    query: Query,
    items: Sequence[Item],
    observe: Observe | None = None,
    work_factor: int = 1,
) -> Executed:
    """Run the steps one after the other; ``observe`` encloses each and sees its outcome."""
    executed = Executed(query)
    current: Sequence[Item] = items
    for step in steps:
        if observe is None:
            outcome = step.decide(current, query)
        else:
            with observe(step) as said:
                for _ in range(work_factor - 1):
                    step.decide(current, query)
                outcome = step.decide(current, query)
                said(outcome)
        executed.outcomes.append(outcome)
        current = outcome.out
    return executed


def planted(pipeline: Pipeline, at: int, step: Step) -> Pipeline:
    """The pipeline with another step at that place."""
    return replace(pipeline, steps=(*pipeline.steps[:at], step, *pipeline.steps[at + 1 :]))
