"""The answers of ``/metrics/…``, field by field."""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from api.schemas import Answer, Count, ListCompleteness


class Distribution(Answer):
    """Statistics over steps; null when no step has the value."""

    mean: float | None
    p50: float | None
    p90: float | None
    p95: float | None
    p99: float | None


class Resolution(Answer):
    """How far the percentiles may lie from those of the steps one by one; all else is exact."""

    drop_ratio: float = Field(description="By this much.")
    duration_ms: float = Field(description="By this part of the value.")
    score_mean: float = Field(description="By this part of the value.")


class Group(Answer):
    """The columns of group_by, and only those, with bucket_start when bucket is given."""

    pipeline: str | None = None
    name: str | None = None
    step_type: str | None = None
    pipeline_version: str | None = None
    status: str | None = None
    error_type: str | None = None
    bucket_start: datetime | None = None


class StepMetrics(Group):
    """The steps of one group and bucket in numbers."""

    steps: int = Field(description="Each attempt counts.")
    errors: int
    candidates_in: Count = Field(description="Sum; null when no step has it.")
    candidates_out: Count
    drop_ratio: Distribution
    duration_ms: Distribution
    score_mean: Distribution


class ReasonMetrics(Group):
    """How often one reason was given in one group and bucket."""

    reason: str
    count: int
    share: float | None = Field(description="Of all reasons given in the group and bucket, 0 to 1.")


class StepMetricsList(Answer):
    """Groups of steps; newest bucket first, then by group."""

    items: list[StepMetrics]
    next_cursor: str | None = Field(description="null on the last page.")
    completeness: ListCompleteness
    resolution: Resolution | None = Field(
        description="Of percentiles that were read from hourly roll-ups; null when they are exact."
    )


class ReasonMetricsList(Answer):
    """Reasons; newest bucket first, then by group, most frequent first."""

    items: list[ReasonMetrics]
    next_cursor: str | None = Field(description="null on the last page.")
    completeness: ListCompleteness
