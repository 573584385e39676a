"""
Rows as they lie in the tables, one NamedTuple per table, fields in column order.

Instants are integers of microseconds since 1970, UUIDs their 16 bytes, JSON columns parsed
values. ``store/wire.py`` puts them into the bytes of COPY; a test compares the fields with
``store/schema.py``, because a row is built and sent by position.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Any, NamedTuple


class RunRow(NamedTuple):
    """A row of ``runs``."""

    run_key: bytes
    run_id: str
    run_day: date
    pipeline: str | None
    pipeline_version: str | None
    service_name: str | None
    environment: str | None
    entity: str | None
    tags: Any
    input: Any
    output: Any
    outcome: str | None
    outcome_reason: str | None
    error_type: str | None
    error_message: str | None
    schema_id: str | None
    schema_version: str | None
    capture_level: str | None
    timeout_s: float | None
    started_at: int
    ended_at: int | None
    duration_ms: float | None
    terminal_status: str | None
    run_started_at: int | None
    first_step_at: int | None
    wait_at: int | None
    wait_until: int | None
    trace_ids: Sequence[Any] | None
    flags: Any
    span_id: bytes | None
    end_sent_ns: int | None
    content_hash: int | None
    start_copy: Any
    filled: Sequence[Any] | None
    receipt_filled: Sequence[Any] | None
    sent_flags: Any
    stub: Any
    deliveries: int
    received_at: int
    last_received_at: int


class StepRow(NamedTuple):
    """A row of ``steps``."""

    run_key: bytes
    step_id: str
    attempt_key: str
    run_day: date
    attempt: int | None
    name: str
    step_type: str | None
    step_type_original: str | None
    status: str
    step_index: int | None
    pipeline: str | None
    pipeline_version: str | None
    service_name: str | None
    environment: str | None
    trace_id: bytes | None
    span_id: bytes | None
    parent_span_id: bytes | None
    started_at: int
    ended_at: int | None
    duration_ms: float | None
    candidates_in: int | None
    candidates_out: int | None
    drop_ratio: float | None
    kept: int | None
    eliminated: int | None
    scored: int | None
    selected: int | None
    not_selected: int | None
    deferred: int | None
    merged: int | None
    reason_codes: Sequence[Any] | None
    reason_counts: Sequence[Any] | None
    score_min: float | None
    score_max: float | None
    score_mean: float | None
    score_std: float | None
    score_p10: float | None
    score_p50: float | None
    score_p90: float | None
    selected_id: str | None
    why: str | None
    metrics: Any
    fields: Any
    sources: Any
    input: Any
    output: Any
    reasoning: Any
    model: str | None
    temperature: float | None
    top_k: int | None
    parents: Sequence[Any] | None
    config_fingerprint: str | None
    capture_level: str | None
    decisions_recorded: int | None
    decisions_chunks: int | None
    error_type: str | None
    error_message: str | None
    inferred: bool
    dropped_attributes: int | None
    flags: Any
    end_sent_ns: int | None
    content_hash: int | None
    start_copy: Any
    filled: Sequence[Any] | None
    receipt_filled: Sequence[Any] | None
    sent_flags: Any
    deliveries: int
    received_at: int


class DecisionRow(NamedTuple):
    """A row of ``decisions``."""

    run_key: bytes
    step_id: str
    attempt_key: str
    chunk_index: int
    run_day: date
    chunk_total: int | None
    item_count: int
    data: bytes | None
    item_filter: bytes | None
    error: str | None
    content_hash: int
    deliveries: int
    received_at: int


class ArtifactRow(NamedTuple):
    """A row of ``artifacts``."""

    run_key: bytes
    artifact_key: bytes
    run_day: date
    step_id: str | None
    attempt_key: str | None
    kind: str
    content_type: str
    size_bytes: int
    sha256: bytes
    url: str | None
    name: str | None
    deliveries: int
    received_at: int


class LossRow(NamedTuple):
    """A row of ``losses``."""

    run_key: bytes
    cause: str
    what: str
    subject: str
    run_day: date
    lost: int
    step_id: str | None
    attempt_key: str | None
    deliveries: int
    received_at: int


class OutcomeRow(NamedTuple):
    """A row of ``outcomes``."""

    run_key: bytes
    name: str
    item_id: str
    run_day: date
    value: Any
    source: str | None
    observed_at: int | None
    content_hash: int
    deliveries: int
    received_at: int


class TraceRow(NamedTuple):
    """A row of ``traces``."""

    run_key: bytes
    trace_id: bytes
    claimed_by: Sequence[bytes] | None
    inferred: bool
    placed: bytes | None
    pending: bool
    received_at: int


class SenderLossRow(NamedTuple):
    """A row of ``sender_losses``."""

    report_id: str
    cause: str
    what: str
    lost: int
    pipeline: str | None
    service_name: str | None
    deliveries: int
    received_at: int


class SchemaRow(NamedTuple):
    """A row of ``schemas``."""

    schema_id: str
    version: str
    sha256: bytes
    document: Any
    deliveries: int
    received_at: int


class BlobRow(NamedTuple):
    """A row of ``artifact_blobs``."""

    run_key: bytes
    sha256: bytes
    run_day: date
    data: bytes | None
    received_at: int
    object_run_key: bytes | None
