"""
Spans to rows.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from collector.extract.classify import ELSEWHERE, FLAGGED, Kind, kind_of
from collector.extract.extraction import Extraction
from collector.extract.fields import INT32_MAX, WHY_BYTES, name, text
from collector.extract.flags import settled
from collector.extract.identity import (
    EARLIEST_NS,
    LATEST_AHEAD_NS,
    NO_DEFAULTS,
    SPAN_ID_BYTES,
    TRACE_ID_BYTES,
    Defaults,
    attempt_key,
    defaults,
    is_id,
    time,
)
from collector.extract.inferring import Found, add_decisions, look_further
from collector.extract.readings import collect, flags_of
from collector.extract.runs import end_order, run_fields
from collector.extract.steps import complete_step, step_copy
from collector.extract.vocabulary import RUN_ID_SLOT, SLOT, SLOT_OF
from collector.records import Resource, SpanRecord
from store.rows import Flag, RunCopy, StepCopy
from xray_otel import semconv

STATUS_ERROR = 2
"""``Status.StatusCode.STATUS_CODE_ERROR`` of OTLP."""

_START, _END = "start_time_unix_nano", "end_time_unix_nano"
_NO_TRACE, _NO_SPAN = bytes(TRACE_ID_BYTES), bytes(SPAN_ID_BYTES)
_message = text(WHY_BYTES)

_STEP, _RUN = Kind.STEP, Kind.RUN
_SAID = SLOT_OF[semconv.SPAN_KIND]
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
_ERROR_MESSAGE, _DROPPED, _INFERRED = SLOT["error_message"], SLOT["dropped_attributes"], SLOT["inferred"]
_FLAGS, _RUN_FLAGS, _SENT_HASH = SLOT["flags"], SLOT["run_flags"], SLOT["sent_hash"]


def extract_spans(spans: Iterable[SpanRecord], extraction: Extraction) -> None:
    """Add what the spans come to; never raises for what was sent."""
    resource: Resource | None = None
    shared = NO_DEFAULTS
    inference = extraction.inference
    kinds: list[Kind] = []
    for span in spans:
        values, marks, detailed = collect(span.readings)
        kind = kind_of(values[_SAID], marks)
        found: Found | None = None
        if inference is not None and (marks & ELSEWHERE or span.events):
            found = look_further(inference, span, values, marks, detailed)
            kind, marks, detailed = found.kind, found.marks, found.detailed
        kinds.append(kind)
        if kind is not _STEP and kind is not _RUN:
            continue
        if span.resource is not resource:
            resource, shared = span.resource, defaults(span.resource)
        flags = list(shared.flags)
        if found is not None:
            flags += found.flags
            values[_INFERRED] = found.inferred
        if marks & FLAGGED:
            values[_RUN_FLAGS] = tuple(flags_of(span.readings, RUN_ID_SLOT))
        if kind is _STEP:
            complete_step(values, marks, detailed, span.readings, flags)
            _add_step(span, values, shared, flags, extraction, found)
        else:
            fields = run_fields(values, marks, detailed, span.readings, flags)
            _add_run(span, values, fields, shared, flags, extraction)
    for kind in Kind:
        if number := kinds.count(kind):
            extraction.records[kind.value] += number


def _add_step(
    span: SpanRecord,
    values: list[Any],
    shared: Defaults,
    flags: list[Flag],
    extraction: Extraction,
    found: Found | None,
) -> None:
    """Add the terminal copy of a step; values: by ``SLOT``, what its attributes say."""
    trace_id, span_id, parent = span.trace_id, span.span_id, span.parent_span_id
    received_ns = extraction.received_ns
    run_is_known = True
    if values[_RUN_ID] is None:
        values[_RUN_ID] = trace_id.hex()
        run_is_known = is_id(trace_id, TRACE_ID_BYTES)
    if values[_STEP_ID] is None:
        values[_STEP_ID] = span_id.hex()
    values[_ATTEMPT_KEY] = attempt_key(values[_ATTEMPT], span_id)
    values[_TERMINAL] = True
    if values[_NAME] is None:
        values[_NAME] = name(span.name, "name", flags)
    values[_STATUS] = "error" if span.status_code == STATUS_ERROR else "ok"
    if span.status_message:
        values[_ERROR_MESSAGE] = _message(span.status_message, "status.message", flags)
    latest_ns = received_ns + LATEST_AHEAD_NS
    start_ns, end_ns = span.start_ns, span.end_ns
    if EARLIEST_NS <= start_ns <= latest_ns:
        values[_START_NS] = values[_START_SENT] = start_ns
    else:
        values[_START_NS], values[_START_SENT] = time(start_ns, _START, received_ns, flags)
    if EARLIEST_NS <= end_ns <= latest_ns:
        values[_END_NS] = values[_END_SENT] = end_ns
    else:
        values[_END_NS], values[_END_SENT] = time(end_ns, _END, received_ns, flags)
    values[_TRACE_ID], values[_SPAN_ID] = trace_id, span_id
    if parent and parent != _NO_SPAN:
        values[_PARENT] = parent
    _take_defaults(values, shared)
    if span.dropped_attributes > 0:
        values[_DROPPED] = min(span.dropped_attributes, INT32_MAX)
    if flags:
        values[_FLAGS] = settled(flags)
    values[_SENT_HASH] = span.sent_hash
    step = step_copy(values)
    if not (
        len(trace_id) == TRACE_ID_BYTES
        and trace_id != _NO_TRACE
        and len(span_id) == SPAN_ID_BYTES
        and span_id != _NO_SPAN
        and (not parent or len(parent) == SPAN_ID_BYTES)
    ):
        _refuse(span, step, run_is_known, extraction)
        return
    extraction.steps.append(step)
    if found is not None and found.answer is not None:
        add_decisions(step, found.answer, extraction)


def _take_defaults(values: list[Any], shared: Defaults) -> None:
    if values[_PIPELINE] is None:
        values[_PIPELINE] = shared.pipeline
    if values[_VERSION] is None:
        values[_VERSION] = shared.pipeline_version
    values[_SERVICE], values[_ENVIRONMENT] = shared.service_name, shared.environment


def _add_run(
    span: SpanRecord,
    values: list[Any],
    fields: dict[str, Any],
    shared: Defaults,
    flags: list[Flag],
    extraction: Extraction,
) -> None:
    """Add the terminal copy of a run; fields: what its attributes say."""
    fields["pipeline"] = fields["pipeline"] or shared.pipeline
    fields["pipeline_version"] = fields["pipeline_version"] or shared.pipeline_version
    fields["status"] = fields["status"] or ("crashed" if span.status_code == STATUS_ERROR else "completed")
    if span.status_message:
        fields["error_message"] = _message(span.status_message, "status.message", flags)
    start = time(span.start_ns, _START, extraction.received_ns, flags)
    end = time(span.end_ns, _END, extraction.received_ns, flags)
    said_run_id = values[_RUN_ID]
    run = RunCopy(
        run_id=said_run_id or span.trace_id.hex(),
        terminal=True,
        start_ns=start.ns,
        end_ns=end.ns,
        start_sent_ns=start.sent_ns,
        end_sent_ns=end_order(end.sent_ns, values),
        trace_id=span.trace_id,
        span_id=span.span_id,
        service_name=shared.service_name,
        environment=shared.environment,
        flags=settled([*flags, *values[_RUN_FLAGS]]),
        sent_hash=span.sent_hash,
        **fields,
    )
    if _bad_id(span) is None:
        extraction.runs.append(run)
    else:
        run_is_known = said_run_id is not None or is_id(span.trace_id, TRACE_ID_BYTES)
        _refuse(span, run, run_is_known, extraction)


def _refuse(span: SpanRecord, copy: RunCopy | StepCopy, run_is_known: bool, extraction: Extraction) -> None:
    extraction.refuse("bad_id", f"span {span.name[:100]!r}: {_bad_id(span)}")
    if run_is_known:
        extraction.lose(copy, "refused")
    else:
        extraction.lose_of_nobody(copy, "refused")


def _bad_id(span: SpanRecord) -> str | None:
    if not is_id(span.trace_id, TRACE_ID_BYTES):
        return f"trace id {span.trace_id[:40].hex() or '(empty)'} is not 16 bytes that are not all zero"
    if not is_id(span.span_id, SPAN_ID_BYTES):
        return f"span id {span.span_id[:40].hex() or '(empty)'} is not 8 bytes that are not all zero"
    if span.parent_span_id and len(span.parent_span_id) != SPAN_ID_BYTES:
        return f"parent span id {span.parent_span_id[:40].hex()} is not 8 bytes"
    return None
