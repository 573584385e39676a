"""Indexes as the questions at ten million steps need them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

_BY_DROP = "ix_steps_type_drop_started"
_NEW_BY_DROP = f"{_BY_DROP}_new"
_BY_DROP_COLUMNS = ["step_type", "drop_ratio", "started_at"]
_VERY_HIGH = "ix_steps_high_drop_started"


def upgrade() -> None:
    # Of ten million steps they are made in some 30 seconds, in which writers wait. Readers do not: to drop
    # an index takes the table from everybody until the commit, so that comes last.
    op.create_index(_NEW_BY_DROP, "steps", _BY_DROP_COLUMNS, postgresql_where=sa.text("drop_ratio >= 0.5"))
    columns = ["started_at", "step_type", "drop_ratio"]
    op.create_index(_VERY_HIGH, "steps", columns, postgresql_where=sa.text("drop_ratio >= 0.99"))
    op.drop_index(_BY_DROP, table_name="steps")
    op.execute(f"ALTER INDEX {_NEW_BY_DROP} RENAME TO {_BY_DROP}")


def downgrade() -> None:
    op.drop_index(_VERY_HIGH, table_name="steps")
    op.drop_index(_BY_DROP, table_name="steps")
    op.create_index(_BY_DROP, "steps", _BY_DROP_COLUMNS)
