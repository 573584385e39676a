"""The decision schema: runs, steps, decisions, artifacts."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def _receipt() -> tuple[sa.Column[Any], sa.Column[Any]]:
    return (
        sa.Column(
            "deliveries",
            sa.Integer(),
            nullable=False,
            comment="copies received, the losing and the repeated too",
        ),
        sa.Column(
            "received_at", sa.DateTime(timezone=True), nullable=False, comment="receipt of the first copy"
        ),
    )


def upgrade() -> None:
    op.create_table(
        "api_keys",
        sa.Column(
            "key_id",
            sa.Text(),
            nullable=False,
            comment="12 hex digits; part of the key itself, no secret",
        ),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column(
            "secret_hash",
            sa.LargeBinary(),
            nullable=False,
            comment="SHA-256 of the key's secret part",
        ),
        sa.Column("scopes", postgresql.ARRAY(sa.Text()), nullable=False, comment="of ingest, read, admin"),
        sa.Column(
            "rate_per_s", sa.Double(), comment="requests per second and server process; null = the setting"
        ),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), comment="null = never"),
        sa.Column("revoked_at", sa.DateTime(timezone=True), comment="null = not revoked"),
        sa.Column("last_used_at", sa.DateTime(timezone=True), comment="to about a minute; null = never"),
        sa.PrimaryKeyConstraint("key_id", name="pk_api_keys"),
        comment="Who may send and ask: API keys, each as the hash of its secret.",
    )
    op.create_table(
        "artifact_blobs",
        sa.Column(
            "run_key", sa.Uuid(), nullable=False, comment="blake2b-128 of the text run id (store/ids.py)"
        ),
        sa.Column("sha256", sa.LargeBinary(), nullable=False, comment="32 bytes"),
        sa.Column(
            "run_day", sa.Date(), nullable=False, comment="copied from runs.run_day; the partition column"
        ),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("run_key", "sha256", "run_day", name="pk_artifact_blobs"),
        comment="Payloads of artifacts, once per run and content.",
        postgresql_partition_by="RANGE (run_day)",
    )
    op.create_table(
        "artifacts",
        sa.Column(
            "run_key", sa.Uuid(), nullable=False, comment="blake2b-128 of the text run id (store/ids.py)"
        ),
        sa.Column(
            "artifact_key",
            sa.Uuid(),
            nullable=False,
            comment="hash of everything but the payload (store/ids.py)",
        ),
        sa.Column(
            "run_day", sa.Date(), nullable=False, comment="copied from runs.run_day; the partition column"
        ),
        sa.Column("step_id", sa.Text(), comment="null = the run's own"),
        sa.Column("attempt_key", sa.Text()),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("content_type", sa.Text(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column(
            "sha256",
            sa.LargeBinary(),
            nullable=False,
            comment="32 bytes; finds the payload in artifact_blobs",
        ),
        sa.Column("url", sa.Text(), comment="where the payload lies when it is not in artifact_blobs"),
        sa.Column("name", sa.Text()),
        *_receipt(),
        sa.PrimaryKeyConstraint("run_key", "artifact_key", "run_day", name="pk_artifacts"),
        comment="References to bulky payloads. Outside ids: hex of run_key and artifact_key, joined.",
        postgresql_partition_by="RANGE (run_day)",
    )
    op.create_table(
        "decisions",
        sa.Column(
            "run_key", sa.Uuid(), nullable=False, comment="blake2b-128 of the text run id (store/ids.py)"
        ),
        sa.Column("step_id", sa.Text(), nullable=False),
        sa.Column("attempt_key", sa.Text(), nullable=False),
        sa.Column("chunk_index", sa.Integer(), nullable=False, comment="0-based"),
        sa.Column(
            "run_day", sa.Date(), nullable=False, comment="copied from runs.run_day; the partition column"
        ),
        sa.Column("chunk_total", sa.Integer(), comment="as sent with this chunk"),
        sa.Column("item_count", sa.Integer(), nullable=False),
        sa.Column(
            "data", sa.LargeBinary(), comment="packed columns (store/decisions.py); null = could not be read"
        ),
        sa.Column(
            "item_filter",
            sa.LargeBinary(),
            comment="which items data names (store/item_filter.py); null = open it to know",
        ),
        sa.Column(
            "error",
            sa.Text(),
            comment="why it could not be read; shown as the step's flag decisions_unreadable",
        ),
        sa.Column(
            "content_hash",
            sa.BigInteger(),
            nullable=False,
            comment="of two readable chunks the smaller hash stays",
        ),
        *_receipt(),
        sa.PrimaryKeyConstraint(
            "run_key", "step_id", "attempt_key", "chunk_index", "run_day", name="pk_decisions"
        ),
        comment="Evidence: the candidates' decisions, one row per chunk; may lie here before its step.",
        postgresql_partition_by="RANGE (run_day)",
    )
    op.create_table(
        "losses",
        sa.Column(
            "run_key", sa.Uuid(), nullable=False, comment="blake2b-128 of the text run id (store/ids.py)"
        ),
        sa.Column("cause", sa.Text(), nullable=False, comment="why it is not stored (store/losses.py)"),
        sa.Column(
            "what",
            sa.Text(),
            nullable=False,
            comment="runs, steps, decisions (counted in candidates), artifacts, texts",
        ),
        sa.Column(
            "subject",
            sa.Text(),
            nullable=False,
            comment="which of them: step/attempt/chunk and the like, or a sender's report",
        ),
        sa.Column(
            "run_day", sa.Date(), nullable=False, comment="copied from runs.run_day; the partition column"
        ),
        sa.Column("lost", sa.BigInteger(), nullable=False),
        sa.Column("step_id", sa.Text(), comment="null = the run's own, or a sender's report"),
        sa.Column("attempt_key", sa.Text()),
        *_receipt(),
        sa.PrimaryKeyConstraint("run_key", "cause", "what", "subject", "run_day", name="pk_losses"),
        comment="Loss ledger: recorded and not stored; what came in by another way is left out on reading.",
        postgresql_partition_by="RANGE (run_day)",
    )
    op.create_index("ix_losses_received", "losses", ["received_at"])
    op.create_table(
        "runs",
        sa.Column(
            "run_key", sa.Uuid(), nullable=False, comment="blake2b-128 of the text run id (store/ids.py)"
        ),
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column(
            "run_day",
            sa.Date(),
            nullable=False,
            comment="UTC day of first receipt; this row alone decides it",
        ),
        sa.Column("pipeline", sa.Text()),
        sa.Column("pipeline_version", sa.Text()),
        sa.Column("service_name", sa.Text()),
        sa.Column("environment", sa.Text()),
        sa.Column("entity", sa.Text()),
        sa.Column("tags", postgresql.JSONB(none_as_null=True), comment="object of text values"),
        sa.Column("input", postgresql.JSONB(none_as_null=True)),
        sa.Column("output", postgresql.JSONB(none_as_null=True)),
        sa.Column("outcome", sa.Text()),
        sa.Column("outcome_reason", sa.Text()),
        sa.Column("error_type", sa.Text()),
        sa.Column("error_message", sa.Text()),
        sa.Column("schema_id", sa.Text()),
        sa.Column("schema_version", sa.Text()),
        sa.Column("capture_level", sa.Text()),
        sa.Column(
            "timeout_s",
            sa.Double(),
            comment="silence after which the run counts as incomplete; null = the setting",
        ),
        sa.Column(
            "started_at",
            sa.DateTime(timezone=True),
            nullable=False,
            comment="earliest run copy, else first step, else wait, else receipt",
        ),
        sa.Column("ended_at", sa.DateTime(timezone=True), comment="null until a terminal copy came"),
        sa.Column("duration_ms", sa.Double(), comment="null when an end is missing or lies before the start"),
        sa.Column(
            "terminal_status",
            sa.Text(),
            comment="completed, crashed, cancelled; null = no terminal copy, status is read from time",
        ),
        sa.Column(
            "run_started_at",
            sa.DateTime(timezone=True),
            comment="earliest start of any run copy; null while only steps are known",
        ),
        sa.Column("first_step_at", sa.DateTime(timezone=True), comment="earliest start of any step copy"),
        sa.Column(
            "wait_at", sa.DateTime(timezone=True), comment="latest xray.run.wait: since when the run sleeps"
        ),
        sa.Column("wait_until", sa.DateTime(timezone=True), comment="… and until when, if it said"),
        sa.Column("trace_ids", postgresql.ARRAY(sa.Uuid()), comment="the 16 smallest seen, sorted"),
        sa.Column(
            "flags", postgresql.JSONB(none_as_null=True), comment="list of {code, field, sent}; null = none"
        ),
        sa.Column("span_id", sa.LargeBinary(), comment="8 bytes, of the winning terminal copy"),
        sa.Column(
            "end_sent_ns",
            sa.BigInteger(),
            comment="winning terminal copy: its place, by its end as sent in ns since 1970",
        ),
        sa.Column(
            "content_hash",
            sa.BigInteger(),
            comment="winning terminal copy: hash of its content; null = none yet",
        ),
        sa.Column(
            "start_copy",
            postgresql.JSONB(none_as_null=True),
            comment="the winning start copy, whole (store/copies.py)",
        ),
        sa.Column(
            "filled",
            postgresql.ARRAY(sa.Text()),
            comment="columns that the winning terminal copy did not send itself",
        ),
        sa.Column(
            "receipt_filled",
            postgresql.ARRAY(sa.Text()),
            comment="columns that hold a receipt time because no time was sent",
        ),
        sa.Column(
            "sent_flags",
            postgresql.JSONB(none_as_null=True),
            comment="flags that came with the copies; derived ones are added in flags",
        ),
        sa.Column(
            "stub",
            postgresql.JSONB(none_as_null=True),
            comment="identity taken from the steps while no run copy has it",
        ),
        *_receipt(),
        sa.Column(
            "last_received_at",
            sa.DateTime(timezone=True),
            nullable=False,
            comment="receipt of the last news, to about 10 s or a tenth of the run's timeout",
        ),
        sa.PrimaryKeyConstraint("run_key", name="pk_runs"),
        comment="One row per run, from its first step or event on. Not partitioned: it decides run_day.",
        info={"distributed": True},
    )
    op.create_index("ix_runs_pipeline_started", "runs", ["pipeline", "started_at", "run_key"])
    op.create_index("ix_runs_started", "runs", ["started_at", "run_key"])
    op.create_table(
        "schemas",
        sa.Column("schema_id", sa.Text(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column(
            "sha256",
            sa.LargeBinary(),
            nullable=False,
            comment="32 bytes, of the canonical text; two of one version are a conflict",
        ),
        sa.Column(
            "document",
            postgresql.JSONB(none_as_null=True),
            nullable=False,
            comment="the schema in its canonical form",
        ),
        *_receipt(),
        sa.PrimaryKeyConstraint("schema_id", "version", "sha256", name="pk_schemas"),
        comment="What the steps of runs promise to record, every version that a sender or REST registered.",
    )
    op.create_table(
        "sender_losses",
        sa.Column("report_id", sa.Text(), nullable=False, comment="the sender's id of its report"),
        sa.Column("cause", sa.Text(), nullable=False),
        sa.Column("what", sa.Text(), nullable=False),
        sa.Column("lost", sa.BigInteger(), nullable=False),
        sa.Column("pipeline", sa.Text(), comment="of the sender's resource"),
        sa.Column("service_name", sa.Text()),
        *_receipt(),
        sa.PrimaryKeyConstraint("report_id", "cause", "what", name="pk_sender_losses"),
        comment="Losses of which the sender cannot tell the run: its queue overflowed and kept no names.",
    )
    op.create_index("ix_sender_losses_received", "sender_losses", ["received_at"])
    op.create_table(
        "server_secrets",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("value", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_server_secrets"),
        comment="Random keys that all servers on this database share, such as the one that signs cursors.",
    )
    op.create_table(
        "steps",
        sa.Column(
            "run_key", sa.Uuid(), nullable=False, comment="blake2b-128 of the text run id (store/ids.py)"
        ),
        sa.Column("step_id", sa.Text(), nullable=False),
        sa.Column(
            "attempt_key",
            sa.Text(),
            nullable=False,
            comment="decimal attempt when it was sent, else the span id in hex",
        ),
        sa.Column(
            "run_day", sa.Date(), nullable=False, comment="copied from runs.run_day; the partition column"
        ),
        sa.Column("attempt", sa.Integer(), comment="as sent; null = numbered by start when read"),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column(
            "step_type",
            sa.Text(),
            comment="search, filter, rank, select, llm, custom; custom while no copy says",
        ),
        sa.Column("step_type_original", sa.Text(), comment="the sent word when it was an alias or unknown"),
        sa.Column("status", sa.Text(), nullable=False, comment="running, ok, error"),
        sa.Column("step_index", sa.Integer()),
        sa.Column("pipeline", sa.Text(), comment="as sent with the step; null = the run's"),
        sa.Column("pipeline_version", sa.Text()),
        sa.Column("service_name", sa.Text()),
        sa.Column("environment", sa.Text()),
        sa.Column("trace_id", sa.Uuid()),
        sa.Column("span_id", sa.LargeBinary(), comment="8 bytes"),
        sa.Column("parent_span_id", sa.LargeBinary(), comment="8 bytes"),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), comment="null while running"),
        sa.Column(
            "duration_ms", sa.Double(), comment="null when a time is missing or the end lies before the start"
        ),
        sa.Column("candidates_in", sa.BigInteger(), comment="null for a source; 0 is a count"),
        sa.Column("candidates_out", sa.BigInteger(), comment="as sent, else kept + selected + scored"),
        sa.Column(
            "drop_ratio", sa.Double(), comment="(in - out) / in; null when in is 0 or unknown, or out > in"
        ),
        sa.Column("kept", sa.BigInteger()),
        sa.Column("eliminated", sa.BigInteger()),
        sa.Column("scored", sa.BigInteger()),
        sa.Column("selected", sa.BigInteger()),
        sa.Column("not_selected", sa.BigInteger()),
        sa.Column("deferred", sa.BigInteger()),
        sa.Column("merged", sa.BigInteger()),
        sa.Column(
            "reason_codes",
            postgresql.ARRAY(sa.Text()),
            comment="with reason_counts: the exact histogram, zero counts included",
        ),
        sa.Column("reason_counts", postgresql.ARRAY(sa.BigInteger())),
        sa.Column("score_min", sa.Double()),
        sa.Column("score_max", sa.Double()),
        sa.Column("score_mean", sa.Double()),
        sa.Column("score_std", sa.Double()),
        sa.Column("score_p10", sa.Double()),
        sa.Column("score_p50", sa.Double()),
        sa.Column("score_p90", sa.Double()),
        sa.Column("selected_id", sa.Text()),
        sa.Column("why", sa.Text()),
        sa.Column("metrics", postgresql.JSONB(none_as_null=True), comment="object of numbers"),
        sa.Column(
            "fields",
            postgresql.JSONB(none_as_null=True),
            comment="field name to {missing, mean, std, p50} of the items that leave the step",
        ),
        sa.Column(
            "sources",
            postgresql.JSONB(none_as_null=True),
            comment="shard, index or supplier to the number of items",
        ),
        sa.Column("input", postgresql.JSONB(none_as_null=True)),
        sa.Column("output", postgresql.JSONB(none_as_null=True)),
        sa.Column("reasoning", postgresql.JSONB(none_as_null=True)),
        sa.Column("model", sa.Text()),
        sa.Column("temperature", sa.Double()),
        sa.Column("top_k", sa.BigInteger()),
        sa.Column("parents", postgresql.ARRAY(sa.Text()), comment="step ids; null = the step before"),
        sa.Column("config_fingerprint", sa.Text()),
        sa.Column("capture_level", sa.Text()),
        sa.Column("decisions_recorded", sa.BigInteger()),
        sa.Column(
            "decisions_chunks",
            sa.BigInteger(),
            comment="chunks that were sent; fewer rows in decisions = some are missing",
        ),
        sa.Column("error_type", sa.Text()),
        sa.Column("error_message", sa.Text()),
        sa.Column("inferred", sa.Boolean(), nullable=False, comment="recognised from foreign attributes"),
        sa.Column(
            "dropped_attributes",
            sa.BigInteger(),
            comment="attributes that the sender's limit removed before sending",
        ),
        sa.Column(
            "flags", postgresql.JSONB(none_as_null=True), comment="list of {code, field, sent}; null = none"
        ),
        sa.Column(
            "end_sent_ns",
            sa.BigInteger(),
            comment="winning terminal copy: its place, by its end as sent in ns since 1970",
        ),
        sa.Column(
            "content_hash",
            sa.BigInteger(),
            comment="winning terminal copy: hash of its content; null = none yet",
        ),
        sa.Column(
            "start_copy",
            postgresql.JSONB(none_as_null=True),
            comment="the winning start copy, whole (store/copies.py)",
        ),
        sa.Column(
            "filled",
            postgresql.ARRAY(sa.Text()),
            comment="columns that the winning terminal copy did not send itself",
        ),
        sa.Column(
            "receipt_filled",
            postgresql.ARRAY(sa.Text()),
            comment="columns that hold a receipt time because no time was sent",
        ),
        sa.Column(
            "sent_flags",
            postgresql.JSONB(none_as_null=True),
            comment="flags that came with the copies; derived ones are added in flags",
        ),
        *_receipt(),
        sa.PrimaryKeyConstraint("run_key", "step_id", "attempt_key", "run_day", name="pk_steps"),
        comment="One row per execution of a step: the metrics, never shed. Its run's row always exists.",
        postgresql_partition_by="RANGE (run_day)",
    )
    op.create_index("ix_steps_started", "steps", ["started_at"])
    op.create_index("ix_steps_type_drop_started", "steps", ["step_type", "drop_ratio", "started_at"])
    op.create_index("ix_steps_type_started", "steps", ["step_type", "started_at"])

    # Packed decisions are compressed already: spare the server the attempt.
    op.execute("ALTER TABLE decisions ALTER COLUMN data SET STORAGE EXTERNAL")
    # Hashes do not compress either, and a filter is searched whenever somebody asks for an item.
    op.execute("ALTER TABLE decisions ALTER COLUMN item_filter SET STORAGE EXTERNAL")


def downgrade() -> None:
    op.drop_index("ix_steps_type_started", table_name="steps")
    op.drop_index("ix_steps_type_drop_started", table_name="steps")
    op.drop_index("ix_steps_started", table_name="steps")
    op.drop_table("steps")
    op.drop_table("server_secrets")
    op.drop_index("ix_sender_losses_received", table_name="sender_losses")
    op.drop_table("sender_losses")
    op.drop_table("schemas")
    op.drop_index("ix_runs_started", table_name="runs")
    op.drop_index("ix_runs_pipeline_started", table_name="runs")
    op.drop_table("runs")
    op.drop_index("ix_losses_received", table_name="losses")
    op.drop_table("losses")
    op.drop_table("decisions")
    op.drop_table("artifacts")
    op.drop_table("artifact_blobs")
    op.drop_table("api_keys")
