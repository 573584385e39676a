"""Tables of evidence: the candidates' decisions, and bulky payloads."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, Integer, LargeBinary, Table, Text, Uuid

from store.schema_columns import (
    instant_column,
    key_column,
    metadata,
    receipt_columns,
    run_day_column,
    run_key_column,
    text_column,
)

decisions = Table(
    "decisions",
    metadata,
    run_key_column(),
    key_column("step_id", Text),
    key_column("attempt_key", Text),
    key_column("chunk_index", Integer, "0-based"),
    run_day_column(),
    Column("chunk_total", Integer, comment="as sent with this chunk"),
    Column("item_count", Integer, nullable=False),
    Column("data", LargeBinary, comment="packed columns (store/decisions.py); null = could not be read"),
    Column(
        "item_filter",
        LargeBinary,
        comment="which items data names (store/item_filter.py); null = open it to know",
    ),
    text_column("error", "why it could not be read; shown as the step's flag decisions_unreadable"),
    Column(
        "content_hash", BigInteger, nullable=False, comment="of two readable chunks the smaller hash stays"
    ),
    *receipt_columns(),
    comment="Evidence: the candidates' decisions, one row per chunk; may lie here before its step.",
    info={"distributed": True, "partitioned": True},
    postgresql_partition_by="RANGE (run_day)",
)

artifacts = Table(
    "artifacts",
    metadata,
    run_key_column(),
    key_column("artifact_key", Uuid, "hash of everything but the payload (store/ids.py)"),
    run_day_column(),
    text_column("step_id", "null = the run's own"),
    text_column("attempt_key"),
    text_column("kind", nullable=False),
    text_column("content_type", nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("sha256", LargeBinary, nullable=False, comment="32 bytes; finds the payload in artifact_blobs"),
    text_column("url", "where the payload lies when it is not in artifact_blobs"),
    text_column("name"),
    *receipt_columns(),
    comment="References to bulky payloads. Outside ids: hex of run_key and artifact_key, joined.",
    info={"distributed": True, "partitioned": True},
    postgresql_partition_by="RANGE (run_day)",
)

artifact_blobs = Table(
    "artifact_blobs",
    metadata,
    run_key_column(),
    key_column("sha256", LargeBinary, "32 bytes"),
    run_day_column(),
    Column("data", LargeBinary, comment="null = it lies in the object store"),
    instant_column("received_at", nullable=False),
    Column("object_run_key", Uuid, comment="of the object's key, with sha256; null = in data"),
    comment="Payloads of artifacts, once per run and content.",
    info={"distributed": True, "partitioned": True},
    postgresql_partition_by="RANGE (run_day)",
)

# Whether anything refers to an object, in whichever run it is now (store/artifacts/garbage.py).
Index(
    "ix_artifact_blobs_object",
    artifact_blobs.c.object_run_key,
    artifact_blobs.c.sha256,
    postgresql_where=artifact_blobs.c.object_run_key.is_not(None),
)
