"""
The tables, as the code sees them; ``migrations/`` builds them and a test compares the two.

Rules that keep the schema distributable (``run_key`` first in every key, one range
partition level on ``run_day``, no key or foreign key across runs, no triggers, no volatile
function in an upsert) are registered here as data, so that tests can hold the catalog and the
statements to them: ``DISTRIBUTED_TABLES``, ``REFERENCE_TABLES``, ``PARTITIONED_TABLES``.

A row of ``runs`` or ``steps`` holds what readers see *and* enough to take the merge up
again: which copy won (its order), the start copy whole, and which columns the winner did not
send itself (``filled``). See ``store/render.py``.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Date,
    Double,
    Index,
    Integer,
    LargeBinary,
    Table,
    Text,
    Uuid,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from store.schema_columns import (
    count_column,
    instant_column,
    json_column,
    key_column,
    provenance_columns,
    ratio_column,
    receipt_columns,
    run_day_column,
    run_key_column,
    text_column,
    words_column,
)
from store.schema_columns import metadata as metadata
from store.schema_outcomes import outcomes as outcomes
from store.schema_rollups import rollup_marks as rollup_marks
from store.schema_rollups import step_hours as step_hours
from store.schema_rules import alert_outbox as alert_outbox
from store.schema_rules import alert_rules as alert_rules
from store.schema_rules import alert_states as alert_states
from store.schema_rules import contract_results as contract_results
from store.schema_rules import contracts as contracts
from store.schema_upkeep import erasures as erasures
from store.schema_upkeep import partition_bounds as partition_bounds
from store.schema_upkeep import retention_floors as retention_floors
from store.schema_upkeep import upkeep_turns as upkeep_turns

runs = Table(
    "runs",
    metadata,
    run_key_column(),
    text_column("run_id", nullable=False),
    Column("run_day", Date, nullable=False, comment="UTC day of first receipt; this row alone decides it"),
    text_column("pipeline"),
    text_column("pipeline_version"),
    text_column("service_name"),
    text_column("environment"),
    text_column("entity"),
    json_column("tags", "object of text values"),
    json_column("input"),
    json_column("output"),
    text_column("outcome"),
    text_column("outcome_reason"),
    text_column("error_type"),
    text_column("error_message"),
    text_column("schema_id"),
    text_column("schema_version"),
    text_column("capture_level"),
    Column(
        "timeout_s", Double, comment="silence after which the run counts as incomplete; null = the setting"
    ),
    instant_column(
        "started_at", "earliest run copy, else first step, else wait, else receipt", nullable=False
    ),
    instant_column("ended_at", "null until a terminal copy came"),
    ratio_column("duration_ms", "null when an end is missing or lies before the start"),
    text_column(
        "terminal_status", "completed, crashed, cancelled; null = no terminal copy, status is read from time"
    ),
    instant_column("run_started_at", "earliest start of any run copy; null while only steps are known"),
    instant_column("first_step_at", "earliest start of any step copy"),
    instant_column("wait_at", "latest xray.run.wait: since when the run sleeps"),
    instant_column("wait_until", "… and until when, if it said"),
    Column("trace_ids", ARRAY(Uuid), comment="the 16 smallest seen, sorted"),
    json_column("flags", "list of {code, field, sent}; null = none"),
    Column("span_id", LargeBinary, comment="8 bytes, of the winning terminal copy"),
    *provenance_columns(),
    json_column("stub", "identity taken from the steps while no run copy has it"),
    *receipt_columns(),
    instant_column(
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
# Retention, which takes the oldest.
Index("ix_runs_day", runs.c.run_day)

HIGH_DROP = 0.5
VERY_HIGH_DROP = 0.99
"""
From here on steps are indexed by their drop ratio; what drops less is found by its time (decision 0036).
"""

steps = Table(
    "steps",
    metadata,
    run_key_column(),
    key_column("step_id", Text),
    key_column("attempt_key", Text, "decimal attempt when it was sent, else the span id in hex"),
    run_day_column(),
    Column("attempt", Integer, comment="as sent; null = numbered by start when read"),
    text_column("name", nullable=False),
    text_column("step_type", "search, filter, rank, select, llm, custom; custom while no copy says"),
    text_column("step_type_original", "the sent word when it was an alias or unknown"),
    text_column("status", "running, ok, error", nullable=False),
    Column("step_index", Integer),
    text_column("pipeline", "as sent with the step; null = the run's"),
    text_column("pipeline_version"),
    text_column("service_name"),
    text_column("environment"),
    Column("trace_id", Uuid),
    Column("span_id", LargeBinary, comment="8 bytes"),
    Column("parent_span_id", LargeBinary, comment="8 bytes"),
    instant_column("started_at", nullable=False),
    instant_column("ended_at", "null while running"),
    ratio_column("duration_ms", "null when a time is missing or the end lies before the start"),
    count_column("candidates_in", "null for a source; 0 is a count"),
    count_column("candidates_out", "as sent, else kept + selected + scored"),
    ratio_column("drop_ratio", "(in - out) / in; null when in is 0 or unknown, or out > in"),
    count_column("kept"),
    count_column("eliminated"),
    count_column("scored"),
    count_column("selected"),
    count_column("not_selected"),
    count_column("deferred"),
    count_column("merged"),
    words_column("reason_codes", "with reason_counts: the exact histogram, zero counts included"),
    Column("reason_counts", ARRAY(BigInteger)),
    ratio_column("score_min"),
    ratio_column("score_max"),
    ratio_column("score_mean"),
    ratio_column("score_std"),
    ratio_column("score_p10"),
    ratio_column("score_p50"),
    ratio_column("score_p90"),
    text_column("selected_id"),
    text_column("why"),
    json_column("metrics", "object of numbers"),
    json_column("fields", "field name to {missing, mean, std, p50} of the items that leave the step"),
    json_column("sources", "shard, index or supplier to the number of items"),
    json_column("input"),
    json_column("output"),
    json_column("reasoning"),
    text_column("model"),
    ratio_column("temperature"),
    Column("top_k", BigInteger),
    words_column("parents", "step ids; null = the step before"),
    text_column("config_fingerprint"),
    text_column("capture_level"),
    count_column("decisions_recorded"),
    count_column("decisions_chunks", "chunks that were sent; fewer rows in decisions = some are missing"),
    text_column("error_type"),
    text_column("error_message"),
    Column("inferred", Boolean, nullable=False, comment="recognised from foreign attributes"),
    count_column("dropped_attributes", "attributes that the sender's limit removed before sending"),
    json_column("flags", "list of {code, field, sent}; null = none"),
    *provenance_columns(),
    *receipt_columns(),
    comment="One row per execution of a step: the metrics, never shed. Its run's row always exists.",
    info={"distributed": True, "partitioned": True},
    postgresql_partition_by="RANGE (run_day)",
)

# /steps?step_type=… newest first, thresholds that many rows pass.
Index("ix_steps_type_started", steps.c.step_type, steps.c.started_at)
# /steps?drop_ratio_gt=… newest first, of one type and of all: thresholds that a hundredth passes, or less.
Index(
    "ix_steps_high_drop_started",
    steps.c.started_at,
    steps.c.step_type,
    steps.c.drop_ratio,
    postgresql_where=steps.c.drop_ratio >= VERY_HIGH_DROP,
)
# /steps?step_type=…&drop_ratio_gt=… and /runs?step.…: thresholds that hardly any row passes, counts.
Index(
    "ix_steps_type_drop_started",
    steps.c.step_type,
    steps.c.drop_ratio,
    steps.c.started_at,
    postgresql_where=steps.c.drop_ratio >= HIGH_DROP,
)
# /steps newest first over all types, /metrics/steps over a time window.
Index("ix_steps_started", steps.c.started_at)

traces = Table(
    "traces",
    metadata,
    key_column("run_key", Uuid, "of the trace's own run, whose id is the trace id in hex"),
    Column("trace_id", Uuid, nullable=False),
    Column(
        "claimed_by",
        ARRAY(Uuid),
        comment="run keys of other runs seen in the trace, the two smallest; sorted",
    ),
    Column("inferred", Boolean, nullable=False, comment="steps were inferred in it that name no run"),
    Column("placed", Uuid, comment="run key of the run where those steps are put; null = the trace's own"),
    Column("pending", Boolean, nullable=False, comment="some of them lie elsewhere than they belong"),
    instant_column("received_at", "receipt of the first sign of it", nullable=False),
    comment="Which identified runs a trace has: inferred steps belong to the only one. Decision 0020.",
    info={"distributed": True},
)

# Work of store/adoption.py; empty nearly always.
Index("ix_traces_pending", traces.c.run_key, postgresql_where=traces.c.pending)
# Retention, which takes the oldest.
Index("ix_traces_received", traces.c.received_at)

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

schemas = Table(
    "schemas",
    metadata,
    key_column("schema_id", Text),
    key_column("version", Text),
    key_column("sha256", LargeBinary, "32 bytes, of the canonical text; two of one version are a conflict"),
    Column("document", JSONB(none_as_null=True), nullable=False, comment="the schema in its canonical form"),
    *receipt_columns(),
    comment="What the steps of runs promise to record, every version that a sender or REST registered.",
)

server_secrets = Table(
    "server_secrets",
    metadata,
    key_column("name", Text),
    Column("value", LargeBinary, nullable=False),
    instant_column("created_at", nullable=False),
    comment="Random keys that all servers on this database share, such as the one that signs cursors.",
)

api_keys = Table(
    "api_keys",
    metadata,
    key_column("key_id", Text, "12 hex digits; part of the key itself, no secret"),
    text_column("name", nullable=False),
    Column("secret_hash", LargeBinary, nullable=False, comment="SHA-256 of the key's secret part"),
    Column("scopes", ARRAY(Text), nullable=False, comment="of ingest, read, admin"),
    ratio_column("rate_per_s", "requests per second and server process; null = the setting"),
    instant_column("created_at", nullable=False),
    instant_column("expires_at", "null = never"),
    instant_column("revoked_at", "null = not revoked"),
    instant_column("last_used_at", "to about a minute; null = never"),
    comment="Who may send and ask: API keys, each as the hash of its secret.",
)

# Tables in modules of their own are imported at the head of this file, so that they are registered here.
DISTRIBUTED_TABLES = tuple(table for table in metadata.sorted_tables if table.info.get("distributed"))
"""Tables that an engine may shard by ``run_key``; the schema test holds them to its rules."""

REFERENCE_TABLES = tuple(table for table in metadata.sorted_tables if table.info.get("reference"))
"""Small tables that statements read together with distributed ones: an engine keeps a copy on each node."""

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
    "outcomes": _RECEIPT,
    "sender_losses": frozenset({"deliveries", "received_at"}),
    "schemas": frozenset({"deliveries", "received_at"}),
    "contracts": frozenset({"created_at", "updated_at", "next_at"}),
    "contract_results": frozenset({"checked_at", "result"}),
    "alert_rules": frozenset({"secret", "created_at", "updated_at", "next_at", "evaluated_at"}),
    "alert_states": frozenset({"since", "firing_since", "evaluated_at"}),
    "alert_outbox": frozenset({"secret", "created_at", "next_try_at", "attempts", "delivered_at"}),
    "server_secrets": frozenset({"value", "created_at"}),
    "api_keys": frozenset({"secret_hash", "created_at", "last_used_at"}),
    "upkeep_turns": frozenset({"started_at", "succeeded_at", "duration_s"}),
    "partition_bounds": frozenset({"week"}),
    "retention_floors": frozenset(),
    "erasures": frozenset({"number", "erased_at"}),
    "step_hours": frozenset({"place", "week"}),
    "rollup_marks": frozenset({"mark", "week"}),
}
"""
Per table, the columns left out where two sets of tables are compared.
``started_at`` and ``ended_at`` count as volatile too in rows that name them
in ``receipt_filled``.
"""
