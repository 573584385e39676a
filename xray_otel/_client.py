"""One configured client: settings, guard, pipeline, and the provider that makes its spans."""

from __future__ import annotations

import contextlib
import os
import threading
import time
import weakref
from collections.abc import Callable
from importlib import import_module

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider

from xray_otel._buffer import Event, Priority
from xray_otel._guard import Guard
from xray_otel._pipeline import Pipeline
from xray_otel._processor import SpanTap
from xray_otel._provider import Tracing, own_provider, own_tracing, tracing_of
from xray_otel._schemas import Compiled, compiled
from xray_otel._transport import HttpTransport, Transport
from xray_otel.errors import SettingsError
from xray_otel.semconv import EVENT_SCHEMA, SCHEMA_DOCUMENT, SCHEMA_ID, SCHEMA_VERSION
from xray_otel.settings import Settings

_REMEMBERED_SCHEMAS = 64


class Client:
    """What ``configure()`` makes. ``live`` tells processors on shared providers which client is current."""

    def __init__(
        self,
        settings: Settings,
        provider: TracerProvider | None,
        live: Callable[[], Client | None],
        schema: Compiled | None = None,
        transport: Callable[[Settings], Transport] | None = None,
    ) -> None:
        self.settings = settings
        self.guard = Guard(settings.mode)
        if transport is None and not settings.disabled:
            prepare(settings)
        self.pipeline = Pipeline(settings, self.guard, transport or connect)
        self.schema = schema
        """What the runs follow that name no other schema."""
        self._schemas: dict[int, tuple[object, Compiled]] = {}
        self._announced: set[tuple[int, str]] = set()
        self._live = live
        self.given_provider = provider
        """The provider that ``configure()`` was given."""
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
        provider = self.given_provider or self._global_provider() or self._own
        joined = self._joined
        if joined is None or joined[0] is not provider:
            with self._lock:
                if provider is None:
                    provider = self._own = self._own or own_provider(self.settings)
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

    def schema_of(self, given: object) -> Compiled:
        """A schema that a run was given, as it is applied. Raises UsageError for one that makes no sense."""
        known = self._schemas.get(id(given))
        if known is None or known[0] is not given:
            known = (given, compiled(given, self.settings.schema_mode))
            if len(self._schemas) >= _REMEMBERED_SCHEMAS:
                self._schemas.clear()
            self._schemas[id(given)] = known
        return known[1]

    def announce(self, schema: Compiled) -> None:
        """Tells the server of a schema, once per process, before the first run that follows it."""
        known = (os.getpid(), schema.document)
        if known in self._announced:
            return
        if len(self._announced) >= _REMEMBERED_SCHEMAS:
            self._announced.clear()  # told twice it is the same to the server
        self._announced.add(known)
        attributes = {
            SCHEMA_DOCUMENT: schema.document,
            SCHEMA_ID: schema.id,
            SCHEMA_VERSION: schema.version,
        }
        self.emit(Priority.RUN, Event(EVENT_SCHEMA, time.time_ns(), attributes, self.tracing.resource))

    def _join(self, provider: TracerProvider) -> Tracing:
        if provider is self._own:
            return own_tracing(provider, SpanTap(self._live).on_end)
        if provider not in _joined:
            # Providers cannot let a processor go, so it outlives this client and asks for the current one.
            live = self._live
            provider.add_span_processor(SpanTap(live))
            _joined.add(provider)
        return tracing_of(provider)


_joined: weakref.WeakSet[TracerProvider] = weakref.WeakSet()


def prepare(settings: Settings) -> None:
    """
    Imports what ``connect`` needs, in the thread that makes the client.

    A process that is forked while the sender's thread imports a module has half of it, for ever.
    """
    if settings.protocol == "grpc":
        with contextlib.suppress(Exception):  # ``connect`` meets it again, and the log says it
            import_module("xray_otel._transport_grpc")
            import_module("grpc._channel")  # which gRPC itself imports when it makes the first one


def connect(settings: Settings) -> Transport:
    """The transport that the settings name; SettingsError when that is gRPC, which is not installed."""
    if settings.protocol == "grpc":
        # Imported here because gRPC takes some 70 ms to load and most programs use HTTP.
        try:
            from xray_otel._transport_grpc import GrpcTransport
        except ImportError:
            accepted = "http/protobuf or, where the client is installed with [grpc], grpc"
            raise SettingsError("XRAY_PROTOCOL", "grpc", accepted) from None
        return GrpcTransport(settings)
    return HttpTransport(settings)
