"""
Log records to rows: the events of ``xray.*``, by their name.

A trace or span id of the wrong form counts as missing here (opentelemetry-proto, ``LogRecord``):
an event says with attributes what it belongs to.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from collector.extract.evidence import artifact_of_event, chunk_of_event
from collector.extract.extraction import Extraction
from collector.extract.fields import INT32_MAX, count, word
from collector.extract.flags import TIME_MISSING, flag, settled
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
    time_attribute,
)
from collector.extract.runs import run_fields
from collector.extract.steps import SLOT, step_copy, step_values
from collector.records import LogRecord, Resource
from store.rows import Flag, RunCopy, RunHeartbeat, RunWait
from xray_otel import semconv

_PREFIX = "xray."
_TIME = "time_unix_nano"
_nanoseconds = count()
_step_status = word(semconv.STEP_STATUSES)


class Event(NamedTuple):
    """An event with what is common to all: whose it is."""

    name: str
    record: LogRecord
    run_id: str
    run_flags: tuple[Flag, ...]
    trace_id: bytes | None
    span_id: bytes | None
    shared: Defaults


def extract_events(records: Iterable[LogRecord], extraction: Extraction) -> None:
    """Add what the records come to; never raises for what was sent."""
    resource: Resource | None = None
    shared = NO_DEFAULTS
    for record in records:
        event_name = event_name_of(record)
        if not event_name.startswith(_PREFIX):
            member = semconv.RUN_ID in record.attributes
            extraction.records["member" if member else "foreign"] += 1
            continue
        handler = _HANDLERS.get(event_name)
        if handler is None:
            extraction.records["unsupported"] += 1
            extraction.refuse(
                "unsupported_event",
                f"event {event_name[:100]!r} is not supported by this version of the server",
            )
            continue
        extraction.records[event_name] += 1
        if record.resource is not resource:
            resource, shared = record.resource, defaults(record.resource)
        trace_id = record.trace_id if is_id(record.trace_id, TRACE_ID_BYTES) else None
        span_id = record.span_id if is_id(record.span_id, SPAN_ID_BYTES) else None
        run_id, run_flags = run_identity(record.attributes, trace_id)
        if run_id is None:
            extraction.refuse(
                "no_run_id", f"event {event_name!r} has neither a valid xray.run.id nor a trace id"
            )
            continue
        handler(Event(event_name, record, run_id, run_flags, trace_id, span_id, shared), extraction)


def event_name_of(record: LogRecord) -> str:
    """Return the event's name; senders from before ``LogRecord.event_name`` put it into an attribute."""
    if record.event_name:
        return record.event_name
    former = record.attributes.get("event.name")
    return former if isinstance(former, str) else ""


def _run(event: Event, extraction: Extraction, terminal: bool) -> None:
    flags: list[Flag] = list(event.shared.flags)
    fields = run_fields(event.record.attributes, flags)
    fields["pipeline"] = fields.get("pipeline") or event.shared.pipeline
    fields["pipeline_version"] = fields.get("pipeline_version") or event.shared.pipeline_version
    at = time(event.record.time_ns, f"{event.name}.{_TIME}", extraction.received_ns, flags)
    if terminal:
        fields["status"] = fields.get("status") or ("crashed" if fields.get("error_type") else "completed")
    else:
        fields["status"] = None
    extraction.runs.append(
        RunCopy(
            run_id=event.run_id,
            terminal=terminal,
            start_ns=None if terminal else at.ns,
            end_ns=at.ns if terminal else None,
            start_sent_ns=None if terminal else at.sent_ns,
            end_sent_ns=at.sent_ns if terminal else None,
            trace_id=event.trace_id,
            service_name=event.shared.service_name,
            environment=event.shared.environment,
            flags=settled([*flags, *event.run_flags]),
            **fields,
        )
    )


def _run_start(event: Event, extraction: Extraction) -> None:
    _run(event, extraction, terminal=False)


def _run_end(event: Event, extraction: Extraction) -> None:
    _run(event, extraction, terminal=True)


