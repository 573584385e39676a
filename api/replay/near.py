"""Which candidates nearly went otherwise: values within a share of their limit, on either side."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

from api.replay.comparing import Number, is_number
from api.replay.facts import PASSING, StepFacts
from api.replay.rules import rejected


@dataclass(frozen=True)
class NearMiss:
    """One comparison that nearly went otherwise."""

    item_id: str
    step_id: str
    step: str
    verdict: str
    rule: str | None
    """Name of the check, else the decision's reason."""
    value: Number
    threshold: Number
    passed: bool | None
    """Of the check, or of the candidate."""
    distance: float
    """Between value and threshold."""
    relative: float
    """The same as a share of the threshold."""


def near_misses(steps: Sequence[StepFacts], within: Fraction) -> list[NearMiss]:
    """
    Return the comparisons whose value is at most the share ``within`` from its threshold, nearest first.

    Exact, whatever the rounding of doubles: both are taken as the numbers that they are. Of a threshold
    of 0 only a value of 0 is near. Ties stand in the order of steps and decisions.
    """
    found = [
        (_share(miss), place, miss)
        for place, miss in enumerate(miss for step in steps for miss in _compared(step))
        if _is_near(miss, within)
    ]
    found.sort(key=lambda entry: entry[:2])
    return [miss for _, _, miss in found]


def _share(miss: NearMiss) -> Fraction:
    distance = abs(Fraction(miss.value) - Fraction(miss.threshold))
    return distance / abs(Fraction(miss.threshold)) if miss.threshold else distance


def _is_near(miss: NearMiss, within: Fraction) -> bool:
    # Fractions cost microseconds each; what is far off in doubles is far off.
    if miss.relative > 2 * float(within) + 1e-9:
        return False
    return abs(Fraction(miss.value) - Fraction(miss.threshold)) <= within * abs(Fraction(miss.threshold))


def _compared(step: StepFacts) -> Iterator[NearMiss]:
    for d in step.decisions:
        if d.checks:
            pairs = [(c["name"], c.get("value"), c.get("threshold"), c.get("passed")) for c in d.checks]
        else:
            passed = True if d.verdict in PASSING else False if rejected(d) else None
            pairs = [(d.reason, d.value, d.threshold, passed)]
        for rule, value, threshold, said in pairs:
            if is_number(value) and is_number(threshold):
                distance = abs(float(value) - float(threshold))
                relative = distance / abs(threshold) if threshold else distance
                yield NearMiss(
                    d.item_id,
                    step.step_id,
                    step.name,
                    d.verdict,
                    rule,
                    value,
                    threshold,
                    said,
                    distance,
                    relative,
                )
