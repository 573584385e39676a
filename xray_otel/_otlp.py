"""Spans and events → OTLP request messages."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import cast

from google.protobuf.internal.containers import RepeatedCompositeFieldContainer
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import ResourceLogs, ScopeLogs, SeverityNumber
from opentelemetry.proto.resource.v1.resource_pb2 import Resource as ResourceMessage
from opentelemetry.proto.trace.v1.trace_pb2 import ScopeSpans
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan

from xray_otel._buffer import Event
from xray_otel._encode import scalar
from xray_otel._mask_wire import mask_resource, mask_spans
from xray_otel._pace import hurry
from xray_otel._text import clean
from xray_otel._version import __version__
from xray_otel.semconv import SCHEMA_URL

SCOPE_NAME = "xray_otel"

_FIXED_BYTES = 300
"""Ids, times, scope and framing of a record, rounded up."""
_MAX_DEPTH = 64
_SMALL = frozenset({str, bytes, int, float, bool, type(None)})
_PIECE = 4
"""
Spans that are encoded at a stretch; some 100 µs each, twice that where the processor's caches are cold.
Smaller ones cost more: each brings its resource along.
"""


def traces_request(
    spans: Sequence[ReadableSpan], rest: Callable[[], None] = hurry
) -> ExportTraceServiceRequest:
    """
    One request with all spans, grouped by resource and scope, masked. Raises on what cannot be encoded.

    ``rest`` is called between pieces of work.
    """
    request = ExportTraceServiceRequest()
    scopes: dict[tuple[bytes, bytes], ScopeSpans] = {}
    for start in range(0, len(spans), _PIECE):
        rest()
        part = encode_spans(spans[start : start + _PIECE])
        mask_spans(part)
        for of_resource in part.resource_spans:
            for of_scope in of_resource.scope_spans:
                key = (of_resource.resource.SerializeToString(), of_scope.scope.SerializeToString())
                if key in scopes:
                    scopes[key].spans.extend(of_scope.spans)
                else:
                    group = request.resource_spans.add(
                        resource=of_resource.resource, schema_url=of_resource.schema_url
                    )
                    scopes[key] = group.scope_spans.add()
                    scopes[key].CopyFrom(of_scope)
    return request


def logs_request(events: Iterable[Event], rest: Callable[[], None] = hurry) -> ExportLogsServiceRequest:
    """One request with all events, grouped by resource; otherwise as ``traces_request``."""
    groups: dict[int, ResourceLogs] = {}
    request = ExportLogsServiceRequest()
    for event in events:
        rest()
        group = groups.get(id(event.resource))
        if group is None:
            group = request.resource_logs.add(
                resource=_resource(event.resource),
                schema_url=event.resource.schema_url or "",
                scope_logs=[
                    ScopeLogs(
                        scope=InstrumentationScope(name=SCOPE_NAME, version=__version__),
                        schema_url=SCHEMA_URL,
                    )
                ],
            )
            groups[id(event.resource)] = group
        record = group.scope_logs[0].log_records.add(
            time_unix_nano=event.time_ns,
            observed_time_unix_nano=event.time_ns,
            severity_number=SeverityNumber.SEVERITY_NUMBER_INFO,
            event_name=event.name,
            trace_id=event.trace_id.to_bytes(16, "big") if event.trace_id else b"",
            span_id=event.span_id.to_bytes(8, "big") if event.span_id else b"",
        )
        _fill(record.attributes, event.attributes)
    return request


def _resource(resource: Resource) -> ResourceMessage:
    message = ResourceMessage()
    _fill(message.attributes, resource.attributes)
    mask_resource(message)
    return message


def _fill(pairs: RepeatedCompositeFieldContainer[KeyValue], attributes: Mapping[str, object]) -> None:
    """Adds the attributes. In place: a message that is put into another one is copied, with all its text."""
    for key, value in attributes.items():
        _set(pairs.add(key=clean(key)).value, value)


def _set(message: AnyValue, value: object) -> None:
    message.SetInParent()  # None is a value, too
    if isinstance(value, bytes):
        message.bytes_value = value
        return
    if isinstance(value, list | tuple):
        message.array_value.SetInParent()
        for entry in value:
            _set(message.array_value.values.add(), entry)
        return
    if not isinstance(value, str):
        value = scalar(value)
    if isinstance(value, str):
        try:
            message.string_value = value
        except UnicodeEncodeError:  # of the resource, which the environment may have given
            message.string_value = clean(value)
    elif isinstance(value, bool):
        message.bool_value = value
    elif isinstance(value, int):
        message.int_value = value
    elif isinstance(value, float):
        message.double_value = value


def estimate_bytes(attributes: Mapping[str, object]) -> int:
    """About what a span or event with these attributes takes on the wire, rather more than less."""
    size_bytes = _FIXED_BYTES + 40 * len(attributes)
    for value in attributes.values():
        kind = type(value)
        if kind is str:
            # Known to be text by the line above; not cast(), which costs as much as the rest.
            size_bytes += len(value) if value.isascii() else 3 * len(value)  # type: ignore[attr-defined,arg-type]
        elif kind is bytes:
            size_bytes += len(value)  # type: ignore[arg-type]  # likewise
        elif kind is list or kind is tuple:
            entries = cast(Sequence[object], value)
            size_bytes += sum(
                _text_bytes(entry) + 8 if type(entry) is str else _part_bytes(entry) for entry in entries
            )
        elif kind not in _SMALL:
            size_bytes += _part_bytes(value)
    return size_bytes


def _part_bytes(value: object, depth: int = 0) -> int:
    """The same for what is inside a list or mapping; encoders refuse what is deeper than they go."""
    if isinstance(value, str):
        return _text_bytes(str.__str__(value)) + 8
    if isinstance(value, bytes):
        return len(value) + 8
    if depth < _MAX_DEPTH and isinstance(value, Mapping):
        return 16 + sum(_part_bytes(key) + _part_bytes(entry, depth + 1) for key, entry in value.items())
    if depth < _MAX_DEPTH and isinstance(value, list | tuple):
        return 16 + sum(_part_bytes(entry, depth + 1) for entry in value)
    return 16


def _text_bytes(text: str) -> int:
    return len(text) if text.isascii() else 3 * len(text)
