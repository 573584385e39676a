"""
OTLP/JSON to records.

Source: OTLP specification 1.11, "JSON Protobuf Encoding". Not protobuf's own JSON mapping:
trace and span ids are hex, unknown fields are ignored, defaults may be missing. Integers come
as string or number, and not-a-number comes as the string ``"NaN"``; a body that holds a bare
``NaN`` or half a surrogate pair is taken too, because one value is no reason to lose a batch.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import orjson

from collector.decode.hashes import sent_hash
from collector.decode.needles import DECISION_EVENT, EVIDENCE, OURS
from collector.errors import Undecodable
from collector.records import (
    MAX_DEPTH,
    TOO_DEEP,
    Decoded,
    Interpreter,
    LogRecord,
    Reading,
    RecordT,
    Resource,
    SpanEvent,
    SpanRecord,
    Unreadable,
)

_OURS = OURS.decode()
_DECISION_EVENT = DECISION_EVENT.decode()
_UINT32_MAX = (1 << 32) - 1


class _BadRecord(Exception):
    pass


class _TooDeep(Exception):
    pass


class JsonDecoder:
    """Decodes requests; any number of threads."""

    def __init__(self, interpreter: Interpreter, needles: Sequence[bytes] = ()) -> None:
        """needles: beginnings of further attribute names that make a span concern us."""
        self._reads_events = interpreter.reads_events
        self._reader = interpreter.reader
        self._prefixes = (_OURS, *(needle.decode() for needle in needles))

    def decode_traces(self, body: bytes) -> Decoded[SpanRecord]:
        """Return the spans of an ``ExportTraceServiceRequest``. Raises ``Undecodable``."""
        names = ("resourceSpans", "scopeSpans", "spans")
        return _decode(body, names, "span", self._is_our_span, self._span)

    def decode_logs(self, body: bytes) -> Decoded[LogRecord]:
        """Return the records of an ``ExportLogsServiceRequest``. Raises ``Undecodable``."""
        names = ("resourceLogs", "scopeLogs", "logRecords")
        return _decode(body, names, "log record", _is_our_record, self._log_record)

    def _is_our_span(self, span: dict[str, Any]) -> bool:
        prefixes = self._prefixes
        return any(key.startswith(prefixes) for key, _ in _entries(span))

    def _span(self, span: dict[str, Any], resource: Resource) -> SpanRecord:
        status = _object(span, "status")
        events, dropped_events = _events(span) if self._reads_events else ((), 0)
        return SpanRecord(
            _hex(span, "traceId"),
            _hex(span, "spanId"),
            _hex(span, "parentSpanId"),
            _text(span, "name"),
            _integer(span, "startTimeUnixNano"),
            _integer(span, "endTimeUnixNano"),
            self._readings(span),
            _integer(status, "code"),
            _text(status, "message"),
            _dropped(span, "droppedAttributesCount"),
            resource,
            _sent_hash(span) ^ resource.sent_hash,
            events,
            dropped_events,
        )

    def _log_record(self, record: dict[str, Any], resource: Resource) -> LogRecord:
        name = _text(record, "eventName")
        return LogRecord(
            name,
            _integer(record, "timeUnixNano") or _integer(record, "observedTimeUnixNano"),
            _hex(record, "traceId"),
            _hex(record, "spanId"),
            self._readings(record),
            _dropped(record, "droppedAttributesCount"),
            resource,
            None if name in EVIDENCE else _sent_hash(record) ^ resource.sent_hash,
        )

    def _readings(self, parent: dict[str, Any]) -> list[Reading]:
        reader = self._reader
        return [read(_any_value(value)) for key, value in _entries(parent) if (read := reader(key))]


def _decode(
    body: bytes,
    names: tuple[str, str, str],
    noun: str,
    is_ours: Callable[[dict[str, Any]], bool],
    read: Callable[[dict[str, Any], Resource], RecordT],
) -> Decoded[RecordT]:
    resources_name, scopes_name, records_name = names
    request = load(body)
    if not isinstance(request, dict):
        raise Undecodable("the body is not an OTLP JSON request: an object is due")
    groups = [
        (_object(resource_records, "resource"), _objects(scope_records, records_name))
        for resource_records in _objects(request, resources_name)
        for scope_records in _objects(resource_records, scopes_name)
    ]
    decoded: Decoded[RecordT] = Decoded(recognised=not request or resources_name in request)
    decoded.records = _records(groups, noun, is_ours, read, decoded)
    return decoded


def _records(
    groups: list[tuple[dict[str, Any], Sequence[dict[str, Any]]]],
    noun: str,
    is_ours: Callable[[dict[str, Any]], bool],
    read: Callable[[dict[str, Any], Resource], RecordT],
    decoded: Decoded[RecordT],
) -> Iterator[RecordT]:
    sender: dict[str, Any] | None = None
    resource = Resource({})
    for sent_resource, records in groups:
        for record in records:
            if not is_ours(record):
                decoded.foreign += 1
                continue
            if sent_resource is not sender:
                sender, resource = sent_resource, _resource(sent_resource)
            try:
                read_record = read(record, resource)
            except _BadRecord as exc:
                decoded.undecodable.append(f"a {noun} cannot be decoded: {exc}")
            else:
                yield read_record


def load(body: bytes) -> Any:
    """
    Return the parsed JSON of a request; an empty body is an empty object.

    Raises ``Undecodable``.
    """
    if not body:
        return {}
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        pass
    try:
        # The standard library's parser takes what orjson refuses and one value may well hold: NaN,
        # numbers beyond double, half a surrogate pair.
        return json.loads(body)
    except (ValueError, RecursionError):
        raise Undecodable("the body is not JSON") from None


def _is_our_record(record: dict[str, Any]) -> bool:
    # An attribute may hold the event's name; whose it is, is seen when the record has been read.
    return _text(record, "eventName").startswith(_OURS) or any(
        key.startswith(_OURS) or key == "event.name" for key, _ in _entries(record)
    )


def _objects(parent: dict[str, Any], name: str) -> Sequence[dict[str, Any]]:
    children = parent.get(name) or ()
    if not isinstance(children, list | tuple) or not all(isinstance(child, dict) for child in children):
        raise Undecodable(f"the body is not an OTLP JSON request: {name} must be an array of objects")
    return children


def _object(parent: dict[str, Any], name: str) -> dict[str, Any]:
    child = parent.get(name)
    return child if isinstance(child, dict) else {}


def _text(parent: dict[str, Any], name: str) -> str:
    value = parent.get(name)
    return value if isinstance(value, str) else ""


def _hex(parent: dict[str, Any], name: str) -> bytes:
    value = parent.get(name) or ""
    try:
        return bytes.fromhex(value)
    except (TypeError, ValueError):
        raise _BadRecord(f"{name} is not hex") from None


def _integer(parent: dict[str, Any], name: str) -> int:
    # A broken time or status counts as missing: it is no reason to lose the record.
    number = _int_value(parent.get(name))
    return number if isinstance(number, int) else 0


def _dropped(parent: dict[str, Any], name: str) -> int:
    # A uint32, which the protobuf encoding cannot leave: sums of them are stored.
    return max(0, min(_integer(parent, name), _UINT32_MAX))


def _resource(sent: dict[str, Any]) -> Resource:
    return Resource(_attributes(sent), _sent_hash(sent))


def _attributes(parent: dict[str, Any]) -> dict[str, Any]:
    return {key: _any_value(value) for key, value in _entries(parent)}


def _any_value(value: Any) -> Any:
    try:
        return _value(value, 1)
    except _TooDeep:
        return TOO_DEEP


def _events(span: dict[str, Any]) -> tuple[Sequence[SpanEvent], int]:
    events = span.get("events")
    if not events or not isinstance(events, list):
        return (), 0
    ours = [
        SpanEvent(name, _attributes(event))
        for event in events
        if isinstance(event, dict) and (name := _text(event, "name")).startswith(_DECISION_EVENT)
    ]
    return ours, _dropped(span, "droppedEventsCount")


def _sent_hash(sent: dict[str, Any]) -> int:
    try:
        return sent_hash(orjson.dumps(sent, option=orjson.OPT_SORT_KEYS))
    except TypeError:
        pass
    try:
        # Half surrogate pairs, integers beyond 64 bits and deep nesting, which orjson does not write.
        return sent_hash(json.dumps(sent, sort_keys=True).encode())
    except RecursionError:
        # What is too deep is not stored either.
        flat = {name: value for name, value in sent.items() if not isinstance(value, list | dict)}
        return sent_hash(json.dumps(flat, sort_keys=True).encode())


def _entries(parent: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """The attributes that have the form of one, not yet read."""
    entries = parent.get("attributes")
    for entry in entries if isinstance(entries, list) else ():
        if isinstance(entry, dict) and isinstance(key := entry.get("key", ""), str):
            yield key, entry.get("value")


def _value(value: Any, depth: int) -> Any:
    if not value:
        return None
    if not isinstance(value, dict):
        return Unreadable("not an OTLP value")
    for kind, content in value.items():
        if reader := _PLAIN.get(kind):
            return reader(content)
        if kind == "arrayValue" or kind == "kvlistValue":
            if depth > MAX_DEPTH:
                raise _TooDeep
            items = content.get("values") or () if isinstance(content, dict) else ()
            if not isinstance(items, list | tuple):
                return Unreadable(f"{kind} without an array of values")
            if kind == "arrayValue":
                return [_value(item, depth + 1) for item in items]
            values = {
                str(item.get("key", "")): _value(item.get("value"), depth + 1)
                for item in items
                if isinstance(item, dict)
            }
            return {key: values[key] for key in sorted(values)}
    return None


def _string_value(content: Any) -> Any:
    return content if isinstance(content, str) else Unreadable("stringValue is not a string")


def _bool_value(content: Any) -> Any:
    return content if isinstance(content, bool) else Unreadable("boolValue is not a boolean")


def _int_value(content: Any) -> Any:
    if isinstance(content, int) and not isinstance(content, bool):
        return content
    if isinstance(content, float) and content.is_integer():
        return int(content)
    # 20 characters hold any 64-bit integer; int() of a long text takes quadratic time.
    if isinstance(content, str) and len(content) <= 20:
        try:
            return int(content)
        except ValueError:
            pass
    return Unreadable("intValue is not an integer")


def _double_value(content: Any) -> Any:
    if isinstance(content, bool) or not isinstance(content, int | float | str):
        return Unreadable("doubleValue is not a number")
    try:
        return float(content)
    except (ValueError, OverflowError):
        return Unreadable("doubleValue is not a number")


def _bytes_value(content: Any) -> Any:
    try:
        return base64.b64decode(content, validate=True)
    except (TypeError, ValueError, binascii.Error):
        return Unreadable("bytesValue is not base64")


_PLAIN: dict[str, Callable[[Any], Any]] = {
    "stringValue": _string_value,
    "boolValue": _bool_value,
    "intValue": _int_value,
    "doubleValue": _double_value,
    "bytesValue": _bytes_value,
}
