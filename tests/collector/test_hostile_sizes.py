"""The largest requests that a hostile sender can make, over real sockets: answered, as is the next."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator

import grpc
import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from collector.decode.bounds import MAX_FIELDS
from collector.service import CollectorService
from tests.fixtures.collector_service import Tables
from tests.fixtures.otlp import post, span, traces

PROTOBUF, JSON = "application/x-protobuf", "application/json"
LIMIT = 64 * 1024 * 1024
STEP = {"xray.span.kind": "step", "xray.run.id": "run-1", "xray.step.attempt": 1}
EMPTY_SPANS = 1_000_000


@pytest.fixture
def http(collector: CollectorService, tables: Tables) -> Iterator[httpx.Client]:
    """A client of a collector that must still store a step when the test has done its worst."""
    url = f"http://127.0.0.1:{collector.http_port}"
    with httpx.Client(base_url=url, trust_env=False, timeout=120.0) as client:
        yield client
        answer = post(client, traces([span("after", {**STEP, "xray.step.id": "after"}, trace="after")]))
        assert (answer.status_code, answer.content) == (200, b"")
        assert "after" in {step["step_id"] for step in tables.rows("steps")}


def repeated(part: bytes, size_bytes: int, beginning: bytes = b"") -> bytes:
    """Gzip of a beginning and so many bytes of a part, made piece by piece."""
    packer = zlib.compressobj(1, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
    piece = part * (1024 * 1024 // len(part))
    packed = [packer.compress(beginning)]
    packed += [packer.compress(piece) for _ in range(size_bytes // len(piece))]
    return b"".join([*packed, packer.flush()])


def sent(http: httpx.Client, packed: bytes, content_type: str = PROTOBUF) -> httpx.Response:
    """Send a gzip body of spans."""
    headers = {"Content-Type": content_type, "Content-Encoding": "gzip"}
    return http.post("/v1/traces", content=packed, headers=headers)


def empty_spans(number: int) -> bytes:
    """A request of one scope with so many spans of nothing."""
    scope = _field(0x12, b"\x12\x00" * number)
    return _field(0x0A, scope)


def _field(tag: int, content: bytes) -> bytes:
    return bytes([tag]) + _length(len(content)) + content


def _length(size: int) -> bytes:
    length = bytearray()
    while size > 127:
        length.append(size & 127 | 128)
        size >>= 7
    return bytes([*length, size])


@pytest.mark.parametrize("content_type", [PROTOBUF, JSON])
def test_a_gzip_bomb(http: httpx.Client, content_type: str):
    """A body that would be a gigabyte is refused at the limit, of one member or of many."""
    bomb = repeated(b"\0", 1024 * 1024 * 1024)
    assert len(bomb) < 8 * 1024 * 1024
    assert sent(http, bomb, content_type).status_code == 413
    several = gzip.compress(b" " * (LIMIT // 32), 1) * 40
    assert sent(http, several, content_type).status_code == 413


def test_a_gzip_bomb_of_members(http: httpx.Client):
    """A million members of nothing are not read one by one."""
    assert sent(http, gzip.compress(b"") * 1_000_000).status_code == 400


@pytest.mark.parametrize(
    ("part", "beginning", "content_type"),
    [
        (b"[", b"", JSON),
        (b"[", b'{"resourceSpans":', JSON),
        (b'{"kvlistValue":{"values":[{"value":', b'{"resourceSpans":[{"scopeSpans":[{"spans":[', JSON),
        (b"\x0b", b"", PROTOBUF),
        (b"\x0a\x80", b"", PROTOBUF),
    ],
    ids=["arrays", "arrays in a request", "maps in a request", "groups", "lengths"],
)
def test_64_mib_of_nesting(http: httpx.Client, part: bytes, beginning: bytes, content_type: str):
    """It is bad data: 400, not to be sent again."""
    body = repeated(part, LIMIT - 1024 * 1024, beginning)
    assert sent(http, body, content_type).status_code == 400


def test_an_attribute_of_nested_arrays(http: httpx.Client, tables: Tables):
    """As deep as they fit into a megabyte: the attribute is flagged, its step is stored."""
    lengths, size = [], 0
    while size < 1024 * 1024:
        header = _length(size)
        lengths.append(header)
        # An array that holds one value: its own tag and length, and those of the value.
        size += len(header) + 1
    nested = bytearray()
    for depth, header in enumerate(reversed(lengths)):
        nested += (b"\x2a" if depth % 2 == 0 else b"\x0a") + header
    request = traces([span("deep", {**STEP, "xray.step.id": "deep"}, trace="t")])
    attribute = _field(0x0A, b"xray.step.input") + _field(0x12, bytes(nested))
    raw = request.resource_spans[0].scope_spans[0].spans[0].SerializeToString() + _field(0x4A, attribute)
    assert sent(http, gzip.compress(_field(0x0A, _field(0x12, _field(0x12, raw))))).status_code == 200
    assert ("wrong_type", "xray.step.input") in tables.flags()


@pytest.mark.parametrize("name", ["xray.metric.m", "xray.run.tag.t", "gen_ai.prompt.", "someone.elses."])
def test_a_span_of_ten_thousand_attributes(http: httpx.Client, tables: Tables, name: str):
    """It is stored like any other, whosever attributes these are."""
    attributes = {f"{name}{number}": number for number in range(10_000)}
    known = {**STEP, "xray.step.id": "many", "gen_ai.operation.name": "chat"}
    assert post(http, traces([span("many", {**known, **attributes}, trace="t")])).status_code == 200
    step = tables.one("steps")
    assert len(step["flags"] or ()) <= 64
    assert step["step_id"] == "many"


def test_a_million_empty_spans(http: httpx.Client, collector: CollectorService):
    """They are nobody's: taken, counted, and nothing is stored of them, over both transports."""
    body = empty_spans(EMPTY_SPANS)
    assert (
        len(ExportTraceServiceRequest.FromString(body).resource_spans[0].scope_spans[0].spans) == EMPTY_SPANS
    )
    assert sent(http, gzip.compress(body, 1)).status_code == 200
    with grpc.insecure_channel(f"127.0.0.1:{collector.grpc_port}") as channel:
        export = channel.unary_unary(
            "/opentelemetry.proto.collector.trace.v1.TraceService/Export", None, None
        )
        assert export(body, timeout=120.0) == b""
    assert collector.telemetry.read()["records"]["foreign"] == 2 * EMPTY_SPANS


def test_more_empty_spans_than_are_counted(http: httpx.Client):
    """64 MiB of them, of resources or of scopes would be gigabytes of objects: 400."""
    assert sent(http, gzip.compress(empty_spans(MAX_FIELDS), 1)).status_code == 400
    assert sent(http, repeated(b"\x0a\x00", LIMIT - 1024 * 1024)).status_code == 400
    spans = b'{"resourceSpans":[{"scopeSpans":[{"spans":[' + b"{}," * EMPTY_SPANS + b"{}]}]}]}"
    assert sent(http, gzip.compress(spans, 1), JSON).status_code == 400
