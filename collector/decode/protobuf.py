"""
OTLP/protobuf to records.

Source: opentelemetry-proto 1.11. The bytes of a span that do not contain ``xray.`` cannot
hold an attribute of ours, because keys stand in them as plain UTF-8; the test may let a
span through that only mentions the word, and ``classify`` drops it later.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from google.protobuf.message import DecodeError

from collector.decode.messages import STRICT, TOLERANT
from collector.errors import Undecodable
from collector.records import (
    MAX_DEPTH,
    TOO_DEEP,
    Decoded,
    LogRecord,
    RecordT,
    Resource,
    SpanRecord,
)

_NEEDLE = b"xray."


def decode_traces(body: bytes) -> Decoded[SpanRecord]:
    """Return the spans of an ``ExportTraceServiceRequest``. Raises ``Undecodable``."""
    return _decode(body, "span", _span)


def decode_logs(body: bytes) -> Decoded[LogRecord]:
    """Return the records of an ``ExportLogsServiceRequest``. Raises ``Undecodable``."""
    return _decode(body, "log record", _log_record)


def _decode(body: bytes, noun: str, read: Callable[[bytes, Resource], RecordT]) -> Decoded[RecordT]:
    try:
        request = STRICT.export_request.FromString(body)
    except DecodeError:
        raise Undecodable("the body is not an OTLP protobuf request") from None
    records: list[RecordT] = []
    undecodable: list[str] = []
    foreign = 0
    for resource_records in request.resources:
        resource: Resource | None = None
        for scope_records in resource_records.scopes:
            raw_records = scope_records.records
            ours = [raw for raw in raw_records if _NEEDLE in raw]
            foreign += len(raw_records) - len(ours)
            if not ours:
                continue
            resource = resource or _resource(resource_records.resource)
            for raw in ours:
                try:
                    records.append(read(raw, resource))
                except (DecodeError, UnicodeDecodeError):
                    undecodable.append(f"a {noun} of {len(raw)} bytes cannot be decoded")
    return Decoded(records, foreign, undecodable, recognised=not body or bool(request.resources))


def _resource(raw: bytes) -> Resource:
    try:
        return Resource(_attributes(STRICT.resource.FromString(raw).attributes))
    except DecodeError:
        pass
    try:
        return Resource(_tolerant_map(TOLERANT.resource.FromString(raw).attributes, 1))
    except DecodeError:
        # Only defaults are lost with it: the records say themselves what they belong to.
        return Resource({})


def _span(raw: bytes, resource: Resource) -> SpanRecord:
    try:
        span = STRICT.span.FromString(raw)
        attributes = _attributes(span.attributes)
        name, message = span.name, span.status.message
    except DecodeError:
        span = TOLERANT.span.FromString(raw)
        attributes = _tolerant_map(span.attributes, 1)
        name, message = _text(span.name), _text(span.status.message)
    return SpanRecord(
        span.trace_id,
        span.span_id,
        span.parent_span_id,
        name,
        span.start_time_unix_nano,
        span.end_time_unix_nano,
        attributes,
        span.status.code,
        message,
        span.dropped_attributes_count,
        resource,
    )


def _log_record(raw: bytes, resource: Resource) -> LogRecord:
    try:
        record = STRICT.log_record.FromString(raw)
        attributes = _attributes(record.attributes)
        event_name = record.event_name
    except DecodeError:
        record = TOLERANT.log_record.FromString(raw)
        attributes = _tolerant_map(record.attributes, 1)
        event_name = _text(record.event_name)
    return LogRecord(
        event_name,
        record.time_unix_nano or record.observed_time_unix_nano,
        record.trace_id,
        record.span_id,
        attributes,
        record.dropped_attributes_count,
        resource,
    )


def _attributes(attributes: Any) -> dict[str, Any]:
    # Every value of every span of ours passes here: no function call for the plain ones. Looking up by
    # key is a third faster than items(), and a key that came from the map never inserts a default.
    values: dict[str, Any] = {}
    for key in attributes:
        value = attributes[key]
        kind = value.WhichOneof("value")
        if kind is None:
            values[key] = None
        elif kind == "array_value" or kind == "kvlist_value":
            values[key] = _nested(value, kind)
        else:
            values[key] = getattr(value, kind)
    return values


def _nested(value: Any, kind: str | None) -> Any:
    # Depth needs no count here: the parser itself refuses more than 100 messages within each other.
    if kind == "array_value":
        return [_nested(item, item.WhichOneof("value")) for item in value.array_value.values]
    if kind == "kvlist_value":
        entries = value.kvlist_value.values
        # Sorted, because a protobuf map comes in an order of its own in every process.
        return {key: _nested(entries[key], entries[key].WhichOneof("value")) for key in sorted(entries)}
    return None if kind is None else getattr(value, kind)


class _TooDeep(Exception):
    pass


def _tolerant_map(entries: Any, depth: int) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for key in sorted(entries):
        try:
            values[key] = _tolerant_value(entries[key], depth)
        except (_TooDeep, DecodeError):
            if depth > 1:
                raise
            values[key] = TOO_DEEP
    return values


def _tolerant_value(value: Any, depth: int) -> Any:
    kind = value.WhichOneof("value")
    if kind == "string_value":
        return _text(value.string_value)
    if kind == "array_value" or kind == "kvlist_value":
        if depth > MAX_DEPTH:
            raise _TooDeep
        if kind == "array_value":
            array = TOLERANT.array_value.FromString(value.array_value)
            return [_tolerant_value(item, depth + 1) for item in array.values]
        return _tolerant_map(TOLERANT.kvlist_value.FromString(value.kvlist_value).values, depth + 1)
    return None if kind is None else getattr(value, kind)


def _text(raw: bytes) -> str:
    # Bytes that are not UTF-8 become lone surrogates, which the extraction removes and flags.
    return raw.decode("utf-8", "surrogateescape")
