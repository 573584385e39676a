"""Who may send by OTLP: keys, rates, request ids and TLS, with the stock exporters over real sockets."""

from __future__ import annotations

import logging
import re
import socket
import ssl
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import grpc
import httpx
import pytest
from google.rpc.error_details_pb2 import RequestInfo, RetryInfo  # type: ignore[import-untyped]  # ships no types
from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]  # ships no types
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcSpanExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter

import xray_otel as xray
from collector.service import CollectorService
from collector.settings import CollectorSettings
from store.access.guard import Guard
from store.settings import load
from store.writer import PostgresWriter
from tests.fixtures import otlp
from tests.fixtures.api_keys import Keys
from tests.fixtures.certificates import Certificate, Certificates
from tests.fixtures.collector_service import FREE_PORTS, Tables

PROTOBUF = "application/x-protobuf"
EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
METRICS = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export"
STEP = {"xray.step.type": "filter", "xray.candidates.in": 4, "xray.candidates.out": 1, "xray.run.id": "r"}
BODY = otlp.traces([otlp.span("s", STEP, trace="t")]).SerializeToString()
KeyOf = Callable[[Keys], str | None]


@contextmanager
def running(
    database_url: str, environ: Mapping[str, str], guard: Guard | None = None
) -> Iterator[CollectorService]:
    """A collector with these settings."""
    writer = PostgresWriter(database_url)
    service = CollectorService(load(CollectorSettings, {**FREE_PORTS, **environ}), writer, guard=guard)
    service.start()
    try:
        yield service
    finally:
        service.stop(10.0)
        writer.close()


@pytest.fixture
def locked(database_url: str, guard: Guard) -> Iterator[CollectorService]:
    """A collector that asks for keys."""
    with running(database_url, {"XRAY_REQUIRE_KEYS": "true"}, guard) as service:
        yield service


@dataclass(frozen=True)
class Answer:
    """What a call by gRPC came to."""

    code: grpc.StatusCode
    details: str
    trailers: dict[str, Any]


def call(
    service: CollectorService, *metadata: tuple[str, str], body: bytes = BODY, method: str = EXPORT
) -> Answer:
    """One call with raw bytes."""
    with grpc.insecure_channel(f"127.0.0.1:{service.grpc_port}") as channel:
        done: Any = channel.unary_unary(method, None, None).future(body, metadata=metadata, timeout=30.0)
        done.exception()
        trailers = dict(done.trailing_metadata() or ())
        return Answer(done.code(), done.details() or "", trailers)


