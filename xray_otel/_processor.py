"""What X-Ray takes of the spans that a TracerProvider makes, its own or the team's."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, cast

from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.trace import Span as ApiSpan

from xray_otel._buffer import Priority
from xray_otel._context import current_scope
from xray_otel._otlp import SCOPE_NAME
from xray_otel._pipeline import Pipeline
from xray_otel.semconv import RUN_ID, SPAN_KIND

if TYPE_CHECKING:
    from xray_otel._client import Client

_SHUTDOWN_TIMEOUT_S = 2.0
_TAKEN = "_xray_taken"
_last = threading.local()
"""``context`` of the span that a thread handed over last: processors see a copy of what was ended."""


class SpanTap(SpanProcessor):
    """
    Stamps the run id on every span that starts inside a run, and takes the ended spans
    with ``xray.*`` attributes, whoever made them. Other spans are left to the team's own
    processors: a span that has nothing but the stamp is none of ours.
    """

    def __init__(self, live: Callable[[], Client | None]) -> None:
        self._live = live

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        scope = span.instrumentation_scope
        if scope is not None and scope.name == SCOPE_NAME:
            return  # ours get their identity at the end, where it cannot be evicted
        client = _recording(self._live())
        if client is None:
            return
        run = current_scope(parent_context, accept=client.settings.accepts_baggage)
        if run is not None:
            span.set_attribute(RUN_ID, run.run_id)

    def on_end(self, span: ReadableSpan) -> None:
        client = _recording(self._live())
        if client is not None:
            take(span, client.pipeline)

    def shutdown(self) -> None:
        """Sends what waits; the client itself lives on, other providers may use it."""
        _flush(self._live(), _SHUTDOWN_TIMEOUT_S)

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Sends what was recorded so far; whether all of it was settled within ``timeout_millis``."""
        return _flush(self._live(), timeout_millis / 1000)


class SpanOutlet(SpanExporter):
    """The same for a processor of the team's that wants an exporter. It cannot stamp run ids."""

    def __init__(self, live: Callable[[], Client | None]) -> None:
        self._live = live

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Hands X-Ray's spans to the client, which delivers them by itself; never blocks, never fails."""
        client = _recording(self._live())
        if client is not None:
            for span in spans:
                take(span, client.pipeline)
        return SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        """Sends what waits; the client itself lives on, other providers may use it."""
        _flush(self._live(), _SHUTDOWN_TIMEOUT_S)

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Sends what was recorded so far; whether all of it was settled within ``timeout_millis``."""
        return _flush(self._live(), timeout_millis / 1000)


def take(span: ReadableSpan, pipeline: Pipeline) -> None:
    """Hands an ended span to the pipeline if it is X-Ray's, once however often it comes by."""
    try:
        _take(span, pipeline)
    except Exception as error:  # noqa: BLE001 - a span of the team's may hold anything, and ends in its code
        pipeline.note_failure("span", error)


def _take(span: ReadableSpan, pipeline: Pipeline) -> None:
    if span.context is None or not span.context.trace_flags.sampled:
        return
    attributes = _plain(span.attributes)
    kind = attributes.get(SPAN_KIND)
    if kind is None and not any(key.startswith("xray.") and key != RUN_ID for key in attributes):
        return
    # A provider may have been joined by itself and given a processor or exporter of ours as well;
    # all of them see this one object. Setting a default is atomic.
    mark = object()
    if vars(span).setdefault(_TAKEN, mark) is mark:
        _last.context = span.context
        pipeline.offer_span(Priority.RUN if kind == "run" else Priority.STEP, span, attributes)


def is_taken(span: ApiSpan) -> bool:
    """Whether the span that this thread has just ended, or tried to, was handed over by that."""
    return getattr(_last, "context", None) == span.get_span_context()


def _recording(client: Client | None) -> Client | None:
    return None if client is None or client.settings.disabled else client


def _flush(client: Client | None, timeout_s: float) -> bool:
    client = _recording(client)
    return client is None or client.pipeline.flush(timeout_s)


def _plain(attributes: Mapping[str, object] | None) -> Mapping[str, object]:
    """A copy as plain dictionary: the SDK's own mapping takes a lock for each entry that is looked at."""
    if isinstance(attributes, MappingProxyType):
        return cast(Mapping[str, object], attributes.copy())
    return attributes or {}
