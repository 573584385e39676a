"""
OTLP's messages, declared again so that decoding is cheap.

Wire-identical to opentelemetry-proto 1.11, with two differences that are ours alone:

- attributes are ``map<string, AnyValue>`` instead of ``repeated KeyValue``. A map entry has
  the same bytes, and the C parser then builds the look-up table and lets the last of several
  equal keys win; a plain walk costs three times as much.
- resources, spans and log records are ``bytes``: a record that does not contain ``xray.`` is
  counted and never parsed (0.2 µs instead of 3 µs), and one that is broken is refused alone.
  Scopes, which nobody reads, are not even declared.

The *tolerant* set declares strings and nested values as bytes. It is used for a part that
the strict set refuses, which happens for text that is not UTF-8 and for deep nesting: the
parser rejects the whole message for either, and we want to lose one value, not the step.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_Field = descriptor_pb2.FieldDescriptorProto
_STRING, _BYTES, _BOOL = _Field.TYPE_STRING, _Field.TYPE_BYTES, _Field.TYPE_BOOL
_INT32, _INT64, _UINT32 = _Field.TYPE_INT32, _Field.TYPE_INT64, _Field.TYPE_UINT32
_FIXED64, _DOUBLE = _Field.TYPE_FIXED64, _Field.TYPE_DOUBLE

_SHAPES: dict[str, dict[str, tuple[int, int | str]]] = {
    "Resource": {"attributes": (1, "map")},
    # ResourceSpans and ResourceLogs, ScopeSpans and ScopeLogs differ in names only, not on the wire.
    "ScopeRecords": {"records": (2, "repeated bytes")},
    "ResourceRecords": {"resource": (1, _BYTES), "scopes": (2, "repeated ScopeRecords")},
    "ExportRequest": {"resources": (1, "repeated ResourceRecords")},
    "Status": {"message": (2, _STRING), "code": (3, _INT32)},
    "Span": {
        "trace_id": (1, _BYTES),
        "span_id": (2, _BYTES),
        "parent_span_id": (4, _BYTES),
        "name": (5, _STRING),
        "start_time_unix_nano": (7, _FIXED64),
        "end_time_unix_nano": (8, _FIXED64),
        "attributes": (9, "map"),
        "dropped_attributes_count": (10, _UINT32),
        "status": (15, "Status"),
    },
    "LogRecord": {
        "time_unix_nano": (1, _FIXED64),
        "attributes": (6, "map"),
        "dropped_attributes_count": (7, _UINT32),
        "trace_id": (9, _BYTES),
        "span_id": (10, _BYTES),
        "observed_time_unix_nano": (11, _FIXED64),
        "event_name": (12, _STRING),
    },
    "ArrayValue": {"values": (1, "repeated AnyValue")},
    "KeyValueList": {"values": (1, "map")},
    "PartialSuccess": {"rejected": (1, _INT64), "error_message": (2, _STRING)},
    "ExportResponse": {"partial_success": (1, "PartialSuccess")},
}

_ANY_VALUE: dict[str, tuple[int, int | str]] = {
    "string_value": (1, _STRING),
    "bool_value": (2, _BOOL),
    "int_value": (3, _INT64),
    "double_value": (4, _DOUBLE),
    "array_value": (5, "ArrayValue"),
    "kvlist_value": (6, "KeyValueList"),
    "bytes_value": (7, _BYTES),
}

_TOLERANT_SHAPES: dict[str, dict[str, tuple[int, int | str]]] = {
    "Resource": _SHAPES["Resource"],
    "Status": {"message": (2, _BYTES), "code": (3, _INT32)},
    "Span": {**_SHAPES["Span"], "name": (5, _BYTES)},
    "LogRecord": {**_SHAPES["LogRecord"], "event_name": (12, _BYTES)},
    "ArrayValue": _SHAPES["ArrayValue"],
    "KeyValueList": _SHAPES["KeyValueList"],
}

_TOLERANT_ANY_VALUE: dict[str, tuple[int, int | str]] = {
    **_ANY_VALUE,
    "string_value": (1, _BYTES),
    "array_value": (5, _BYTES),
    "kvlist_value": (6, _BYTES),
}


class Messages(NamedTuple):
    """Message classes of one set. ``Any`` because they are made at run time."""

    resource: Any
    span: Any
    log_record: Any
    array_value: Any
    kvlist_value: Any
    export_request: Any = None
    export_response: Any = None


def _declare(
    package: str,
    shapes: dict[str, dict[str, tuple[int, int | str]]],
    any_value: dict[str, tuple[int, int | str]],
) -> descriptor_pool.DescriptorPool:
    file = descriptor_pb2.FileDescriptorProto(name=f"{package}.proto", package=package, syntax="proto3")
    value = file.message_type.add(name="AnyValue")
    value.oneof_decl.add(name="value")
    for name, (number, kind) in any_value.items():
        _add_field(value, package, name, number, kind).oneof_index = 0
    for message_name, fields in shapes.items():
        message = file.message_type.add(name=message_name)
        for name, (number, kind) in fields.items():
            _add_field(message, package, name, number, kind)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return pool


def _add_field(
    message: descriptor_pb2.DescriptorProto, package: str, name: str, number: int, kind: int | str
) -> descriptor_pb2.FieldDescriptorProto:
    if kind == "map":
        # protoc's own rule: the entry type is named after the field and nested in the message.
        entry = message.nested_type.add(name=f"{name.capitalize()}Entry")
        entry.options.map_entry = True
        _add_field(entry, package, "key", 1, _STRING)
        _add_field(entry, package, "value", 2, "AnyValue")
        kind = f"repeated {message.name}.{entry.name}"
    field = message.field.add(name=name, number=number, label=_Field.LABEL_OPTIONAL)
    if isinstance(kind, int):
        field.type = _Field.Type.ValueType(kind)
        return field
    if kind.startswith("repeated "):
        field.label = _Field.LABEL_REPEATED
        kind = kind.removeprefix("repeated ")
    if kind == "bytes":
        field.type = _BYTES
    else:
        field.type = _Field.TYPE_MESSAGE
        field.type_name = f".{package}.{kind}"
    return field


def _load(package: str, pool: descriptor_pool.DescriptorPool, *names: str) -> Messages:
    def find(name: str) -> Any:
        return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{package}.{name}"))

    return Messages(*(find(name) for name in names))


_NAMES = ("Resource", "Span", "LogRecord", "ArrayValue", "KeyValueList")
STRICT = _load(
    "xray.otlp", _declare("xray.otlp", _SHAPES, _ANY_VALUE), *_NAMES, "ExportRequest", "ExportResponse"
)
TOLERANT = _load("xray.tolerant", _declare("xray.tolerant", _TOLERANT_SHAPES, _TOLERANT_ANY_VALUE), *_NAMES)
