"""Tables of the loss ledger: what was recorded and is not stored."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, Table, Text

from store.schema_columns import (
    key_column,
    metadata,
    receipt_columns,
    run_day_column,
    run_key_column,
    text_column,
)

losses = Table(
    "losses",
    metadata,
    run_key_column(),
    key_column("cause", Text, "why it is not stored (store/losses.py)"),
    key_column("what", Text, "runs, steps, decisions (counted in candidates), artifacts, texts"),
    key_column("subject", Text, "which of them: step/attempt/chunk and the like, or a sender's report"),
    run_day_column(),
    Column("lost", BigInteger, nullable=False),
    text_column("step_id", "null = the run's own, or a sender's report"),
    text_column("attempt_key"),
    *receipt_columns(),
    comment="Loss ledger: recorded and not stored; what came in by another way is left out on reading.",
    info={"distributed": True, "partitioned": True},
    postgresql_partition_by="RANGE (run_day)",
)

# /losses newest first.
Index("ix_losses_received", losses.c.received_at)

sender_losses = Table(
    "sender_losses",
    metadata,
    key_column("report_id", Text, "the sender's id of its report"),
    key_column("cause", Text),
    key_column("what", Text),
    Column("lost", BigInteger, nullable=False),
    text_column("pipeline", "of the sender's resource"),
    text_column("service_name"),
    *receipt_columns(),
    comment="Losses of which the sender cannot tell the run: its queue overflowed and kept no names.",
    info={"reference": True},
)

# /losses newest first.
Index("ix_sender_losses_received", sender_losses.c.received_at)
