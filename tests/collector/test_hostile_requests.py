"""Requests that no well-behaved exporter sends, over real sockets."""

from __future__ import annotations

import gzip
import socket
from collections.abc import Iterator
from typing import Any

import grpc
import httpx
import orjson
import pytest
from google.rpc.error_details_pb2 import RetryInfo  # type: ignore[import-untyped]  # ships no types
from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]  # ships no types
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from opentelemetry.proto.metrics.v1.metrics_pb2 import MetricsData

from collector.errors import CannotListen
from collector.service import CollectorService
from collector.settings import CollectorSettings
from store.settings import load
from store.writer import PostgresWriter
from tests.fixtures.collector_service import FREE_PORTS, Tables
from tests.fixtures.otlp import event, logs, span, traces
from tests.fixtures.otlp_json import encode

PROTOBUF, JSON = "application/x-protobuf", "application/json"
TRACE_EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
STEP = {"xray.span.kind": "step", "xray.run.id": "run-1", "xray.step.id": "s", "xray.step.attempt": 1}


@pytest.fixture
def collector_settings() -> CollectorSettings:
    """A collector that takes requests of at most 100 kB, and pages of one origin."""
    return load(
        CollectorSettings,
        {**FREE_PORTS, "XRAY_MAX_REQUEST_BYTES": "100000", "XRAY_CORS_ORIGINS": "https://shop.example"},
    )


@pytest.fixture
def http(collector: CollectorService) -> Iterator[httpx.Client]:
    """A client of the OTLP/HTTP receiver."""
    with httpx.Client(
        base_url=f"http://127.0.0.1:{collector.http_port}", trust_env=False, timeout=20.0
    ) as client:
        yield client


@pytest.fixture
def channel(collector: CollectorService) -> Iterator[grpc.Channel]:
    """A channel to the OTLP/gRPC receiver."""
    with grpc.insecure_channel(f"127.0.0.1:{collector.grpc_port}") as channel:
        yield channel


def post(
    http: httpx.Client, content: Any, content_type: str = PROTOBUF, path: str = "/v1/traces", **headers: str
):
    """Send a body."""
    return http.post(path, content=content, headers={"Content-Type": content_type, **headers})


@pytest.mark.parametrize("content_type", [PROTOBUF, JSON])
@pytest.mark.parametrize("path", ["/v1/traces", "/v1/logs"])
def test_an_empty_request_succeeds(http: httpx.Client, content_type: str, path: str):
    """An empty body is a full success in the encoding of the request, without partial success."""
    answer = post(http, b"", content_type, path)
    assert (answer.status_code, answer.headers["content-type"]) == (200, content_type)
    assert answer.content == (b"{}" if content_type == JSON else b"")


def test_media_type_with_parameters_and_chunks(http: httpx.Client, tables: Tables):
    """Parameters of the media type do not matter, and a body may come in chunks without a length."""
    body = encode(traces([span("a", STEP, trace="t")]))
    chunks = (body[at : at + 50] for at in range(0, len(body), 50))
    assert post(http, chunks, "Application/JSON; charset=utf-8").status_code == 200
    assert tables.one("steps")["step_id"] == "s"


def test_gzip_of_both_encodings(http: httpx.Client, tables: Tables):
    """Compressed bodies are the same requests; gzip of several members too."""
    request = traces([span("a", STEP, trace="t")])
    raw = encode(request)
    several = gzip.compress(raw[:100]) + gzip.compress(raw[100:])
    assert post(http, several, JSON, **{"Content-Encoding": "gzip"}).status_code == 200
    packed = gzip.compress(request.SerializeToString())
    assert post(http, packed, **{"Content-Encoding": "gzip"}).status_code == 200
    assert tables.one("steps")["deliveries"] == 2


