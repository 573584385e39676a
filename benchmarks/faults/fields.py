"""How the fields of synthetic items and queries are drawn."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from random import Random
from typing import Any

Draw = Callable[[Random, Mapping[str, Any]], Any]
"""A value from a source of chance and the fields drawn before it."""


def uniform(low: float, high: float) -> Draw:
    """A number between the two, evenly."""
    return lambda random, drawn: random.uniform(low, high)


def normal(mean: float, deviation: float, low: float = 0.0, high: float = 1.0) -> Draw:
    """A number around the mean, cut to the bounds."""
    return lambda random, drawn: min(high, max(low, random.gauss(mean, deviation)))


def skewed(median: float, sigma: float) -> Draw:
    """A positive number with a long tail (log-normal), rounded to two digits."""
    centre = median

    def draw(random: Random, drawn: Mapping[str, Any]) -> float:
        return round(centre * random.lognormvariate(0.0, sigma), 2)

    return draw


def whole(low: int, high: int) -> Draw:
    """A whole number, both bounds included."""
    return lambda random, drawn: random.randint(low, high)


def pick(**weights: float) -> Draw:
    """A word, drawn by weight."""
    words, shares = list(weights), list(weights.values())
    return lambda random, drawn: random.choices(words, shares)[0]


def flag(share: float) -> Draw:
    """True for the share."""
    return lambda random, drawn: random.random() < share


def maybe(share: float, draw: Draw) -> Draw:
    """None for the share, else what the other draws."""
    return lambda random, drawn: None if random.random() < share else draw(random, drawn)


def by(field: str, draws: Mapping[str, Draw]) -> Draw:
    """Drawn as the value of another field says."""
    return lambda random, drawn: draws[drawn[field]](random, drawn)
