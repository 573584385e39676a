"""Whichever way an attribute is read, remembered, by hand, by the parser or from JSON, it says the same."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue

from collector.decode.attributes import MAX_READINGS, Readings
from collector.decode.messages import MESSAGES
from collector.decode.otlp_json import JsonDecoder
from collector.decode.protobuf import ProtobufDecoder
from collector.extract.events import extract_events
from collector.extract.extraction import Extraction
from collector.extract.spans import extract_spans
from collector.extract.vocabulary import OURS, Vocabulary
from collector.records import Reading
from store.rows import Batch
from tests.collector import strategies
from tests.fixtures.otlp import any_value, span, traces
from tests.fixtures.otlp_json import encode

NOW_NS = 1_790_000_000_000_000_000


def of_spans(decoder: ProtobufDecoder | JsonDecoder, body: bytes) -> Extraction:
    """What a request of spans comes to."""
    extraction = Extraction(NOW_NS)
    extract_spans(decoder.decode_traces(body).records, extraction)
    return extraction


def of_logs(decoder: ProtobufDecoder | JsonDecoder, body: bytes) -> Extraction:
    """What a request of log records comes to."""
    extraction = Extraction(NOW_NS)
    extract_events(decoder.decode_logs(body).records, extraction)
    return extraction


def said(extraction: Extraction) -> str:
    """Everything that an extraction holds, but the hashes of bytes."""
    batch: Batch = extraction.batch(0)
    runs = [run._replace(sent_hash=None) for run in batch.runs]
    copies = runs, [step._replace(sent_hash=None) for step in batch.steps]
    rest = (batch.waits, batch.heartbeats, batch.decisions, batch.artifacts)
    # A record of nobody is known by its bytes, so its loss differs between encodings.
    losses = [loss._replace(subject="") for loss in batch.losses]
    return repr((copies, rest, losses, sorted(extraction.records.items()), extraction.refused))


@given(strategies.trace_requests)
@settings(max_examples=150, deadline=None)
def test_spans_say_the_same_however_they_are_read(request: ExportTraceServiceRequest):
    """First read, remembered, by another decoder, and from JSON: equal rows, flags and refusals."""
    body, decoder = request.SerializeToString(), ProtobufDecoder(OURS)
    first = said(of_spans(decoder, body))
    for _ in range(3):
        assert said(of_spans(decoder, body)) == first
    assert said(of_spans(JsonDecoder(OURS), encode(request))) == first


@given(strategies.log_requests)
@settings(max_examples=150, deadline=None)
def test_events_say_the_same_however_they_are_read(request: ExportLogsServiceRequest):
    """First read, remembered, by another decoder, and from JSON: equal rows, flags and refusals."""
    body, decoder = request.SerializeToString(), ProtobufDecoder(OURS)
    first = said(of_logs(decoder, body))
    for _ in range(3):
        assert said(of_logs(decoder, body)) == first
    assert said(of_logs(JsonDecoder(OURS), encode(request))) == first


def outcome(readings: Readings, raw: bytes) -> str:
    """What an attribute is read as; repr, since NaN equals nothing."""
    try:
        return repr(readings[raw])
    except DecodeError:
        return "undecodable"


def parsed(raw: bytes) -> str | None:
    """What an attribute is read as when the parser takes all of it; None for one with a long name."""
    try:
        message = MESSAGES.key_value.FromString(raw)
    except DecodeError:
        return "undecodable"
    if len(message.key) > 127:
        return None
    # The key comes last: not the form that is read by hand.
    turned = MESSAGES.key_value(value=message.value).SerializeToString() + b"\x0a"
    return outcome(Readings(EVERYTHING), turned + bytes([len(message.key)]) + message.key)


class Everything(Vocabulary):
    """Reads names that nobody knows, too."""

    def reader(self, name: str) -> Any:
        """Keep what was sent."""

        def read(value: Any) -> Reading:
            return 0, (name, value), 0, None

        return super().reader(name) or read


EVERYTHING = Everything()


@given(st.lists(strategies.key_values, max_size=20), st.data())
@settings(max_examples=150, deadline=None)
def test_an_attribute_says_the_same_whichever_way_it_is_read(sent: list[KeyValue], data: st.DataObject):
    """Whole or broken at any byte: the parser, the hand and the memory agree."""
    readings = Readings(EVERYTHING)
    for attribute in sent:
        raw = attribute.SerializeToString()
        if raw and data.draw(st.booleans()):
            place = data.draw(st.integers(0, len(raw) - 1))
            raw = raw[:place] + data.draw(st.binary(max_size=2)) + raw[place + 1 :]
        expected = outcome(Readings(EVERYTHING), raw)
        assert [outcome(readings, raw) for _ in range(4)] == [expected] * 4
        assert parsed(raw) in (expected, None)


@pytest.mark.parametrize("value", [b"\x0a", b"\x2a", b"\x18", b"\x21", b"\x10", b"\x32", b"", b"\x0a\x01"])
def test_a_value_that_ends_after_its_tag_is_no_value_each_time(value: bytes):
    """It costs its attribute, not the request, also when the attribute was met before."""
    name = b"xray.step.why"
    raw = b"\x0a" + bytes([len(name)]) + name + b"\x12" + bytes([len(value)]) + value
    readings = Readings(EVERYTHING)
    assert {outcome(readings, raw) for _ in range(4)} == {parsed(raw)}


int64 = st.integers(-(1 << 63), (1 << 63) - 1)


@given(st.one_of(st.lists(st.integers(-2, 300), max_size=30), st.lists(int64, max_size=12)), int64)
def test_numbers_of_every_length(counts: list[int], number: int):
    """Integers of one to ten bytes, alone and in arrays, are what was sent, each time."""
    readings = Readings(EVERYTHING)
    array = AnyValue(array_value=ArrayValue(values=[AnyValue(int_value=count) for count in counts]))
    for value, expected in ((AnyValue(int_value=number), number), (array, counts)):
        raw = KeyValue(key="x", value=value).SerializeToString()
        for _ in range(4):
            assert readings[raw][1] == ("x", expected)


def test_what_comes_twice_is_remembered_and_the_memory_is_bounded():
    """A million different attributes leave no trace; remembered are those that come again, up to a bound."""
    readings = Readings(OURS)

    def kept(number: int) -> bytes:
        return KeyValue(key="xray.candidates.kept", value=any_value(number)).SerializeToString()

    for number in range(50_000):
        readings[kept(number)]
    assert len(readings) < 100
    for number in range(3 * MAX_READINGS):
        for _ in range(4):
            readings[kept(number)]
        assert len(readings) <= MAX_READINGS
    remembered = len(readings)
    for number in range(20_000):
        for _ in range(4):
            readings[KeyValue(key="xray.step.why", value=any_value(f"{number}" * 100)).SerializeToString()]
            readings[KeyValue(key=f"xray.nobody.{number}", value=any_value("x")).SerializeToString()]
    assert len(readings) <= remembered


@pytest.mark.parametrize("first", ["many", 7])
def test_the_last_of_several_equal_names_holds_with_its_flags_alone(first: Any):
    """What was wrong with an earlier value is not said of the step: that value is not its own."""
    sent = span("a", {"xray.span.kind": "step", "xray.candidates.in": first}, trace="t")
    for value, code in ((5, []), (-1, ["negative"]), (None, [])):
        twice = type(sent).FromString(sent.SerializeToString())
        last = twice.attributes.add(key="xray.candidates.in")
        if value is not None:
            last.value.int_value = value
        request = traces([twice])
        for extraction in (
            of_spans(ProtobufDecoder(OURS), request.SerializeToString()),
            of_spans(JsonDecoder(OURS), encode(request)),
        ):
            (step,) = extraction.steps
            assert [flag.code for flag in step.flags if flag.field == "xray.candidates.in"] == code
            assert step.candidates_in == (5 if value == 5 else None)


def test_a_span_of_ten_thousand_attributes():
    """It is one step like any other, its flags bounded, remembered or not."""
    names = {f"xray.metric.m{number}": number if number % 2 else "bad" for number in range(10_000)}
    request = traces([span("a", {"xray.span.kind": "step", **names}, trace="t")])
    decoder = ProtobufDecoder(OURS)
    for _ in range(3):
        (step,) = of_spans(decoder, request.SerializeToString()).steps
        assert step.metrics is not None
        assert (len(step.metrics), len(step.flags)) == (5000, 64)
