"""One configured client: settings, guard, pipeline, and the provider that makes its spans."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from typing import NamedTuple

from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanLimits, TracerProvider
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_ON

from xray_otel._buffer import Event, Priority
from xray_otel._guard import Guard
from xray_otel._ids import random_bits
from xray_otel._otlp import SCOPE_NAME
from xray_otel._pipeline import Pipeline
from xray_otel._processor import XRaySpanProcessor
from xray_otel._transport import HttpTransport, Transport
from xray_otel._version import __version__
from xray_otel.semconv import DEPLOYMENT_ENVIRONMENT_NAME, SCHEMA_URL, SERVICE_NAME
from xray_otel.settings import Settings


class Tracing(NamedTuple):
    """Where spans are made, and the resource that events are sent with."""

    tracer: trace.Tracer
    resource: Resource


class Client:
    """What ``configure()`` makes. ``live`` tells processors on shared providers which client is current."""

    def __init__(
        self,
        settings: Settings,
        provider: TracerProvider | None,
        live: Callable[[], Client | None],
    ) -> None:
        self.settings = settings
        self.guard = Guard(settings.mode)
        self.pipeline = Pipeline(settings, self.guard, connect)
        self._live = live
        self._given = provider
        self._own: TracerProvider | None = None
        self._joined: tuple[TracerProvider, Tracing] | None = None
        self._global_is_broken = False
        self._lock = threading.RLock()

    @property
    def tracing(self) -> Tracing:
        """
        Where spans are made now: the given provider, else the global one, which the program
        may set after X-Ray's first use, else a private one. Raises what OpenTelemetry raises.
        """
        provider = self._given or self._global_provider() or self._own
        joined = self._joined
        if joined is None or joined[0] is not provider:
            with self._lock:
                if provider is None:
                    provider = self._own = self._own or _own_provider(self.settings)
                joined = self._joined = (provider, self._join(provider))
        return joined[1]

    def _global_provider(self) -> TracerProvider | None:
        if self._global_is_broken:
            return None
        try:
            provider = trace.get_tracer_provider()
        except Exception as error:  # noqa: BLE001 - the environment may name one that is not installed
            self._global_is_broken = True
            self.guard.note("configure", f"no global tracer provider: {type(error).__name__}: {error}")
            return None
        return provider if isinstance(provider, TracerProvider) else None

    def reset_after_fork(self) -> None:
        """Replaces the lock, which another thread of the parent may have held."""
        self._lock = threading.RLock()

    def emit(self, priority: Priority, event: Event) -> None:
        self.pipeline.offer_event(priority, event)

    def _join(self, provider: TracerProvider) -> Tracing:
        if provider not in _joined:
            # Providers cannot let a processor go, so it outlives this client and asks for the current one.
            live = self._live
            provider.add_span_processor(XRaySpanProcessor(lambda: _pipeline_of(live())))
            _joined.add(provider)
        return Tracing(provider.get_tracer(SCOPE_NAME, __version__, SCHEMA_URL), provider.resource)


_joined: weakref.WeakSet[TracerProvider] = weakref.WeakSet()


def _pipeline_of(client: Client | None) -> Pipeline | None:
    return None if client is None or client.settings.disabled else client.pipeline


def _own_provider(settings: Settings) -> TracerProvider:
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


class _OwnIds(IdGenerator):
    """
    Ids that stay unique. The SDK's come from ``random``, and programs that seed it to be
    reproducible would give every run the same ones.
    """

    def generate_span_id(self) -> int:
        return random_bits(64) or 1

    def generate_trace_id(self) -> int:
        return random_bits(128) or 1


def connect(settings: Settings) -> Transport:
    """The transport that the settings name."""
    if settings.protocol == "grpc":
        # Imported here because gRPC takes some 70 ms to load and most programs use HTTP.
        from xray_otel._transport_grpc import GrpcTransport

        return GrpcTransport(settings)
    return HttpTransport(settings)
