"""Late outcomes of runs and items."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_VIEW = """
CREATE VIEW xray_public.outcomes AS
SELECT
    r.run_id, r.run_day, o.name, nullif(o.item_id, '') AS item_id, o.value, o.source, o.observed_at,
    r.pipeline, r.pipeline_version, r.entity, r.tags, r.started_at AS run_started_at
FROM outcomes AS o JOIN runs AS r ON r.run_key = o.run_key AND r.run_day = o.run_day
WHERE o.value IS NOT NULL
"""
_COMMENT = "One row per late outcome of a run or an item that was not withdrawn. docs/sql-views.md"


def upgrade() -> None:
    op.create_table(
        "outcomes",
        sa.Column(
            "run_key", sa.Uuid(), nullable=False, comment="blake2b-128 of the text run id (store/ids.py)"
        ),
        sa.Column(
            "name", sa.Text(), nullable=False, comment="what it says something about, such as bad_match"
        ),
        sa.Column("item_id", sa.Text(), nullable=False, comment="empty = the run itself"),
        sa.Column(
            "run_day", sa.Date(), nullable=False, comment="copied from runs.run_day; the partition column"
        ),
        sa.Column(
            "value",
            postgresql.JSONB(none_as_null=True, astext_type=sa.Text()),
            comment="boolean, number or text; null = withdrawn",
        ),
        sa.Column("source", sa.Text(), comment="who or what said so"),
        sa.Column(
            "observed_at",
            sa.DateTime(timezone=True),
            comment="decides between copies; null = no usable time was sent, before any other",
        ),
        sa.Column(
            "content_hash",
            sa.BigInteger(),
            nullable=False,
            comment="decides between copies of one time",
        ),
        sa.Column(
            "deliveries",
            sa.Integer(),
            nullable=False,
            comment="copies received, the losing and the repeated too",
        ),
        sa.Column(
            "received_at",
            sa.DateTime(timezone=True),
            nullable=False,
            comment="receipt of the first copy",
        ),
        sa.PrimaryKeyConstraint("run_key", "name", "item_id", "run_day", name="pk_outcomes"),
        comment="Late outcomes; of the copies of one, that which was observed last. Decision 0039.",
        postgresql_partition_by="RANGE (run_day)",
    )
    op.create_index("ix_outcomes_name", "outcomes", ["name", "run_key"])
    op.execute(_VIEW)
    op.execute(f"COMMENT ON VIEW xray_public.outcomes IS '{_COMMENT}'")


def downgrade() -> None:
    op.execute("DROP VIEW xray_public.outcomes")
    op.drop_index("ix_outcomes_name", table_name="outcomes")
    op.drop_table("outcomes")
