"""A request's records are found by hand as the parser finds them, in whatever form they come."""

from __future__ import annotations

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from collector.decode.messages import MESSAGES
from collector.decode.scopes import Group, groups_of

NEEDLES = (b"xray.", b"gen_ai.", b"acme.")

words = st.sampled_from([b"", b"a", b"xray.", b"an xray. of it", b"gen_ai.", b"b" * 200, b"x" * 20_000])
scopes = st.lists(words, max_size=6)
resources = st.tuples(words, st.lists(scopes, max_size=3))


def request(sent: list[tuple[bytes, list[list[bytes]]]]) -> bytes:
    """A request of records that are not even spans; nobody looks into them here."""
    message = MESSAGES.export_request()
    for resource, scopes_ in sent:
        group = message.resources.add(resource=resource)
        for records in scopes_:
            group.scopes.add(records=records)
    return bytes(message.SerializeToString())


def found(body: bytes) -> list[Group] | None:
    """What is found by hand, where it can be."""
    try:
        return groups_of(body, NEEDLES)
    except DecodeError:
        return None


def parsed(body: bytes) -> list[Group] | None:
    """What the parser finds."""
    try:
        message = MESSAGES.export_request.FromString(body)
    except DecodeError:
        return None
    return [
        Group(
            group.resource,
            [record for record in records if any(needle in record for needle in NEEDLES)],
            sum(not any(needle in record for needle in NEEDLES) for record in records),
        )
        for group in message.resources
        for records in ([scope.records for scope in group.scopes] or [[]])
    ]


@given(st.lists(resources, max_size=4), st.data())
@settings(max_examples=300, deadline=None)
def test_records_are_found_as_the_parser_finds_them(
    sent: list[tuple[bytes, list[list[bytes]]]], data: st.DataObject
):
    """Whole, cut short, or with a byte exchanged: the same records, the same refusal."""
    body = request(sent)
    if body and data.draw(st.booleans()):
        place = data.draw(st.integers(0, len(body) - 1))
        body = body[:place] + data.draw(st.binary(max_size=2)) + body[place + data.draw(st.integers(0, 3)) :]
    assert found(body) == parsed(body)


def test_fields_that_nobody_reads_are_passed_over():
    """Scope names and schema URLs, also ones with our name in them, and fields of the future."""
    message = ExportTraceServiceRequest()
    group = message.resource_spans.add(schema_url="https://xray.example")
    scope = group.scope_spans.add(schema_url="https://xray.example/scope")
    scope.scope.name = "xray.scope"
    for name in ("foreign", "xray.ours", "foreign"):
        scope.spans.add(name=name)
    usual = message.SerializeToString()
    future = b"\xc2\x3e\x03abc"  # field 1000, three bytes
    for body in (usual, usual + future, future + usual):
        ((_, ours, foreign),) = groups_of(body, NEEDLES)
        assert (len(ours), foreign) == (1, 2)


@pytest.mark.parametrize(
    "body",
    [
        b"\xff" * 4_000_000,
        b"\x0a" + b"\xff" * 4_000_000,
        b"\x0a\x80" * 2_000_000,
        request([(b"", [[b""] * 1_000_000])]),
        request([(b"", [[b"xray."] * 200_000])]),
        b"\x0a\x00" * 500_000,
    ],
    ids=["ones", "endless length", "lengths", "empty records", "records of ours", "empty resources"],
)
def test_hostile_bodies_take_linear_time(body: bytes):
    """Millions of lengths, empty records or resources are walked once, and say the same."""
    assert found(body) == parsed(body)
