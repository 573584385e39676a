"""Indexes as the questions at ten million steps need them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

_NAME = "ix_steps_type_drop_started"
_COLUMNS = ["step_type", "drop_ratio", "started_at"]


def upgrade() -> None:
    # Of ten million steps it is made in some ten seconds, in which writers wait.
    op.drop_index(_NAME, table_name="steps")
    op.create_index(_NAME, "steps", _COLUMNS, postgresql_where=sa.text("drop_ratio >= 0.5"))


def downgrade() -> None:
    op.drop_index(_NAME, table_name="steps")
    op.create_index(_NAME, "steps", _COLUMNS)
