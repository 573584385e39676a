"""Hourly sums and distributions of steps, for metrics over long times."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_HOUR = "date_bin('1 hour', {0}, timestamptz '2000-01-01 00:00:00+00')"
_WEEK = "(run_day - (extract(isodow FROM run_day)::integer - 1))"

# Every hour that steps were stored for. From index entry to index entry, an hour at a time: that
# is some thousand looks per partition in place of reading all rows.
_MARK_ALL = f"""
DO $$
DECLARE
    partition regclass;
    monday date;
    earliest timestamptz;
BEGIN
    FOR partition IN SELECT inhrelid::regclass FROM pg_inherits WHERE inhparent = 'steps'::regclass LOOP
        earliest := '-infinity';
        LOOP
            EXECUTE format('SELECT started_at, {_WEEK} FROM %s WHERE started_at >= $1'
                           ' ORDER BY started_at LIMIT 1', partition)
                INTO earliest, monday USING earliest;
            EXIT WHEN earliest IS NULL;
            INSERT INTO rollup_marks (week, hour) VALUES (monday, {_HOUR.format("earliest")});
            earliest := {_HOUR.format("earliest")} + interval '1 hour';
        END LOOP;
    END LOOP;
END $$
"""

_VIEW = """
CREATE VIEW xray_public.step_hours AS
SELECT
    h.hour, h.pipeline, h.pipeline_version, h.name, h.step_type, h.status, h.error_type, h.steps,
    h.candidates_in, h.candidates_out,
    h.drop_ratio_steps, h.drop_ratio_sum, h.drop_ratio_min, h.drop_ratio_max,
    h.duration_ms_steps, h.duration_ms_sum, h.duration_ms_min, h.duration_ms_max,
    h.reason_codes, h.reason_counts,
    NOT EXISTS (SELECT FROM rollup_marks AS m
                WHERE m.week = h.week AND (m.hour = h.hour OR m.hour IS NULL)) AS settled
FROM step_hours AS h
"""


def upgrade() -> None:
    op.create_table(
        "step_hours",
        sa.Column("hour", sa.DateTime(timezone=True), nullable=False, comment="of started_at, UTC"),
        sa.Column(
            "week", sa.Date(), nullable=False, comment="Monday of the partition of steps that was counted"
        ),
        sa.Column(
            "place",
            sa.Integer(),
            autoincrement=False,
            nullable=False,
            comment="1-based; tells apart the groups of an hour and week, and means nothing",
        ),
        sa.Column("pipeline", sa.Text(), comment="the run's where the step has none"),
        sa.Column("pipeline_version", sa.Text(), comment="likewise"),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("step_type", sa.Text()),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("error_type", sa.Text()),
        sa.Column("steps", sa.BigInteger(), nullable=False),
        sa.Column("candidates_in", sa.Numeric(), comment="sum; null when no step has it"),
        sa.Column("candidates_out", sa.Numeric()),
        *_distribution("drop_ratio", sa.Double()),
        *_distribution("duration_ms", sa.Double()),
        *_distribution("score_mean", sa.Numeric()),
        sa.Column(
            "reason_codes",
            postgresql.ARRAY(sa.Text()),
            comment="with reason_counts: the exact histogram, zero counts included",
        ),
        sa.Column("reason_counts", postgresql.ARRAY(sa.Numeric())),
        sa.PrimaryKeyConstraint("hour", "week", "place", name="pk_step_hours"),
        comment="Steps in numbers by hour; recomputed from steps, kept when their partition is dropped.",
    )
    op.create_index("ix_step_hours_pipeline", "step_hours", ["pipeline", "hour"])
    op.create_table(
        "rollup_marks",
        sa.Column("mark", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("week", sa.Date(), nullable=False, comment="Monday of the partition of steps"),
        sa.Column(
            "hour",
            sa.DateTime(timezone=True),
            comment="of the steps that changed; null = those of the run",
        ),
        sa.Column(
            "run_key",
            sa.Uuid(),
            comment="a run that has another name now, for all of its steps that have none",
        ),
        sa.PrimaryKeyConstraint("mark", name="pk_rollup_marks"),
        comment="Which hours of step_hours are not what steps says; written by whoever changes steps.",
    )
    op.execute(_MARK_ALL)
    op.execute(_VIEW)
    op.execute(
        "COMMENT ON VIEW xray_public.step_hours IS 'Steps in numbers, by hour and group. docs/sql-views.md'"
    )


def downgrade() -> None:
    op.execute("DROP VIEW xray_public.step_hours")
    op.drop_table("rollup_marks")
    op.drop_table("step_hours")


def _distribution(name: str, sum_type: Any) -> tuple[sa.Column[Any], ...]:
    return (
        sa.Column(f"{name}_steps", sa.BigInteger(), nullable=False, comment="that have it"),
        sa.Column(f"{name}_sum", sum_type, comment="null when no step has it"),
        sa.Column(f"{name}_min", sa.Double()),
        sa.Column(f"{name}_max", sa.Double()),
        sa.Column(
            f"{name}_histogram", sa.Numeric(), comment="twelve digits for each bucket (store/histograms.py)"
        ),
    )
