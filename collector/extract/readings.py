"""
The readings of one record, put in their places.

Most records have plain readings only, and for those the loop of ``collect`` is all there is.
What has a detail is put aside for the functions below it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

from collector.extract.vocabulary import METRIC_SLOT, OTHER_SLOTS, RENAMED_SLOT, SLOT, SLOT_OF, TAG_SLOT
from collector.records import Reading
from store.rows import Flag, StepCopy

_EMPTY: Final[list[Any]] = [StepCopy._field_defaults.get(field) for field in SLOT]
_NAMED: Final = frozenset({METRIC_SLOT, TAG_SLOT})
_BY_NAME: Final = OTHER_SLOTS | _NAMED | {RENAMED_SLOT}


class NamedValues(NamedTuple):
    """Values by ``vocabulary.SLOT`` under the names of their attributes."""

    values: list[Any]

    def get(self, name: str) -> Any:
        """Return what an attribute with a slot of its own was read as; None when it was not sent."""
        return self.values[SLOT_OF[name]]


def collect(readings: Sequence[Reading]) -> tuple[list[Any], int, list[Reading]]:
    """
    Return values by ``vocabulary.SLOT``, marks, and the readings with a detail.

    The values begin with the defaults of ``StepCopy``. Of several readings for one slot the last
    stays; marks are OR-ed (``classify``).
    """
    values = _EMPTY.copy()
    marks = 0
    detailed: list[Reading] = []
    for reading in readings:
        slot, value, mark, detail = reading
        values[slot] = value
        marks |= mark
        if detail is not None:
            detailed.append(reading)
    return values, marks, detailed


def members(detailed: Iterable[Reading], wanted: int) -> dict[str, Any] | None:
    """Return the metrics, or the tags, by name."""
    found: dict[str, Any] = {}
    unreadable = False
    for slot, value, _, _ in detailed:
        if slot == wanted:
            name, member = value
            found[name] = member
            unreadable = unreadable or member is None
    if unreadable:
        found = {name: member for name, member in found.items() if member is not None}
    return found or None


def others(detailed: Iterable[Reading]) -> dict[str, Any]:
    """Return the attributes that an ``Inference`` wants, by name."""
    return {
        detail.name: value
        for slot, value, _, detail in detailed
        if slot in OTHER_SLOTS and detail is not None
    }


def renamed(detailed: Iterable[Reading]) -> list[Reading]:
    """Return the readings by a team's own names as those that they stand for; the last of each name."""
    last = {
        detail.name: value
        for slot, value, _, detail in detailed
        if slot == RENAMED_SLOT and detail is not None
    }
    return list(last.values())


def fill(values: list[Any], detailed: Iterable[Reading], more: Iterable[Reading]) -> list[Reading]:
    """
    Put more readings where the record has none; return those that found a place.

    What a record says by our own names goes before what it says by others.
    """
    empty = {slot for slot, value in enumerate(values) if value is None}
    named = {(slot, value[0]) for slot, value, _, _ in detailed if slot in _NAMED}
    taken: list[Reading] = []
    for reading in more:
        slot, value, _, _ = reading
        if slot in _NAMED:
            if (slot, value[0]) not in named:
                taken.append(reading)
        elif slot in empty:
            values[slot] = value
            taken.append(reading)
    return taken


def flags_of(readings: Iterable[Reading], slots: frozenset[int]) -> list[Flag]:
    """Return what is wrong with the attributes of these slots; of several for one name, with the last."""
    last: dict[int | str, Reading] = {}
    for reading in readings:
        slot, _, _, detail = reading
        last[detail.name if slot in _BY_NAME and detail is not None else slot] = reading
    return [
        flag
        for slot, _, _, detail in last.values()
        if slot in slots and detail is not None
        for flag in detail.flags
    ]
