"""The shop's category tree: for each type a leaf by noun, feature and, where sold so, by device."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from examples.catalogue import words
from examples.vocabulary import DEVICES, KINDS, Kind

REQUIRED = {
    "cable": r"\d+ m\b",
    "charger": r"\d+ w\b|for ",
    "power_bank": r"\d+ mah\b",
    "laptop_sleeve": r"\d+ inch",
}
"""What the titles of a type state when they are complete, as a pattern on the lower-cased title."""


@dataclass(frozen=True, slots=True)
class Category:
    """A leaf: the words that speak for it, and what its products have in common."""

    id: str
    words: frozenset[str]
    low: float
    high: float
    required: str | None
    device: str | None = None


def tree() -> tuple[Category, ...]:
    """All leaves, in id order."""
    return tuple(sorted((leaf for kind in KINDS for leaf in _leaves(kind)), key=lambda leaf: leaf.id))


def _leaves(kind: Kind) -> Iterator[Category]:
    common: dict[str, Any] = {"low": kind.low, "high": kind.high, "required": REQUIRED.get(kind.type)}
    for noun in kind.nouns:
        yield Category(_id(kind, noun), frozenset(words(noun)), **common)
        for feature in kind.features:
            yield Category(_id(kind, noun, feature), frozenset(words(f"{feature} {noun}")), **common)
    if any("{device}" in ending for ending in kind.endings):
        for device in DEVICES:
            evidence = frozenset(words(f"{device} {kind.nouns[0]}"))
            yield Category(_id(kind, device), evidence, **common, device=device)


def _id(kind: Kind, *levels: str) -> str:
    return "/".join(re.sub(r"[^a-z0-9]+", "-", level.lower()) for level in (*kind.path, *levels))