@pytest.mark.parametrize("body", [b"not gzip", gzip.compress(b"x" * 1000)[:-9]])
def test_bad_gzip(http: httpx.Client, body: bytes):
    """A body that is no gzip, or ends early, is bad data: 400 with a Status in the request's encoding."""
    answer = post(http, body, **{"Content-Encoding": "gzip"})
    assert answer.status_code == 400
    assert Status.FromString(answer.content).code == grpc.StatusCode.INVALID_ARGUMENT.value[0]


@pytest.mark.parametrize("compress", [True, False])
def test_too_large_a_request(http: httpx.Client, compress: bool):
    """The limit holds for the body as it comes and after decompression: 413, not to be sent again."""
    body = b"\0" * 200_000
    headers = {"Content-Encoding": "gzip"} if compress else {}
    answer = post(http, gzip.compress(body) if compress else body, **headers)
    assert answer.status_code == 413
    assert "retry-after" not in answer.headers
    assert "XRAY_MAX_REQUEST_BYTES" in Status.FromString(answer.content).message


@pytest.mark.parametrize(
    ("content_type", "content_encoding"), [("text/plain", ""), ("", ""), (JSON, "br"), (PROTOBUF, "zstd")]
)
def test_unsupported_media(http: httpx.Client, content_type: str, content_encoding: str):
    """Another media type or encoding than OTLP's is refused with 415."""
    answer = post(http, b"{}", content_type, **{"Content-Encoding": content_encoding})
    assert answer.status_code == 415


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/traces", 405),
        ("PUT", "/v1/logs", 405),
        ("POST", "/v1/nothing", 404),
        ("POST", "/v1/metrics", 404),
    ],
)
def test_wrong_methods_and_paths(http: httpx.Client, method: str, path: str, status: int):
    """A wrong method, an unknown path and the metrics signal are answered with a Status body."""
    answer = http.request(method, path, content=b"{}", headers={"Content-Type": JSON})
    assert answer.status_code == status
    assert set(answer.json()) == {"code", "message", "details"}
    if status == 405:
        assert "POST" in answer.headers["allow"]


@pytest.mark.parametrize("content_type", [PROTOBUF, JSON])
def test_malformed_bodies(http: httpx.Client, content_type: str):
    """A body that is not what it says is bad data: 400 with a Status in its encoding."""
    answer = post(http, b"\xff\xff", content_type)
    assert (answer.status_code, answer.headers["content-type"]) == (400, content_type)


def test_a_body_for_another_path(http: httpx.Client):
    """Logs sent to the path of traces are not stored as garbage; the sender is told."""
    body = logs([event("xray.run.start", {"xray.run.id": "r"}, trace="t")]).SerializeToString()
    answer = post(http, body)
    assert answer.status_code == 200
    assert ExportTraceServiceResponse.FromString(answer.content).partial_success.rejected_spans == 1
    unknown = post(http, orjson.dumps({"resourceMetrics": []}), JSON)
    assert unknown.json().keys() == {"partialSuccess"}
    assert "another path" in unknown.json()["partialSuccess"]["errorMessage"]
    assert post(http, MetricsData().SerializeToString()).content == b""


def test_bad_ids_are_partial_success(http: httpx.Client, tables: Tables):
    """A span with an id of zeroes is counted in partial success, and its neighbours are stored."""
    bad = span("bad", STEP, trace="t")
    bad.trace_id = bytes(16)
    request = traces([bad, span("good", STEP, trace="t")])
    answer = ExportTraceServiceResponse.FromString(post(http, request.SerializeToString()).content)
    assert answer.partial_success.rejected_spans == 1
    assert "trace id" in answer.partial_success.error_message
    assert post(http, encode(request), JSON).json()["partialSuccess"]["rejectedSpans"] == "1"
    assert tables.one("steps")["name"] == "good"


def test_unsupported_events_are_partial_success(http: httpx.Client):
    """An event that this version has no place for is named in partial success."""
    body = logs([event("xray.someday", {"xray.run.id": "r"}, trace="t")]).SerializeToString()
    answer = ExportLogsServiceResponse.FromString(post(http, body, path="/v1/logs").content)
    assert answer.partial_success.rejected_log_records == 1
    assert "xray.someday" in answer.partial_success.error_message


