"""
OTLP messages in which ids and times keep a place for what is new in every copy.

Run, trace and span ids hold a place for four characters, and times one for their upper half,
so that a fresh request costs one joining of bytes and still holds spans that nobody has seen,
of now.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from typing import Any

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import Span

SERIAL = b"####"
"""Place of the characters that no other copy has."""
UPPER = b"$$$$"
"""Place of the upper 32 bits of a time in ns, which change every 4.3 s."""
_SERIALS = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz-_"


class Body:
    """A serialised request, of which every ``fresh`` copy holds spans that nobody has seen yet."""

    def __init__(self, template: bytes) -> None:
        self._template = template
        self._upper = b""
        self._parts: list[bytes] = []

    def __len__(self) -> int:
        return len(self._template)

    def fresh(self, serial: int, now_ns: int) -> bytes:
        """serial: below 16,777,216 and not used before. Not for several threads at once."""
        upper = (now_ns >> 32).to_bytes(4, "little")
        if upper != self._upper:
            self._upper, self._parts = upper, self._template.replace(UPPER, upper).split(SERIAL)
        return serial_text(serial).join(self._parts)


def serial_text(serial: int) -> bytes:
    """The last four characters of run ids and, as bytes, of trace ids."""
    return bytes(_SERIALS[serial >> shift & 63] for shift in (18, 12, 6, 0))


def make_span(
    random_: random.Random,
    name: str,
    trace_id: bytes,
    span_id: bytes,
    parent: bytes,
    attributes: Mapping[str, Any],
    kind: Span.SpanKind.ValueType = Span.SPAN_KIND_INTERNAL,
) -> Span:
    """A span that ended well."""
    start, end = times(random_)
    return Span(
        trace_id=trace_id,
        span_id=span_id,
        parent_span_id=parent,
        name=name,
        kind=kind,
        start_time_unix_nano=start,
        end_time_unix_nano=end,
        attributes=key_values(attributes),
    )


def times(random_: random.Random) -> tuple[int, int]:
    """Start and end in ns."""
    # The byte before the place must never look like a part of it: the lower halves stay below 0x24000000.
    start = random_.randrange(0x2000_0000)
    upper = int.from_bytes(UPPER, "little") << 32
    return upper | start, upper | start + random_.randrange(0x0300_0000)


def make_trace_id(random_: random.Random) -> bytes:
    """A trace id."""
    return f"{random_.getrandbits(48):012x}".encode() + SERIAL


def key_values(attributes: Mapping[str, Any]) -> list[KeyValue]:
    """Attributes as OTLP carries them."""
    return [KeyValue(key=key, value=_any_value(value)) for key, value in attributes.items()]


def _any_value(value: Any) -> AnyValue:
    if isinstance(value, bool):
        return AnyValue(bool_value=value)
    if isinstance(value, int):
        return AnyValue(int_value=value)
    if isinstance(value, float):
        return AnyValue(double_value=value)
    if isinstance(value, str):
        return AnyValue(string_value=value)
    return AnyValue(array_value=ArrayValue(values=[_any_value(element) for element in value]))


def _resource() -> Resource:
    return Resource(
        attributes=key_values(
            {
                "service.name": "shop",
                "service.version": "1.4.2",
                "deployment.environment.name": "production",
                "telemetry.sdk.language": "python",
                "telemetry.sdk.name": "opentelemetry",
                "telemetry.sdk.version": "1.45.2",
            }
        )
    )


def trace_request(spans: Iterable[Span]) -> Body:
    """The spans of one resource, serialised."""
    request = ExportTraceServiceRequest()
    request.resource_spans.add(resource=_resource()).scope_spans.add().spans.extend(spans)
    return _checked(request.SerializeToString())


def logs_request(records: Iterable[LogRecord]) -> Body:
    """The log records of one resource, serialised."""
    request = ExportLogsServiceRequest()
    request.resource_logs.add(resource=_resource()).scope_logs.add().log_records.extend(records)
    return _checked(request.SerializeToString())


def _checked(body: bytes) -> Body:
    """Refuse a body in which chance put a byte like those of a place beside one."""
    if SERIAL + SERIAL[:1] in body or UPPER + UPPER[:1] in body:
        raise ValueError("a place is not where it should be; take another seed")
    return Body(body)
