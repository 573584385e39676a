"""
OTLP/protobuf to records.

Source: opentelemetry-proto 1.11. The bytes of a span that do not contain ``xray.`` cannot
hold an attribute of ours, because keys stand in them as plain UTF-8; the test may let a
span through that only mentions the word, and ``classify`` drops it later.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from google.protobuf.message import DecodeError

from collector.decode.attributes import Readings, attributes_of, text
from collector.decode.bounds import MAX_VALUES, Values
from collector.decode.hashes import sent_hash
from collector.decode.messages import MESSAGES
from collector.decode.needles import DECISION_EVENT, EVIDENCE, OURS
from collector.decode.scopes import Group, groups_of
from collector.errors import Undecodable
from collector.records import (
    Decoded,
    Interpreter,
    LogRecord,
    RecordT,
    Resource,
    SpanEvent,
    SpanRecord,
)

_MAX_RESOURCES = 256
_MAX_RESOURCE_BYTES = 16 * 1024
_EVIDENCE = frozenset(name.encode() for name in EVIDENCE)
# A NamedTuple's own constructor takes twice as long.
_new = tuple.__new__
_parse_span = MESSAGES.span.FromString


class ProtobufDecoder:
    """Decodes one request at a time; remembers attributes and resources from one to the next."""

    def __init__(self, interpreter: Interpreter, needles: Sequence[bytes] = ()) -> None:
        """needles: beginnings of further attribute names that make a span concern us."""
        self._reads_events = interpreter.reads_events
        self._left = Values()
        self._readings = Readings(interpreter, self._left)
        self._read = self._readings.__getitem__
        self._needles = (OURS, *needles)
        self._resources: dict[bytes, Resource] = {}

    def decode_traces(self, body: bytes) -> Decoded[SpanRecord]:
        """Return the spans of an ``ExportTraceServiceRequest``. Raises ``Undecodable``."""
        return self._decode(body, "span", self._needles, self._span)

    def decode_logs(self, body: bytes) -> Decoded[LogRecord]:
        """Return the records of an ``ExportLogsServiceRequest``. Raises ``Undecodable``."""
        return self._decode(body, "log record", (OURS,), self._log_record)

    def _decode(
        self,
        body: bytes,
        noun: str,
        needles: Sequence[bytes],
        read: Callable[[bytes, Resource], RecordT],
    ) -> Decoded[RecordT]:
        try:
            groups = groups_of(body, needles)
        except DecodeError:
            raise Undecodable("the body is not an OTLP protobuf request") from None
        self._left.left = MAX_VALUES
        decoded: Decoded[RecordT] = Decoded(
            recognised=not body or bool(groups),
            foreign=sum(group.foreign for group in groups),
        )
        decoded.records = self._records(groups, noun, read, decoded)
        return decoded

    def _records(
        self,
        groups: Sequence[Group],
        noun: str,
        read: Callable[[bytes, Resource], RecordT],
        decoded: Decoded[RecordT],
    ) -> Iterator[RecordT]:
        for group in groups:
            if not group.ours:
                continue
            resource = self._resource(group.resource)
            for raw in group.ours:
                try:
                    record = read(raw, resource)
                except DecodeError:
                    decoded.undecodable.append(f"a {noun} of {len(raw)} bytes cannot be decoded")
                else:
                    yield record

    def _resource(self, raw: bytes) -> Resource:
        # A sender says the same one in every request.
        resource = self._resources.get(raw)
        if resource is not None:
            return resource
        self._left.check(raw)
        try:
            attributes = attributes_of(MESSAGES.resource.FromString(raw).attributes, self._left)
        except DecodeError:
            # Only defaults are lost with it: the records say themselves what they belong to.
            attributes = {}
        resource = Resource(attributes, sent_hash(raw))
        if len(raw) <= _MAX_RESOURCE_BYTES:
            if len(self._resources) >= _MAX_RESOURCES:
                self._resources.clear()
            self._resources[raw] = resource
        return resource

    def _span(self, raw: bytes, resource: Resource) -> SpanRecord:
        self._left.check(raw)
        span = _parse_span(raw)
        attributes = span.attributes
        self._left.take(len(attributes))
        status = span.status
        code, message = _status(status) if status else (0, "")
        events, dropped_events = _events(span, self._left) if self._reads_events else ((), 0)
        fields = (
            span.trace_id,
            span.span_id,
            span.parent_span_id,
            text(span.name),
            span.start_time_unix_nano,
            span.end_time_unix_nano,
            list(map(self._read, attributes)),
            code,
            message,
            span.dropped_attributes_count,
            resource,
            sent_hash(raw) ^ resource.sent_hash,
            events,
            dropped_events,
        )
        return _new(SpanRecord, fields)

    def _log_record(self, raw: bytes, resource: Resource) -> LogRecord:
        self._left.check(raw)
        record = MESSAGES.log_record.FromString(raw)
        attributes = record.attributes
        self._left.take(len(attributes))
        name = record.event_name
        return LogRecord(
            text(name),
            record.time_unix_nano or record.observed_time_unix_nano,
            record.trace_id,
            record.span_id,
            list(map(self._read, attributes)),
            record.dropped_attributes_count,
            resource,
            None if name in _EVIDENCE else sent_hash(raw) ^ resource.sent_hash,
        )


def _status(raw: bytes) -> tuple[int, str]:
    status = MESSAGES.status.FromString(raw)
    return status.code, text(status.message)


def _events(span: Any, left: Values) -> tuple[Sequence[SpanEvent], int]:
    raw_events = span.events
    if not raw_events:
        return (), 0
    left.take(len(raw_events))
    events: list[SpanEvent] = []
    dropped = span.dropped_events_count
    for raw in raw_events:
        if DECISION_EVENT not in raw:
            continue
        try:
            event = MESSAGES.span_event.FromString(raw)
            if event.name.startswith(DECISION_EVENT):
                events.append(SpanEvent(text(event.name), attributes_of(event.attributes, left)))
        except DecodeError:
            dropped += 1
    return events, dropped
