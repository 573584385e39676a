"""
Which step of one run is which of another: the alignment of two sequences with the largest likeness.

Symmetric: the sequences are put into an order of their own first, so that which of two equally good
alignments is taken does not hang on who was named first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence, Set

from api.compare.records import StepPair
from store.queries.types import StepRecord

Items = Callable[[StepRecord], Set[str]]
"""The ids of the items that a step judged."""

_SAME = 8
"""Likeness of steps of one name and type; the id adds 1."""
_OTHER_TYPE = 6
_SAME_ID = 5
_RENAMED = 2
_ALIKE = 0.5
_MAX_PAIRS = 40_000
"""Of steps in the middle of which the items are held against each other; a second of processor time."""


def align(a: Sequence[StepRecord], b: Sequence[StepRecord], items: Items) -> list[StepPair]:
    """
    Pair the steps of two runs, in the order of both; what has no partner stands alone, ``a``'s first.

    Attempts of one step must have been reduced to one. Takes a millisecond for ten steps that differ, a
    second for a thousand.
    """
    turned = _order(b) < _order(a)
    first, second = (b, a) if turned else (a, b)
    start = _equal_heads(first, second)
    pairs: list[tuple[int | None, int | None]] = [(n, n) for n in range(start)]
    pairs += [
        (None if x is None else x + start, None if y is None else y + start)
        for x, y in _aligned(first[start:], second[start:], items)
    ]
    found = []
    for x, y in pairs:
        one, other = (None if x is None else first[x]), (None if y is None else second[y])
        step_a, step_b = (other, one) if turned else (one, other)
        renamed = step_a is not None and step_b is not None and step_a.name != step_b.name
        found.append(StepPair(step_a, step_b, renamed))
    return _ordered(found)


def likeness(one: StepRecord, other: StepRecord, items: Items) -> int:
    """How much speaks for two steps being the same; 0: nothing does."""
    if one.name == other.name:
        same = _SAME if one.step_type == other.step_type else _OTHER_TYPE
        return same + (one.step_id == other.step_id)
    if one.step_type != other.step_type:
        return 0
    if one.step_id == other.step_id:
        return _SAME_ID
    return _RENAMED if _behave_alike(one, other, items) else 0


def _behave_alike(one: StepRecord, other: StepRecord, items: Items) -> bool:
    """Whether two steps of one type and different names did the same work: then one was renamed."""
    if one.config_fingerprint and one.config_fingerprint == other.config_fingerprint:
        return True
    mine, others = set(one.reasons), set(other.reasons)
    if mine != others and not mine & others:
        return False
    judged, also = items(one), items(other)
    if judged and also:
        needed = _ALIKE * max(len(judged), len(also))
        return min(len(judged), len(also)) >= needed and len(judged & also) >= needed
    return one.candidates_in is not None and one.candidates_in == other.candidates_in


def _order(steps: Sequence[StepRecord]) -> list[tuple[str, str, str]]:
    return [(step.name, step.step_type or "", step.step_id) for step in steps]


def _equal_heads(a: Sequence[StepRecord], b: Sequence[StepRecord]) -> int:
    """How many first steps are the same beyond doubt: no other partner could be better."""
    counted = 0
    for one, other in zip(a, b, strict=False):
        if (one.name, one.step_type, one.step_id) != (other.name, other.step_type, other.step_id):
            break
        counted += 1
    return counted


def _unlooked(_: StepRecord) -> Set[str]:
    return frozenset()


def _aligned(
    a: Sequence[StepRecord], b: Sequence[StepRecord], items: Items
) -> list[tuple[int | None, int | None]]:
    """The pairs of places, by the largest sum of likeness (Needleman and Wunsch, gaps for nothing)."""
    if len(a) * len(b) > _MAX_PAIRS:
        items = _unlooked  # whether steps were renamed is then told by what their rows say
    like = [[likeness(one, other, items) for other in b] for one in a]
    # best[x][y]: of a[x:] with b[y:].
    best = [[0] * (len(b) + 1) for _ in range(len(a) + 1)]
    for x in range(len(a) - 1, -1, -1):
        row, below, mine = best[x], best[x + 1], like[x]
        for y in range(len(b) - 1, -1, -1):
            paired = mine[y] + below[y + 1] if mine[y] else 0
            row[y] = max(paired, below[y], row[y + 1])
    pairs: list[tuple[int | None, int | None]] = []
    x = y = 0
    while x < len(a) and y < len(b):
        if like[x][y] and best[x][y] == like[x][y] + best[x + 1][y + 1]:
            pairs.append((x, y))
            x, y = x + 1, y + 1
        elif best[x][y] == best[x + 1][y]:
            pairs.append((x, None))
            x += 1
        else:
            pairs.append((None, y))
            y += 1
    pairs += [(place, None) for place in range(x, len(a))]
    return pairs + [(None, place) for place in range(y, len(b))]


def _ordered(pairs: Sequence[StepPair]) -> list[StepPair]:
    """Between two paired steps, those that only one run has by name, so that both ways give one order."""
    found: list[StepPair] = []
    alone: list[StepPair] = []
    for pair in pairs:
        if pair.a is None or pair.b is None:
            alone.append(pair)
            continue
        found += _merged(alone)
        found.append(pair)
        alone = []
    return found + _merged(alone)


def _merged(alone: Sequence[StepPair]) -> list[StepPair]:
    """The run with the smaller names first; each run's own steps stay in their order."""
    only_a = [pair for pair in alone if pair.b is None]
    only_b = [pair for pair in alone if pair.a is None]
    names_a = _order([pair.a for pair in only_a if pair.a is not None])
    names_b = _order([pair.b for pair in only_b if pair.b is not None])
    return only_a + only_b if names_a <= names_b else only_b + only_a
