"""Requests of more parts than anybody sends: refused before they take memory, and whole ones never are."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from collector.decode.bounds import MAX_FIELDS, MAX_OURS, MAX_VALUES, Values, check_request
from collector.errors import Undecodable
from collector.extract.extraction import Limits
from collector.inference.infer import SpanInference
from collector.reading import RequestReader
from collector.responses import PROTOBUF, Signal
from tests.fixtures.otlp import event, logs, span, traces

NOW_NS = 1_790_000_000_000_000_000
FUTURE = b"\xc2\x3e\x03abc"  # field 1000: not the form that is walked by hand
IDS = b"\x0a\x10" + b"t" * 16 + b"\x12\x08" + b"s" * 8


def field(tag: int, content: bytes) -> bytes:
    """A field with a length."""
    size, length = len(content), bytearray()
    while size > 127:
        length.append(size & 127 | 128)
        size >>= 7
    return bytes([tag, *length, size]) + content


def of_scope(records: bytes) -> bytes:
    """A request of one resource and one scope."""
    return field(0x0A, field(0x12, records))


def of_step(fields: bytes) -> bytes:
    """A request of one step with these fields."""
    kind = field(0x0A, b"xray.span.kind") + field(0x12, field(0x0A, b"step"))
    return of_scope(field(0x12, IDS + field(0x4A, kind) + fields))


def attribute(name: bytes, value: bytes) -> bytes:
    """An attribute of a span."""
    return field(0x4A, field(0x0A, name) + field(0x12, value))


def read(body: bytes, signal: Signal = Signal.TRACES) -> dict[str, int]:
    """Records by what they are."""
    reader = RequestReader(Limits(), SpanInference())
    return dict(reader.read(signal, PROTOBUF, body, NOW_NS).extraction.records)


NAMED = field(0x4A, field(0x0A, b"xray.step.type"))
BODIES: dict[str, Callable[[], bytes]] = {
    "resources": lambda: b"\x0a\x00" * (MAX_FIELDS + 1),
    "resources and a field of the future": lambda: b"\x0a\x00" * (MAX_FIELDS + 1) + FUTURE,
    "a field of the future and resources": lambda: FUTURE + b"\x0a\x00" * (MAX_FIELDS + 1),
    "scopes": lambda: field(0x0A, b"\x12\x00" * MAX_FIELDS),
    "schema URLs": lambda: field(0x0A, b"\x1a\x00" * MAX_FIELDS),
    "records": lambda: of_scope(b"\x12\x00" * MAX_FIELDS),
    "records and a field of the future": lambda: FUTURE + of_scope(b"\x12\x00" * MAX_FIELDS),
    "scope names": lambda: of_scope(b"\x0a\x00" * MAX_FIELDS),
    "fields of the future": lambda: b"\xc2\x3e\x00" * (MAX_FIELDS + 1),
    "groups": lambda: b"\x0b" * (2 * MAX_FIELDS + 1),
    "records of ours": lambda: of_scope(field(0x12, NAMED) * (MAX_OURS + 1)),
    "attributes": lambda: of_step(b"\x4a\x00" * MAX_VALUES),
    "events": lambda: of_step(b"\x5a\x00" * MAX_VALUES),
    "elements": lambda: of_step(attribute(b"xray.reasons.codes", field(0x2A, b"\x0a\x00" * MAX_VALUES))),
    "entries": lambda: of_step(attribute(b"xray.step.input", field(0x32, b"\x0a\x00" * MAX_VALUES))),
    "elements of many arrays": lambda: of_step(
        attribute(b"xray.reasons.codes", field(0x2A, b"\x0a\x00" * (MAX_VALUES // 8))) * 8
    ),
}


@pytest.mark.parametrize("shape", BODIES)
def test_too_many_parts_are_refused(shape: str):
    """The whole request is bad data, as with too many objects in JSON."""
    body = BODIES[shape]()
    with pytest.raises(Undecodable, match="send smaller batches"):
        read(body)


@pytest.mark.parametrize("signal", [Signal.TRACES, Signal.LOGS])
def test_attributes_of_a_request_are_counted_together(signal: Signal):
    """With those of the records that came before; the next request begins anew."""
    reader = RequestReader(Limits(), None)
    tag = 0x4A if signal is Signal.TRACES else 0x32
    nobodys = field(tag, field(0x0A, b"x") + field(0x12, b"\x18\x01"))
    many = field(0x12, field(tag, field(0x0A, b"xray.nobody")) + nobodys * (MAX_VALUES * 3 // 5))
    with pytest.raises(Undecodable, match="attributes"):
        reader.read(signal, PROTOBUF, of_scope(many * 2), NOW_NS)
    reader.read(signal, PROTOBUF, of_scope(many), NOW_NS)


def test_what_is_below_the_bounds_is_read():
    """As many parts as are allowed, in the form that is walked by hand and in the other."""
    records = b"\x12\x00" * (MAX_FIELDS - 2)
    assert read(of_scope(records)) == {"foreign": MAX_FIELDS - 2}
    assert read(of_scope(records[:-4]) + FUTURE) == {"foreign": MAX_FIELDS - 4}


def test_usual_requests_pass_every_count():
    """Counted as large ones are, they have few parts; broken ones are left to the parser."""
    for body in (
        traces([span("a", {"xray.span.kind": "step"}, trace="t")]).SerializeToString(),
        logs([event("xray.run.start", {"xray.run.id": "r"}, trace="t")]).SerializeToString(),
    ):
        check_request(body)
        values = Values()
        values.left = 1
        with pytest.raises(Undecodable):
            values.check(b"\x0a\x00" * 2)
        values.left = 20
        values.check(body)
        values.left = 1
        for broken in (b"\x0a" + b"\xff" * 20, b"\xff" * 20, b"\x07" * 20, b"\x0a\x7f\x00"):
            values.check(broken)
