"""
``python -m examples.plain_otel``: decision metrics without X-Ray's client.

The program has its spans anyway. ``xray.pipeline.name`` on the pipeline's own span and
``xray.step.type``, ``xray.candidates.in`` and ``xray.candidates.out`` on the spans of its
steps are all that it adds. The exporter is OpenTelemetry's, set up by its own variables
(``OTEL_EXPORTER_OTLP_ENDPOINT``, http://localhost:4318 when unset).
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from examples.arguments import report
from examples.catalogue import Product, generate

tracer = trace.get_tracer("examples.plain_otel")


def restock(catalogue: Sequence[Product], budget: float) -> tuple[str, list[Product]]:
    """The trace id, and the ten most viewed products that are out of stock and within the budget."""
    with tracer.start_as_current_span("restock", attributes={"xray.pipeline.name": "restock"}) as pipeline:
        with tracer.start_as_current_span("filter_out_of_stock") as span:
            empty = [product for product in catalogue if not product.in_stock]
            _describe(span, "filter", catalogue, empty)
        with tracer.start_as_current_span("filter_by_budget") as span:
            affordable = [product for product in empty if product.price and product.price <= budget]
            _describe(span, "filter", empty, affordable)
        with tracer.start_as_current_span("rank_by_views") as span:
            ranked = sorted(affordable, key=lambda product: (-(product.popularity or 0), product.id))[:10]
            _describe(span, "rank", affordable, ranked)
        return trace.format_trace_id(pipeline.get_span_context().trace_id), ranked


def _describe(span: trace.Span, step_type: str, before: Sequence[Product], after: Sequence[Product]) -> None:
    span.set_attribute("xray.step.type", step_type)
    span.set_attribute("xray.candidates.in", len(before))
    span.set_attribute("xray.candidates.out", len(after))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m examples.plain_otel", description=restock.__doc__)
    parser.add_argument("--runs", type=int, default=3, help="how many runs, each with a larger budget")
    parser.add_argument("--seed", type=int, default=7, help="seed of the catalogue")
    options = parser.parse_args()
    provider = TracerProvider(resource=Resource.create({"service.name": "shop-restock"}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    catalogue = generate(options.seed)
    for number in range(1, options.runs + 1):
        trace_id, ordered = restock(catalogue, budget=10.0 * number)
        report(run_id=trace_id, ordered=[product.id for product in ordered])
    provider.shutdown()


if __name__ == "__main__":
    main()
