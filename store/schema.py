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
    or_,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from store.schema_access import api_keys as api_keys
from store.schema_access import server_secrets as server_secrets
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
from store.schema_evidence import artifact_blobs as artifact_blobs
from store.schema_evidence import artifacts as artifacts
from store.schema_evidence import decisions as decisions
from store.schema_losses import losses as losses
from store.schema_losses import sender_losses as sender_losses
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
# /steps: whether places in a run have to be counted, for which all its steps are read. No row of our clients.
Index(
    "ix_steps_unnumbered",
    steps.c.run_key,
    postgresql_where=or_(steps.c.step_index.is_(None), steps.c.attempt.is_(None)),
)

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