def _run_wait(event: Event, extraction: Extraction) -> None:
    flags: list[Flag] = []
    field = f"{event.name}.{_TIME}"
    at = time(event.record.time_ns, field, extraction.received_ns, flags)
    sent_until = event.record.attributes.get(semconv.RUN_WAIT_UNTIL_UNIX_NANO)
    until = _nanoseconds(sent_until, semconv.RUN_WAIT_UNTIL_UNIX_NANO, flags) or None
    if at.ns is not None:
        extraction.waits.append(RunWait(event.run_id, at.ns, until, event.trace_id))
    elif at.sent_ns is None:
        flags.append(flag(TIME_MISSING, field))
    # Without a time that can be believed it only says that the run is alive: the time of receipt
    # would have the last one delivered win.
    _tell_run(event, extraction, flags)


def _heartbeat(event: Event, extraction: Extraction) -> None:
    heartbeat = RunHeartbeat(event.run_id, event.trace_id, event.run_flags)
    extraction.heartbeats.append(heartbeat)


def _tell_run(event: Event, extraction: Extraction, flags: Sequence[Flag] = ()) -> None:
    """Flag the run for an event whose own row has no place for flags."""
    if flags or event.run_flags:
        flagged = settled([*flags, *event.run_flags])
        extraction.heartbeats.append(RunHeartbeat(event.run_id, event.trace_id, flagged))


def _step(event: Event, extraction: Extraction) -> None:
    attributes = event.record.attributes
    flags: list[Flag] = list(event.shared.flags)
    step_id = step_identity(attributes.get(semconv.STEP_ID), semconv.STEP_ID, flags)
    step_id = step_id or (event.span_id.hex() if event.span_id else None)
    if step_id is None:
        extraction.refuse(
            "no_step_id", f"event xray.step of run {event.run_id} has no xray.step.id and no span id"
        )
        return
    values = step_values(attributes, flags)
    number, attempt_key = attempt(attributes, event.span_id, flags)
    status = _step_status(attributes.get(semconv.STEP_STATUS), semconv.STEP_STATUS, flags)
    start = time_attribute(attributes, semconv.STEP_START_UNIX_NANO, 0, extraction.received_ns, flags)
    end = time_attribute(
        attributes, semconv.STEP_END_UNIX_NANO, event.record.time_ns, extraction.received_ns, flags
    )
    fields: dict[str, Any] = {
        "run_id": event.run_id,
        "step_id": step_id,
        "attempt_key": attempt_key,
        "attempt": number,
        "terminal": True,
        "status": status or ("error" if values[SLOT["error_type"]] else "ok"),
        "start_ns": start.ns,
        "start_sent_ns": start.sent_ns,
        "end_ns": end.ns,
        "end_sent_ns": end.sent_ns,
        "trace_id": event.trace_id,
        "span_id": event.span_id,
        "pipeline": values[SLOT["pipeline"]] or event.shared.pipeline,
        "pipeline_version": values[SLOT["pipeline_version"]] or event.shared.pipeline_version,
        "service_name": event.shared.service_name,
        "environment": event.shared.environment,
        "dropped_attributes": max(0, min(event.record.dropped_attributes, INT32_MAX)) or None,
        "flags": settled(flags),
        "run_flags": event.run_flags,
    }
    for field, value in fields.items():
        values[SLOT[field]] = value
    extraction.steps.append(step_copy(values))


def _decisions(event: Event, extraction: Extraction) -> None:
    chunk = chunk_of_event(event.run_id, event.span_id, event.record.attributes)
    if chunk is None:
        extraction.refuse(
            "no_step_id", f"decisions of run {event.run_id} have no xray.step.id and no span id"
        )
        return
    if refusal := extraction.take_decisions(chunk):
        extraction.refused.append(refusal)
    _tell_run(event, extraction)


def _artifact(event: Event, extraction: Extraction) -> None:
    outcome = artifact_of_event(event.run_id, event.span_id, event.record.attributes, extraction.limits)
    if isinstance(outcome, str):
        extraction.refuse("artifact", f"artifact of run {event.run_id}: {outcome}")
    else:
        extraction.artifacts.append(outcome)
        _tell_run(event, extraction)


_HANDLERS: dict[str, Callable[[Event, Extraction], None]] = {
    semconv.EVENT_RUN_START: _run_start,
    semconv.EVENT_RUN_END: _run_end,
    semconv.EVENT_RUN_WAIT: _run_wait,
    semconv.EVENT_RUN_HEARTBEAT: _heartbeat,
    semconv.EVENT_STEP: _step,
    semconv.EVENT_STEP_DECISIONS: _decisions,
    semconv.EVENT_ARTIFACT: _artifact,
}