def test_cors(http: httpx.Client):
    """A page of a configured origin may send; another may not."""
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"}
    allowed = http.options("/v1/traces", headers={"Origin": "https://shop.example", **asked})
    assert allowed.headers["access-control-allow-origin"] == "https://shop.example"
    refused = http.options("/v1/traces", headers={"Origin": "https://evil.example", **asked})
    assert "access-control-allow-origin" not in refused.headers


def call(channel: grpc.Channel, method: str, body: bytes) -> grpc.RpcError:
    """Make a call on raw bytes that must fail."""
    with pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary(method, None, None)(body, timeout=10.0)
    return caught.value


def test_grpc_failures(channel: grpc.Channel):
    """Bad data, too large a request, the metrics signal and an unknown method have OTLP's codes."""
    too_large = call(channel, TRACE_EXPORT, b"\0" * 200_000)
    assert too_large.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert call(channel, TRACE_EXPORT, b"\xff\xff").code() is grpc.StatusCode.INVALID_ARGUMENT
    metrics = call(channel, TRACE_EXPORT.replace("trace", "metrics").replace("Trace", "Metrics"), b"")
    assert metrics.code() is grpc.StatusCode.UNIMPLEMENTED
    assert "metrics are not taken" in (metrics.details() or "")
    assert call(channel, "/nobody/Knows", b"").code() is grpc.StatusCode.UNIMPLEMENTED


def test_an_empty_grpc_request_succeeds(channel: grpc.Channel):
    """An empty request is a full success with an empty answer."""
    assert channel.unary_unary(TRACE_EXPORT, None, None)(b"", timeout=10.0) == b""


def test_a_database_that_is_away_is_retryable(tmp_path: Any):
    """Without a database both transports answer that the sender should come again, and when."""
    settings = load(CollectorSettings, {**FREE_PORTS, "XRAY_WRITE_TIMEOUT_S": "0.3"})
    writer = PostgresWriter(f"postgresql:///xray?host={tmp_path}&user=xray")
    service = CollectorService(settings, writer)
    service.start()
    body = traces([span("a", STEP, trace="t")]).SerializeToString()
    try:
        answer = httpx.post(
            f"http://127.0.0.1:{service.http_port}/v1/traces",
            content=body,
            headers={"Content-Type": PROTOBUF},
            trust_env=False,
        )
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
        with grpc.insecure_channel(f"127.0.0.1:{service.grpc_port}") as channel:
            error = call(channel, TRACE_EXPORT, body)
        assert error.code() is grpc.StatusCode.UNAVAILABLE
        trailers = {entry.key: entry.value for entry in error.trailing_metadata() or ()}
        assert RetryInfo.FromString(trailers["google.rpc.retryinfo-bin"]).retry_delay.seconds == 2
        detail = Status.FromString(trailers["grpc-status-details-bin"]).details[0]
        assert detail.Is(RetryInfo.DESCRIPTOR)
    finally:
        service.stop(1.0)
        writer.close()


@pytest.mark.parametrize("variable", ["XRAY_GRPC_PORT", "XRAY_HTTP_PORT"])
def test_a_port_in_use_stops_the_start(variable: str, database_url: str):
    """A port that somebody else has fails the start with its name, and leaves nothing running."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        settings = load(CollectorSettings, {**FREE_PORTS, variable: str(taken.getsockname()[1])})
        service = CollectorService(settings, PostgresWriter(database_url))
        with pytest.raises(CannotListen, match=variable):
            service.start()


def test_stop_is_safe_before_start_and_twice(database_url: str):
    """A service that never started stops, and stops again."""
    service = CollectorService(load(CollectorSettings, FREE_PORTS), PostgresWriter(database_url))
    assert service.stop(1.0)
    assert service.stop(1.0)
