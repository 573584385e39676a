"""What questions about metrics are answered with, beside ``store/queries/types.py``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

from store.queries.types import Page

T_co = TypeVar("T_co", covariant=True)


@dataclass(frozen=True, slots=True)
class Resolution:
    """How far percentiles that come from roll-ups may lie from those of the steps."""

    drop_ratio: float
    duration_ms: float
    """As a part of the value, as is ``score_mean``."""
    score_mean: float


@dataclass(frozen=True, slots=True)
class MetricsPage(Page[T_co]):
    """A page of groups. Counts, sums and means are exact, always."""

    resolution: Resolution | None = None
    """Of the percentiles; None = they are exact, too."""
