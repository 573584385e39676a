"""Request bytes to records."""

from __future__ import annotations

import base64
import json
import math
import re
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue

from collector.decode.attributes import NOT_A_VALUE
from collector.decode.otlp_json import JsonDecoder
from collector.decode.protobuf import ProtobufDecoder
from collector.errors import Undecodable
from collector.records import (
    MAX_DEPTH,
    TOO_DEEP,
    Decoded,
    LogRecord,
    Reading,
    SpanEvent,
    SpanRecord,
    Unreadable,
    ValueReader,
)
from tests.collector.strategies import log_requests, trace_requests
from tests.fixtures.otlp import event, logs, span, traces
from tests.fixtures.otlp_json import encode


class AsSent:
    """An ``Interpreter`` that reads every attribute as it is."""

    undecoded = frozenset({"raw"})
    reads_events = True

    def reader(self, name: str) -> ValueReader | None:
        """Keep the value with its name."""

        def read(value: Any) -> Reading:
            return 0, (name, value), 0, None

        return read


protobuf, otlp_json = ProtobufDecoder(AsSent()), JsonDecoder(AsSent())


def attributes_of(record: SpanRecord | LogRecord) -> dict[str, Any]:
    """What the attributes of a record were read as."""
    return dict(value for _, value, _, _ in record.readings)


def comparable(decoded: Decoded[Any]) -> list[Any]:
    """The records without their hashes, which are of the bytes."""
    return [
        record._replace(sent_hash=None, resource=record.resource._replace(sent_hash=0))
        for record in decoded.records
    ]


def json_span(**fields: Any) -> bytes:
    """A request of one span that has an attribute of ours."""
    attributes = [{"key": "xray.run.id", "value": {"stringValue": "run-1"}}, *fields.pop("attributes", [])]
    return orjson.dumps(
        {"resourceSpans": [{"scopeSpans": [{"spans": [{"attributes": attributes, **fields}]}]}]}
    )


def json_value(value: Any) -> Any:
    """What an attribute value of OTLP/JSON is read as."""
    (record,) = otlp_json.decode_traces(json_span(attributes=[{"key": "xray.x", "value": value}])).records
    return attributes_of(record)["xray.x"]


def same(one: Any, other: Any) -> bool:
    """Equal, with NaN equal to itself."""
    return repr(_ordered(one)) == repr(_ordered(other))


def _ordered(value: Any) -> Any:
    if isinstance(value, dict):
        return sorted((key, _ordered(item)) for key, item in value.items())
    if isinstance(value, list | tuple) and not isinstance(value, Unreadable):
        return [_ordered(item) for item in value]
    return value


@given(trace_requests)
@settings(max_examples=80, deadline=None)
def test_spans_are_the_same_in_both_encodings(request: ExportTraceServiceRequest):
    """A request of spans decodes to equal records from protobuf and from JSON."""
    from_protobuf = comparable(protobuf.decode_traces(request.SerializeToString()))
    from_json = comparable(otlp_json.decode_traces(encode(request)))
    assert same(from_protobuf, from_json)
    assert len(from_protobuf) == sum(
        len(scope.spans) for group in request.resource_spans for scope in group.scope_spans
    )


@given(log_requests)
@settings(max_examples=80, deadline=None)
def test_events_are_the_same_in_both_encodings(request: ExportLogsServiceRequest):
    """A request of log records decodes to equal records from protobuf and from JSON."""
    assert same(
        comparable(protobuf.decode_logs(request.SerializeToString())),
        comparable(otlp_json.decode_logs(encode(request))),
    )


def test_foreign_spans_are_counted_and_not_decoded():
    """A span without a word of ours is counted as foreign in both encodings."""
    request = traces(
        [span("a", {"http.method": "GET"}, trace="t"), span("b", {"xray.run.id": "r"}, trace="t")]
    )
    for decoded in (
        protobuf.decode_traces(request.SerializeToString()),
        otlp_json.decode_traces(encode(request)),
    ):
        assert [record.name for record in decoded.records] == ["b"]
        assert decoded.foreign == 1


def test_the_last_of_several_equal_keys_wins():
    """Attribute keys must not repeat; when they do, the last one holds, in both encodings."""
    sent = span("a", {"xray.run.id": "first"}, trace="t")
    sent.attributes.add(key="xray.run.id").value.string_value = "last"
    request = traces([sent])
    for decoded in (
        protobuf.decode_traces(request.SerializeToString()),
        otlp_json.decode_traces(encode(request)),
    ):
        (record,) = decoded.records
        assert attributes_of(record) == {"xray.run.id": "last"}


