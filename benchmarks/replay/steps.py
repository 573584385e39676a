"""
Steps that really decide, by rules whose thresholds can be changed.

Each kind has its trap for whoever judges by the record alone: rules that reject nobody, values that
count other candidates or add them up, thresholds that follow from the slate, second rules inside of a
predicate, rules of which one is enough, missing values taken for 0.
"""

from __future__ import annotations

import math
import operator
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
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
    """compare; band: of the distance from 50; equal, unequal: of the quarter of the scale."""

    def observed(self, item: Item) -> float | int | None:
        """What is compared with the threshold."""
        value = item.fields[self.field]
        if value is None or math.isnan(value) or self.form == "compare":
            return value
        return abs(value - 50) if self.form == "band" else value // 25

    def says(self, item: Item, threshold: float | int) -> bool:
        """Whether the candidate passes with this threshold."""
        value = self.observed(item)
        if value is None:
            if self.missing != "zero":
                return self.missing == "keep"
            value = 0.0
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
        if self.kind in ("rank", "diverse", "select"):
            return [None] if self.kind != "select" else []
        return [rule.name for rule in (self.rules[:1] if self.kind == "veiled" else self.rules)]


def judge(step: Step, slate: Sequence[Item], changed: Changed) -> list[Row]:
    """What the step decides about the slate under the changed rules."""
    return list(_KINDS[step.kind](step, slate, _Limits(step, changed)))


class _Limits:
    def __init__(self, step: Step, changed: Changed) -> None:
        self._step, self._changed = step, changed
        self.rules = [rule for rule in step.rules if not self._of(rule.name).remove]

    def _of(self, rule: str | None) -> Setting:
        return self._changed.get((self._step.name, rule), Setting())

    def limit(self, rule: Rule, own: float = 1.0) -> float | int:
        base = rule.threshold if own == 1.0 else rule.threshold * own
        return self._of(rule.name).of(base)

    def derived(self, rule: Rule, base: float) -> float | int:
        return self._of(rule.name).of(base)

    @property
    def top_k(self) -> int | None:
        asked = self._of(None).top_k
        return self._step.top_k if asked is None else asked


def _seen(rule: Rule, item: Item, limit: float | int) -> dict[str, Any]:
    value = rule.observed(item)
    return {"value": value, "threshold": limit, "missing": value is None}


def _source(step: Step, _slate: Sequence[Item], _limits: _Limits) -> Iterator[Row]:
    for item in step.items:
        yield Row(item, "kept")


def _in_turn(step: Step, slate: Sequence[Item], limits: _Limits) -> Iterator[Row]:
    """Rule after rule, up to the first that fails."""
    for item in slate:
        row, made = Row(item, "kept"), []
        for rule in limits.rules:
            limit = limits.limit(rule)
            passed = rule.says(item, limit)
            seen = _seen(rule, item, limit)
            made.append({"name": rule.name, "passed": passed} | seen)
            if not passed:
                row = Row(item, "eliminated", rule.name, **seen)
                break
            if step.records == "all" or (step.records == "first" and len(made) == 1):
                row = Row(item, "kept", **seen)
        yield row._replace(checks=made)


def _every(_step: Step, slate: Sequence[Item], limits: _Limits) -> Iterator[Row]:
    """All rules, whatever they say; the reason is the first that failed."""
    for item in slate:
        made: list[dict[str, Any]] = []
        for rule in limits.rules:
            limit = limits.limit(rule)
            made.append({"name": rule.name, "passed": rule.says(item, limit)} | _seen(rule, item, limit))
        failed = [check["name"] for check in made if not check["passed"]]
        verdict, reason = ("eliminated", failed[0]) if failed else ("kept", None)
        yield Row(item, verdict, reason, checks=made)


def _veiled(_step: Step, slate: Sequence[Item], limits: _Limits) -> Iterator[Row]:
    """A predicate of two rules, told as if the first were all."""
    shown = _step.rules[0]
    for item in slate:
        passed = all(rule.says(item, limits.limit(rule)) for rule in limits.rules)
        verdict, reason = ("kept", None) if passed else ("eliminated", shown.name)
        yield Row(item, verdict, reason, **_seen(shown, item, limits.limit(shown)))


def _any_of(_step: Step, slate: Sequence[Item], limits: _Limits) -> Iterator[Row]:
    """All checks are made and told, and one that passes is enough."""
    for item in slate:
        made: list[dict[str, Any]] = []
        for rule in _step.rules:
            limit = limits.limit(rule)
            passed = rule not in limits.rules or rule.says(item, limit)
            made.append({"name": rule.name, "passed": passed} | _seen(rule, item, limit))
        passed = any(check["passed"] for check in made)
        yield Row(item, "kept" if passed else "eliminated", None if passed else "none_of", checks=made)


def _budget(_step: Step, slate: Sequence[Item], limits: _Limits) -> Iterator[Row]:
    """As long as the sum of what was kept stays within; the value is the sum."""
    total = 0.0
    for item in slate:
        row = Row(item, "kept")
        for rule in limits.rules:
            limit = limits.limit(rule)
            value = item.fields[rule.field]
            then = total + (0.0 if value is None or math.isnan(value) else value)
            verdict, reason = ("kept", None) if SIGNS[rule.sign](then, limit) else ("eliminated", rule.name)
            row = Row(item, verdict, reason, value=then, threshold=limit)
            total = then if row.verdict == "kept" else total
        yield row


