"""Tables of the hourly roll-ups of steps (decision 0034)."""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, Column, Date, Double, Index, Integer, Numeric, Table, Uuid, text
from sqlalchemy.dialects.postgresql import ARRAY

from store.schema_columns import instant_column, key_column, metadata, ratio_column, text_column, words_column

GROUPED_BY = ("pipeline", "pipeline_version", "name", "step_type", "status", "error_type")
"""What the steps of a row have in common."""
VALUES = ("drop_ratio", "duration_ms", "score_mean")
"""What is kept as a distribution (``store/histograms.py``)."""


def _distribution(name: str, sum_type: Any) -> tuple[Column[Any], ...]:
    return (
        Column(f"{name}_steps", BigInteger, nullable=False, comment="that have it"),
        Column(f"{name}_sum", sum_type, comment="null when no step has it"),
        ratio_column(f"{name}_min"),
        ratio_column(f"{name}_max"),
        Column(f"{name}_histogram", Numeric, comment="twelve digits for each bucket (store/histograms.py)"),
    )


step_hours = Table(
    "step_hours",
    metadata,
    key_column("hour", instant_column("hour").type, "of started_at, UTC"),
    key_column("week", Date, "Monday of the partition of steps that was counted"),
    key_column("place", Integer, "1-based; tells apart the groups of an hour and week, and means nothing"),
    text_column("pipeline", "the run's where the step has none"),
    text_column("pipeline_version", "likewise"),
    text_column("name", nullable=False),
    text_column("step_type"),
    text_column("status", nullable=False),
    text_column("error_type"),
    Column("steps", BigInteger, nullable=False),
    Column("candidates_in", Numeric, comment="sum; null when no step has it"),
    Column("candidates_out", Numeric),
    *_distribution("drop_ratio", Double),
    *_distribution("duration_ms", Double),
    # Scores are the sender's: a double overflows over a few absurd ones.
    *_distribution("score_mean", Numeric),
    words_column("reason_codes", "with reason_counts: the exact histogram, zero counts included"),
    Column("reason_counts", ARRAY(Numeric)),
    comment="Steps in numbers by hour; recomputed from steps, kept when their partition is dropped.",
    info={"upkeep": True},
)

# /metrics/… of one pipeline over long times.
Index("ix_step_hours_pipeline", step_hours.c.pipeline, step_hours.c.hour)

rollup_marks = Table(
    "rollup_marks",
    metadata,
    Column("mark", Uuid, primary_key=True, nullable=False, server_default=text("gen_random_uuid()")),
    Column("week", Date, nullable=False, comment="Monday of the partition of steps"),
    instant_column("hour", "of the steps that changed; null = those of the run"),
    Column("run_key", Uuid, comment="a run that has another name now, for all of its steps that have none"),
    comment="Which hours of step_hours are not what steps says; written by whoever changes steps.",
    info={"upkeep": True},
)
