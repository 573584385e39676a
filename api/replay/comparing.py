"""How a rule compares value and threshold, as declared, or else as far as the record shows it."""

from __future__ import annotations

import math
import operator
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple, TypeGuard

Number = int | float

SIGNS: Mapping[str, Callable[[Number, Number], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
}
"""What holds between value and threshold of a candidate that passes."""
_MAX_WHOLE = int(sys.float_info.max)
UPPER = frozenset(("<", "<="))
LOWER = frozenset((">", ">="))
ORDER = UPPER | LOWER
"""What a record can show. Equality must be declared: a tolerance that nobody came near looks the same."""


class Observation(NamedTuple):
    """What a rule said of one candidate."""

    passed: bool | None
    """None: not recorded."""
    value: object = None
    threshold: object = None
    missing: bool = False
    """The value was looked for and absent."""


@dataclass(frozen=True)
class Comparator:
    """The signs that the record leaves open, and whether it is known that there are no others."""

    signs: frozenset[str]
    """Empty: the record contradicts each of them."""
    declared: bool = False
    """Else a tolerance of which the record says nothing may look the same."""
    by_side: bool = True
    """
    Whether candidates on one side of their limit, or at it, all fared alike: then a threshold that moves
    past nobody changes nothing, be the rule a comparison or an equality.
    """

    def results(self, value: Number, threshold: Number) -> frozenset[bool]:
        """What the signs say of a value; of two results either may be."""
        return frozenset(SIGNS[sign](value, threshold) for sign in self.signs)

    @property
    def upper(self) -> bool | None:
        """Whether the threshold is the largest value that may pass; None: not known."""
        if not self.signs:
            return None
        return True if self.signs <= UPPER else False if self.signs <= LOWER else None

    @property
    def exact(self) -> bool:
        """Whether it asks for one value."""
        return self.signs in ({"=="}, {"!="})

    def just_passing(self, value: Number) -> Number:
        """The threshold nearest to the value with which it passes under each sign."""
        if self.exact:
            return value if self.signs == {"=="} else _next_to(value)
        if self.upper:
            return value if self.signs == {"<="} else _above(value)
        return value if self.signs == {">="} else _below(value)

    def just_failing(self, value: Number) -> Number:
        """The threshold nearest to the value with which it fails under each sign."""
        if self.exact:
            return value if self.signs == {"!="} else _next_to(value)
        if self.upper:
            return value if self.signs == {"<"} else _below(value)
        return value if self.signs == {">"} else _above(value)

    @property
    def text(self) -> str | None:
        """The sign, or those that are open, such as ``< or <=``."""
        return " or ".join(sorted(self.signs)) or None


def is_number(value: object) -> TypeGuard[Number]:
    """A number that can be compared; a boolean is none, nor a whole number beyond all doubles."""
    if type(value) is int:
        return -_MAX_WHOLE <= value <= _MAX_WHOLE
    return type(value) is float and math.isfinite(value)


def comparator(observed: Iterable[Observation | None], declared: str | None) -> Comparator:
    """
    Return the signs that agree with all observations, or with the declared one if that does.

    Other rules than a comparison (equality, a band, a set) leave no sign open, or show no candidate
    on one of the sides.
    """
    fared: dict[int, set[bool]] = {-1: set(), 0: set(), 1: set()}
    for observation in observed:
        if observation is None or observation.passed is None:
            continue
        value, threshold, passed = observation.value, observation.threshold, observation.passed
        if is_number(value) and is_number(threshold):
            fared[(value > threshold) - (value < threshold)].add(passed)
    # A sign says the same of all values on one side of the limit.
    open_signs = frozenset(
        sign
        for sign in (ORDER if declared is None else [declared])
        if all(SIGNS[sign](at, 0) is passed for at, said in fared.items() for passed in said)
    )
    by_side = all(len(said) < 2 for said in fared.values())
    return Comparator(open_signs, declared is not None, by_side)


def _above(value: Number) -> float:
    """The smallest double above a value; whole numbers stand between doubles, too."""
    double = float(value)
    return double if double > value else math.nextafter(double, math.inf)


def _below(value: Number) -> float:
    double = float(value)
    return double if double < value else math.nextafter(double, -math.inf)


def _next_to(value: Number) -> float:
    """The double nearest to a value that is not equal to it."""
    above, below = _above(value), _below(value)
    return below if value - below < above - value else above
