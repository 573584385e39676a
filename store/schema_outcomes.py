"""The table of late outcomes: what became known of a run, or of an item in it, afterwards."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, Table, Text

from store.schema_columns import (
    instant_column,
    json_column,
    key_column,
    metadata,
    receipt_columns,
    run_day_column,
    run_key_column,
    text_column,
)

outcomes = Table(
    "outcomes",
    metadata,
    run_key_column(),
    key_column("name", Text, "what it says something about, such as bad_match"),
    key_column("item_id", Text, "empty = the run itself"),
    run_day_column(),
    json_column("value", "boolean, number or text; null = withdrawn"),
    text_column("source", "who or what said so"),
    instant_column("observed_at", "decides between copies; null = no usable time was sent, before any other"),
    Column("content_hash", BigInteger, nullable=False, comment="decides between copies of one time"),
    *receipt_columns(),
    comment="Late outcomes; of the copies of one, that which was observed last. Decision 0039.",
    info={"distributed": True, "partitioned": True},
    postgresql_partition_by="RANGE (run_day)",
)

# outcome.<name> in filters, from the outcomes that there are of a name to their runs.
Index("ix_outcomes_name", outcomes.c.name, outcomes.c.run_key)
