"""Whatever is sent, extraction takes it, and what it makes can be stored."""

from __future__ import annotations

import json
import math
import random
from typing import Any

import pytest
from hypothesis import given, settings
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from collector.decode.protobuf import ProtobufDecoder
from collector.extract.events import extract_events
from collector.extract.extraction import Extraction
from collector.extract.spans import extract_spans
from collector.extract.vocabulary import OURS
from store.copies import content_hash
from store.rows import Artifact, DecisionChunk, RunCopy, RunHeartbeat, RunWait, StepCopy
from store.writer import PostgresWriter
from tests.collector.strategies import log_requests, trace_requests

NOW_NS = 1_790_000_000_000_000_000
INT64 = 1 << 63
PROTOBUF = ProtobufDecoder(OURS)


def of_spans(request: ExportTraceServiceRequest) -> Extraction:
    """What the spans of a request come to."""
    extraction = Extraction(NOW_NS)
    extract_spans(PROTOBUF.decode_traces(request.SerializeToString()).records, extraction)
    return extraction


def of_logs(request: ExportLogsServiceRequest) -> Extraction:
    """What the log records of a request come to."""
    extraction = Extraction(NOW_NS)
    extract_events(PROTOBUF.decode_logs(request.SerializeToString()).records, extraction)
    return extraction


def assert_storable(value: Any) -> None:
    """No text with NUL or half surrogate pairs, no number beyond its column, nothing that JSON lacks."""
    if isinstance(value, str):
        assert "\0" not in value
        value.encode()
    elif isinstance(value, bool | bytes) or value is None:
        pass
    elif isinstance(value, int):
        assert -INT64 <= value < INT64
    elif isinstance(value, float):
        assert math.isfinite(value)
    elif isinstance(value, dict):
        for key, item in value.items():
            assert_storable(key)
            assert_storable(item)
    else:
        assert isinstance(value, list | tuple), type(value)
        for item in value:
            assert_storable(item)


def assert_whole(extraction: Extraction) -> None:
    """Every row is storable and every kept record is accounted for."""
    batch = extraction.batch(0)
    rows: list[RunCopy | RunWait | RunHeartbeat | StepCopy | DecisionChunk | Artifact]
    rows = [*batch.runs, *batch.waits, *batch.heartbeats, *batch.steps, *batch.decisions, *batch.artifacts]
    for row in rows:
        assert_storable(tuple(row))
        assert row.run_id
    for step in batch.steps:
        assert len(step.step_id.encode()) <= 512
        assert step.name != ""
        assert step.status in ("ok", "error")
        assert step.step_type in ("search", "filter", "rank", "select", "llm", "custom", None)
        assert len(step.reason_codes or ()) == len(step.reason_counts or ())


@given(trace_requests)
@settings(max_examples=100, deadline=None)
def test_any_span_is_taken(request: ExportTraceServiceRequest):
    """Spans with any attributes of any type become storable rows or are refused by name; nothing raises."""
    extraction = of_spans(request)
    assert_whole(extraction)
    sent = sum(len(scope.spans) for group in request.resource_spans for scope in group.scope_spans)
    assert sum(extraction.records.values()) == sent
    stored = len(extraction.runs) + len(extraction.steps)
    assert (
        stored + len(extraction.refused) + extraction.records["member"] + extraction.records["foreign"]
        == sent
    )


@given(log_requests)
@settings(max_examples=100, deadline=None)
def test_any_event_is_taken(request: ExportLogsServiceRequest):
    """Events with any attributes of any type become storable rows or are refused by name; nothing raises."""
    extraction = of_logs(request)
    assert_whole(extraction)


@given(trace_requests)
@settings(max_examples=100, deadline=None)
def test_the_order_of_attributes_does_not_show(request: ExportTraceServiceRequest):
    """A redelivery whose attributes come in another order is the same copy, flags included."""

    def hashes(extraction: Extraction) -> list[int]:
        copies: list[RunCopy | StepCopy] = [*extraction.runs, *extraction.steps]
        # Without the hash of the bytes, which are others.
        return [content_hash(copy._replace(sent_hash=None)) for copy in copies]

    first = hashes(of_spans(request))
    shuffled = ExportTraceServiceRequest.FromString(request.SerializeToString())
    for group in shuffled.resource_spans:
        for scope in group.scope_spans:
            for span in scope.spans:
                attributes = list(span.attributes)
                random.Random(len(attributes)).shuffle(attributes)
                del span.attributes[:]
                span.attributes.extend(attributes)
    assert hashes(of_spans(shuffled)) == first


@pytest.mark.parametrize("seed", range(2))
def test_the_database_takes_what_extraction_makes(database_url: str, seed: int):
    """Rows made of arbitrary spans and events are stored by a real Postgres, none refused."""
    extractions: list[Extraction] = []

    @given(trace_requests, log_requests)
    @settings(max_examples=30, deadline=None, database=None, derandomize=seed == 0)
    def collect(traces: ExportTraceServiceRequest, logs: ExportLogsServiceRequest) -> None:
        extractions.extend((of_spans(traces), of_logs(logs)))

    collect()
    writer = PostgresWriter(database_url)
    try:
        results = writer.write([extraction.batch(1) for extraction in extractions])
    finally:
        writer.close()
    assert [json.dumps(refused.reason) for result in results for refused in result.refused] == []
