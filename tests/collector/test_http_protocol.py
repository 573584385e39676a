"""HTTP connections that are held for nothing are closed; the others are not."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from collector.http_protocol import MAX_PIPELINED, bounded_protocol
from tests.fixtures.waiting import wait_until

TIMEOUT_S = 0.5
MAX_CONNECTIONS = 4
LARGE = 20_000_000
ASKING = b"GET /small HTTP/1.1\r\nHost: x\r\n\r\n"
ANSWER = b"HTTP/1.1 200 OK"

Connect = Callable[[], socket.socket]


async def small(_request: Request) -> Response:
    """An answer."""
    return Response(b"small")


async def large(_request: Request) -> Response:
    """More than sockets buffer."""
    return Response(bytes(LARGE))


@pytest.fixture
def timeout_s() -> float:
    """Patience of the server; a test may ask for more."""
    return TIMEOUT_S


@pytest.fixture
def connect(timeout_s: float) -> Iterator[Connect]:
    """Open connections to a server whose patience is short."""
    app = Starlette(routes=[Route("/small", small), Route("/large", large)])
    listener = socket.create_server(("127.0.0.1", 0))
    protocol = bounded_protocol(timeout_s, MAX_CONNECTIONS)
    server = uvicorn.Server(uvicorn.Config(app, http=protocol, log_level="error", lifespan="off"))
    thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
    thread.start()
    wait_until(lambda: server.started, timeout_s=20.0, what="the server answers")
    with ExitStack() as stack:
        yield lambda: stack.enter_context(socket.create_connection(listener.getsockname(), timeout=20.0))
    server.should_exit = True
    thread.join(20.0)
    listener.close()


def ask(connection: socket.socket, first: bytes = ASKING) -> bytes:
    """Send a request and return what came first of its answer."""
    connection.sendall(first)
    return connection.recv(1000)


def read_to_the_end(connection: socket.socket) -> int:
    """Return how many bytes came until the server closed the connection; fails when it does not."""
    size = 0
    try:
        while part := connection.recv(1 << 20):
            size += len(part)
    except ConnectionError:
        pass
    return size


def test_a_connection_may_rest_between_requests(connect: Connect):
    """The time for a header begins with its first byte: exporters send every few seconds."""
    connection = connect()
    assert ask(connection).startswith(ANSWER)
    time.sleep(3 * TIMEOUT_S)
    assert ask(connection).startswith(ANSWER)


@pytest.mark.parametrize("first", [b"", b"\r\n", b"GET /small HTTP/1.1\r\nHo"])
def test_a_header_that_does_not_come(connect: Connect, first: bytes):
    """A new connection that does not ask, and one that does not finish asking, is closed."""
    connection = connect()
    connection.sendall(first)
    assert read_to_the_end(connection) == 0


def test_a_second_header_that_does_not_end(connect: Connect):
    """The same after a request was answered."""
    connection = connect()
    assert ask(connection).startswith(ANSWER)
    connection.sendall(ASKING[:-4])
    read_to_the_end(connection)


def test_empty_lines_are_no_sign_of_life(connect: Connect):
    """A peer that only sends empty lines is closed as one that is silent."""
    connection = connect()
    assert ask(connection).startswith(ANSWER)
    connection.sendall(b"\r\n")
    read_to_the_end(connection)


def test_the_rest_of_a_body_that_was_answered(connect: Connect):
    """A body that nobody waits for must still end."""
    connection = connect()
    unwanted = b"POST /nowhere HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nx"
    assert ask(connection, unwanted).startswith(b"HTTP/1.1 404 ")
    read_to_the_end(connection)


def test_an_answer_that_nobody_reads(connect: Connect):
    """A peer that does not take its answer is closed before it has all of it."""
    connection = connect()
    connection.sendall(ASKING.replace(b"small", b"large"))
    time.sleep(6 * TIMEOUT_S)
    assert read_to_the_end(connection) < LARGE


def test_pipelined_requests(connect: Connect):
    """Some requests may follow each other at once; a flood of them is cut."""
    connection = connect()
    connection.sendall(ASKING * MAX_PIPELINED)
    received = b""
    while received.count(ANSWER) < MAX_PIPELINED:
        received += connection.recv(1000)
    flood = connect()
    flood.sendall(ASKING * 1000)
    read_to_the_end(flood)


@pytest.mark.parametrize("timeout_s", [60.0])
def test_too_many_connections(connect: Connect):
    """One more connection than may be takes the place of the one that has been silent longest."""
    crowd = [connect() for _ in range(MAX_CONNECTIONS)]
    for connection in crowd[1:]:
        assert ask(connection).startswith(ANSWER)
    newcomer = connect()
    assert ask(newcomer).startswith(ANSWER)
    assert read_to_the_end(crowd[0]) == 0
    for connection in crowd[1:]:
        assert ask(connection).startswith(ANSWER)
