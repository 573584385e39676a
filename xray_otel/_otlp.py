"""Spans and events → OTLP request messages."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import cast

from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, InstrumentationScope, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, ResourceLogs, ScopeLogs, SeverityNumber
from opentelemetry.proto.resource.v1.resource_pb2 import Resource as ResourceMessage
from opentelemetry.proto.trace.v1.trace_pb2 import ScopeSpans
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan

from xray_otel._buffer import Event
from xray_otel._encode import clean, scalar
from xray_otel._mask_wire import mask_resource, mask_spans
from xray_otel._version import __version__
from xray_otel.semconv import SCHEMA_URL

SCOPE_NAME = "xray_otel"

_FIXED_BYTES = 300
"""Ids, times, scope and framing of a record, rounded up."""
_SLICE = 16
"""Spans or events that are encoded at a stretch, in about 2 ms."""
_YIELD_S = 50e-6
"""
Then threads of the host may run. Without, each of them would wait for Python's switch interval of
5 ms whenever it comes back from something; 0 would not do, this thread would be the first again.
"""


def traces_request(spans: Sequence[ReadableSpan]) -> ExportTraceServiceRequest:
    """One request with all spans, grouped by resource and scope, masked. Raises on what cannot be encoded."""
    request = ExportTraceServiceRequest()
    scopes: dict[tuple[bytes, bytes], ScopeSpans] = {}
    for start in range(0, len(spans), _SLICE):
        if start:
            time.sleep(_YIELD_S)
        part = encode_spans(spans[start : start + _SLICE])
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


def logs_request(events: Iterable[Event]) -> ExportLogsServiceRequest:
    """One request with all events, grouped by resource. Raises on what cannot be encoded."""
    groups: dict[int, ResourceLogs] = {}
    request = ExportLogsServiceRequest()
    for number, event in enumerate(events):
        if number % _SLICE == _SLICE - 1:
            time.sleep(_YIELD_S)
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
        group.scope_logs[0].log_records.append(_record(event))
    return request


def _record(event: Event) -> LogRecord:
    return LogRecord(
        time_unix_nano=event.time_ns,
        observed_time_unix_nano=event.time_ns,
        severity_number=SeverityNumber.SEVERITY_NUMBER_INFO,
        event_name=event.name,
        attributes=_attributes(event.attributes),
        trace_id=event.trace_id.to_bytes(16, "big") if event.trace_id else b"",
        span_id=event.span_id.to_bytes(8, "big") if event.span_id else b"",
    )


def _resource(resource: Resource) -> ResourceMessage:
    message = ResourceMessage(attributes=_attributes(resource.attributes))
    mask_resource(message)
    return message


def _attributes(attributes: Mapping[str, object]) -> list[KeyValue]:
    return [KeyValue(key=clean(key), value=_value(value)) for key, value in attributes.items()]


def _value(value: object) -> AnyValue:
    if isinstance(value, bytes):
        return AnyValue(bytes_value=value)
    if isinstance(value, list | tuple):
        return AnyValue(array_value=ArrayValue(values=[_value(entry) for entry in value]))
    if not isinstance(value, str):
        value = scalar(value)
    if isinstance(value, str):
        try:
            return AnyValue(string_value=value)
        except UnicodeEncodeError:  # of the resource, which the environment may have given
            return AnyValue(string_value=clean(value))
    if isinstance(value, bool):
        return AnyValue(bool_value=value)
    if isinstance(value, int):
        return AnyValue(int_value=value)
    if isinstance(value, float):
        return AnyValue(double_value=value)
    return AnyValue()


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
            size_bytes += sum(_text_bytes(entry) + 8 if isinstance(entry, str) else 16 for entry in entries)
    return size_bytes


def _text_bytes(text: str) -> int:
    return len(text) if text.isascii() else 3 * len(text)
