"""
Log records to rows: the events of ``xray.*``, by their name.

A trace or span id of the wrong form counts as missing here (opentelemetry-proto, ``LogRecord``):
an event says with attributes what it belongs to.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from collector.extract.classify import FLAGGED, MEMBER
from collector.extract.evidence import artifact_of_event, chunk_of_event, chunk_of_nobody, sent_count
from collector.extract.extraction import Extraction
from collector.extract.fields import INT32_MAX
from collector.extract.flags import TIME_MISSING, flag, settled
from collector.extract.identity import (
    NO_DEFAULTS,
    SPAN_ID_BYTES,
    TRACE_ID_BYTES,
    Defaults,
    attempt_key,
    defaults,
    is_id,
    time,
)
from collector.extract.losses import extract_losses
from collector.extract.outcomes import extract_outcome
from collector.extract.readings import NamedValues, collect, flags_of
from collector.extract.runs import end_order, run_fields
from collector.extract.schemas import extract_schema
from collector.extract.steps import complete_step, step_copy
from collector.extract.vocabulary import EVENT_NAME, RUN_ID_SLOT, SLOT, SLOT_OF
from collector.records import LogRecord, Reading, Resource
from store.rows import Flag, Loss, RunCopy, RunHeartbeat, RunWait
from xray_otel import semconv

_PREFIX = "xray."
_TIME = "time_unix_nano"
_STEP_SLOTS = frozenset(
    SLOT_OF[attribute]
    for attribute in (semconv.STEP_STATUS, semconv.STEP_START_UNIX_NANO, semconv.STEP_END_UNIX_NANO)
)
_WAIT_SLOTS = frozenset({SLOT_OF[semconv.RUN_WAIT_UNTIL_UNIX_NANO]})
_UNSIGNED_64 = (1 << 64) - 1


class Event(NamedTuple):
    """An event with what is common to all: whose it is, and its attributes (``readings.collect``)."""

    name: str
    record: LogRecord
    run_id: str
    run_flags: tuple[Flag, ...]
    trace_id: bytes | None
    span_id: bytes | None
    shared: Defaults
    attributes: NamedValues
    marks: int
    detailed: list[Reading]


def extract_events(records: Iterable[LogRecord], extraction: Extraction) -> None:
    """Add what the records come to; never raises for what was sent."""
    resource: Resource | None = None
    shared = NO_DEFAULTS
    for record in records:
        values, marks, detailed = collect(record.readings)
        attributes = NamedValues(values)
        event_name = record.event_name or _former_name(attributes)
        if not event_name.startswith(_PREFIX):
            extraction.records["member" if marks & MEMBER else "foreign"] += 1
            continue
        handler = _HANDLERS.get(event_name)
        if handler is None and event_name not in _OF_NO_RUN:
            extraction.records["unsupported"] += 1
            extraction.refuse(
                "unsupported_event",
                f"event {event_name[:100]!r} is not supported by this version of the server",
            )
            continue
        extraction.records[event_name] += 1
        if record.resource is not resource:
            resource, shared = record.resource, defaults(record.resource)
        if handler is None:
            if event_name == semconv.EVENT_LOSSES:
                extract_losses(attributes, record.time_ns, shared, extraction)
            elif event_name == semconv.EVENT_OUTCOME:
                extract_outcome(attributes, record.time_ns, extraction)
            else:
                extract_schema(attributes, extraction)
            continue
        trace_id = record.trace_id if is_id(record.trace_id, TRACE_ID_BYTES) else None
        span_id = record.span_id if is_id(record.span_id, SPAN_ID_BYTES) else None
        run_id = attributes.get(semconv.RUN_ID) or (trace_id.hex() if trace_id else None)
        run_flags = tuple(flags_of(record.readings, RUN_ID_SLOT)) if marks & FLAGGED else ()
        if run_id is None:
            extraction.refuse(
                "no_run_id", f"event {event_name!r} has neither a valid xray.run.id nor a trace id"
            )
            continue
        event = Event(
            event_name, record, run_id, run_flags, trace_id, span_id, shared, attributes, marks, detailed
        )
        handler(event, extraction)


def _former_name(attributes: NamedValues) -> str:
    """Senders from before ``LogRecord.event_name`` put it into an attribute."""
    former = attributes.get(EVENT_NAME)
    return former if isinstance(former, str) else ""


def _run(event: Event, extraction: Extraction, terminal: bool) -> None:
    flags: list[Flag] = list(event.shared.flags)
    fields = run_fields(event.attributes.values, event.marks, event.detailed, event.record.readings, flags)
    fields["pipeline"] = fields["pipeline"] or event.shared.pipeline
    fields["pipeline_version"] = fields["pipeline_version"] or event.shared.pipeline_version
    at = time(event.record.time_ns, f"{event.name}.{_TIME}", extraction.received_ns, flags)
    if terminal:
        fields["status"] = fields["status"] or ("crashed" if fields["error_type"] else "completed")
    else:
        fields["status"] = None
    extraction.runs.append(
        RunCopy(
            run_id=event.run_id,
            terminal=terminal,
            start_ns=None if terminal else at.ns,
            end_ns=at.ns if terminal else None,
            start_sent_ns=None if terminal else at.sent_ns,
            end_sent_ns=end_order(at.sent_ns, event.attributes.values) if terminal else None,
            trace_id=event.trace_id,
            service_name=event.shared.service_name,
            environment=event.shared.environment,
            flags=settled([*flags, *event.run_flags]),
            sent_hash=event.record.sent_hash,
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
    flags += flags_of(event.record.readings, _WAIT_SLOTS)
    until = event.attributes.get(semconv.RUN_WAIT_UNTIL_UNIX_NANO) or None
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
    record, attributes, shared = event.record, event.attributes, event.shared
    values = attributes.values
    step_id = attributes.get(semconv.STEP_ID) or (event.span_id.hex() if event.span_id else None)
    if step_id is None:
        extraction.refuse(
            "no_step_id", f"event xray.step of run {event.run_id} has no xray.step.id and no span id"
        )
        subject = f"/{(record.sent_hash or 0) & _UNSIGNED_64:016x}"
        extraction.losses.append(Loss(event.run_id, "refused", "steps", subject, 1))
        return
    flags: list[Flag] = list(shared.flags)
    complete_step(values, event.marks, event.detailed, record.readings, flags)
    if event.marks & FLAGGED:
        flags += flags_of(record.readings, _STEP_SLOTS)
    received_ns = extraction.received_ns
    sent_start = attributes.get(semconv.STEP_START_UNIX_NANO)
    start = time(sent_start, semconv.STEP_START_UNIX_NANO, received_ns, flags)
    sent_end = attributes.get(semconv.STEP_END_UNIX_NANO) or record.time_ns
    end = time(sent_end, semconv.STEP_END_UNIX_NANO, received_ns, flags)
    status = attributes.get(semconv.STEP_STATUS) or ("error" if values[SLOT["error_type"]] else "ok")
    fields: dict[str, Any] = {
        "run_id": event.run_id,
        "step_id": step_id,
        "attempt_key": attempt_key(values[SLOT["attempt"]], event.span_id),
        "terminal": True,
        "status": status,
        "start_ns": start.ns,
        "start_sent_ns": start.sent_ns,
        "end_ns": end.ns,
        "end_sent_ns": end.sent_ns,
        "trace_id": event.trace_id,
        "span_id": event.span_id,
        "pipeline": values[SLOT["pipeline"]] or shared.pipeline,
        "pipeline_version": values[SLOT["pipeline_version"]] or shared.pipeline_version,
        "service_name": shared.service_name,
        "environment": shared.environment,
        "dropped_attributes": max(0, min(record.dropped_attributes, INT32_MAX)) or None,
        "flags": settled(flags),
        "run_flags": event.run_flags,
        "sent_hash": record.sent_hash,
    }
    for field, value in fields.items():
        values[SLOT[field]] = value
    extraction.steps.append(step_copy(values))


def _decisions(event: Event, extraction: Extraction) -> None:
    chunk = chunk_of_event(event.run_id, event.span_id, event.attributes)
    if chunk is None:
        extraction.refuse(
            "no_step_id", f"decisions of run {event.run_id} have no xray.step.id and no span id"
        )
        extraction.losses.append(chunk_of_nobody(event.run_id, event.attributes))
        return
    count = None if chunk.error is None else sent_count(event.attributes)
    if refusal := extraction.take_decisions(chunk, count):
        extraction.refused.append(refusal)
    _tell_run(event, extraction)


def _artifact(event: Event, extraction: Extraction) -> None:
    artifact, problem = artifact_of_event(event.run_id, event.span_id, event.attributes)
    if problem is not None:
        extraction.refuse("artifact", f"artifact of run {event.run_id}: {problem}")
        extraction.lose(artifact, "refused")
    elif refusal := extraction.take_artifact(artifact):
        extraction.refused.append(refusal)
    else:
        _tell_run(event, extraction)


_OF_NO_RUN = frozenset({semconv.EVENT_LOSSES, semconv.EVENT_OUTCOME, semconv.EVENT_SCHEMA})
"""Those that may come without a run, or to which a trace may not lend one."""
_HANDLERS: dict[str, Callable[[Event, Extraction], None]] = {
    semconv.EVENT_RUN_START: _run_start,
    semconv.EVENT_RUN_END: _run_end,
    semconv.EVENT_RUN_WAIT: _run_wait,
    semconv.EVENT_RUN_HEARTBEAT: _heartbeat,
    semconv.EVENT_STEP: _step,
    semconv.EVENT_STEP_DECISIONS: _decisions,
    semconv.EVENT_ARTIFACT: _artifact,
}
