"""What became of the items of one step in two runs."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from heapq import nsmallest
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
    """Whether two recorded values are the same, numbers but for rounding, of which whole ones have none."""
    if one is other:
        return True
    if type(one) is int and type(other) is int:
        return one == other
    if isinstance(one, float | int) and isinstance(other, float | int):
        return math.isclose(one, other, rel_tol=_RELATIVE, abs_tol=1e-12)
    return bool(one == other)


def compare_items(a: Sequence[Decision], b: Sequence[Decision], *, sampled: bool) -> Compared:
    """
    Hold the decisions of one step against each other, item by item.

    sampled: not every decision is there, so that an item that one run lacks says nothing, and a place by
    score neither.
    """
    mine, others = _by_occurrence(a), _by_occurrence(b)
    ranks_a, ranks_b = ({}, {}) if sampled else (_ranks(a), _ranks(b))
    counted: Counter[str] = Counter()
    found: list[tuple[int, Occurrence, tuple[Change, ...]]] = []
    both, valued = 0, True
    for key in [*mine, *(key for key in others if key not in mine)]:
        one, other = mine.get(key), others.get(key)
        if one is None or other is None:
            changed: tuple[Change, ...] = () if sampled else ("only_a" if other is None else "only_b",)
        else:
            both += 1
            changed = _changes(one, other, ranks_a, ranks_b)
            if {"verdict", "reason", "score"}.intersection(changed) and "value" not in changed:
                valued = False
        if changed:
            counted.update(changed)
            # Those that one run lacks at the end, whichever it is: the other way round gives the same order.
            found.append((min(_ORDER.index(changed[0]), _ORDER.index("only_a")), key, changed))
    examples = [
        ItemChange(key[0], changed, _judgement(mine.get(key), ranks_a), _judgement(others.get(key), ranks_b))
        for _, key, changed in nsmallest(EXAMPLES, found)
    ]
    known: dict[str, int] = {name: counted[name] for name in _ORDER if counted[name]}
    one_a, one_b = _constant(a), _constant(b)
    return Compared(
        ItemChanges(both, len(found), known, examples),
        valued,
        one_a is _VARIES or one_b is _VARIES,
        (None if one_a is _VARIES else one_a, None if one_b is _VARIES else one_b),
    )


def _by_occurrence(decisions: Sequence[Decision]) -> dict[Occurrence, Decision]:
    found: dict[Occurrence, Decision] = {}
    seen: Counter[str] = Counter()
    for one in decisions:
        key = (one.item_id, 0)
        if key in found:
            seen[one.item_id] += 1
            key = (one.item_id, seen[one.item_id])
        found[key] = one
    return found


def _judgement(one: Decision | None, ranks: Mapping[float, int]) -> Judgement | None:
    if one is None:
        return None
    return Judgement(
        verdict=one.verdict,
        reason=one.reason,
        score=one.score,
        rank=_rank(one, ranks),
        value=one.value,
        threshold=one.threshold,
        value_missing=one.value_missing,
    )


def _ranks(decisions: Sequence[Decision]) -> Mapping[float, int]:
    """The place of each score, from 1; equal ones share the first."""
    ranks: dict[float, int] = {}
    scores = sorted((one.score for one in decisions if one.score is not None), reverse=True)
    for place, score in enumerate(scores, 1):
        ranks.setdefault(score, place)
    return ranks


def _changes(
    one: Decision, other: Decision, ranks_a: Mapping[float, int], ranks_b: Mapping[float, int]
) -> tuple[Change, ...]:
    found: list[Change] = []
    if one.verdict != other.verdict:
        found.append("verdict")
    if one.reason != other.reason:
        found.append("reason")
    if one.value_missing != other.value_missing or not equal(one.value, other.value):
        found.append("value")
    if not equal(one.score, other.score):
        found.append("score")
    if _rank(one, ranks_a) != _rank(other, ranks_b):
        found.append("rank")
    return tuple(found)


def _rank(one: Decision, ranks: Mapping[float, int]) -> int | None:
    return None if one.score is None else ranks.get(one.score)


_VARIES = object()


def _constant(decisions: Sequence[Decision]) -> Any:
    """The threshold that all items were held against; None without any."""
    thresholds = {one.threshold for one in decisions if one.threshold is not None}
    if len(thresholds) > 1:
        return _VARIES
    return next(iter(thresholds), None)
