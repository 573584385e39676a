"""Which items a step names and lets pass, derived from its columns only as far as it is asked for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence, Set
from functools import cached_property
from itertools import compress

from store.decisions import VERDICTS, DecisionColumns

PASSING_LETTERS = "KSW"
RESERVE_LETTERS = "DN"
"""Put off, or beaten on rank: such an item may come back."""


def _mask(letters: str) -> bytes:
    """For ``bytes.translate``: 1 for these letters, 0 for all others."""
    return bytes(chr(code) in letters for code in range(256))


_OTHER_LETTERS = "".join(letter for letter in VERDICTS if letter not in PASSING_LETTERS)
_PASSING, _RESERVE, _OTHERS = _mask(PASSING_LETTERS), _mask(RESERVE_LETTERS), _mask(_OTHER_LETTERS)


class Named:
    """
    The items of one execution of a step, in the order judged.

    Whole columns at a time: an object per decision would take ten times as long.
    """

    def __init__(self, parts: Sequence[DecisionColumns]) -> None:
        self._parts = parts
        self.items: Sequence[str] = (
            parts[0].item if len(parts) == 1 else [item for part in parts for item in part.item]
        )

    @cached_property
    def set(self) -> frozenset[str]:
        """Each item once."""
        return frozenset(self.items)

    @cached_property
    def let_pass(self) -> Sequence[str]:
        """The items of all decisions that let one pass."""
        return self._with(_PASSING, PASSING_LETTERS)

    @cached_property
    def passing(self) -> Sequence[str]:
        """Items that go on for sure: of several decisions about one, none refuses it."""
        chosen = self.let_pass
        if len(chosen) == len(self.items) or not self.repeated:
            return chosen
        refused = frozenset(self._with(_OTHERS, _OTHER_LETTERS))
        return [item for item in chosen if item not in refused]

    @cached_property
    def passing_set(self) -> frozenset[str]:
        """Items that may go on, each once."""
        return frozenset(self.let_pass)

    @cached_property
    def refused(self) -> frozenset[str]:
        """Items that the step named and of which it let none pass."""
        return self.set - self.passing_set

    @cached_property
    def reserve(self) -> frozenset[str]:
        """Items that may come back: put off, or beaten on rank."""
        return frozenset(self._with(_RESERVE, RESERVE_LETTERS))

    @cached_property
    def merged_into(self) -> frozenset[str]:
        """Items that others became part of."""
        found: set[str] = set()
        for part in self._parts:
            if "M" in part.verdict:
                values = part.value if isinstance(part.value, list) else [part.value] * part.count
                found.update(
                    str(value)
                    for value, letter in zip(values, part.verdict, strict=False)
                    if letter == "M" and value is not None
                )
        return frozenset(found)

    @property
    def repeated(self) -> int:
        """Decisions about an item that the step had judged before."""
        return len(self.items) - len(self.set)

    def _with(self, mask: bytes, letters: str) -> Sequence[str]:
        chosen: list[str] = []
        for part in self._parts:
            if part.count and part.verdict == part.verdict[0] * len(part.verdict):
                chosen += part.item if part.verdict[0] in letters else ()
            else:
                chosen += compress(part.item, part.verdict.encode("ascii").translate(mask))
        return chosen


NOTHING = Named(())


def without(items: Iterable[str], known: Iterable[Set[str]]) -> list[str]:
    """The items that no set holds, in their order, each once; later sets are not made when none is left."""
    left = list(dict.fromkeys(items))
    for of_one in known:
        left = [item for item in left if item not in of_one]
        if not left:
            break
    return left
