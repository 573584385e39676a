"""Clients that are slow, silent or hostile hold nobody else up, and are cut in the end."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from urllib.parse import urlsplit

import grpc
import httpx
import pytest

from tests.fixtures import otlp
from tests.fixtures.services import ServiceProcess, StartService
from tests.fixtures.waiting import wait_until

CONNECTIONS = 300
CALLS = 100
PATIENT = "300"
"""Seconds that the server gives: longer than the test, so that nobody is freed by a deadline."""
TRACE_EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
HTTP2_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HEADER = b"POST /v1/traces HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-protobuf\r\n"
ASKING = b"POST /nowhere HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"
STEP = {"xray.step.type": "filter", "xray.candidates.in": 4, "xray.candidates.out": 1, "xray.run.id": "r"}

Sockets = list[socket.socket]
Attack = Callable[[ServiceProcess, ExitStack], Sockets]


def connect(url: str, stack: ExitStack, first: bytes, count: int = CONNECTIONS) -> Sockets:
    """Open connections that send ``first`` and then nothing."""
    parts = urlsplit(url)
    opened = []
    for _ in range(count):
        one = stack.enter_context(socket.create_connection((parts.hostname, parts.port), timeout=20.0))
        one.sendall(first)
        opened.append(one)
    return opened


@contextmanager
def trickling(sockets: Sockets) -> Iterator[None]:
    """Send a byte on each connection every now and then, for as long as it takes them."""
    ended = threading.Event()

    def trickle() -> None:
        left = list(sockets)
        while left and not ended.wait(0.2):
            for one in list(left):
                try:
                    one.send(b"x")
                except OSError:
                    left.remove(one)

    thread = threading.Thread(target=trickle)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def silent_http(service: ServiceProcess, stack: ExitStack) -> Sockets:
    """Connections that never say anything."""
    return connect(service.otlp_http, stack, b"")


def silent_grpc(service: ServiceProcess, stack: ExitStack) -> Sockets:
    """The same at the port of gRPC."""
    return connect(service.otlp_grpc, stack, b"")


def half_http2(service: ServiceProcess, stack: ExitStack) -> Sockets:
    """Connections that begin HTTP/2 and never finish."""
    return connect(service.otlp_grpc, stack, HTTP2_PREFACE[:20])


def slow_headers(service: ServiceProcess, stack: ExitStack) -> Sockets:
    """Headers that never end, a byte at a time."""
    sockets = connect(service.otlp_http, stack, HEADER + b"X-Slow: ")
    stack.enter_context(trickling(sockets))
    return sockets


def slow_bodies(service: ServiceProcess, stack: ExitStack) -> Sockets:
    """Bodies that come a byte at a time."""
    sockets = connect(service.otlp_http, stack, HEADER + b"Content-Length: 100000\r\n\r\n")
    stack.enter_context(trickling(sockets))
    return sockets


def slow_chunks(service: ServiceProcess, stack: ExitStack) -> Sockets:
    """Chunked bodies that stop in the middle of a chunk."""
    return connect(service.otlp_http, stack, HEADER + b"Transfer-Encoding: chunked\r\n\r\n1000\r\nxx")


def endless_after_the_answer(service: ServiceProcess, stack: ExitStack) -> Sockets:
    """Bodies that nobody wants and that never end."""
    first = b"POST /nowhere HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n"
    sockets = connect(service.otlp_http, stack, first)
    stack.enter_context(trickling(sockets))
    return sockets


def floods(service: ServiceProcess, stack: ExitStack) -> Sockets:
    """Clients that ask without end and read no answer, until nothing more goes out."""
    sockets = connect(service.otlp_http, stack, b"", 5)
    for one in sockets:
        one.settimeout(1.0)
        with suppress(OSError):
            while True:
                one.sendall(ASKING * 1000)
    return sockets


def calls_without_a_message(service: ServiceProcess, stack: ExitStack) -> Sockets:
    """gRPC calls whose message never comes, more than a pool of threads would have."""
    ended = threading.Event()

    def nothing() -> Iterator[bytes]:
        ended.wait()
        yield from ()

    for number in range(4):
        # A connection of its own for each channel.
        options = [("grpc.use_local_subchannel_pool", 1), ("xray.test.channel", number)]
        channel = stack.enter_context(grpc.insecure_channel(urlsplit(service.otlp_grpc).netloc, options))
        for _ in range(CALLS // 4):
            stack.callback(channel.stream_unary(TRACE_EXPORT, None, None).future(nothing()).cancel)
    stack.callback(ended.set)
    return []


ATTACKS: list[Attack] = [
    silent_http,
    silent_grpc,
    half_http2,
    slow_headers,
    slow_bodies,
    slow_chunks,
    endless_after_the_answer,
    floods,
    calls_without_a_message,
]
CUT: list[Attack] = [
    silent_http,
    slow_headers,
    slow_bodies,
    slow_chunks,
    endless_after_the_answer,
    floods,
]


def others_are_answered(service: ServiceProcess) -> None:
    """Requests of well-behaved senders get their success by both transports."""
    request = otlp.traces([otlp.span("s", STEP, trace="t")])
    for _ in range(3):
        with httpx.Client(base_url=service.otlp_http, timeout=20.0, trust_env=False) as client:
            assert otlp.post(client, request).status_code == 200
        with grpc.insecure_channel(urlsplit(service.otlp_grpc).netloc) as channel:
            export = channel.unary_unary(TRACE_EXPORT, None, None)
            assert export(request.SerializeToString(), timeout=20.0) == b""


def is_closed(one: socket.socket) -> bool:
    """Whether the server has ended the connection; takes in what it said before."""
    one.settimeout(0.01)
    try:
        while one.recv(1 << 16):
            pass
    except TimeoutError:
        return False
    except OSError:
        pass
    return True


@pytest.mark.parametrize("attack", ATTACKS)
def test_others_are_answered(attack: Attack, start_service: StartService):
    """While the attack lasts, senders are answered; and the server can be stopped, with all written."""
    collector = start_service("collector", XRAY_READ_TIMEOUT_S=PATIENT)
    with ExitStack() as stack:
        sockets = attack(collector, stack)
        others_are_answered(collector)
        # The latest: of many bodies the oldest give way to others, a second after they began.
        assert not any(map(is_closed, sockets[-10:])) or attack is floods
        assert collector.terminate() == 0


def test_all_at_once(start_service: StartService):
    """The same when every attack is under way."""
    collector = start_service("collector", XRAY_READ_TIMEOUT_S=PATIENT)
    with ExitStack() as stack:
        for attack in ATTACKS:
            attack(collector, stack)
            others_are_answered(collector)


@pytest.mark.parametrize("attack", CUT)
def test_who_is_too_slow_is_cut(attack: Attack, start_service: StartService):
    """A connection that does not get on with its request, or with our answer, is closed."""
    collector = start_service("collector", XRAY_READ_TIMEOUT_S="1")
    with ExitStack() as stack:
        sockets = attack(collector, stack)
        wait_until(lambda: all(map(is_closed, sockets)), timeout_s=60.0, what="every connection is closed")
        others_are_answered(collector)


def test_a_slow_body_is_told_to_come_again(start_service: StartService):
    """Nothing of it is stored, so the sender hears that it may send again."""
    collector = start_service("collector", XRAY_READ_TIMEOUT_S="0.5")
    with ExitStack() as stack:
        (one,) = connect(collector.otlp_http, stack, HEADER + b"Content-Length: 1000\r\n\r\nx", 1)
        answer = one.makefile("rb").read()
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert b"retry-after: 2\r\n" in answer.lower()


def test_a_call_without_a_message_is_told_to_come_again(start_service: StartService):
    """By gRPC it is UNAVAILABLE, with the time to wait."""
    collector = start_service("collector", XRAY_READ_TIMEOUT_S="0.5")
    ended = threading.Event()

    def nothing() -> Iterator[bytes]:
        ended.wait()
        yield from ()

    with grpc.insecure_channel(urlsplit(collector.otlp_grpc).netloc) as channel:
        with pytest.raises(grpc.RpcError) as caught:
            channel.stream_unary(TRACE_EXPORT, None, None)(nothing(), timeout=30.0)
        ended.set()
    error = caught.value
    assert error.code() is grpc.StatusCode.UNAVAILABLE
    assert "google.rpc.retryinfo-bin" in {entry.key for entry in error.trailing_metadata() or ()}


def test_the_api_cuts_who_is_too_slow(start_service: StartService):
    """Its port is as bounded as the collector's: silence, headers and bodies without end."""
    server = start_service("up", XRAY_READ_TIMEOUT_S="1")
    door = b"POST /api/v1/runs HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    with ExitStack() as stack:
        slow = connect(server.api, stack, door + b"X-Slow: ", 20)
        slow += connect(server.api, stack, door + b"Content-Length: 100000\r\n\r\n", 20)
        stack.enter_context(trickling(slow))
        sockets = [*slow, *connect(server.api, stack, b"", 20)]
        assert server.get("/runs")["items"] == []
        wait_until(lambda: all(map(is_closed, sockets)), timeout_s=60.0, what="every connection is closed")
        assert server.get("/runs")["items"] == []
