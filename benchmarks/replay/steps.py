"""
Steps that really decide, by rules whose thresholds can be changed.

How each kind decides is in ``benchmarks/replay/kinds.py``.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

SIGNS: Mapping[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
PASSING = ("kept", "scored", "selected")


class Item(NamedTuple):
    """One candidate: its id, and the fields that rules look at; None is missing."""

    id: str
    fields: Mapping[str, float | int | None]
    brand: str
    title: str


class Row(NamedTuple):
    """What a step decides about one candidate, with all that it could record of it."""

    item: Item
    verdict: str
    reason: str | None = None
    score: float | None = None
    value: Any = None
    threshold: Any = None
    missing: bool = False
    checks: Sequence[Mapping[str, Any]] | None = None


@dataclass(frozen=True)
class Rule:
    """What passes: ``value sign threshold``, or a form that is no such comparison."""

    name: str
    field: str
    sign: Literal["<", "<=", ">", ">="]
    threshold: float | int
    missing: str = "drop"
    """keep, drop, or zero: takes a missing value for 0."""
    form: str = "compare"
    """
    compare; band: of the distance from 50; equal, unequal: of the quarter of the scale; near: within 12 of
    the threshold, of which the record says nothing.
    """

    def observed(self, item: Item) -> float | int | None:
        """What is compared with the threshold."""
        value = item.fields[self.field]
        if value is None or math.isnan(value) or self.form in ("compare", "near"):
            return value
        return abs(value - 50) if self.form == "band" else value // 25

    def says(self, item: Item, threshold: float | int) -> bool:
        """Whether the candidate passes with this threshold."""
        value = self.observed(item)
        if value is None:
            if self.missing != "zero":
                return self.missing == "keep"
            value = 0.0
        if self.form == "near":
            return abs(value - threshold) <= 12
        if self.form in ("equal", "unequal"):
            return (value == threshold) is (self.form == "equal")
        return SIGNS[self.sign](value, threshold)


@dataclass(frozen=True)
class Setting:
    """A change of one rule, or of the number to keep."""

    threshold: float | int | None = None
    scale: float | None = None
    remove: bool = False
    top_k: int | None = None

    def of(self, threshold: float | int) -> float | int:
        """The threshold in place of this one."""
        if self.threshold is not None:
            return self.threshold
        return threshold if self.scale is None else threshold * self.scale


Changed = Mapping[tuple[str, str | None], Setting]
"""(step, rule) to its change; the rule is None for the number to keep."""


@dataclass(frozen=True)
class Step:
    """One step of a pipeline; ``kind`` chooses how it decides."""

    name: str
    kind: str
    type: str = "filter"
    rules: Sequence[Rule] = ()
    top_k: int | None = None
    inputs: Sequence[str] = ()
    """Names of the steps whose output it takes; empty for a source."""
    declares: Mapping[str, Any] = field(default_factory=dict)
    advised: bool = False
    """Recorded as docs/sdk.md advises."""
    says_parents: bool = False
    records: str = "all"
    """What it records of kept candidates: all (the last rule's value), first, none."""
    items: Sequence[Item] = ()
    """What a source gives."""
    limit: int = 3

    @property
    def changeable(self) -> Sequence[str | None]:
        """Names of the rules that can be changed, and None where it keeps a number."""
        if self.kind in ("rank", "placed", "diverse", "tied"):
            return [None]
        return [rule.name for rule in (self.rules[:1] if self.kind == "veiled" else self.rules)]
