"""
OTLP's messages, declared again so that decoding is cheap and one bad value costs one value.

Wire-identical to opentelemetry-proto 1.11. What differs is how far the parser goes at once:

- resources, scopes, spans and log records are ``bytes``: a record that holds no word of ours is
  counted and never parsed (``decode/scopes.py``), and one that is broken is refused alone.
- attributes are ``bytes`` too, each of them a whole ``KeyValue``. Most of a step's attributes
  were seen before, byte for byte, and need no second look (``decode/protobuf.py``).
- so are texts, nested values and the status: the parser would reject a whole message for text
  that is not UTF-8 and for nesting deeper than 100 messages.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_Field = descriptor_pb2.FieldDescriptorProto
_STRING, _BYTES, _BOOL = _Field.TYPE_STRING, _Field.TYPE_BYTES, _Field.TYPE_BOOL
_INT32, _INT64, _UINT32 = _Field.TYPE_INT32, _Field.TYPE_INT64, _Field.TYPE_UINT32
_FIXED64, _DOUBLE = _Field.TYPE_FIXED64, _Field.TYPE_DOUBLE

_SHAPES: dict[str, dict[str, tuple[int, int | str]]] = {
    "Resource": {"attributes": (1, "repeated bytes")},
    # ResourceSpans and ResourceLogs, ScopeSpans and ScopeLogs differ in names only, not on the wire.
    "ScopeRecords": {"records": (2, "repeated bytes")},
    "ResourceRecords": {"resource": (1, _BYTES), "scopes": (2, "repeated ScopeRecords")},
    "ExportRequest": {"resources": (1, "repeated ResourceRecords")},
    "Status": {"message": (2, _BYTES), "code": (3, _INT32)},
    "Span": {
        "trace_id": (1, _BYTES),
        "span_id": (2, _BYTES),
        "parent_span_id": (4, _BYTES),
        "name": (5, _BYTES),
        "start_time_unix_nano": (7, _FIXED64),
        "end_time_unix_nano": (8, _FIXED64),
        "attributes": (9, "repeated bytes"),
        "dropped_attributes_count": (10, _UINT32),
        "events": (11, "repeated bytes"),
        "dropped_events_count": (12, _UINT32),
        "status": (15, _BYTES),
    },
    "SpanEvent": {"name": (2, _BYTES), "attributes": (3, "repeated bytes")},
    "LogRecord": {
        "time_unix_nano": (1, _FIXED64),
        "attributes": (6, "repeated bytes"),
        "dropped_attributes_count": (7, _UINT32),
        "trace_id": (9, _BYTES),
        "span_id": (10, _BYTES),
        "observed_time_unix_nano": (11, _FIXED64),
        "event_name": (12, _BYTES),
    },
    "KeyValue": {"key": (1, _BYTES), "value": (2, _BYTES)},
    "AnyValue": {
        "string_value": (1, _BYTES),
        "bool_value": (2, _BOOL),
        "int_value": (3, _INT64),
        "double_value": (4, _DOUBLE),
        "array_value": (5, _BYTES),
        "kvlist_value": (6, _BYTES),
        "bytes_value": (7, _BYTES),
    },
    # ArrayValue and KeyValueList alike: elements that are AnyValue or KeyValue.
    "Values": {"values": (1, "repeated bytes")},
    "PartialSuccess": {"rejected": (1, _INT64), "error_message": (2, _STRING)},
    "ExportResponse": {"partial_success": (1, "PartialSuccess")},
}
_ONEOFS = {"AnyValue": "value"}
_PACKAGE = "xray.otlp"


class Messages(NamedTuple):
    """Message classes. ``Any`` because they are made at run time."""

    export_request: Any
    resource: Any
    span: Any
    span_event: Any
    log_record: Any
    status: Any
    key_value: Any
    any_value: Any
    values: Any
    export_response: Any


def _declared() -> descriptor_pool.DescriptorPool:
    file = descriptor_pb2.FileDescriptorProto(name=f"{_PACKAGE}.proto", package=_PACKAGE, syntax="proto3")
    for message_name, fields in _SHAPES.items():
        message = file.message_type.add(name=message_name)
        for name, (number, kind) in fields.items():
            field = message.field.add(name=name, number=number, label=_Field.LABEL_OPTIONAL)
            _set_type(field, kind)
            if message_name in _ONEOFS:
                field.oneof_index = 0
        if message_name in _ONEOFS:
            message.oneof_decl.add(name=_ONEOFS[message_name])
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return pool


def _set_type(field: descriptor_pb2.FieldDescriptorProto, kind: int | str) -> None:
    if isinstance(kind, int):
        field.type = _Field.Type.ValueType(kind)
        return
    if kind.startswith("repeated "):
        field.label = _Field.LABEL_REPEATED
        kind = kind.removeprefix("repeated ")
    if kind == "bytes":
        field.type = _BYTES
    else:
        field.type = _Field.TYPE_MESSAGE
        field.type_name = f".{_PACKAGE}.{kind}"


def _load(*names: str) -> Messages:
    pool = _declared()
    return Messages(
        *(message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.{name}")) for name in names)
    )


MESSAGES: Final = _load(
    "ExportRequest",
    "Resource",
    "Span",
    "SpanEvent",
    "LogRecord",
    "Status",
    "KeyValue",
    "AnyValue",
    "Values",
    "ExportResponse",
)