def post(
    service: CollectorService, *, body: bytes = BODY, path: str = "/v1/traces", **headers: str
) -> httpx.Response:
    """One request by HTTP; names of headers with _ for -."""
    sent = {"content-type": PROTOBUF} | {name.replace("_", "-"): value for name, value in headers.items()}
    url = f"http://127.0.0.1:{service.http_port}{path}"
    return httpx.post(url, content=body, headers=sent, timeout=30.0, trust_env=False)


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_exporters_with_headers_from_the_environment(
    locked: CollectorService,
    keys: Keys,
    tables: Tables,
    protocol: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """``OTEL_EXPORTER_OTLP_HEADERS`` with either header is all that a program with the stock SDK needs."""
    for number, header in enumerate((f"authorization=Bearer%20{keys.ingest}", f"x-api-key={keys.ingest}")):
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", header)
        exporter: SpanExporter = (
            GrpcSpanExporter(f"http://127.0.0.1:{locked.grpc_port}", insecure=True)
            if protocol == "grpc"
            else HttpSpanExporter(f"http://127.0.0.1:{locked.http_port}/v1/traces")
        )
        with caplog.at_level(logging.WARNING):
            export(exporter)
        assert len(tables.rows("steps")) == number + 1
        assert not caplog.records


def export(exporter: SpanExporter) -> None:
    """Send one step and close the exporter."""
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    with provider.get_tracer("test").start_as_current_span("s", attributes={"xray.step.type": "filter"}):
        pass
    provider.shutdown()


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
def test_our_client_sends_its_key(
    locked: CollectorService, keys: Keys, tables: Tables, protocol: Any
) -> None:
    """``XRAY_API_KEY`` of the client is what the server asks for."""
    port = locked.grpc_port if protocol == "grpc" else locked.http_port
    xray.configure(endpoint=f"http://127.0.0.1:{port}", protocol=protocol, api_key=keys.ingest)
    try:
        with xray.run("shop"), xray.step("s", type="filter"):
            pass
        assert xray.flush(20.0)
    finally:
        xray.shutdown()
    assert len(tables.rows("steps")) == 1


@pytest.mark.parametrize(
    ("key_of", "outcome"),
    [
        (lambda keys: None, "unauthenticated"),
        (lambda keys: keys.unknown, "unauthenticated"),
        (lambda keys: keys.expired, "unauthenticated"),
        (lambda keys: keys.revoked, "unauthenticated"),
        (lambda keys: keys.read, "forbidden"),
    ],
    ids=["none", "unknown", "expired", "revoked", "read"],
)
def test_who_may_not_send(
    locked: CollectorService, keys: Keys, tables: Tables, key_of: KeyOf, outcome: str
) -> None:
    """401 and UNAUTHENTICATED, 403 and PERMISSION_DENIED: counted, never retryable, nothing stored."""
    key = key_of(keys)
    http, code = {
        "unauthenticated": (401, grpc.StatusCode.UNAUTHENTICATED),
        "forbidden": (403, grpc.StatusCode.PERMISSION_DENIED),
    }[outcome]
    by_http = post(locked, x_api_key=key or "")
    assert by_http.status_code == http
    assert by_http.headers["content-type"] == PROTOBUF
    assert ("www-authenticate" in by_http.headers) == (http == 401)
    assert "retry-after" not in by_http.headers
    status = Status.FromString(by_http.content)
    assert (status.code, bool(status.message)) == (code.value[0], True)
    by_grpc = call(locked, *([("authorization", f"Bearer {key}")] if key else []))
    assert (by_grpc.code, by_grpc.details) == (code, status.message)
    assert not [name for name in by_grpc.trailers if name.endswith("-bin")]
    assert key is None or key.split("_")[2] not in status.message
    assert tables.rows("steps") == []
    assert locked.telemetry.read()["requests"] == {outcome: 2}


def test_every_method_and_path_is_behind_the_door(locked: CollectorService, keys: Keys) -> None:
    """Metrics, unknown paths and unknown methods ask for a key as well; health does not."""
    for path in ("/v1/logs", "/v1/metrics", "/nowhere", "/"):
        assert post(locked, path=path).status_code == 401
    assert post(locked, path="/v1/metrics", x_api_key=keys.ingest).status_code == 404
    for method in (METRICS, "/nobody/Knows"):
        assert call(locked, method=method).code is grpc.StatusCode.UNAUTHENTICATED
        assert call(locked, ("x-api-key", keys.ingest), method=method).code is grpc.StatusCode.UNIMPLEMENTED
    url = f"http://127.0.0.1:{locked.http_port}"
    assert httpx.get(f"{url}/healthz", trust_env=False).status_code != 401
    assert httpx.get(f"{url}/metrics", trust_env=False).status_code == 401
    of_read = httpx.get(f"{url}/metrics", headers={"x-api-key": keys.read}, trust_env=False)
    assert of_read.status_code not in (401, 403)
    assert httpx.get(f"{url}/metrics", headers={"x-api-key": keys.ingest}, trust_env=False).status_code == 403


def test_answers_in_json(locked: CollectorService, keys: Keys) -> None:
    """A sender of JSON reads the refusal in JSON, with the id of its request."""
    refused = post(locked, body=b"{}", content_type="application/json; charset=utf-8", x_request_id="mine-1")
    assert (refused.status_code, refused.headers["content-type"]) == (401, "application/json")
    status = refused.json()
    assert status["code"] == grpc.StatusCode.UNAUTHENTICATED.value[0]
    assert status["details"] == [
        {"@type": "type.googleapis.com/google.rpc.RequestInfo", "requestId": "mine-1"}
    ]


def test_the_body_is_not_waited_for(locked: CollectorService) -> None:
    """HTTP: the refusal comes while the body is still on its way, which may never end."""
    with socket.create_connection(("127.0.0.1", locked.http_port), timeout=30.0) as connection:
        head = ("POST /v1/traces HTTP/1.1", "Host: x", f"Content-Type: {PROTOBUF}", "Content-Length: 1000000")
        connection.sendall("\r\n".join((*head, "", "a few bytes")).encode())
        assert connection.recv(4096).startswith(b"HTTP/1.1 401 ")


def test_a_message_is_not_read(database_url: str, guard: Guard, keys: Keys) -> None:
    """gRPC: who has no key is told so about a message that nobody with a key could send either."""
    settings = {"XRAY_REQUIRE_KEYS": "true", "XRAY_MAX_REQUEST_BYTES": "1024"}
    with running(database_url, settings, guard) as service:
        large = b"x" * 100_000
        assert call(service, body=large).code is grpc.StatusCode.UNAUTHENTICATED
        answer = call(service, ("x-api-key", keys.ingest), body=large)
        assert answer.code is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_too_many_requests(locked: CollectorService, keys: Keys, tables: Tables) -> None:
    """429 and RESOURCE_EXHAUSTED, each with the time to wait, which makes both retryable."""
    assert post(locked, x_api_key=keys.slow).status_code == 200
    refused = post(locked, x_api_key=keys.slow)
    assert refused.status_code == 429
    assert 1 <= int(refused.headers["retry-after"]) <= 1000
    details = Status.FromString(refused.content).details
    info, request = RetryInfo(), RequestInfo()
    assert details[0].Unpack(info)
    assert details[1].Unpack(request)
    assert 0 < info.retry_delay.ToSeconds() <= 1000
    assert request.request_id == refused.headers["x-request-id"]
    answer = call(locked, ("x-api-key", keys.slow))
    assert answer.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert RetryInfo.FromString(answer.trailers["google.rpc.retryinfo-bin"]).retry_delay.ToSeconds() > 0
    status = Status.FromString(answer.trailers["grpc-status-details-bin"])
    assert status.details[0].Unpack(info)
    assert locked.telemetry.read()["requests"] == {"stored": 1, "rate_limited": 2}
    assert post(locked, x_api_key=keys.ingest).status_code == 200


def test_request_ids(collector: CollectorService) -> None:
    """Each answer has the sender's id when it is well formed, else one of ours, whatever came of it."""
    for body in (BODY, b"\xff"):
        by_http = post(collector, body=body, x_request_id="order-17.b_C")
        by_grpc = call(collector, ("x-request-id", "order-17.b_C"), body=body)
        assert by_http.headers["x-request-id"] == by_grpc.trailers["x-request-id"] == "order-17.b_C"
        ours = [post(collector, body=body, x_request_id="a b").headers["x-request-id"]]
        ours += [call(collector, body=body).trailers["x-request-id"] for _ in range(2)]
        assert all(re.fullmatch("[0-9a-f]{32}", one) for one in ours)
        assert len(set(ours)) == 3
    request = RequestInfo()
    refused = post(collector, body=b"\xff", x_request_id="bad-1")
    assert Status.FromString(refused.content).details[0].Unpack(request)
    assert (refused.status_code, request.request_id) == (400, "bad-1")


def test_settings_that_ask_need_somebody_who_checks(database_url: str) -> None:
    """A collector that should ask for keys and cannot check them is not made."""
    writer = PostgresWriter(database_url)
    for environ in ({"XRAY_REQUIRE_KEYS": "true"}, {"XRAY_HOST": "0.0.0.0"}):
        with pytest.raises(ValueError, match="API keys"):
            CollectorService(load(CollectorSettings, environ), writer)


def tls_settings(certificates: Certificates, *, mutual: bool) -> dict[str, str]:
    """The server's variables."""
    settings = {
        "XRAY_TLS_CERT": str(certificates.server.cert),
        "XRAY_TLS_KEY": str(certificates.server.key),
    }
    return settings | ({"XRAY_TLS_CLIENT_CA": str(certificates.authority.cert)} if mutual else {})


@pytest.mark.parametrize("mutual", [False, True], ids=["tls", "mtls"])
@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_exporters_over_tls(
    database_url: str,
    tables: Tables,
    certificates: Certificates,
    protocol: str,
    mutual: bool,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The exporters' own variables for certificates are enough, with and without one of the client."""
    # The exporter's HTTP library would trust these instead.
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_CERTIFICATE", str(certificates.authority.cert))
    if mutual:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", str(certificates.client.cert))
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_CLIENT_KEY", str(certificates.client.key))
    with running(database_url, tls_settings(certificates, mutual=mutual)) as service:
        exporter: SpanExporter = (
            GrpcSpanExporter(f"https://localhost:{service.grpc_port}")
            if protocol == "grpc"
            else HttpSpanExporter(f"https://localhost:{service.http_port}/v1/traces")
        )
        with caplog.at_level(logging.WARNING):
            export(exporter)
    assert len(tables.rows("steps")) == 1
    assert not caplog.records


def shake_hands(
    port: int,
    certificates: Certificates,
    shown: Certificate | None,
    newest: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3,
) -> str | None:
    """Connect, say hello in HTTP/2, wait for the server's first byte; return the version of TLS."""
    context = ssl.create_default_context(cafile=str(certificates.authority.cert))
    context.set_alpn_protocols(["h2", "http/1.1"])
    context.maximum_version = newest
    if newest < ssl.TLSVersion.TLSv1_2:
        context.minimum_version = newest
        context.set_ciphers("ALL:@SECLEVEL=0")
    if shown is not None:
        context.load_cert_chain(shown.cert, shown.key)
    with (
        socket.create_connection(("127.0.0.1", port), timeout=30.0) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as connection,
    ):
        # With TLS 1.3 the client hears only after the handshake that its certificate was refused.
        if connection.selected_alpn_protocol() == "h2":
            connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00")
        else:
            connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        if not connection.recv(1):
            raise ConnectionResetError
        return connection.version()


def test_mtls_and_old_versions(database_url: str, certificates: Certificates) -> None:
    """No certificate, or one of somebody else, gets nowhere; nor does TLS 1.1; both ports alike."""
    with running(database_url, tls_settings(certificates, mutual=True)) as service:
        for port in (service.grpc_port, service.http_port):
            for newest, version in ((ssl.TLSVersion.TLSv1_3, "TLSv1.3"), (ssl.TLSVersion.TLSv1_2, "TLSv1.2")):
                assert shake_hands(port, certificates, certificates.client, newest) == version
            for shown in (None, certificates.stranger):
                with pytest.raises(OSError):  # noqa: PT011  # which one depends on who closes first
                    shake_hands(port, certificates, shown)
            with pytest.raises(OSError), pytest.warns(DeprecationWarning, match="TLSv1_1"):  # noqa: PT011
                shake_hands(port, certificates, certificates.client, ssl.TLSVersion.TLSv1_1)


def test_plain_connections_get_nowhere_with_tls(database_url: str, certificates: Certificates) -> None:
    """A port with TLS answers nobody who speaks without."""
    with running(database_url, tls_settings(certificates, mutual=False)) as service:
        with pytest.raises(httpx.TransportError):
            post(service)
        assert call(service).code is grpc.StatusCode.UNAVAILABLE


def test_keys_over_tls(database_url: str, guard: Guard, keys: Keys, certificates: Certificates) -> None:
    """A client's certificate does not stand in for a key."""
    settings = tls_settings(certificates, mutual=True) | {"XRAY_REQUIRE_KEYS": "true"}
    context = ssl.create_default_context(cafile=str(certificates.authority.cert))
    context.load_cert_chain(certificates.client.cert, certificates.client.key)
    with running(database_url, settings, guard) as service:
        url = f"https://localhost:{service.http_port}/v1/traces"
        with httpx.Client(verify=context, trust_env=False, timeout=30.0) as client:
            headers = {"content-type": PROTOBUF}
            assert client.post(url, content=BODY, headers=headers).status_code == 401
            headers["x-api-key"] = keys.ingest
            assert client.post(url, content=BODY, headers=headers).status_code == 200


def test_pages_of_elsewhere_can_send_a_key(database_url: str, guard: Guard, keys: Keys) -> None:
    """A browser asks for leave without a key, and may read why it was refused."""
    settings = {"XRAY_REQUIRE_KEYS": "true", "XRAY_CORS_ORIGINS": "https://shop.example"}
    origin = "https://shop.example"
    asks = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
    with running(database_url, settings, guard) as service:
        url = f"http://127.0.0.1:{service.http_port}/v1/traces"
        leave = httpx.options(url, headers={"Origin": origin, **asks}, trust_env=False)
        assert leave.status_code == 200
        refused = post(service, origin=origin)
        assert (refused.status_code, refused.headers["access-control-allow-origin"]) == (401, origin)
        sent = post(service, origin=origin, authorization=f"Bearer {keys.ingest}")
        assert sent.status_code == 200
