"""What became of the items of one step in two runs."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from api.compare.records import Change, ItemChange, ItemChanges, Judgement
from store.decisions import Decision

EXAMPLES = 1000
"""Items of one step that are shown at most; all are counted."""
_RELATIVE = 1e-9
"""Numbers as near as that are equal: the same sum in another order."""
_ORDER: tuple[Change, ...] = ("verdict", "reason", "value", "score", "rank", "only_a", "only_b")
Occurrence = tuple[str, int]
"""Item id, and how many times the step had judged it before."""


class Compared(NamedTuple):
    """The judgements of one step, held against each other."""

    changes: ItemChanges
    valued: bool
    """Whether each item with another verdict, reason or score had another value, too."""
    no_constant: bool
    """Whether the thresholds differ from item to item, so that they are no setting of the step."""
    thresholds: tuple[Any, Any]
    """The one threshold of all items of the run; None where there is none, or ``no_constant``."""


def equal(one: Any, other: Any) -> bool:
    """Whether two recorded values are the same, numbers but for rounding."""
    if isinstance(one, float | int) and isinstance(other, float | int):
        return math.isclose(one, other, rel_tol=_RELATIVE, abs_tol=1e-12)
    return bool(one == other)


def compare_items(a: Sequence[Decision], b: Sequence[Decision], *, sampled: bool) -> Compared:
    """
    Hold the decisions of one step against each other, item by item.

    sampled: not every decision is there, so that an item that one run lacks says nothing, and a place by
    score neither.
    """
    mine, others = _judgements(a, ranked=not sampled), _judgements(b, ranked=not sampled)
    counted: Counter[str] = Counter()
    examples: list[ItemChange] = []
    both, valued = 0, True
    for key in sorted(mine.keys() | others.keys()):
        one, other = mine.get(key), others.get(key)
        if one is None or other is None:
            changed: tuple[Change, ...] = () if sampled else ("only_a" if other is None else "only_b",)
        else:
            both += 1
            changed = _changes(one, other)
            if {"verdict", "reason", "score"} & set(changed) and "value" not in changed:
                valued = False
        if changed:
            counted.update(changed)
            examples.append(ItemChange(key[0], changed, one, other))
    # Those that one run lacks at the end, whichever it is: the other way round gives the same order.
    examples.sort(key=lambda change: min(_ORDER.index(change.changed[0]), _ORDER.index("only_a")))
    known: dict[str, int] = {name: counted[name] for name in _ORDER if counted[name]}
    one_a, one_b = _constant(a), _constant(b)
    return Compared(
        ItemChanges(both, known, examples[:EXAMPLES]),
        valued,
        one_a is _VARIES or one_b is _VARIES,
        (None if one_a is _VARIES else one_a, None if one_b is _VARIES else one_b),
    )


def _judgements(decisions: Sequence[Decision], *, ranked: bool) -> dict[Occurrence, Judgement]:
    seen: Counter[str] = Counter()
    ranks = _ranks(decisions) if ranked else {}
    found = {}
    for one in decisions:
        key = (one.item_id, seen[one.item_id])
        seen[one.item_id] += 1
        found[key] = Judgement(
            verdict=one.verdict,
            reason=one.reason,
            score=one.score,
            rank=None if one.score is None else ranks.get(one.score),
            value=one.value,
            threshold=one.threshold,
            value_missing=one.value_missing,
        )
    return found


def _ranks(decisions: Sequence[Decision]) -> Mapping[float, int]:
    """The place of each score, from 1; equal ones share the first."""
    ranks: dict[float, int] = {}
    scores = sorted((one.score for one in decisions if one.score is not None), reverse=True)
    for place, score in enumerate(scores, 1):
        ranks.setdefault(score, place)
    return ranks


def _changes(one: Judgement, other: Judgement) -> tuple[Change, ...]:
    if one == other:
        return ()
    found: list[Change] = []
    if one.verdict != other.verdict:
        found.append("verdict")
    if one.reason != other.reason:
        found.append("reason")
    if one.value_missing != other.value_missing or not equal(one.value, other.value):
        found.append("value")
    if not equal(one.score, other.score):
        found.append("score")
    if one.rank != other.rank:
        found.append("rank")
    return tuple(found)


_VARIES = object()


def _constant(decisions: Sequence[Decision]) -> Any:
    """The threshold that all items were held against; None without any."""
    thresholds = {one.threshold for one in decisions if one.threshold is not None}
    if len(thresholds) > 1:
        return _VARIES
    return next(iter(thresholds), None)
