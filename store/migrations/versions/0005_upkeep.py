"""What retention and upkeep know of partitions."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "upkeep_turns",
        sa.Column("task", sa.Text(), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False, comment="of the last turn"),
        sa.Column(
            "succeeded_at",
            sa.DateTime(timezone=True),
            comment="end of the last turn that ended well; null = none yet",
        ),
        sa.Column("duration_s", sa.Double(), comment="of the last turn that ended; null = none yet"),
        sa.Column(
            "error",
            sa.Text(),
            comment="why the last turn failed, without values of rows; null = it did not",
        ),
        sa.Column("failures", sa.Integer(), nullable=False, comment="turns in a row that failed"),
        sa.PrimaryKeyConstraint("task", name="pk_upkeep_turns"),
        comment="When each task of upkeep last ran, in whichever server process (store/upkeep.py).",
    )
    op.create_table(
        "partition_bounds",
        sa.Column("week", sa.Date(), nullable=False, comment="Monday of the partitions"),
        sa.Column(
            "runs_first",
            sa.Date(),
            comment="no run of the week started on an earlier day; null = none",
        ),
        sa.Column("runs_last", sa.Date(), comment="... nor on a later one"),
        sa.Column(
            "steps_first",
            sa.Date(),
            comment="no step of the week's runs started on an earlier day; null = none",
        ),
        sa.Column("steps_last", sa.Date(), comment="... nor on a later one"),
        sa.PrimaryKeyConstraint("week", name="pk_partition_bounds"),
        comment="How far started_at reaches beyond the week of the runs; a week without a row: unknown.",
    )
    op.create_table(
        "retention_floors",
        sa.Column("kind", sa.Text(), nullable=False, comment="runs, decisions, artifacts, rollups"),
        sa.Column(
            "first_day", sa.Date(), nullable=False, comment="what is of an earlier run_day has expired"
        ),
        sa.PrimaryKeyConstraint("kind", name="pk_retention_floors"),
        comment="How far retention has come; never goes back (store/retention.py).",
    )
    op.create_table(
        "erasures",
        sa.Column("kind", sa.Text(), nullable=False, comment="run, item"),
        sa.Column(
            "digest",
            sa.LargeBinary(),
            nullable=False,
            comment="16 bytes: the run key, or a hash of the item id; never an id",
        ),
        sa.Column("fingerprint", sa.LargeBinary(), comment="of an item (store/item_filter.py)"),
        sa.Column(
            "number",
            sa.BigInteger(),
            nullable=False,
            comment="counts up: tells what is new",
        ),
        sa.Column("erased_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("kind", "digest", name="pk_erasures"),
        comment="What was erased and must not come back (store/erase.py).",
    )
    op.create_index("ix_erasures_number", "erasures", ["number"])
    op.create_index("ix_runs_day", "runs", ["run_day"])
    op.create_index("ix_traces_received", "traces", ["received_at"])
    # Weeks that are there already keep no row: what a server of the version before writes to them while
    # this one starts would not be noted. Time windows open them as before.


def downgrade() -> None:
    op.drop_index("ix_traces_received", table_name="traces")
    op.drop_index("ix_runs_day", table_name="runs")
    op.drop_table("erasures")
    op.drop_table("retention_floors")
    op.drop_table("partition_bounds")
    op.drop_table("upkeep_turns")
