"""
Spans of a provider that is X-Ray's own, where no processor, sampler or limit but its own applies.

OpenTelemetry's span takes three locks, asks a sampler and looks at each attribute's type,
which is most of what a step costs. Here a span is what is known of it, and becomes the
record that the exporter encodes when it ends (decision 0023). In a provider of the team's,
X-Ray's spans are OpenTelemetry's own.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import NonRecordingSpan, SpanContext, Status, StatusCode, TraceFlags

_RANDOM = getattr(TraceFlags, "RANDOM_TRACE_ID", 0)  # older versions do not have it
_UNSET = Status(StatusCode.UNSET)


class OwnSpan(NonRecordingSpan):
    """A span that records, for code that sets all attributes at once and none after the end."""

    def __init__(
        self,
        tracer: OwnTracer,
        name: str,
        context: SpanContext,
        parent: SpanContext | None,
        started_ns: int,
    ) -> None:
        super().__init__(context)
        self._tracer = tracer
        self._name = name
        self._parent = parent
        self._started_ns = started_ns
        self._attributes: dict[str, Any] = {}
        self._status = _UNSET
        self._ended = False

    def is_recording(self) -> bool:
        return not self._ended

    def set_attributes(self, attributes: Mapping[str, Any]) -> None:
        self._attributes.update(attributes)

    def set_attribute(self, key: str, value: Any) -> None:
        self._attributes[key] = value

    def set_status(self, status: Status | StatusCode, description: str | None = None) -> None:
        self._status = status if isinstance(status, Status) else Status(status, description)

    def end(self, end_time: int | None = None) -> None:
        if self._ended:
            return
        self._ended = True
        tracer = self._tracer
        tracer.ended(
            ReadableSpan(
                name=self._name,
                context=self._context,
                parent=self._parent,
                resource=tracer.resource,
                attributes=self._attributes,
                status=self._status,
                start_time=self._started_ns,
                end_time=time.time_ns() if end_time is None else end_time,
                instrumentation_scope=tracer.scope,
            )
        )


class OwnTracer:
    """Makes them, as a tracer does. ``ended`` gets each when it ends; ``id_generator`` may be replaced."""

    def __init__(
        self,
        resource: Resource,
        scope: InstrumentationScope,
        id_generator: IdGenerator,
        ended: Callable[[ReadableSpan], None],
    ) -> None:
        self.resource = resource
        self.scope = scope
        self.id_generator = id_generator
        self.ended = ended

    def start_span(
        self, name: str, context: Context | None = None, *, start_time: int | None = None
    ) -> OwnSpan:
        """Return a span that is sampled; child of the context's current span, if there is one."""
        enclosing = trace.get_current_span(context).get_span_context()
        ids = self.id_generator
        if enclosing.is_valid:
            parent = enclosing
            trace_id, state = enclosing.trace_id, enclosing.trace_state
            flags = _flags(enclosing.trace_flags & _RANDOM)
        else:
            parent, trace_id, state, flags = None, ids.generate_trace_id(), None, _flags(_RANDOM)
        span_context = SpanContext(
            trace_id, ids.generate_span_id(), is_remote=False, trace_flags=flags, trace_state=state
        )
        return OwnSpan(self, name, span_context, parent, time.time_ns() if start_time is None else start_time)


def _flags(random: int) -> TraceFlags:
    return _SAMPLED_RANDOM if random else _SAMPLED


_SAMPLED = TraceFlags(TraceFlags.SAMPLED)
_SAMPLED_RANDOM = TraceFlags(TraceFlags.SAMPLED | _RANDOM)
