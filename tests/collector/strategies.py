"""Hypothesis strategies for what anybody may send."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue, KeyValueList
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from xray_otel import semconv

NAMES = sorted(
    value
    for constant, value in vars(semconv).items()
    if constant.isupper() and isinstance(value, str) and not constant.startswith(("EVENT_", "SCHEMA_URL"))
)
EVENTS = sorted(value for constant, value in vars(semconv).items() if constant.startswith("EVENT_"))

_RUN = AnyValue(string_value="run-1")

# Surrogates cannot be in protobuf; NUL and every other character can.
texts = st.text(st.characters(codec="utf-8"), max_size=20)
fixed64 = st.integers(0, (1 << 64) - 1)
scalars = st.one_of(
    st.builds(lambda value: AnyValue(string_value=value), texts),
    st.builds(lambda value: AnyValue(bool_value=value), st.booleans()),
    st.builds(lambda value: AnyValue(int_value=value), st.integers(-(1 << 63), (1 << 63) - 1)),
    st.builds(lambda value: AnyValue(double_value=value), st.floats()),
    st.builds(lambda value: AnyValue(bytes_value=value), st.binary(max_size=20)),
    st.builds(AnyValue),
)


def _nested(inner: st.SearchStrategy[AnyValue]) -> st.SearchStrategy[AnyValue]:
    lists = st.lists(inner, max_size=4)
    maps = st.dictionaries(texts, inner, max_size=4)
    return st.one_of(
        st.builds(lambda values: AnyValue(array_value=ArrayValue(values=values)), lists),
        st.builds(
            lambda values: AnyValue(kvlist_value=KeyValueList(values=_entries(values))),
            maps,
        ),
    )


def _entries(values: dict[str, AnyValue]) -> list[KeyValue]:
    return [KeyValue(key=key, value=value) for key, value in values.items()]


any_values = st.recursive(scalars, _nested, max_leaves=6)
key_values = st.builds(lambda key, value: KeyValue(key=key, value=value), texts, any_values)
# Only names that begin with xray.: the decoders may differ in which spans they pass over, not in these.
names = st.one_of(
    st.sampled_from(NAMES),
    st.sampled_from([semconv.METRIC_PREFIX, semconv.RUN_TAG_PREFIX]).flatmap(
        lambda prefix: texts.map(lambda text: prefix + text)
    ),
)
attributes = st.dictionaries(names, any_values, max_size=12).map(lambda sent: {"xray.run.id": _RUN, **sent})


def _ids(size: int) -> st.SearchStrategy[bytes]:
    """Ids of the right size, mostly: of what is refused for its ids nothing else is seen."""
    right = st.binary(min_size=size, max_size=size)
    return st.one_of(right, right, right, st.binary(min_size=1, max_size=size + 4))


# Around now, mostly, for the same reason.
_times = st.one_of(st.integers(1_789_000_000 * 10**9, 1_790_000_000 * 10**9), fixed64)

spans = st.builds(
    lambda sent, **fields: Span(attributes=_entries(sent), **fields),
    attributes,
    trace_id=_ids(16),
    span_id=_ids(8),
    parent_span_id=st.one_of(st.just(b""), _ids(8)),
    name=texts,
    start_time_unix_nano=_times,
    end_time_unix_nano=_times,
    dropped_attributes_count=st.integers(0, (1 << 32) - 1),
    status=st.builds(Status, code=st.integers(0, 2), message=texts),
)
log_records = st.builds(
    lambda sent, **fields: LogRecord(attributes=_entries(sent), **fields),
    attributes,
    event_name=st.sampled_from([*EVENTS, "xray.of.the.future", "", "other"]),
    time_unix_nano=_times,
    observed_time_unix_nano=fixed64,
    trace_id=st.one_of(st.just(b""), _ids(16)),
    span_id=st.one_of(st.just(b""), _ids(8)),
    dropped_attributes_count=st.integers(0, (1 << 32) - 1),
)


def trace_request(sent: list[Span], resource: dict[str, AnyValue]) -> ExportTraceServiceRequest:
    """One request with one resource and one scope."""
    request = ExportTraceServiceRequest()
    group = request.resource_spans.add()
    group.resource.attributes.extend(_entries(resource))
    scope = group.scope_spans.add()
    scope.scope.name, scope.scope.version = "scope", "1"
    scope.spans.extend(sent)
    return request


def log_request(sent: list[LogRecord], resource: dict[str, AnyValue]) -> ExportLogsServiceRequest:
    """One request with one resource and one scope."""
    request = ExportLogsServiceRequest()
    group = request.resource_logs.add()
    group.resource.attributes.extend(_entries(resource))
    scope = group.scope_logs.add()
    scope.scope.name = "scope"
    scope.log_records.extend(sent)
    return request


resources = st.dictionaries(
    st.sampled_from(["service.name", "deployment.environment.name", "xray.pipeline.name", "other"]),
    any_values,
    max_size=3,
)
trace_requests: st.SearchStrategy[Any] = st.builds(trace_request, st.lists(spans, max_size=4), resources)
log_requests: st.SearchStrategy[Any] = st.builds(log_request, st.lists(log_records, max_size=4), resources)
