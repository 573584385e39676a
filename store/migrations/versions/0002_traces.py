"""Traces and their identified runs, for the steps that name no run."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "traces",
        sa.Column(
            "run_key",
            sa.Uuid(),
            nullable=False,
            comment="of the trace's own run, whose id is the trace id in hex",
        ),
        sa.Column("trace_id", sa.Uuid(), nullable=False),
        sa.Column(
            "claimed_by",
            postgresql.ARRAY(sa.Uuid()),
            comment="run keys of other runs seen in the trace, the two smallest; sorted",
        ),
        sa.Column(
            "inferred", sa.Boolean(), nullable=False, comment="steps were inferred in it that name no run"
        ),
        sa.Column(
            "placed",
            sa.Uuid(),
            comment="run key of the run where those steps are put; null = the trace's own",
        ),
        sa.Column(
            "pending", sa.Boolean(), nullable=False, comment="some of them lie elsewhere than they belong"
        ),
        sa.Column(
            "received_at",
            sa.DateTime(timezone=True),
            nullable=False,
            comment="receipt of the first sign of it",
        ),
        sa.PrimaryKeyConstraint("run_key", name="pk_traces"),
        comment="Which identified runs a trace has: inferred steps belong to the only one. Decision 0020.",
    )
    op.create_index("ix_traces_pending", "traces", ["run_key"], postgresql_where=sa.text("pending"))


def downgrade() -> None:
    op.drop_index("ix_traces_pending", table_name="traces")
    op.drop_table("traces")
