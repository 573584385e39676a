"""Contracts and alert rules, and what became of them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "contracts",
        sa.Column("contract_id", sa.Text(), nullable=False),
        sa.Column(
            "document",
            postgresql.JSONB(none_as_null=True, astext_type=sa.Text()),
            nullable=False,
            comment="the contract as it was declared",
        ),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column(
            "next_at", sa.DateTime(timezone=True), nullable=False, comment="when it is to be checked next"
        ),
        sa.PrimaryKeyConstraint("contract_id", name="pk_contracts"),
        comment="What must hold of runs, checked again and again. Decision 0040.",
    )
    op.create_table(
        "contract_results",
        sa.Column("contract_id", sa.Text(), nullable=False),
        sa.Column("checked_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("state", sa.Text(), nullable=False, comment="held, violated, unknown"),
        sa.Column(
            "result",
            postgresql.JSONB(none_as_null=True, astext_type=sa.Text()),
            comment="the verdict, as the API answers it",
        ),
        sa.PrimaryKeyConstraint("contract_id", "checked_at", name="pk_contract_results"),
        comment="What the checks of contracts found, for a month.",
    )
    op.create_table(
        "alert_rules",
        sa.Column("rule_id", sa.Text(), nullable=False),
        sa.Column(
            "document",
            postgresql.JSONB(none_as_null=True, astext_type=sa.Text()),
            nullable=False,
            comment="the rule, without webhooks and secret",
        ),
        sa.Column(
            "webhooks",
            postgresql.ARRAY(sa.Text()),
            comment="URLs; they may hold tokens, and no answer shows them whole",
        ),
        sa.Column("secret", sa.Text(), nullable=False, comment="signs what is sent; no answer shows it"),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column(
            "next_at", sa.DateTime(timezone=True), nullable=False, comment="when it is to be evaluated next"
        ),
        sa.Column("evaluated_at", sa.DateTime(timezone=True), comment="null = not yet"),
        sa.Column("error", sa.Text(), comment="why the last evaluation failed; null = it did not"),
        sa.PrimaryKeyConstraint("rule_id", name="pk_alert_rules"),
        comment="When somebody wants to be told. Decision 0040.",
    )
    op.create_table(
        "alert_states",
        sa.Column("rule_id", sa.Text(), nullable=False),
        sa.Column(
            "group_key", sa.Text(), nullable=False, comment="JSON text of the group's columns, keys sorted"
        ),
        sa.Column("state", sa.Text(), nullable=False, comment="ok, pending, firing, resolved"),
        sa.Column("since", sa.DateTime(timezone=True), nullable=False, comment="when the state began"),
        sa.Column("firing_since", sa.DateTime(timezone=True), comment="of the last firing; names its events"),
        sa.Column("value", sa.Double(), comment="as last seen; null = it could not be told"),
        sa.Column("n", sa.BigInteger(), comment="what the value was taken over"),
        sa.Column("evaluated_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("rule_id", "group_key", name="pk_alert_states"),
        comment="Where each group of a rule stands.",
    )
    op.create_table(
        "alert_outbox",
        sa.Column(
            "event_id",
            sa.Text(),
            nullable=False,
            comment="stays over repeats and restarts: a hash of rule, group, change and time",
        ),
        sa.Column("place", sa.Integer(), nullable=False, comment="of the webhook among those of the rule"),
        sa.Column("rule_id", sa.Text(), nullable=False),
        sa.Column("group_key", sa.Text(), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("secret", sa.Text(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False, comment="what is sent, byte for byte"),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("next_try_at", sa.DateTime(timezone=True), comment="null = no more"),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("delivered_at", sa.DateTime(timezone=True), comment="null = not acknowledged"),
        sa.Column("last_answer", sa.Text(), comment="HTTP status or kind of failure; null = not tried"),
        sa.PrimaryKeyConstraint("event_id", "place", name="pk_alert_outbox"),
        comment="Events to be delivered, written with the change of state that they tell of.",
    )
    op.create_index(
        "ix_alert_outbox_due",
        "alert_outbox",
        ["next_try_at"],
        postgresql_where=sa.text("next_try_at IS NOT NULL"),
    )
    op.create_index("ix_alert_outbox_rule", "alert_outbox", ["rule_id", "created_at"])


def downgrade() -> None:
    op.drop_index("ix_alert_outbox_rule", table_name="alert_outbox")
    op.drop_index("ix_alert_outbox_due", table_name="alert_outbox")
    op.drop_table("alert_outbox")
    op.drop_table("alert_states")
    op.drop_table("alert_rules")
    op.drop_table("contract_results")
    op.drop_table("contracts")
