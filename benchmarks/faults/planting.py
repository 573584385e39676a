"""
What faults are planted with: steps around steps, and questions to a step about what it reads.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from benchmarks.faults.steps import (
    Check,
    Item,
    ItemWise,
    Outcome,
    Query,
    Row,
    Rule,
    Step,
    StepType,
    unit,
)

Plant = Callable[[Step, float], Step | None]
"""The step with the fault at that intensity, None when the fault does not fit it."""


def hit(name: str, item: Item, share: float) -> bool:
    """Whether the item is among the share that the fault in the step of that name strikes."""
    return unit(item["id"], name, "hit") < share


@dataclass(frozen=True)
class Mixed(ItemWise):
    """The healthy step for most items, the faulty one for a share of them."""

    healthy: ItemWise
    faulty: ItemWise
    share: float

    @property
    def step_type(self) -> StepType:  # type: ignore[override]  # that of the step it stands for
        return self.healthy.step_type

    @property
    def recorded_fields(self) -> tuple[str, ...]:
        return self.healthy.recorded_fields

    def judge(self, item: Item, query: Query) -> tuple[Row, Item | None]:
        step = self.faulty if hit(self.name, item, self.share) else self.healthy
        return step.judge(item, query)


@dataclass(frozen=True)
class Misread(ItemWise):
    """A step that reads its items wrongly; what goes on has the right values, and what the step adds."""

    inner: ItemWise
    read: Callable[[Item], Item]

    def judge(self, item: Item, query: Query) -> tuple[Row, Item | None]:
        row, out = self.inner.judge(self.read(item), query)
        if out is None:
            return row, None
        return row, item | {name: out[name] for name in self.inner.adds}


@dataclass(frozen=True)
class Around(Step):
    """A step with something wrong before or after it."""

    inner: Step
    before: Callable[[Sequence[Item]], Sequence[Item]] | None = None
    after: Callable[[Outcome], Outcome] | None = None

    @property
    def step_type(self) -> StepType:  # type: ignore[override]  # that of the step it stands for
        return self.inner.step_type

    def decide(self, items: Sequence[Item], query: Query) -> Outcome:
        outcome = self.inner.decide(items if self.before is None else self.before(items), query)
        return outcome if self.after is None else self.after(outcome)


def numeric_rule(step: Step) -> Rule | None:
    """The step's first rule with a number as limit, or None."""
    if not isinstance(step, Check):
        return None
    return next((rule for rule in step.rules if rule.comparator in ("<=", ">=")), None)


def with_rule(step: Check, old: Rule, new: Rule) -> Check:
    """The step with one of its rules replaced."""
    return replace(step, rules=tuple(new if rule is old else rule for rule in step.rules))


def side(step: Step) -> bool:
    """A coin for each step: which way a fault with two ways goes."""
    return unit(step.name, "side") < 0.5
