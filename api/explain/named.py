"""Which items a step names and lets pass, derived from its columns only as far as it is asked for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence, Set
from functools import cached_property
from itertools import chain, compress

from store.decisions import BETWEEN, PASSING, VERDICTS, DecisionColumns, with_verdicts

RESERVE_LETTERS = "DN"
"""Put off, or beaten on rank: such an item may come back."""
_OTHER_LETTERS = "".join(letter for letter in VERDICTS if letter not in PASSING)


class Named:
    """
    The items of one execution of a step, in the order judged.

    Whole columns at a time: an object per decision would take ten times as long.
    """

    def __init__(self, parts: Sequence[DecisionColumns]) -> None:
        self._parts = parts
        self.count = sum(len(part.verdict) for part in parts)
        """Decisions."""

    @cached_property
    def items(self) -> Sequence[str]:
        """The item of each decision."""
        return _chained([part.item for part in self._parts])

    @cached_property
    def set(self) -> frozenset[str]:
        """Each item once."""
        return frozenset(self.items)

    @cached_property
    def let_pass(self) -> Sequence[str]:
        """The items of all decisions that let one pass."""
        return self._with(PASSING)

    def hands_on(self, other: Named) -> bool:
        """Whether the other names just what this one let pass, in that order."""
        passing = [with_verdicts(part, PASSING) for part in self._parts]
        if sum(chosen.count(1) for chosen in passing) != other.count:
            return False
        ours = _joined(zip(self._parts, passing, strict=True))
        theirs = _joined((part, b"\1" * len(part.verdict)) for part in other._parts)
        # Texts that differ may do so by white space.
        return (ours is not None and ours == theirs) or self.let_pass == other.items

    @cached_property
    def passing(self) -> Sequence[str]:
        """Items that go on for sure: of several decisions about one, none refuses it."""
        chosen = self.let_pass
        if len(chosen) == self.count or not self.repeated:
            return chosen
        refused = frozenset(self._with(_OTHER_LETTERS))
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
        return frozenset(self._with(RESERVE_LETTERS))

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
        return self.count - len(self.set)

    def _with(self, letters: str) -> Sequence[str]:
        return _chained([_items(part, with_verdicts(part, letters)) for part in self._parts])


def _items(part: DecisionColumns, chosen: bytes) -> Sequence[str]:
    if 1 not in chosen:
        return []
    return part.item if 0 not in chosen else list(compress(part.item, chosen))


def _chained(columns: Sequence[Sequence[str]]) -> Sequence[str]:
    return columns[0] if len(columns) == 1 else list(chain.from_iterable(columns))


def _joined(parts: Iterable[tuple[DecisionColumns, bytes]]) -> bytes | None:
    """The chosen items of all parts as one text; None where there is none of a part."""
    texts = []
    for part, chosen in parts:
        if 1 in chosen:
            text = part.joined(chosen)
            if text is None:
                return None
            texts.append(text)
    return BETWEEN.join(texts)


NOTHING = Named(())


def without(items: Iterable[str], known: Iterable[Set[str]]) -> list[str]:
    """The items that no set holds, in their order, each once; later sets are not made when none is left."""
    left = list(dict.fromkeys(items))
    for of_one in known:
        left = [item for item in left if item not in of_one]
        if not left:
            break
    return left
