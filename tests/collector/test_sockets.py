"""The stock OpenTelemetry exporters send over real sockets into a real Postgres."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry._logs import LogRecord
from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter as GrpcLogExporter
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcSpanExporter
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter as HttpLogExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpSpanExporter
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import SimpleLogRecordProcessor
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

from collector.service import CollectorService
from tests.fixtures.collector_service import Tables
from tests.fixtures.otlp import decisions

RESOURCE = Resource.create({"service.name": "shop", "deployment.environment.name": "test"})
COLUMNS = {"v": 1, "n": 2, "item": ["a", "b"], "verdict": "KE", "reasons": ["price"], "reason": [None, 0]}


def exporters(service: CollectorService, protocol: str) -> tuple[Any, Any]:
    """Span and log exporter of one protocol, pointed at the service."""
    if protocol == "grpc":
        endpoint = f"http://127.0.0.1:{service.grpc_port}"
        return GrpcSpanExporter(endpoint, insecure=True), GrpcLogExporter(endpoint, insecure=True)
    compression = Compression.Gzip if protocol == "http+gzip" else Compression.NoCompression
    endpoint = f"http://127.0.0.1:{service.http_port}/v1/"
    return (
        HttpSpanExporter(endpoint + "traces", compression=compression),
        HttpLogExporter(endpoint + "logs", compression=compression),
    )


@pytest.fixture(params=["grpc", "http", "http+gzip"])
def providers(collector: CollectorService, request: pytest.FixtureRequest) -> Iterator[tuple[Any, Any]]:
    """A tracer and a logger whose records are sent one by one, in the calling thread."""
    span_exporter, log_exporter = exporters(collector, request.param)
    tracers = TracerProvider(resource=RESOURCE, shutdown_on_exit=False)
    tracers.add_span_processor(SimpleSpanProcessor(span_exporter))
    loggers = LoggerProvider(resource=RESOURCE, shutdown_on_exit=False)
    loggers.add_log_record_processor(SimpleLogRecordProcessor(log_exporter))
    yield tracers.get_tracer("test"), loggers.get_logger("test")
    tracers.shutdown()
    loggers.shutdown()


def test_plain_attributes_are_enough(
    providers: tuple[Any, Any], tables: Tables, caplog: pytest.LogCaptureFixture
):
    """A program with the stock SDK alone shows up with its run, its step and a drop ratio."""
    tracer, _ = providers
    with (
        caplog.at_level(logging.WARNING),
        tracer.start_as_current_span("match", attributes={"xray.pipeline.name": "matching"}),
        tracer.start_as_current_span("http call"),
        tracer.start_as_current_span("by price") as span,
    ):
        span.set_attributes(
            {"xray.step.type": "filter", "xray.candidates.in": 5000, "xray.candidates.out": 30}
        )
    run, step = tables.one("runs"), tables.one("steps")
    assert (run["pipeline"], run["terminal_status"], run["service_name"]) == ("matching", "completed", "shop")
    assert run["run_id"] == format(span.context.trace_id, "032x")
    assert (step["name"], step["step_type"], step["drop_ratio"]) == ("by price", "filter", 0.994)
    assert step["step_id"] == format(span.context.span_id, "016x")
    assert step["run_key"] == run["run_key"]
    assert not caplog.records, "the exporter had nothing to say about our answers"


def test_decisions_arrive_as_events(providers: tuple[Any, Any], tables: Tables):
    """A chunk of decisions sent as a log event stands in the database, packed, at its step's key."""
    _, logger = providers
    identity = {"xray.run.id": "run-1", "xray.step.id": "by-price", "xray.step.attempt": 1}
    attributes: dict[str, Any] = {**identity, **decisions(COLUMNS)}
    logger.emit(LogRecord(timestamp=1, event_name="xray.step.decisions", attributes=attributes))
    row = tables.one("decisions")
    assert (row["step_id"], row["attempt_key"], row["item_count"], row["error"]) == ("by-price", "1", 2, None)


def test_failed_step_and_run(providers: tuple[Any, Any], tables: Tables):
    """An exception makes the step an error and the run crashed, with the message of the status."""
    tracer, _ = providers
    with (
        pytest.raises(ValueError, match="no price"),
        tracer.start_as_current_span("match", attributes={"xray.pipeline.name": "matching"}),
        tracer.start_as_current_span("by price", attributes={"xray.step.type": "filter"}),
    ):
        raise ValueError("no price")
    assert tables.one("runs")["terminal_status"] == "crashed"
    step = tables.one("steps")
    assert (step["status"], step["error_message"]) == ("error", "ValueError: no price")
