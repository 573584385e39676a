"""Median and extremes of a measurement's rounds."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from typing import NamedTuple


class Spread(NamedTuple):
    """Median and extremes."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Spread:
        """The spread of at least one value."""
        found = list(values)
        return cls(statistics.median(found), min(found), max(found))

    def shown(self, form: str) -> str:
        """``median (low–high)``, each number in a format such as ``.2f``."""
        return f"{self.median:{form}} ({self.low:{form}}–{self.high:{form}})"