def test_text_that_is_not_utf8_costs_no_span():
    """A value with broken bytes is kept with them marked; the span and its neighbour are whole."""
    broken = span("broken", {"xray.run.id": "run-1", "xray.step.why": "XXXX"}, trace="t")
    body = traces([broken, span("whole", {"xray.run.id": "run-1"}, trace="t")]).SerializeToString()
    decoded = protobuf.decode_traces(body.replace(b"XXXX", b"\xff\xfeOK"))
    first, second = decoded.records
    assert (first.name, second.name) == ("broken", "whole")
    assert attributes_of(first) == {"xray.run.id": "run-1", "xray.step.why": "\udcff\udcfeOK"}


def test_a_resource_that_is_not_utf8_costs_no_span():
    """A resource with a broken value keeps its spans and its other attributes, and harms no neighbour."""
    request = traces([span("a", {"xray.run.id": "run-1"}, trace="t")])
    resource = request.resource_spans[0].resource
    resource.attributes.add(key="host.name").value.string_value = "XXXX"
    resource.attributes.add(key="service.name").value.string_value = "shop"
    request.resource_spans[0].scope_spans[0].scope.name = "XXXX"
    decoded = protobuf.decode_traces(request.SerializeToString().replace(b"XXXX", b"\xff\xfeOK"))
    (record,) = decoded.records
    assert record.resource.attributes["service.name"] == "shop"
    assert record.resource.attributes["host.name"] == "\udcff\udcfeOK"


def test_the_order_of_a_nested_map_does_not_show():
    """A map that comes in another order reads as the same text, which is what is kept of one cut short."""
    read = []
    for keys in ("abc", "cab"):
        sent = span("a", {"xray.run.id": "run-1"}, trace="t")
        entries = sent.attributes.add(key="xray.step.input").value.kvlist_value.values
        for key in keys:
            entries.add(key=key).value.int_value = 1
        (record,) = protobuf.decode_traces(traces([sent]).SerializeToString()).records
        read.append(str(attributes_of(record)["xray.step.input"]))
    assert read[0] == read[1]


def test_a_key_that_is_not_utf8_costs_nothing():
    """A name with broken bytes is no name of ours; its span keeps all that is."""
    broken = span("broken", {"xray.run.id": "run-1", "xray.XXXX": 1}, trace="t")
    body = traces([broken]).SerializeToString()
    (record,) = protobuf.decode_traces(body.replace(b"XXXX", b"\xff\xfeOK")).records
    assert attributes_of(record) == {"xray.run.id": "run-1", "xray.\udcff\udcfeOK": 1}


def test_an_attribute_that_is_none_costs_one_span():
    """A span that cannot be read at all is refused alone."""
    body = _field(1, _field(2, _field(2, _field(9, b"\xff\xffxray.")) + _field(2, _field(9, b"xray."))))
    decoded = protobuf.decode_traces(
        body + traces([span("whole", {"xray.x": 1}, trace="t")]).SerializeToString()
    )
    assert [record.name for record in decoded.records] == ["whole"]
    assert len(decoded.undecodable) == 2


@pytest.mark.parametrize(
    "value",
    [
        b"\xff",  # no field
        b"\x0a\x05abc",  # a text that ends early
        b"\x18\xff",  # a number that ends early
        b"\x2a\x03\x0a\x05\x18",  # an element that ends early
        b"\x32\x02\xff\xff",  # entries that are none
    ],
)
def test_a_value_that_is_no_value_costs_itself(value: bytes):
    """Bytes that are no ``AnyValue`` are marked, and the other attributes are whole; twice the same."""
    attributes = _field(9, _field(1, b"xray.x") + _field(2, value)) + _field(9, _field(1, b"xray.y"))
    body = _field(1, _field(2, _field(2, attributes)))
    for _ in range(3):
        (record,) = protobuf.decode_traces(body).records
        assert attributes_of(record) == {"xray.x": NOT_A_VALUE, "xray.y": None}


def test_events_of_spans():
    """Of a span's events those about decisions are read, in both encodings, and a broken one is counted."""
    sent = span("a", {"xray.run.id": "run-1"}, trace="t")
    for name in ("xray.decision", "exception", "xray.decisions"):
        event_ = sent.events.add(name=name)
        event_.attributes.add(key="xray.note").value.string_value = "xray.decision"
    sent.dropped_events_count = 3
    request = traces([sent])
    expected = [
        SpanEvent(name, {"xray.note": "xray.decision"}) for name in ("xray.decision", "xray.decisions")
    ]
    for decoded in (
        protobuf.decode_traces(request.SerializeToString()),
        otlp_json.decode_traces(encode(request)),
    ):
        (record,) = decoded.records
        assert (record.events, record.dropped_events) == (expected, 3)


