"""
What the bench's pipelines are made of: steps that really decide about items.

A step is a frozen description with a ``decide``; nothing in it knows of X-Ray or of faults. An
item is a dict with an ``id``, never changed in place: a step that adds a field makes a new dict.
"""

from __future__ import annotations

import math
import operator
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any, ClassVar, Literal, NamedTuple

from xray_otel import MISSING

Item = dict[str, Any]
Query = Mapping[str, Any]
StepType = Literal["search", "filter", "rank", "select", "llm", "custom"]
Limit = float | str | tuple[str, ...] | Callable[[Query], Any]


class Row(NamedTuple):
    """What a step says about one candidate."""

    item_id: str
    verdict: str
    reason: str | None = None
    score: float | None = None
    value: Any = None
    threshold: Any = None


@dataclass(slots=True)
class Outcome:
    """What a step did."""

    rows: list[Row]
    out: list[Item]
    """What the next step gets."""
    taken_in: int | None
    """None of a step that makes its candidates."""
    fields: tuple[str, ...] = ()
    """Fields of ``out`` whose statistics are recorded."""
    metrics: dict[str, float] = field(default_factory=dict)
    error: str | None = None
    """Message of the exception that ended the step early."""


def unit(*names: object) -> float:
    """A number from 0 to below 1 that looks random and is the same for the same names."""
    digest = blake2b("\x1f".join(map(str, names)).encode(), digest_size=6).digest()
    return int.from_bytes(digest, "big") / 2**48


@dataclass(frozen=True)
class Step:
    """One step of a pipeline."""

    name: str
    step_type: ClassVar[StepType] = "custom"

    def decide(self, items: Sequence[Item], query: Query) -> Outcome:
        """Judge all candidates."""
        raise NotImplementedError


@dataclass(frozen=True)
class ItemWise(Step):
    """A step whose verdict on an item does not depend on the others."""

    def judge(self, item: Item, query: Query) -> tuple[Row, Item | None]:
        """The verdict, and the item as it goes on; None when it does not."""
        raise NotImplementedError

    @property
    def adds(self) -> tuple[str, ...]:
        """Fields that items have from this step on."""
        return ()

    @property
    def recorded_fields(self) -> tuple[str, ...]:
        """Fields whose statistics the step records."""
        return ()

    def decide(self, items: Sequence[Item], query: Query) -> Outcome:
        judged = [self.judge(item, query) for item in items]
        rows = [row for row, _ in judged]
        out = [item for _, item in judged if item is not None]
        return Outcome(rows, out, len(items), self.recorded_fields)


@dataclass(frozen=True)
class Search(Step):
    """Finds the items of an index that match the query; they come from several sources."""

    matches: Callable[[Item, Query], bool]
    fields: tuple[str, ...] = ()
    step_type: ClassVar[StepType] = "search"

    def decide(self, items: Sequence[Item], query: Query) -> Outcome:
        found = [item for item in items if self.matches(item, query)]
        return Outcome([Row(item["id"], "kept") for item in found], found, None, self.fields)


class Rule(NamedTuple):
    """One check of a field; ``missing`` is the reason for items without it, None lets them pass."""

    field: str
    comparator: str
    limit: Limit
    reason: str
    missing: str | None = None


COMPARATORS: Mapping[str, Callable[[Any, Any], bool]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
    "in": lambda value, limit: value in limit,
    "not in": lambda value, limit: value not in limit,
}


@dataclass(frozen=True)
class Check(ItemWise):
    """A filter: all rules must hold, the first that does not gives the reason."""

    rules: tuple[Rule, ...] = ()
    step_type: ClassVar[StepType] = "filter"

    def judge(self, item: Item, query: Query) -> tuple[Row, Item | None]:
        value: Any = None
        shown: Any = None
        for rule in self.rules:
            value = item.get(rule.field)
            limit = rule.limit(query) if callable(rule.limit) else rule.limit
            shown = limit if isinstance(limit, int | float | str) else None
            if value is None:
                value = MISSING
                if rule.missing is not None:
                    return Row(item["id"], "eliminated", rule.missing, None, MISSING, shown), None
            elif not COMPARATORS[rule.comparator](value, limit):
                return Row(item["id"], "eliminated", rule.reason, None, value, shown), None
        return Row(item["id"], "kept", None, None, value, shown), item


@dataclass(frozen=True)
class Enrich(ItemWise):
    """Adds or replaces one field: a lookup, a conversion, a normalisation."""

    into: str
    how: Callable[[Item, Query], Any]
    raw: str | None = None
    """The field that stands for ``into`` where the normalisation is left out."""

    @property
    def adds(self) -> tuple[str, ...]:
        return (self.into,)

    @property
    def recorded_fields(self) -> tuple[str, ...]:
        return (self.into,)

    def judge(self, item: Item, query: Query) -> tuple[Row, Item | None]:
        try:
            made = self.how(item, query)
        except TypeError:  # of a field that an earlier step did not fill
            made = None
        value = MISSING if made is None else made
        return Row(item["id"], "kept", None, None, value), {**item, self.into: made}


