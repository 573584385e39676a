"""
What the single decisions of a run say about its steps, as figures (``store.queries.figures``).

A step that is right agrees with itself and with the steps before: it judges all candidates on one side of
a limit alike, it compares the number that an earlier step gave an item, and what it finds goes with what
they found as it always did. Faults that leave every average alone break that.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from operator import mul
from statistics import fmean, median
from typing import Any, NamedTuple

from store.decisions import DecisionColumns

PASSING = frozenset("KSW")
"""Letters of the verdicts with which a candidate goes on (``store.decisions.VERDICTS``)."""
FEW_VALUES = 12
"""Up to so many different values are kinds of things, and not a scale."""
LEAST_COMMON, MOST_COMMON = 12, 2_000
"""Items that two steps must both have a number of to be held against each other, and that are at most."""
NEAR = 24
"""Steps that found out something, the latest, with whose numbers a step's are held against."""
LARGEST = 1e100
"""Numbers beyond it are left out: sums of them overflow."""
SIDES = ("below", "at", "above", "off")
"""Where a value lies to its threshold; ``off`` is text that differs from it."""
Number = tuple[str, float]
"""An item and what was said of it."""


class Decided(NamedTuple):
    """The decisions of one execution of a step."""

    step: str
    parts: Sequence[DecisionColumns]
    """Empty when none are stored."""


def of_run(executions: Sequence[Decided]) -> list[dict[str, float]]:
    """
    Figures of each execution; none of one whose decisions are sampled, which are not like the others.

    executions: those of one run that judged anything, as they started. After one whose decisions are not
    all there nothing is said about what came before: it may be what is missing.
    """
    found: list[dict[str, float]] = []
    before: Before | None = Before(set(), [])
    for execution in executions:
        if not execution.parts or any(_is_sampled(part.probability) for part in execution.parts):
            found.append({})
            before = None
        else:
            figures = _of_step(execution.parts)
            found.append(figures if before is None else figures | _told(execution, before))
    return found


class Before(NamedTuple):
    """What earlier steps of the run said of its items."""

    said: set[Number]
    made: list[tuple[str, Mapping[str, float]]]
    """Steps that found out something, each with item → number."""


def _told(execution: Decided, before: Before) -> dict[str, float]:
    """How far the step agrees with the earlier ones; what it says is added to theirs."""
    found: dict[str, float] = {}
    own: Mapping[str, float] = {}
    for name in ("value", "score"):
        numbers = list(_numbers(execution.parts, name))
        if not numbers:
            continue
        known = sum(number in before.said for number in numbers) / len(numbers)
        if before.said:
            found[f"part:{name} as before"] = known
        if known < 0.5:
            own = dict(numbers[:MOST_COMMON])
        before.said.update(numbers)
    if own:
        for step, others in before.made:
            correlation = _correlation(own, others)
            if correlation is not None:
                # Fisher's transformation: its spread does not depend on how strong the relation is.
                found[f"level:goes with {step}"] = math.atanh(max(-0.995, min(0.995, correlation)))
        before.made.append((execution.step, own))
        del before.made[:-NEAR]
    return found


def _correlation(own: Mapping[str, float], others: Mapping[str, float]) -> float | None:
    """Over the items that both have; None when they are few or all alike."""
    common = [item for item in own if item in others]
    count = len(common)
    if count < LEAST_COMMON:
        return None
    ones, twos = [own[item] for item in common], [others[item] for item in common]
    mean_one, mean_two = fmean(ones), fmean(twos)
    ones, twos = [one - mean_one for one in ones], [two - mean_two for two in twos]
    squares = sum(map(mul, ones, ones)) * sum(map(mul, twos, twos))
    least = 1e-9 * count * mean_one * mean_two  # of numbers that are alike, rounding errors are left
    if not least * least < squares < math.inf:
        return None
    return float(sum(map(mul, ones, twos)) / math.sqrt(squares))


def _of_step(parts: Sequence[DecisionColumns]) -> dict[str, float]:
    items = [item for part in parts for item in part.item]
    count = max(1, len(items))
    missing = sum(len(part.missing or ()) for part in parts)
    passed = sum(part.verdict[place] in PASSING for part in parts for place in part.missing or ())
    found = {
        "part:repeated": 1 - len(set(items)) / count,
        "part:without a value": missing / count,
        "part:kept without a value": passed / count,
    }
    if values := sorted(value for _, value in _numbers(parts, "value")):
        found |= _values(values)
    if thresholds := [threshold for _, threshold in _numbers(parts, "threshold")]:
        found["level:threshold p50"] = median(thresholds)
    if scores := [score for _, score in _numbers(parts, "score")]:
        found["part:same score"] = Counter(scores).most_common(1)[0][1] / len(scores)
    return found | _both_ways(parts, count)


def _values(values: Sequence[float]) -> dict[str, float]:
    """values: ascending."""
    last = len(values) - 1
    found = {
        "level:value mean": fmean(values),
        "level:value least": values[0],
        "level:value most": values[-1],
    }
    different = len(set(values))
    if different <= FEW_VALUES:
        found["level:value kinds"] = different
    # The middle of a few whole numbers is the same in all runs, until it is another by a hair.
    if not all(float(value).is_integer() for value in values):
        found |= {f"level:value p{place}": values[place * last // 100] for place in (10, 50, 90)}
    return found


def _both_ways(parts: Sequence[DecisionColumns], count: int) -> dict[str, float]:
    """For each side of the limit, the share of decisions unlike most of those on the same side."""
    sides: Counter[tuple[bool, str]] = Counter()
    for part in parts:
        columns = (_column(part, "value"), _column(part, "threshold"))
        for verdict, value, threshold in zip(part.verdict, *columns, strict=True):
            side = _side(value, threshold)
            if side is not None:
                sides[verdict in PASSING, side] += 1
    if not sides:
        return {}
    return {
        f"part:judged both ways {side} the limit": min(sides[True, side], sides[False, side]) / count
        for side in SIDES
    }


def _side(value: Any, threshold: Any) -> str | None:
    if isinstance(value, int | float) and isinstance(threshold, int | float):
        return "below" if value < threshold else "above" if value > threshold else "at"
    if isinstance(value, str) and isinstance(threshold, str):
        return "at" if value == threshold else "off"
    return None


def _is_sampled(probability: Any) -> bool:
    given = probability if isinstance(probability, list) else [probability]
    return any(one is not None and one < 1 for one in given)


def _column(part: DecisionColumns, name: str) -> Sequence[Any]:
    column = getattr(part, name)
    return column if isinstance(column, list) else [column] * part.count


def _numbers(parts: Sequence[DecisionColumns], name: str) -> Iterator[Number]:
    """Item and number, of those that have one."""
    for part in parts:
        for item, one in zip(part.item, _column(part, name), strict=True):
            if isinstance(one, int | float) and not isinstance(one, bool) and abs(one) < LARGEST:
                yield item, one
