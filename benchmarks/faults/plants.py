"""
The faults that can be planted in a step, each with an intensity from 0 to 1.

Most hit a share of the items, as one bad server of several would; some have a size. Which step a
fault fits is asked of the step itself. Nothing here looks at how X-Ray will see the fault.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from benchmarks.faults.planting import Around, Misread, Mixed, Plant, hit, numeric_rule, side, with_rule
from benchmarks.faults.steps import (
    Cap,
    Check,
    Dedup,
    Enrich,
    Item,
    ItemWise,
    Label,
    Model,
    Outcome,
    Query,
    Search,
    Select,
    Step,
    StepType,
    TopK,
    unit,
)


def threshold_shift(step: Step, u: float) -> Step | None:
    """A limit is multiplied, up or down, by up to 5."""
    rule = numeric_rule(step)
    if rule is None or not isinstance(step, Check):
        return None
    factor = 1 + 4 * u if side(step) else 1 / (1 + 4 * u)
    limit: Any = rule.limit

    def moved(query: Query) -> float:
        return float(limit(query) if callable(limit) else limit) * factor

    return with_rule(step, rule, rule._replace(limit=moved))


def skipped_check(step: Step, u: float) -> Step | None:
    """The value to check is not found for some items, and they pass."""
    if not isinstance(step, Check):
        return None
    names = {rule.field for rule in step.rules}
    lax = replace(step, rules=tuple(rule._replace(missing=None) for rule in step.rules))
    return Mixed(step.name, step, Misread(step.name, lax, lambda item: item | dict.fromkeys(names)), u)


def inverted_comparison(step: Step, u: float) -> Step | None:
    """A comparison the wrong way round on one path of the code."""
    if not isinstance(step, Check):
        return None
    rule = step.rules[0]
    opposite = {"<=": ">=", ">=": "<=", "==": "!=", "!=": "==", "in": "not in", "not in": "in"}
    inverted = with_rule(step, rule, rule._replace(comparator=opposite[rule.comparator]))
    return Mixed(step.name, step, inverted, u)


def stale_index(step: Step, u: float) -> Step | None:
    """The newest items are not in the index yet."""
    if not isinstance(step, Search):
        return None
    return Around(step.name, step, before=lambda items: [item for item in items if item["age"] >= u])


def source_down(step: Step, u: float) -> Step | None:
    """One of the sources gives only some of its items."""
    if not isinstance(step, Search):
        return None

    def cut(items: Sequence[Item]) -> Sequence[Item]:
        first = min((item["source"] for item in items), default="")
        return [item for item in items if item["source"] != first or not hit(step.name, item, u)]

    return Around(step.name, step, before=cut)


def repeated_items(step: Step, u: float) -> Step | None:
    """A page of results is read twice."""
    if not isinstance(step, Search):
        return None

    def again(items: Sequence[Item]) -> Sequence[Item]:
        return [*items, *(item for item in items if hit(step.name, item, u))]

    return Around(step.name, step, before=again)


def _numbers_read(step: Step) -> tuple[str, ...]:
    """Fields that the step reads as numbers."""
    if isinstance(step, Model):
        return tuple(step.weights)[:1]
    rule = numeric_rule(step)
    return () if rule is None else (rule.field,)


def wrong_unit(step: Step, u: float) -> Step | None:
    """A field of some items is read in a unit 100 times as large or small."""
    names = _numbers_read(step)
    if not names or not isinstance(step, ItemWise):
        return None
    factor = 100.0 if side(step) else 0.01

    def read(item: Item) -> Item:
        return item | {name: None if item.get(name) is None else item[name] * factor for name in names}

    return Mixed(step.name, step, Misread(step.name, step, read), u)


def wrong_timezone(step: Step, u: float) -> Step | None:
    """Hours of some items are read six hours late."""
    if not isinstance(step, Check | Enrich):
        return None
    names = [rule.field for rule in step.rules if "hour" in rule.field] if isinstance(step, Check) else []
    names = [name for name in names if name.endswith("_hour")] or (["hour"] if step.name == "night" else [])
    if not names:
        return None

    def read(item: Item) -> Item:
        return item | {name: (item[name] + 6) % 24 for name in names}

    return Mixed(step.name, step, Misread(step.name, step, read), u)


def model_change(step: Step, u: float) -> Step | None:
    """The model gets other weights under the same name."""
    if not isinstance(step, Model):
        return None
    size = max(abs(weight) for weight in step.weights.values())
    return replace(
        step,
        weights={
            name: weight + u * size * (3 * unit(step.name, name, "drift") - 1.5)
            for name, weight in step.weights.items()
        },
        bias=step.bias + u * size * (unit(step.name, "drift") - 0.5),
    )


def swapped_weights(step: Step, u: float) -> Step | None:
    """The weights of the two features that weigh most and least are confused."""
    if not isinstance(step, Model) or len(step.weights) < 2:
        return None
    most, least = (
        max(step.weights, key=step.weights.__getitem__),
        min(step.weights, key=step.weights.__getitem__),
    )
    swapped = {**step.weights, most: step.weights[least], least: step.weights[most]}
    return Mixed(step.name, step, replace(step, weights=swapped), u)


def swapped_labels(step: Step, u: float) -> Step | None:
    """Two labels are confused."""
    if not isinstance(step, Label):
        return None
    one, other = list(step.labels)[:2]
    confused = {**step.labels, one: step.labels[other], other: step.labels[one]}
    return Mixed(step.name, step, replace(step, labels=confused), u)


def truncated_input(step: Step, u: float) -> Step | None:
    """The step reads only the first of its candidates."""
    if isinstance(step, Search):
        return None
    return Around(step.name, step, before=lambda items: items[: math.ceil(len(items) * (1 - u))])


def lost_candidates(step: Step, u: float) -> Step | None:
    """Some candidates get no verdict and go nowhere."""
    if isinstance(step, Search):
        return None

    def lose(outcome: Outcome) -> Outcome:
        kept = [row for row in outcome.rows if not hit(step.name, {"id": row.item_id}, u)]
        out = [item for item in outcome.out if not hit(step.name, item, u)]
        return replace(outcome, rows=kept, out=out)

    return Around(step.name, step, after=lose)


@dataclass(frozen=True)
class Coarse(Dedup):
    """A merge that looks at its key too coarsely for a share of the items."""

    share: float = 0.0

    def same(self, item: Item) -> tuple[object, ...]:
        own = Dedup.same(self, item)
        return (int(7 * unit(*own)),) if hit(self.name, item, self.share) else own


def wrong_merge(step: Step, u: float) -> Step | None:
    """Different items are taken for the same."""
    return Coarse(step.name, step.key, u) if isinstance(step, Dedup) else None


def lost_normalisation(step: Step, u: float) -> Step | None:
    """A field goes on as it came."""
    if not isinstance(step, Enrich) or step.raw is None:
        return None
    raw = step.raw
    return Mixed(step.name, step, replace(step, how=lambda item, query: item.get(raw)), u)


def attribute_missing(step: Step, u: float) -> Step | None:
    """A field of some items is not filled."""
    if isinstance(step, Enrich):
        return Mixed(step.name, step, replace(step, how=lambda item, query: None), u)
    if not isinstance(step, Search) or not step.fields:
        return None
    name = step.fields[-1]

    def strip(outcome: Outcome) -> Outcome:
        out = [item | {name: None} if hit(step.name, item, u) else item for item in outcome.out]
        return replace(outcome, out=out)

    return Around(step.name, step, after=strip)


def partial_outage(step: Step, u: float) -> Step | None:
    """Calls fail for some items; the code goes on with a score or label of its own."""
    if isinstance(step, Label):
        # Nothing is read, so all weighted sums are 0 but that of the label for it.
        failed = replace(step, labels={"unlabelled": {"one": 1.0}, "none": {}})
        return Mixed(
            step.name, step, Misread(step.name, failed, lambda item: {"id": item["id"], "one": 1.0}), u
        )
    if not isinstance(step, Model):
        return None
    half = replace(step, weights={}, bias=0.0, noise=0.0)

    def count(outcome: Outcome) -> Outcome:
        failed = sum(hit(step.name, {"id": row.item_id}, u) for row in outcome.rows)
        return replace(outcome, metrics=outcome.metrics | {"failed_calls": float(failed)})

    return Around(step.name, Mixed(step.name, step, half, u), after=count if step.counts_failures else None)


def off_by_k(step: Step, u: float) -> Step | None:
    """A number of places is wrong, by one or more."""
    if isinstance(step, Select) or not isinstance(step, TopK | Cap):
        return None
    size = step.k if isinstance(step, TopK) else step.most
    off = max(1, round(u * size))
    wrong = max(1, size - off) if side(step) else size + off
    return replace(step, k=wrong) if isinstance(step, TopK) else replace(step, most=wrong)


@dataclass(frozen=True)
class Stale(TopK):
    """Sorts some items by what a cache says."""

    inner: TopK | None = None
    share: float = 0.0

    @property
    def step_type(self) -> StepType:  # type: ignore[override]  # that of the step it stands for
        return "rank" if self.inner is None else self.inner.step_type

    def figure(self, item: Item) -> float:
        own = TopK.figure(self, item)
        # Of another item of the same size: a score that was right for something once.
        return own * 2 * unit(item["id"], "cached") if hit(self.name, item, self.share) else own

    @property
    def passing(self) -> str:
        return "kept" if self.inner is None else self.inner.passing

    @property
    def losing(self) -> str:
        return "below_top_k" if self.inner is None else self.inner.losing


def stale_scores(step: Step, u: float) -> Step | None:
    """Some items are sorted by a score of another day."""
    return Stale(step.name, step.by, step.k, step, u) if isinstance(step, TopK) else None


def mislabelled_reason(step: Step, u: float) -> Step | None:
    """Some of the rejected get a reason that is not theirs; what is rejected stays right."""
    if not isinstance(step, Check):
        return None
    known = [reason for rule in step.rules for reason in (rule.reason, rule.missing) if reason is not None]
    other = {reason: known[(at + 1) % len(known)] for at, reason in enumerate(known)}
    other = {reason: word if word != reason else "rejected" for reason, word in other.items()}

    def relabel(outcome: Outcome) -> Outcome:
        rows = [
            row._replace(reason=other[row.reason])
            if row.reason in other and hit(step.name, {"id": row.item_id}, u)
            else row
            for row in outcome.rows
        ]
        return replace(outcome, rows=rows)

    return Around(step.name, step, after=relabel)


def crash(step: Step, u: float) -> Step | None:
    """The step raises before it is through; the pipeline goes on with what had passed."""
    if not isinstance(step, Check | Model | Label):
        return None

    def fail(outcome: Outcome) -> Outcome:
        return replace(outcome, error="connection reset by peer")

    return Around(step.name, step, before=lambda items: items[: math.ceil(len(items) * (1 - u))], after=fail)


PLANTS: Mapping[str, Plant] = {
    plant.__name__: plant
    for plant in (
        threshold_shift,
        skipped_check,
        inverted_comparison,
        stale_index,
        source_down,
        repeated_items,
        wrong_unit,
        wrong_timezone,
        model_change,
        swapped_weights,
        swapped_labels,
        truncated_input,
        lost_candidates,
        wrong_merge,
        lost_normalisation,
        attribute_missing,
        partial_outage,
        off_by_k,
        stale_scores,
        mislabelled_reason,
        crash,
    )
}
"""Kind of fault → how it is planted."""
