"""
The tables, as the code sees them; ``migrations/`` builds them and a test compares the two.

Rules that keep the schema distributable (``run_key`` first in every key, one range
partition level on ``run_day``, no key or foreign key across runs, no triggers, no volatile
function in an upsert) are registered here as data, so that a test can check them against
the catalog: ``DISTRIBUTED_TABLES``, ``PARTITIONED_TABLES``.

A row of ``runs`` or ``steps`` holds what readers see *and* enough to take the merge up
again: which copy won (its order), the start copy whole, and which columns the winner did not
send itself (``filled``). See ``store/render.py``.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Date,
    DateTime,
    Double,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    Uuid,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
    }
)


def _instant(name: str, comment: str | None = None, *, nullable: bool = True) -> Column[Any]:
    return Column(name, DateTime(timezone=True), nullable=nullable, comment=comment)


def _text(name: str, comment: str | None = None, *, nullable: bool = True) -> Column[Any]:
    return Column(name, Text, nullable=nullable, comment=comment)


def _count(name: str, comment: str | None = None) -> Column[Any]:
    return Column(name, BigInteger, comment=comment)


def _ratio(name: str, comment: str | None = None) -> Column[Any]:
    return Column(name, Double, comment=comment)


def _json(name: str, comment: str | None = None) -> Column[Any]:
    # none_as_null: an absent value is SQL NULL, never the JSON word.
    return Column(name, JSONB(none_as_null=True), comment=comment)


def _words(name: str, comment: str | None = None) -> Column[Any]:
    return Column(name, ARRAY(Text), comment=comment)


def _key(name: str, type_: Any, comment: str | None = None) -> Column[Any]:
    return Column(name, type_, primary_key=True, nullable=False, autoincrement=False, comment=comment)


def _run_key() -> Column[Any]:
    return _key("run_key", Uuid, "blake2b-128 of the text run id (store/ids.py)")


def _run_day() -> Column[Any]:
    return _key("run_day", Date, "copied from runs.run_day; the partition column")


def _receipt() -> tuple[Column[Any], Column[Any]]:
    return (
        Column(
            "deliveries", Integer, nullable=False, comment="copies received, the losing and the repeated too"
        ),
        _instant("received_at", "receipt of the first copy", nullable=False),
    )


def _provenance() -> tuple[Column[Any], ...]:
    """What the merge needs to go on from the stored row; no reader shows these."""
    return (
        Column(
            "end_sent_ns",
            BigInteger,
            comment="winning terminal copy: its place, by its end as sent in ns since 1970",
        ),
        Column(
            "content_hash", BigInteger, comment="winning terminal copy: hash of its content; null = none yet"
        ),
        _json("start_copy", "the winning start copy, whole (store/copies.py)"),
        _words("filled", "columns that the winning terminal copy did not send itself"),
        _words("receipt_filled", "columns that hold a receipt time because no time was sent"),
        _json("sent_flags", "flags that came with the copies; derived ones are added in flags"),
    )


runs = Table(
    "runs",
    metadata,
    _run_key(),
    _text("run_id", nullable=False),
    Column("run_day", Date, nullable=False, comment="UTC day of first receipt; this row alone decides it"),
    _text("pipeline"),
    _text("pipeline_version"),
    _text("service_name"),
    _text("environment"),
    _text("entity"),
    _json("tags", "object of text values"),
    _json("input"),
    _json("output"),
    _text("outcome"),
    _text("outcome_reason"),
    _text("error_type"),
    _text("error_message"),
    _text("schema_id"),
    _text("schema_version"),
    _text("capture_level"),
    Column(
        "timeout_s", Double, comment="silence after which the run counts as incomplete; null = the setting"
    ),
    _instant("started_at", "earliest run copy, else first step, else wait, else receipt", nullable=False),
    _instant("ended_at", "null until a terminal copy came"),
    _ratio("duration_ms", "null when an end is missing or lies before the start"),
    _text(
        "terminal_status", "completed, crashed, cancelled; null = no terminal copy, status is read from time"
    ),
    _instant("run_started_at", "earliest start of any run copy; null while only steps are known"),
    _instant("first_step_at", "earliest start of any step copy"),
    _instant("wait_at", "latest xray.run.wait: since when the run sleeps"),
    _instant("wait_until", "… and until when, if it said"),
    Column("trace_ids", ARRAY(Uuid), comment="the 16 smallest seen, sorted"),
    _json("flags", "list of {code, field, sent}; null = none"),
    Column("span_id", LargeBinary, comment="8 bytes, of the winning terminal copy"),
    *_provenance(),
    _json("stub", "identity taken from the steps while no run copy has it"),
    *_receipt(),
    _instant(
        "last_received_at",
        "receipt of the last news, to about 10 s or a tenth of the run's timeout",
        nullable=False,
    ),
    comment="One row per run, from its first step or event on. Not partitioned: it decides run_day.",
    info={"distributed": True},
)

# Indexes ascend and are read backwards for "newest first": then one row comparison,
# (started_at, run_key) < (…), continues a page.

# /runs newest first, all pipelines; run_key breaks ties.
Index("ix_runs_started", runs.c.started_at, runs.c.run_key)
# /runs?pipeline=… newest first, and the baseline runs of a pipeline.
Index("ix_runs_pipeline_started", runs.c.pipeline, runs.c.started_at, runs.c.run_key)

steps = Table(
    "steps",
    metadata,
    _run_key(),
    _key("step_id", Text),
    _key("attempt_key", Text, "decimal attempt when it was sent, else the span id in hex"),
    _run_day(),
    Column("attempt", Integer, comment="as sent; null = numbered by start when read"),
    _text("name", nullable=False),
    _text("step_type", "search, filter, rank, select, llm, custom; custom while no copy says"),
    _text("step_type_original", "the sent word when it was an alias or unknown"),
    _text("status", "running, ok, error", nullable=False),
    Column("step_index", Integer),
    _text("pipeline", "as sent with the step; null = the run's"),
    _text("pipeline_version"),
    _text("service_name"),
    _text("environment"),
    Column("trace_id", Uuid),
    Column("span_id", LargeBinary, comment="8 bytes"),
    Column("parent_span_id", LargeBinary, comment="8 bytes"),
    _instant("started_at", nullable=False),
    _instant("ended_at", "null while running"),
    _ratio("duration_ms", "null when a time is missing or the end lies before the start"),
    _count("candidates_in", "null for a source; 0 is a count"),
    _count("candidates_out", "as sent, else kept + selected + scored"),
    _ratio("drop_ratio", "(in - out) / in; null when in is 0 or unknown, or out > in"),
    _count("kept"),
    _count("eliminated"),
    _count("scored"),
    _count("selected"),
    _count("not_selected"),
    _count("deferred"),
    _count("merged"),
    _words("reason_codes", "with reason_counts: the exact histogram, zero counts included"),
    Column("reason_counts", ARRAY(BigInteger)),
    _ratio("score_min"),
    _ratio("score_max"),
    _ratio("score_mean"),
    _ratio("score_std"),
    _ratio("score_p10"),
    _ratio("score_p50"),
    _ratio("score_p90"),
    _text("selected_id"),
    _text("why"),
    _json("metrics", "object of numbers"),
    _json("fields", "field name to {missing, mean, std, p50} of the items that leave the step"),
    _json("sources", "shard, index or supplier to the number of items"),
    _json("input"),
    _json("output"),
    _json("reasoning"),
    _text("model"),
    _ratio("temperature"),
    Column("top_k", BigInteger),
    _words("parents", "step ids; null = the step before"),
    _text("config_fingerprint"),
    _text("capture_level"),
    _count("decisions_recorded"),
    _count("decisions_chunks", "chunks that were sent; fewer rows in decisions = some are missing"),
    _text("error_type"),
    _text("error_message"),
    Column("inferred", Boolean, nullable=False, comment="recognised from foreign attributes"),
    _count("dropped_attributes", "attributes that the sender's limit removed before sending"),
    _json("flags", "list of {code, field, sent}; null = none"),
    *_provenance(),
    *_receipt(),
    comment="One row per execution of a step: the metrics, never shed. Its run's row always exists.",
    info={"distributed": True, "partitioned": True},
    postgresql_partition_by="RANGE (run_day)",
)

# /steps?step_type=… newest first, thresholds that many rows pass.
Index("ix_steps_type_started", steps.c.step_type, steps.c.started_at)
# /steps?step_type=…&drop_ratio_gt=… and /runs?step.…: thresholds that few rows pass, counts.
Index("ix_steps_type_drop_started", steps.c.step_type, steps.c.drop_ratio, steps.c.started_at)
# /steps newest first over all types, /metrics/steps over a time window.
Index("ix_steps_started", steps.c.started_at)

traces = Table(
    "traces",
    metadata,
    _key("run_key", Uuid, "of the trace's own run, whose id is the trace id in hex"),
    Column("trace_id", Uuid, nullable=False),
    Column(
        "claimed_by",
        ARRAY(Uuid),
        comment="run keys of other runs seen in the trace, the two smallest; sorted",
    ),
    Column("inferred", Boolean, nullable=False, comment="steps were inferred in it that name no run"),
    Column("placed", Uuid, comment="run key of the run where those steps are put; null = the trace's own"),
    Column("pending", Boolean, nullable=False, comment="some of them lie elsewhere than they belong"),
    _instant("received_at", "receipt of the first sign of it", nullable=False),
    comment="Which identified runs a trace has: inferred steps belong to the only one. Decision 0020.",
    info={"distributed": True},
)

# Work of store/adoption.py; empty nearly always.
Index("ix_traces_pending", traces.c.run_key, postgresql_where=traces.c.pending)

decisions = Table(
    "decisions",
    metadata,
    _run_key(),
    _key("step_id", Text),
    _key("attempt_key", Text),
    _key("chunk_index", Integer, "0-based"),
    _run_day(),
    Column("chunk_total", Integer, comment="as sent with this chunk"),
    Column("item_count", Integer, nullable=False),
    Column("data", LargeBinary, comment="packed columns (store/decisions.py); null = could not be read"),
    Column(
        "item_filter",
        LargeBinary,
        comment="which items data names (store/item_filter.py); null = open it to know",
    ),
    _text("error", "why it could not be read; shown as the step's flag decisions_unreadable"),
    Column(
        "content_hash", BigInteger, nullable=False, comment="of two readable chunks the smaller hash stays"
    ),
    *_receipt(),
    comment="Evidence: the candidates' decisions, one row per chunk; may lie here before its step.",
    info={"distributed": True, "partitioned": True},
    postgresql_partition_by="RANGE (run_day)",
)

artifacts = Table(
    "artifacts",
    metadata,
    _run_key(),
    _key("artifact_key", Uuid, "hash of everything but the payload (store/ids.py)"),
    _run_day(),
    _text("step_id", "null = the run's own"),
    _text("attempt_key"),
    _text("kind", nullable=False),
    _text("content_type", nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("sha256", LargeBinary, nullable=False, comment="32 bytes; finds the payload in artifact_blobs"),
    _text("url", "where the payload lies when it is not in artifact_blobs"),
    _text("name"),
    *_receipt(),
    comment="References to bulky payloads. Outside ids: hex of run_key and artifact_key, joined.",
    info={"distributed": True, "partitioned": True},
    postgresql_partition_by="RANGE (run_day)",
)

artifact_blobs = Table(
    "artifact_blobs",
    metadata,
    _run_key(),
    _key("sha256", LargeBinary, "32 bytes"),
    _run_day(),
    Column("data", LargeBinary, nullable=False),
    _instant("received_at", nullable=False),
    comment="Payloads of artifacts, once per run and content.",
    info={"distributed": True, "partitioned": True},
    postgresql_partition_by="RANGE (run_day)",
)

losses = Table(
    "losses",
    metadata,
    _run_key(),
    _key("cause", Text, "why it is not stored (store/losses.py)"),
    _key("what", Text, "runs, steps, decisions (counted in candidates), artifacts, texts"),
    _key("subject", Text, "which of them: step/attempt/chunk and the like, or a sender's report"),
    _run_day(),
    Column("lost", BigInteger, nullable=False),
    _text("step_id", "null = the run's own, or a sender's report"),
    _text("attempt_key"),
    *_receipt(),
    comment="Loss ledger: recorded and not stored; what came in by another way is left out on reading.",
    info={"distributed": True, "partitioned": True},
    postgresql_partition_by="RANGE (run_day)",
)

# /losses newest first.
Index("ix_losses_received", losses.c.received_at)

sender_losses = Table(
    "sender_losses",
    metadata,
    _key("report_id", Text, "the sender's id of its report"),
    _key("cause", Text),
    _key("what", Text),
    Column("lost", BigInteger, nullable=False),
    _text("pipeline", "of the sender's resource"),
    _text("service_name"),
    *_receipt(),
    comment="Losses of which the sender cannot tell the run: its queue overflowed and kept no names.",
)

# /losses newest first.
Index("ix_sender_losses_received", sender_losses.c.received_at)

schemas = Table(
    "schemas",
    metadata,
    _key("schema_id", Text),
    _key("version", Text),
    _key("sha256", LargeBinary, "32 bytes, of the canonical text; two of one version are a conflict"),
    Column("document", JSONB(none_as_null=True), nullable=False, comment="the schema in its canonical form"),
    *_receipt(),
    comment="What the steps of runs promise to record, every version that a sender or REST registered.",
)

server_secrets = Table(
    "server_secrets",
    metadata,
    _key("name", Text),
    Column("value", LargeBinary, nullable=False),
    _instant("created_at", nullable=False),
    comment="Random keys that all servers on this database share, such as the one that signs cursors.",
)

api_keys = Table(
    "api_keys",
    metadata,
    _key("key_id", Text, "12 hex digits; part of the key itself, no secret"),
    _text("name", nullable=False),
    Column("secret_hash", LargeBinary, nullable=False, comment="SHA-256 of the key's secret part"),
    Column("scopes", ARRAY(Text), nullable=False, comment="of ingest, read, admin"),
    _ratio("rate_per_s", "requests per second and server process; null = the setting"),
    _instant("created_at", nullable=False),
    _instant("expires_at", "null = never"),
    _instant("revoked_at", "null = not revoked"),
    _instant("last_used_at", "to about a minute; null = never"),
    comment="Who may send and ask: API keys, each as the hash of its secret.",
)

DISTRIBUTED_TABLES = tuple(table for table in metadata.sorted_tables if table.info.get("distributed"))
"""Tables that an engine may shard by ``run_key``; the schema test holds them to its rules."""

PARTITIONED_TABLES = tuple(table for table in metadata.sorted_tables if table.info.get("partitioned"))
"""Tables with one range partition per week of ``run_day`` (``store/partitions.py``)."""

_RECEIPT = frozenset({"deliveries", "received_at", "run_day"})

VOLATILE_COLUMNS = {
    "runs": _RECEIPT | {"last_received_at"},
    "steps": _RECEIPT,
    "traces": frozenset({"received_at"}),
    "decisions": _RECEIPT,
    "artifacts": _RECEIPT,
    "artifact_blobs": frozenset({"received_at", "run_day"}),
    "losses": _RECEIPT,
    "sender_losses": frozenset({"deliveries", "received_at"}),
    "schemas": frozenset({"deliveries", "received_at"}),
    "server_secrets": frozenset({"value", "created_at"}),
    "api_keys": frozenset({"secret_hash", "created_at", "last_used_at"}),
}
"""
Per table, the columns left out where two sets of tables are compared.
``started_at`` and ``ended_at`` count as volatile too in rows that name them
in ``receipt_filled``.
"""
