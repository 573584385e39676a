"""Tables of contracts and alert rules, and of what became of them."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, DateTime, Index, Integer, Table, Text
from sqlalchemy.dialects.postgresql import JSONB

from store.schema_columns import (
    instant_column,
    json_column,
    key_column,
    metadata,
    ratio_column,
    text_column,
    words_column,
)

contracts = Table(
    "contracts",
    metadata,
    key_column("contract_id", Text),
    Column("document", JSONB(none_as_null=True), nullable=False, comment="the contract as it was declared"),
    instant_column("created_at", nullable=False),
    instant_column("updated_at", nullable=False),
    instant_column("next_at", "when it is to be checked next", nullable=False),
    comment="What must hold of runs, checked again and again. Decision 0040.",
)

contract_results = Table(
    "contract_results",
    metadata,
    key_column("contract_id", Text),
    key_column("checked_at", DateTime(timezone=True)),
    text_column("state", "held, violated, unknown", nullable=False),
    json_column("result", "the verdict, as the API answers it"),
    comment="What the checks of contracts found, for a month.",
)

alert_rules = Table(
    "alert_rules",
    metadata,
    key_column("rule_id", Text),
    Column(
        "document", JSONB(none_as_null=True), nullable=False, comment="the rule, without webhooks and secret"
    ),
    words_column("webhooks", "URLs; they may hold tokens, and no answer shows them whole"),
    text_column("secret", "signs what is sent; no answer shows it", nullable=False),
    instant_column("created_at", nullable=False),
    instant_column("updated_at", nullable=False),
    instant_column("next_at", "when it is to be evaluated next", nullable=False),
    instant_column("evaluated_at", "null = not yet"),
    text_column("error", "why the last evaluation failed; null = it did not"),
    comment="When somebody wants to be told. Decision 0040.",
)

alert_states = Table(
    "alert_states",
    metadata,
    key_column("rule_id", Text),
    key_column("group_key", Text, "JSON text of the group's columns, keys sorted"),
    text_column("state", "ok, pending, firing, resolved", nullable=False),
    instant_column("since", "when the state began", nullable=False),
    instant_column("firing_since", "of the last firing; names its events", nullable=True),
    ratio_column("value", "as last seen; null = it could not be told"),
    Column("n", BigInteger, comment="what the value was taken over"),
    instant_column("evaluated_at", nullable=False),
    comment="Where each group of a rule stands.",
)

alert_outbox = Table(
    "alert_outbox",
    metadata,
    key_column("event_id", Text, "stays over repeats and restarts: a hash of rule, group, change and time"),
    key_column("place", Integer, "of the webhook among those of the rule"),
    text_column("rule_id", nullable=False),
    text_column("group_key", nullable=False),
    text_column("url", nullable=False),
    text_column("secret", nullable=False),
    text_column("body", "what is sent, byte for byte", nullable=False),
    instant_column("created_at", nullable=False),
    instant_column("next_try_at", "null = no more", nullable=True),
    Column("attempts", Integer, nullable=False),
    instant_column("delivered_at", "null = not acknowledged"),
    text_column("last_answer", "HTTP status or kind of failure; null = not tried"),
    comment="Events to be delivered, written with the change of state that they tell of.",
)

# Deliveries that are due.
Index(
    "ix_alert_outbox_due",
    alert_outbox.c.next_try_at,
    postgresql_where=alert_outbox.c.next_try_at.is_not(None),
)
# /alerts/{id}: its latest events; and what went before an event of the same group.
Index("ix_alert_outbox_rule", alert_outbox.c.rule_id, alert_outbox.c.created_at)
