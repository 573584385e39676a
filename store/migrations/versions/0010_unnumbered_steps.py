"""Which runs have steps whose place has to be counted is known without reading their steps."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

_UNNUMBERED = "ix_steps_unnumbered"


def upgrade() -> None:
    # Empty where clients of ours sent the steps; yet all of them are read once, while writers wait.
    not_sent = sa.text("step_index IS NULL OR attempt IS NULL")
    op.create_index(_UNNUMBERED, "steps", ["run_key"], postgresql_where=not_sent)


def downgrade() -> None:
    op.drop_index(_UNNUMBERED, table_name="steps")