@dataclass(frozen=True)
class Model(ItemWise):
    """A deterministic "model": the logistic of a weighted sum, with a noise that belongs to the item."""

    into: str
    weights: Mapping[str, float]
    bias: float = 0.0
    noise: float = 0.2
    counts_failures: bool = False
    """Whether the step records how many of its calls failed."""
    step_type: ClassVar[StepType] = "rank"

    @property
    def adds(self) -> tuple[str, ...]:
        return (self.into,)

    def judge(self, item: Item, query: Query) -> tuple[Row, Item | None]:
        total = self.bias + self.noise * (unit(item["id"], self.name) * 4 - 2)
        for feature, weight in self.weights.items():
            total += weight * (item.get(feature) or 0.0)
        score = 1 / (1 + math.exp(-max(-60.0, min(60.0, total))))
        return Row(item["id"], "scored", None, score), {**item, self.into: score}


@dataclass(frozen=True)
class Judge(Model):
    """A model that is asked in words."""

    step_type: ClassVar[StepType] = "llm"


@dataclass(frozen=True)
class Label(ItemWise):
    """A deterministic classifier: the label with the largest weighted sum; the margin is its score."""

    into: str
    labels: Mapping[str, Mapping[str, float]]
    step_type: ClassVar[StepType] = "llm"

    @property
    def adds(self) -> tuple[str, ...]:
        return (self.into,)

    def judge(self, item: Item, query: Query) -> tuple[Row, Item | None]:
        sums = sorted(
            (
                -sum(weight * (item.get(feature) or 0.0) for feature, weight in weights.items()),
                label,
            )
            for label, weights in self.labels.items()
        )
        (best, label), (next_best, _) = sums[:2]
        return Row(item["id"], "kept", label, next_best - best), {**item, self.into: label}


@dataclass(frozen=True)
class Dedup(Step):
    """Merges items that agree in all fields of the key into the first of them."""

    key: tuple[str, ...]
    step_type: ClassVar[StepType] = "filter"

    def same(self, item: Item) -> tuple[Any, ...]:
        """Items for which this is equal are one."""
        return tuple(item.get(name) for name in self.key)

    def decide(self, items: Sequence[Item], query: Query) -> Outcome:
        first: dict[tuple[Any, ...], str] = {}
        rows, out = [], []
        for item in items:
            into = first.setdefault(self.same(item), item["id"])
            if into == item["id"]:
                rows.append(Row(item["id"], "kept"))
                out.append(item)
            else:
                rows.append(Row(item["id"], "merged", "duplicate", None, into))
        return Outcome(rows, out, len(items))


@dataclass(frozen=True)
class Cap(Step):
    """At most so many items of each group, the first ones."""

    group: str
    most: int
    step_type: ClassVar[StepType] = "filter"

    def decide(self, items: Sequence[Item], query: Query) -> Outcome:
        taken: Counter[Any] = Counter()
        rows, out = [], []
        for item in items:
            group = item.get(self.group)
            taken[group] += 1
            if taken[group] <= self.most:
                rows.append(Row(item["id"], "kept", None, None, taken[group], self.most))
                out.append(item)
            else:
                reason = f"too_many_of_{self.group}"
                rows.append(Row(item["id"], "eliminated", reason, None, taken[group], self.most))
        return Outcome(rows, out, len(items))


@dataclass(frozen=True)
class Budget(Step):
    """Takes items in order while their cost fits into what is left."""

    cost: str
    limit: Limit
    step_type: ClassVar[StepType] = "filter"

    def decide(self, items: Sequence[Item], query: Query) -> Outcome:
        left = float(self.limit(query) if callable(self.limit) else self.limit)  # type: ignore[arg-type]
        rows, out = [], []
        for item in items:
            cost = item.get(self.cost)
            if cost is None:
                rows.append(Row(item["id"], "eliminated", "cost_unknown", None, MISSING, left))
            elif cost > left:
                rows.append(Row(item["id"], "eliminated", "over_budget", None, cost, left))
            else:
                rows.append(Row(item["id"], "kept", None, None, cost, left))
                out.append(item)
                left -= cost
        return Outcome(rows, out, len(items))


@dataclass(frozen=True)
class TopK(Step):
    """The ``k`` items with the highest score."""

    by: str
    k: int
    step_type: ClassVar[StepType] = "rank"

    def figure(self, item: Item) -> float:
        """What is sorted by."""
        return float(item.get(self.by) or 0.0)

    def decide(self, items: Sequence[Item], query: Query) -> Outcome:
        ranked = sorted(((-self.figure(item), at) for at, item in enumerate(items)))
        rows, out = [], []
        for place, (negative, at) in enumerate(ranked):
            item = items[at]
            if place < self.k:
                rows.append(Row(item["id"], self.passing, None, -negative))
                out.append(item)
            else:
                rows.append(Row(item["id"], "not_selected", self.losing, -negative))
        return Outcome(rows, out, len(items))

    @property
    def passing(self) -> str:
        """The verdict of those that go on."""
        return "kept"

    @property
    def losing(self) -> str:
        """The reason of those that do not."""
        return "below_top_k"


@dataclass(frozen=True)
class Select(TopK):
    """The best item."""

    k: int = 1
    step_type: ClassVar[StepType] = "select"

    @property
    def passing(self) -> str:
        return "selected"

    @property
    def losing(self) -> str:
        return "lower_score"
