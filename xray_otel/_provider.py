"""
Where X-Ray's spans are made, and when one of them becomes OpenTelemetry's current span.

X-Ray must not change what is sampled of the program's own spans (decision 0027). They
follow the span that is current when they start, so a span of X-Ray's stands in for it only
where that changes nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import NamedTuple, cast

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits, TracerProvider
from opentelemetry.sdk.trace import Tracer as SdkTracer
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, DEFAULT_ON, Sampler
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Span

from xray_otel._context import PLACE_KEY, Place
from xray_otel._ids import random_bits
from xray_otel._otlp import SCOPE_NAME
from xray_otel._own_spans import OwnTracer
from xray_otel._version import __version__
from xray_otel.semconv import DEPLOYMENT_ENVIRONMENT_NAME, SCHEMA_URL, SERVICE_NAME
from xray_otel.settings import Settings

_EMPTY = Context()
_KEEPS_ALL: tuple[Sampler, ...] = (ALWAYS_ON, DEFAULT_ON)


class Tracing(NamedTuple):
    """Makes the spans of runs and steps, and has the resource that events are sent with."""

    tracer: trace.Tracer | OwnTracer
    resource: Resource
    is_own: bool = False
    """Whether the provider is X-Ray's, whose spans the program's never see."""
    keeps_all: bool = False
    """Whether the provider samples every trace that begins here, and follows every caller."""

    def begin(self, name: str, context: Context, values: Mapping[str, object]) -> tuple[Span, Context]:
        """Starts a span of X-Ray's; returns it and the context inside, with these values."""
        current = trace.get_current_span(context)
        place = cast(Place | None, context.get(PLACE_KEY))
        outside = context
        if place is not None and place.current is current and place.span is not current:
            # The program has begun no span since, so the enclosing one is X-Ray's. In a provider of
            # X-Ray's own nobody looks at the rest of the context, and an empty one is cheaper.
            outside = trace.set_span_in_context(place.span, _EMPTY if self.is_own else context)
        span = self.tracer.start_span(name, outside)
        if self._may_stand_in(span, current):
            context = trace.set_span_in_context(span, context)
            current = span
        # One copy for all: set_value makes two for each.
        return span, Context({**context, **values, PLACE_KEY: Place(span, current)})

    def _may_stand_in(self, span: Span, current: Span) -> bool:
        if self.is_own:
            return False
        mine, other = span.get_span_context(), current.get_span_context()
        if not other.is_valid:
            return self.keeps_all and mine.trace_flags.sampled
        if other.is_remote and not self.keeps_all:
            return False  # samplers may tell a caller's span from one of this process
        return mine.trace_id == other.trace_id and mine.trace_flags.sampled == other.trace_flags.sampled


def own_provider(settings: Settings) -> TracerProvider:
    """A provider of X-Ray's own, for a program that has set none."""
    attributes: dict[str, str] = {}
    if settings.service_name:
        attributes[SERVICE_NAME] = settings.service_name
    if settings.environment:
        attributes[DEPLOYMENT_ENVIRONMENT_NAME] = settings.environment
    return TracerProvider(
        sampler=ALWAYS_ON,
        resource=Resource.create(attributes),
        # All said outright: the environment's are meant for the team's own spans, or may be no numbers.
        span_limits=SpanLimits(
            max_attributes=128,
            max_span_attributes=128,
            max_events=128,
            max_links=128,
            max_event_attributes=128,
            max_link_attributes=128,
            max_attribute_length=SpanLimits.UNSET,
            max_span_attribute_length=SpanLimits.UNSET,
        ),
        id_generator=_OwnIds(),
        shutdown_on_exit=False,
    )


def own_tracing(provider: TracerProvider, ended: Callable[[ReadableSpan], None]) -> Tracing:
    """How spans are made where the provider is X-Ray's own; ``ended`` gets each when it ends."""
    scope = InstrumentationScope(SCOPE_NAME, __version__, SCHEMA_URL)
    return Tracing(
        OwnTracer(provider.resource, scope, _OwnIds(), ended), provider.resource, is_own=True, keeps_all=True
    )


def tracing_of(provider: TracerProvider) -> Tracing:
    """How X-Ray's spans are made by a provider of the team's."""
    tracer = provider.get_tracer(SCOPE_NAME, __version__, SCHEMA_URL)
    if isinstance(tracer, SdkTracer):
        # The team's generator may be seeded: what it gives X-Ray would be missing in the team's spans.
        tracer.id_generator = _OwnIds()
    return Tracing(tracer, provider.resource, keeps_all=_keeps_all(provider.sampler))


def _keeps_all(sampler: Sampler) -> bool:
    try:
        description = sampler.get_description()
    except Exception:  # noqa: BLE001 - a sampler of the team's; the sure answer is no
        return False
    return any(description == known.get_description() for known in _KEEPS_ALL)


class _OwnIds(IdGenerator):
    """
    Ids that stay unique. The SDK's come from ``random``, and programs that seed it to be
    reproducible would give every run the same ones. A trace id begins with the time in
    seconds, as AWS wants it; the rest is random, as samplers by ratio want it.
    """

    def generate_span_id(self) -> int:
        return random_bits(64) or 1

    def generate_trace_id(self) -> int:
        return (int(time.time()) & 0xFFFF_FFFF) << 96 | random_bits(96) or 1

    def is_trace_id_random(self) -> bool:
        return True
