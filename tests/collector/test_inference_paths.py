"""Foreign spans through decoding and extraction: both encodings alike, whatever is in them, storable."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from collector.decode.otlp_json import JsonDecoder
from collector.decode.protobuf import ProtobufDecoder
from collector.extract.extraction import Extraction
from collector.extract.spans import extract_spans
from collector.extract.vocabulary import Vocabulary
from collector.inference.infer import SpanInference
from collector.inference.mapping_file import parse
from store.copies import to_json
from store.decisions import unpack
from store.rows import DecisionChunk
from tests.collector.strategies import any_values
from tests.fixtures import otlp, otlp_json
from tests.fixtures.foreign_spans import (
    GEN_AI_CHAT,
    GEN_AI_RETRIEVAL,
    OPENINFERENCE_LLM,
    OPENINFERENCE_RERANKER,
    OPENINFERENCE_RETRIEVER,
)

NOW_NS = otlp.BASE_NS
MAPPING = parse(
    "version: 1\n"
    "attributes: {shop.n: xray.candidates.in, shop.ids: xray.decisions.items, shop.m: xray.metric.m}\n"
    "steps: [{type: filter, where: {shop.stage: '*'}, attributes: {shop.out: xray.candidates.out}}]\n"
)
INFERENCE = SpanInference(mapping=MAPPING)
VOCABULARY = Vocabulary(INFERENCE)
PROTOBUF = ProtobufDecoder(VOCABULARY, INFERENCE.needles)
JSON = JsonDecoder(VOCABULARY, INFERENCE.needles)

KNOWN = [
    name
    for attributes in (
        GEN_AI_CHAT,
        GEN_AI_RETRIEVAL,
        OPENINFERENCE_LLM,
        OPENINFERENCE_RERANKER,
        OPENINFERENCE_RETRIEVER,
    )
    for name in attributes
]
OURS = [
    f"xray.{name}"
    for name in (
        "step.type",
        "candidates.in",
        "candidates.out",
        "metric.m",
        "decisions.items",
        "decisions.verdicts",
        "decisions.scores",
        "decisions.data",
        "decisions.chunks",
        "run.id",
    )
]
TEAMS = ["shop.n", "shop.ids", "shop.m", "shop.stage", "shop.out"]
EVENT_FIELDS = [f"xray.decision.{field}" for field in ("item_id", "verdict", "reason", "score", "value")]


def key_values(names: list[str]) -> st.SearchStrategy[list[KeyValue]]:
    words = st.sampled_from(
        ["kept", "E", "chat", "retrieval", "RETRIEVER", "RERANKER", "LLM", "[]", '{"v":1}']
    )
    values = any_values | words.map(lambda word: AnyValue(string_value=word))
    entries = st.dictionaries(st.sampled_from(names), values, max_size=10)
    return entries.map(lambda sent: [KeyValue(key=name, value=value) for name, value in sent.items()])


EVENTS = st.builds(
    Span.Event,
    name=st.sampled_from(["xray.decision", "xray.decisions", "exception"]),
    attributes=key_values([*EVENT_FIELDS, "xray.decisions.data"]),
)
SPANS = st.builds(
    Span,
    name=st.text(st.characters(codec="utf-8"), max_size=5),
    trace_id=st.just(otlp.identifier("trace", 16)),
    span_id=st.just(otlp.identifier("span", 8)),
    start_time_unix_nano=st.just(NOW_NS),
    end_time_unix_nano=st.just(NOW_NS),
    attributes=key_values([*KNOWN, *OURS, *TEAMS]),
    events=st.lists(EVENTS, max_size=3),
    dropped_attributes_count=st.integers(0, 5),
    dropped_events_count=st.integers(0, 5),
)


def extracted(decoder: ProtobufDecoder | JsonDecoder, body: bytes) -> Extraction:
    decoded = decoder.decode_traces(body)
    assert not decoded.undecodable
    extraction = Extraction(NOW_NS, inference=INFERENCE)
    extract_spans(decoded.records, extraction)
    return extraction


def comparable(extraction: Extraction) -> bytes:
    steps = [step._replace(sent_hash=None) for step in extraction.steps]
    runs = [run._replace(sent_hash=None) for run in extraction.runs]
    return to_json([[*map(list, steps)], [*map(list, runs)], [*map(_chunk, extraction.decisions)]])


def _chunk(chunk: DecisionChunk) -> list[object]:
    columns = None if chunk.data is None else repr(unpack(chunk.data))
    return [*chunk._replace(data=None), columns]


def texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for part in value:
            yield from texts(part)
    elif isinstance(value, dict):
        for key, part in value.items():
            yield key
            yield from texts(part)


@given(SPANS)
def test_both_encodings_say_the_same_and_what_they_say_can_be_stored(span: Span):
    request: ExportTraceServiceRequest = otlp.traces([span])

    by_protobuf = extracted(PROTOBUF, request.SerializeToString())
    by_json = extracted(JSON, otlp_json.encode(request))

    assert comparable(by_protobuf) == comparable(by_json)
    assert not any("\0" in text for text in texts(orjson.loads(comparable(by_protobuf))))
    for step in by_protobuf.steps:
        assert orjson.dumps([step.input, step.output, step.reasoning, step.metrics])


def test_a_value_that_cannot_be_read_loses_itself_alone():
    body = orjson.loads(otlp_json.encode(otlp.traces([otlp.span("chat", GEN_AI_CHAT, trace="deep")])))
    deep: dict[str, Any] = {"stringValue": "bottom"}
    for _ in range(70):
        deep = {"arrayValue": {"values": [deep]}}
    for pair in body["resourceSpans"][0]["scopeSpans"][0]["spans"][0]["attributes"]:
        if pair["key"] == "gen_ai.input.messages":
            pair["value"] = deep

    (step,) = extracted(JSON, orjson.dumps(body)).steps

    assert (step.step_type, step.inferred, step.model, step.input) == ("llm", True, "m-1", None)
    assert ("wrong_type", "xray.step.input") in {(flag.code, flag.field) for flag in step.flags}