def _own(_step: Step, slate: Sequence[Item], limits: _Limits) -> Iterator[Row]:
    """One rule with a limit of each candidate's own."""
    for item in slate:
        row = Row(item, "kept")
        for rule in limits.rules:
            limit = limits.limit(rule, 1.0 + zlib.crc32(item.id.encode()) % 5 / 8)
            passed = rule.says(item, limit)
            verdict, reason = ("kept", None) if passed else ("eliminated", rule.name)
            row = Row(item, verdict, reason, **_seen(rule, item, limit))
        yield row


def _quota(_step: Step, slate: Sequence[Item], limits: _Limits) -> Iterator[Row]:
    """So many of a brand; the value is how many there are already."""
    kept: Counter[str] = Counter()
    for item in slate:
        row = Row(item, "kept")
        for rule in limits.rules:
            limit = limits.limit(rule)
            full = kept[item.brand] >= limit
            verdict, reason = ("eliminated", rule.name) if full else ("kept", None)
            row = Row(item, verdict, reason, value=kept[item.brand], threshold=limit)
        kept[item.brand] += row.verdict == "kept"
        yield row


def _unique(step: Step, slate: Sequence[Item], limits: _Limits) -> Iterator[Row]:
    """After its rules, one of a title; a merge or a rejection without figures."""
    known: dict[str, Item] = {}
    for row in _in_turn(step, slate, limits):
        if row.verdict == "kept" and row.item.title in known:
            if step.declares.get("merges"):
                row = Row(row.item, "merged", "duplicate", value=known[row.item.title].id)
            else:
                row = Row(row.item, "eliminated", "duplicate")
        elif row.verdict == "kept":
            known[row.item.title] = row.item
        yield row


def _enough(step: Step, slate: Sequence[Item], limits: _Limits) -> Iterator[Row]:
    """After its rules, no more than a number."""
    kept = 0
    for row in _in_turn(step, slate, limits):
        if row.verdict == "kept" and kept >= 4 * step.limit:
            row = Row(row.item, "eliminated", "enough")
        kept += row.verdict == "kept"
        yield row


def _average(step: Step, slate: Sequence[Item], limits: _Limits) -> Iterator[Row]:
    """Limits that follow from the slate's mean."""
    for rule in step.rules:
        known = [v for item in slate if (v := item.fields[rule.field]) is not None and not math.isnan(v)]
        limit = limits.derived(rule, math.fsum(known) / len(known) * 1.1 if known else 0.0)
        for item in slate:
            passed = rule not in limits.rules or rule.says(item, limit)
            verdict, reason = ("kept", None) if passed else ("eliminated", rule.name)
            yield Row(item, verdict, reason, **_seen(rule, item, limit))


def _moody(_step: Step, slate: Sequence[Item], _limits: _Limits) -> Iterator[Row]:
    """A model that looks at everybody at once."""
    mood = zlib.crc32("".join(item.id for item in slate).encode())
    for place, item in enumerate(slate):
        passed = (zlib.crc32(item.id.encode()) ^ mood) % 5 > 0
        yield Row(
            item, "kept" if passed else "eliminated", None if passed else "not_relevant", score=place * 0.1
        )


def score_of(item: Item) -> float | None:
    """What a ranking goes by; ties and candidates without a score included."""
    value = item.fields["relevance"]
    return None if value is None or math.isnan(value) else round(value / 10, 1)


def _rank(step: Step, slate: Sequence[Item], limits: _Limits) -> Iterator[Row]:
    """The best by score, ties in their order, those without a score last."""
    ranked = sorted(slate, key=lambda item: -(s if (s := score_of(item)) is not None else -math.inf))
    keeps = len(ranked) if limits.top_k is None else limits.top_k
    won, lost = ("selected", "lower_score") if step.kind == "select" else ("kept", "below_top_k")
    for place, item in enumerate(ranked):
        verdict, reason = (won, None) if place < keeps else ("not_selected", lost)
        yield Row(item, verdict, reason, score=score_of(item))


def _diverse(_step: Step, slate: Sequence[Item], limits: _Limits) -> Iterator[Row]:
    """The best by score, less 1 for each of the brand that is already taken; records the score alone."""
    left, taken, keeps = list(slate), Counter[str](), limits.top_k or 0
    for _ in range(min(keeps, len(left))):
        best = max(left, key=lambda item: (score_of(item) or 0.0) - taken[item.brand])
        left.remove(best)
        taken[best.brand] += 1
        yield Row(best, "kept", score=score_of(best))
    for item in left:
        yield Row(item, "not_selected", "below_top_k", score=score_of(item))


_KINDS: Mapping[str, Callable[[Step, Sequence[Item], _Limits], Iterator[Row]]] = {
    "source": _source,
    "compared": _in_turn,
    "single": _in_turn,
    "veiled": _veiled,
    "hand": _in_turn,
    "in_turn": _in_turn,
    "checks_in_turn": _in_turn,
    "checks_all": _every,
    "any_of": _any_of,
    "budget": _budget,
    "own": _own,
    "quota": _quota,
    "unique": _unique,
    "enough": _enough,
    "average": _average,
    "moody": _moody,
    "rank": _rank,
    "select": _rank,
    "diverse": _diverse,
}
INDEPENDENT = (
    "compared",
    "single",
    "veiled",
    "hand",
    "in_turn",
    "checks_in_turn",
    "checks_all",
    "any_of",
    "own",
)
"""Kinds that judge each candidate by itself."""
