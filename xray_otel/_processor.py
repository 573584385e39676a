"""The span processor: X-Ray's part in a TracerProvider, its own or the team's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import cast

from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor

from xray_otel._buffer import Priority
from xray_otel._context import current_scope
from xray_otel._otlp import SCOPE_NAME
from xray_otel._pipeline import Pipeline
from xray_otel.semconv import RUN_ID, SPAN_KIND


class XRaySpanProcessor(SpanProcessor):
    """
    Stamps the run id on every span that starts inside a run, and takes the ended spans
    with ``xray.*`` attributes, whoever made them. Other spans are left to the team's own
    processors: a span that has nothing but the stamp is none of ours.
    """

    def __init__(self, pipeline: Callable[[], Pipeline | None]) -> None:
        self._pipeline = pipeline

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        scope = span.instrumentation_scope
        if scope is not None and scope.name == SCOPE_NAME:
            return  # ours get their identity at the end, where it cannot be evicted
        run = current_scope(parent_context)
        if run is not None:
            span.set_attribute(RUN_ID, run.run_id)

    def on_end(self, span: ReadableSpan) -> None:
        pipeline = self._pipeline()
        if pipeline is None:
            return
        try:
            self._take(span, pipeline)
        except Exception as error:  # noqa: BLE001 - a span of the team's may hold anything, and ends in its code
            pipeline.note_failure("span", error)

    def _take(self, span: ReadableSpan, pipeline: Pipeline) -> None:
        if span.context is None or not span.context.trace_flags.sampled:
            return
        attributes = _plain(span.attributes)
        kind = attributes.get(SPAN_KIND)
        if kind is None and not any(key.startswith("xray.") and key != RUN_ID for key in attributes):
            return
        pipeline.offer_span(Priority.RUN if kind == "run" else Priority.STEP, span, attributes)

    def shutdown(self) -> None:
        """Sends what waits; the client itself lives on, other providers may use it."""
        self.force_flush(2_000)

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        pipeline = self._pipeline()
        return pipeline is None or pipeline.flush(timeout_millis / 1000)


def _plain(attributes: Mapping[str, object] | None) -> Mapping[str, object]:
    """A copy as plain dictionary: the SDK's own mapping takes a lock for each entry that is looked at."""
    if isinstance(attributes, MappingProxyType):
        return cast(Mapping[str, object], attributes.copy())
    return attributes or {}
