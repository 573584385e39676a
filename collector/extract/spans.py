"""
Spans to rows.
"""

from __future__ import annotations

from collections.abc import Iterable

from collector.extract.classify import Kind, kind_of
from collector.extract.extraction import Extraction
from collector.extract.fields import INT32_MAX, WHY_BYTES, name, text
from collector.extract.flags import settled
from collector.extract.identity import (
    NO_DEFAULTS,
    SPAN_ID_BYTES,
    TRACE_ID_BYTES,
    Defaults,
    attempt,
    defaults,
    is_id,
    run_identity,
    step_identity,
    time,
)
from collector.extract.runs import run_fields
from collector.extract.steps import SLOT, step_copy, step_values
from collector.records import Resource, SpanRecord
from store.rows import Flag, RunCopy, StepCopy
from xray_otel import semconv

STATUS_ERROR = 2
"""``Status.StatusCode.STATUS_CODE_ERROR`` of OTLP."""

_START, _END = "start_time_unix_nano", "end_time_unix_nano"
_message = text(WHY_BYTES)

_RUN_ID, _STEP_ID, _ATTEMPT_KEY, _ATTEMPT = (
    SLOT["run_id"],
    SLOT["step_id"],
    SLOT["attempt_key"],
    SLOT["attempt"],
)
_TERMINAL, _NAME, _STATUS = SLOT["terminal"], SLOT["name"], SLOT["status"]
_START_NS, _START_SENT, _END_NS, _END_SENT = (
    SLOT["start_ns"],
    SLOT["start_sent_ns"],
    SLOT["end_ns"],
    SLOT["end_sent_ns"],
)
_TRACE_ID, _SPAN_ID, _PARENT = SLOT["trace_id"], SLOT["span_id"], SLOT["parent_span_id"]
_PIPELINE, _VERSION = SLOT["pipeline"], SLOT["pipeline_version"]
_SERVICE, _ENVIRONMENT = SLOT["service_name"], SLOT["environment"]
_ERROR_MESSAGE, _DROPPED = SLOT["error_message"], SLOT["dropped_attributes"]
_FLAGS, _RUN_FLAGS = SLOT["flags"], SLOT["run_flags"]


def extract_spans(spans: Iterable[SpanRecord], extraction: Extraction) -> None:
    """Add what the spans come to; never raises for what was sent."""
    resource: Resource | None = None
    shared = NO_DEFAULTS
    for span in spans:
        kind = kind_of(span.attributes)
        extraction.records[kind.value] += 1
        if kind is Kind.MEMBER or kind is Kind.FOREIGN:
            continue
        if problem := _bad_ids(span):
            extraction.refuse("bad_id", f"span {span.name[:100]!r}: {problem}")
            continue
        if span.resource is not resource:
            resource, shared = span.resource, defaults(span.resource)
        if kind is Kind.STEP:
            extraction.steps.append(step_of_span(span, shared, extraction.received_ns))
        else:
            extraction.runs.append(run_of_span(span, shared, extraction.received_ns))


def step_of_span(span: SpanRecord, shared: Defaults, received_ns: int) -> StepCopy:
    """Return the terminal copy of a step; the span's ids have been checked."""
    attributes = span.attributes
    flags: list[Flag] = list(shared.flags)
    values = step_values(attributes, flags)
    run_id, run_flags = run_identity(attributes, span.trace_id)
    step_id = step_identity(attributes.get(semconv.STEP_ID), semconv.STEP_ID, flags)
    values[_RUN_ID] = run_id
    values[_STEP_ID] = step_id or span.span_id.hex()
    values[_ATTEMPT], values[_ATTEMPT_KEY] = attempt(attributes, span.span_id, flags)
    values[_TERMINAL] = True
    if values[_NAME] is None:
        values[_NAME] = name(span.name, "name", flags)
    failed = span.status_code == STATUS_ERROR
    values[_STATUS] = "error" if failed else "ok"
    if span.status_message:
        values[_ERROR_MESSAGE] = _message(span.status_message, "status.message", flags)
    values[_START_NS], values[_START_SENT] = time(span.start_ns, _START, received_ns, flags)
    values[_END_NS], values[_END_SENT] = time(span.end_ns, _END, received_ns, flags)
    values[_TRACE_ID], values[_SPAN_ID] = span.trace_id, span.span_id
    if any(span.parent_span_id):
        values[_PARENT] = span.parent_span_id
    if values[_PIPELINE] is None:
        values[_PIPELINE] = shared.pipeline
    if values[_VERSION] is None:
        values[_VERSION] = shared.pipeline_version
    values[_SERVICE], values[_ENVIRONMENT] = shared.service_name, shared.environment
    if span.dropped_attributes > 0:
        values[_DROPPED] = min(span.dropped_attributes, INT32_MAX)
    values[_FLAGS] = settled(flags)
    values[_RUN_FLAGS] = run_flags
    return step_copy(values)


def run_of_span(span: SpanRecord, shared: Defaults, received_ns: int) -> RunCopy:
    """Return the terminal copy of a run; the span's ids have been checked."""
    flags: list[Flag] = list(shared.flags)
    fields = run_fields(span.attributes, flags)
    run_id, run_flags = run_identity(span.attributes, span.trace_id)
    fields["pipeline"] = fields.get("pipeline") or shared.pipeline
    fields["pipeline_version"] = fields.get("pipeline_version") or shared.pipeline_version
    fields["status"] = fields.get("status") or (
        "crashed" if span.status_code == STATUS_ERROR else "completed"
    )
    if span.status_message:
        fields["error_message"] = _message(span.status_message, "status.message", flags)
    start = time(span.start_ns, _START, received_ns, flags)
    end = time(span.end_ns, _END, received_ns, flags)
    return RunCopy(
        run_id=run_id or span.trace_id.hex(),
        terminal=True,
        start_ns=start.ns,
        end_ns=end.ns,
        start_sent_ns=start.sent_ns,
        end_sent_ns=end.sent_ns,
        trace_id=span.trace_id,
        span_id=span.span_id,
        service_name=shared.service_name,
        environment=shared.environment,
        flags=settled([*flags, *run_flags]),
        **fields,
    )


def _bad_ids(span: SpanRecord) -> str | None:
    if not is_id(span.trace_id, TRACE_ID_BYTES):
        return f"trace id {span.trace_id[:40].hex() or '(empty)'} is not 16 bytes that are not all zero"
    if not is_id(span.span_id, SPAN_ID_BYTES):
        return f"span id {span.span_id[:40].hex() or '(empty)'} is not 8 bytes that are not all zero"
    if span.parent_span_id and len(span.parent_span_id) != SPAN_ID_BYTES:
        return f"parent span id {span.parent_span_id[:40].hex()} is not 8 bytes"
    return None
