"""What questions about metrics are answered with, beside ``store/queries/types.py``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
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


@dataclass(frozen=True, slots=True)
class Distribution:
    """Exact statistics over steps; all None when no step has the value."""

    mean: float | None = None
    p50: float | None = None
    p90: float | None = None
    p95: float | None = None
    p99: float | None = None


@dataclass(frozen=True, slots=True)
class StepMetrics:
    """Steps of one group (and time bucket) in numbers."""

    group: Mapping[str, str | None]
    """Column of ``group_by`` to its value, in the order asked for."""
    bucket_start: datetime | None
    steps: int
    errors: int
    candidates_in: int | None
    """Sum over the steps that have it; None when none has."""
    candidates_out: int | None
    drop_ratio: Distribution
    duration_ms: Distribution
    score_mean: Distribution


@dataclass(frozen=True, slots=True)
class ReasonMetrics:
    """One reason of one group (and time bucket)."""

    group: Mapping[str, str | None]
    bucket_start: datetime | None
    reason: str
    count: int
    share: float | None
    """Of all reasons counted in the same group and bucket, 0 to 1; None when they sum to 0."""
