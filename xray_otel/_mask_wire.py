"""
Masking of encoded spans, the team's own among them: the last gate before the spool and the wire.

X-Ray's own values were masked when they were recorded; here comes what others have set,
on their spans, on ours, and on the resource.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from xray_otel import _mask, semconv
from xray_otel._ids import OWN_RUN_ID, OWN_STEP_ID
from xray_otel._mask import FAILED, MASKED, Mask
from xray_otel.semconv import (
    CAPTURE_LEVEL,
    CAPTURE_LEVELS,
    CONFIG_FINGERPRINT,
    RUN_ID,
    RUN_STATUS,
    RUN_STATUSES,
    SPAN_KIND,
    SPAN_KINDS,
    STEP_ID,
    STEP_PARENTS,
    STEP_STATUS,
    STEP_STATUSES,
    STEP_TYPE,
    STEP_TYPES,
)

_OWN: Mapping[str, re.Pattern[str]] = {
    RUN_ID: OWN_RUN_ID,
    STEP_ID: OWN_STEP_ID,
    STEP_PARENTS: OWN_STEP_ID,
    CONFIG_FINGERPRINT: re.compile("sha256:[0-9a-f]{16}"),
}
"""What is never masked, because we made it, by attribute."""
_WORDED = frozenset({SPAN_KIND, RUN_STATUS, STEP_TYPE, STEP_STATUS, CAPTURE_LEVEL})
_WORDS = SPAN_KINDS | RUN_STATUSES | STEP_TYPES | STEP_STATUSES | CAPTURE_LEVELS
"""Of a vocabulary: they hold nothing that could be hidden, and without them a step would be none."""
_NAMES = frozenset(value for value in vars(semconv).values() if isinstance(value, str))
_PREFIXES = (semconv.METRIC_PREFIX, semconv.RUN_TAG_PREFIX)
_MAX_DEPTH = 64


def mask_spans(request: ExportTraceServiceRequest) -> None:
    """Hides in place what must not leave."""
    mask = _mask.current
    for of_resource in request.resource_spans:
        mask_resource(of_resource.resource)
        for of_scope in of_resource.scope_spans:
            of_scope.scope.name = mask.text(of_scope.scope.name)
            _attributes(of_scope.scope.attributes, mask)
            for span in of_scope.spans:
                _span(span, mask)


def mask_resource(resource: Resource) -> None:
    """The same for a resource, which the environment may have given anything."""
    _attributes(resource.attributes, _mask.current)


def _span(span: Span, mask: Mask) -> None:
    _attributes(span.attributes, mask)
    for link in span.links:
        _attributes(link.attributes, mask)
        if link.trace_state:
            link.trace_state = mask.text(link.trace_state)
    for event in span.events:
        event.name = mask.text(event.name)
        _attributes(event.attributes, mask)
    span.name = mask.text(span.name)
    if span.trace_state:
        span.trace_state = mask.text(span.trace_state)
    if span.status.message:
        span.status.message = mask.text(span.status.message)


def _attributes(attributes: Iterable[KeyValue], mask: Mask, depth: int = 0) -> None:
    for pair in attributes:
        key = pair.key
        if mask.hides(key):
            pair.value.Clear()
            pair.value.string_value = MASKED
        else:
            if not (key in _WORDED and pair.value.string_value in _WORDS):
                _value(pair.value, mask, depth, own=_OWN.get(key))
        if mask.searches and key not in _NAMES:
            prefix = next((prefix for prefix in _PREFIXES if key.startswith(prefix)), "")
            pair.key = prefix + mask.text(key[len(prefix) :])


def _value(value: AnyValue, mask: Mask, depth: int, *, own: re.Pattern[str] | None = None) -> None:
    kind = value.WhichOneof("value")
    if kind == "string_value":
        text = value.string_value
        if own is None or not own.fullmatch(text):
            masked = mask.text(text)
            if masked is not text:
                value.string_value = masked
    elif kind == "int_value" or kind == "double_value":
        if mask.searches and mask.number(getattr(value, kind)) == MASKED:
            value.string_value = MASKED
    elif kind == "bytes_value":
        value.bytes_value = mask.payload(value.bytes_value)
    elif kind == "array_value" or kind == "kvlist_value":
        if depth >= _MAX_DEPTH:
            value.string_value = FAILED
        elif kind == "array_value":
            for entry in value.array_value.values:
                _value(entry, mask, depth + 1, own=own)
        else:
            _attributes(value.kvlist_value.values, mask, depth + 1)
