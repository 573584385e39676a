"""
Whether a limit is kept by a figure that is known between two bounds.

A contract holds when it does wherever in the bounds the figure lies, is violated when it is wherever it
lies, and is unknown else: never a false pass, never a false alarm.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

State = Literal["held", "violated", "unknown"]
Sign = Literal["at_most", "below", "at_least", "above"]
Figure = Fraction | float
"""A share is a fraction, so that 5 of 100 is 5 % and not nearly so."""

_KEPT: Mapping[Sign, Callable[[Figure, Figure], bool]] = {
    "at_most": lambda figure, limit: figure <= limit,
    "below": lambda figure, limit: figure < limit,
    "at_least": lambda figure, limit: figure >= limit,
    "above": lambda figure, limit: figure > limit,
}
SIGNS: tuple[Sign, ...] = ("at_most", "below", "at_least", "above")


@dataclass(frozen=True, slots=True)
class Bounds:
    """A figure, and how far it may lie from there: equal bounds for one that is known."""

    low: Figure
    high: Figure


def judge(sign: Sign, limit: Figure, bounds: Bounds | None) -> State:
    """Compare; no bounds: nothing was there to judge."""
    if bounds is None:
        return "unknown"
    kept = _KEPT[sign]
    verdicts = {kept(bounds.low, limit), kept(bounds.high, limit)}
    if len(verdicts) > 1:
        return "unknown"
    return "held" if verdicts == {True} else "violated"


def share(certain: int, unsure: int, total: int) -> Bounds | None:
    """Return the share of ``certain`` when each of the ``unsure`` may belong to it; None of nothing."""
    if total == 0:
        return None
    return Bounds(Fraction(certain, total), Fraction(certain + unsure, total))