def hashes(decoded: Decoded[Any]) -> list[int | None]:
    """Of each record."""
    return [record.sent_hash for record in decoded.records]


def test_a_record_has_a_hash_of_what_was_sent():
    """The same bytes under the same resource have the same hash, anything else another; in each encoding."""
    sent = [span("a", {"xray.run.id": "r"}, trace="t"), span("b", {"xray.run.id": "r"}, trace="t")]
    for decode, written in (
        (protobuf.decode_traces, lambda request: request.SerializeToString()),
        (otlp_json.decode_traces, encode),
    ):
        first, second = hashes(decode(written(traces(sent))))
        again, other = decode(written(traces(sent))), decode(written(traces(sent, service="another")))
        assert hashes(again) == [first, second]
        assert len({first, second, *hashes(other)}) == 4


def test_evidence_has_no_hash():
    """Of decisions there are no copies to order, and their bytes are many."""
    names = ("xray.run.start", "xray.step", "xray.step.decisions", "xray.artifact")
    request = logs([event(name, {"xray.run.id": "r"}, trace="t") for name in names])
    for found in (
        hashes(protobuf.decode_logs(request.SerializeToString())),
        hashes(otlp_json.decode_logs(encode(request))),
    ):
        assert [each is None for each in found] == [False, False, True, True]


def test_texts_that_are_wanted_undecoded():
    """Such a text comes as the bytes that it was sent as, long or short."""
    for length in (3, 500, 70_000):
        body = traces([span("a", {"xray.run.id": "r", "raw": "x" * length}, trace="t")]).SerializeToString()
        for _ in range(3):
            (record,) = protobuf.decode_traces(body).records
            assert attributes_of(record)["raw"] == b"x" * length


@pytest.mark.parametrize("depth", [1, 40, MAX_DEPTH, MAX_DEPTH + 1, 300])
def test_deep_values_cost_one_value(depth: int):
    """A value within the limit of nesting is read and a deeper one marked; the record stays, either way."""
    (from_protobuf,) = protobuf.decode_traces(_deep_protobuf(depth)).records
    (from_json,) = otlp_json.decode_traces(_deep_json(depth)).records
    expected: Any = 7
    for _ in range(depth):
        expected = [expected]
    for record in (from_protobuf, from_json):
        assert attributes_of(record)["xray.run.id"] == "run-1"
        assert attributes_of(record)["xray.deep"] == (expected if depth <= MAX_DEPTH else TOO_DEEP)


def _deep_json(depth: int) -> bytes:
    body = json_span(attributes=[{"key": "xray.deep", "value": "HERE"}])
    nested = b'{"arrayValue":{"values":[' * depth + b'{"intValue":7}' + b"]}}" * depth
    return body.replace(b'"HERE"', nested)


def _deep_protobuf(depth: int) -> bytes:
    # Written by hand: protobuf does not write what it would not read.
    value = AnyValue(int_value=7).SerializeToString()
    for _ in range(depth):
        value = _field(5, _field(1, value))
    run = _field(1, b"xray.run.id") + _field(2, AnyValue(string_value="run-1").SerializeToString())
    deep = _field(1, b"xray.deep") + _field(2, value)
    return _field(1, _field(2, _field(2, _field(9, run) + _field(9, deep))))


def _varint(number: int) -> bytes:
    out = b""
    while number > 127:
        out += bytes([number & 127 | 128])
        number >>= 7
    return out + bytes([number])


def _field(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(content)) + content


@pytest.mark.parametrize(
    ("sent", "read"),
    [
        ({"intValue": 5}, 5),
        ({"intValue": "5"}, 5),
        ({"intValue": 5.0}, 5),
        ({"doubleValue": 5}, 5.0),
        ({"doubleValue": "-Infinity"}, -math.inf),
        ({"boolValue": True}, True),
        ({"bytesValue": base64.b64encode(b"\x00\xff").decode()}, b"\x00\xff"),
        ({"stringValue": ""}, ""),
        ({"arrayValue": {}}, []),
        (
            {"kvlistValue": {"values": [{"key": "a", "value": {"intValue": 1}}, {"key": "b"}]}},
            {"a": 1, "b": None},
        ),
        ({}, None),
        (None, None),
        ({"valueOfTheFuture": 1}, None),
        ({"intValue": "five"}, Unreadable("intValue is not an integer")),
        ({"intValue": "1" * 100_000}, Unreadable("intValue is not an integer")),
        ({"boolValue": 1}, Unreadable("boolValue is not a boolean")),
        ("bare", Unreadable("not an OTLP value")),
    ],
)
def test_json_values(sent: Any, read: Any):
    """Each form in which OTLP/JSON senders write a value is read as that value."""
    assert json_value(sent) == read


