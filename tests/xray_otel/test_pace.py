"""The background thread lets go of the interpreter between small pieces of work."""

from __future__ import annotations

from typing import Any

import pytest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from xray_otel._batches import Batch, batches
from xray_otel._buffer import Event, Item, Priority

RECORDS = 100
MAX_SPANS = 4
"""So many may be encoded without a rest, and one event, which may be large."""


def spans(count: int) -> list[ReadableSpan]:
    """Ended ones, as a provider gives them to its exporters."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    for number in range(count):
        provider.get_tracer("test").start_span(f"step {number}").end()
    return list(exporter.get_finished_spans())


def events(count: int) -> list[Event]:
    """Chunks of decisions."""
    return [Event("decisions", number, {"data": "x" * 1000}, Resource.get_empty()) for number in range(count)]


def encoded(contents: list[Any], rest: Any) -> list[Batch]:
    """The requests; nothing fails."""
    items = [Item(Priority.STEP, 1000, content) for content in contents]
    return list(batches(items, lambda _, error: pytest.fail(str(error)), rest))


@pytest.mark.parametrize(("make", "at_once"), [(spans, MAX_SPANS), (events, 1)])
def test_there_is_a_rest_between_pieces(make, at_once):
    """However many records go into a request, the longest time without a rest does not grow."""
    rests: list[None] = []
    [batch] = encoded(make(RECORDS), lambda: rests.append(None))
    assert len(batch.items) == RECORDS
    assert len(rests) >= RECORDS / at_once
