"""Where payloads of artifacts lie when not in the database."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.alter_column(
        "artifact_blobs",
        "data",
        existing_type=sa.LargeBinary(),
        nullable=True,
        comment="null = it lies in the object store",
    )
    op.add_column(
        "artifact_blobs",
        sa.Column("object_run_key", sa.Uuid(), comment="of the object's key, with sha256; null = in data"),
    )
    op.create_index(
        "ix_artifact_blobs_object",
        "artifact_blobs",
        ["object_run_key", "sha256"],
        postgresql_where=sa.text("object_run_key IS NOT NULL"),
    )


def downgrade() -> None:
    op.drop_index("ix_artifact_blobs_object", table_name="artifact_blobs")
    # The version before knows no other place; their objects stay where they are.
    op.execute("DELETE FROM artifact_blobs WHERE data IS NULL")
    op.drop_column("artifact_blobs", "object_run_key")
    op.alter_column(
        "artifact_blobs",
        "data",
        existing_type=sa.LargeBinary(),
        nullable=False,
        comment=None,
        existing_comment="null = it lies in the object store",
    )