def test_bare_nan_and_half_surrogates_in_json():
    """A body that strict JSON parsers refuse for one value is read all the same."""
    body = json_span(attributes=[{"key": "xray.x", "value": {"doubleValue": 17.25}}], name="NAME")
    body = body.replace(b"17.25", b"NaN").replace(b"NAME", b"\\ud800")
    (record,) = otlp_json.decode_traces(body).records
    assert math.isnan(attributes_of(record)["xray.x"])
    assert record.name == "\ud800"


def test_ids_are_hex_of_either_case():
    """Trace and span ids are hex, not base64 as protobuf's JSON mapping has it."""
    body = json_span(traceId="5B8EFFF798038103D269B633813FC60C", spanId="eee19b7ec3c1b174")
    (record,) = otlp_json.decode_traces(body).records
    assert record.trace_id.hex() == "5b8efff798038103d269b633813fc60c"
    assert record.span_id.hex() == "eee19b7ec3c1b174"


def test_an_id_that_is_no_hex_costs_one_span():
    """A span whose id is no hex is refused alone and said so."""
    decoded = otlp_json.decode_traces(json_span(traceId="not hex"))
    assert not list(decoded.records)
    assert re.search("traceId is not hex", decoded.undecodable[0])


@pytest.mark.parametrize("attributes", [5, True, "text", {"key": "xray.run.id"}, [5, None, "x", {"key": 5}]])
def test_attributes_that_are_no_list_make_a_foreign_span(attributes: Any):
    """A span whose attributes have another shape than OTLP's has none, and its batch is read on."""
    bad: dict[str, Any] = {"attributes": attributes}
    good = {"attributes": [{"key": "xray.run.id", "value": {"stringValue": "run-1"}}]}
    body = orjson.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [bad, good]}]}]})
    decoded = otlp_json.decode_traces(body)
    assert (len(list(decoded.records)), decoded.foreign) == (1, 1)


def test_an_event_named_by_an_attribute_alone_is_ours():
    """A record whose only word of ours is the value of ``event.name`` is read in both encodings."""
    request = logs([event("", {"event.name": "xray.run.start"}, trace="t")])
    for decoded in (
        protobuf.decode_logs(request.SerializeToString()),
        otlp_json.decode_logs(encode(request)),
    ):
        assert [attributes_of(record)["event.name"] for record in decoded.records] == ["xray.run.start"]


@pytest.mark.parametrize("body", [b"\xff\xff", b"hello, this is text"])
def test_bodies_that_are_no_protobuf(body: bytes):
    """Bytes that are no protobuf are refused as a whole."""
    with pytest.raises(Undecodable):
        protobuf.decode_traces(body)


@pytest.mark.parametrize(
    "body", [b"{", b"[]", b"\xff", b'{"resourceSpans": 7}', b'{"resourceSpans": [7]}', b"[" * 100_000]
)
def test_bodies_that_are_no_json_request(body: bytes):
    """Bytes that are no JSON object of the right shape are refused as a whole."""
    with pytest.raises(Undecodable):
        otlp_json.decode_traces(body)


@pytest.mark.parametrize("decode", [protobuf.decode_traces, protobuf.decode_logs, otlp_json.decode_traces])
def test_an_empty_body_is_an_empty_request(decode: Any):
    """No bytes at all are a valid request without records."""
    decoded = decode(b"")
    assert (list(decoded.records), decoded.foreign, decoded.recognised) == ([], 0, True)


@pytest.mark.parametrize(
    ("sent", "expected"), [(10**25, 2**32 - 1), ("99999999999999999999", 2**32 - 1), (-5, 0), ("many", 0)]
)
def test_json_counts_of_what_was_dropped_stay_in_their_range(sent: Any, expected: int):
    """What a sender says that it dropped is stored: JSON can say what a uint32 cannot."""
    dropped = {"droppedAttributesCount": sent, "droppedEventsCount": sent}
    event = {"name": "xray.decision"}
    attributes = [{"key": "xray.span.kind", "value": {"stringValue": "step"}}]
    spans = [{"attributes": attributes, "events": [event], **dropped}]
    body = json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": spans}]}]}).encode()
    (record,) = otlp_json.decode_traces(body).records
    assert (record.dropped_attributes, record.dropped_events) == (expected, expected)
