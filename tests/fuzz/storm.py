"""
Bytes that no client would send, at both sockets of a running collector.

    python -m tests.fuzz.storm --seconds 1800 [--seed 1]

Starts a database and a collector of its own, then sends whole and broken requests, cut, flipped,
repeated and spliced, over HTTP/1.1 and HTTP/2 (gRPC), leaving some connections open. Between the
bursts a good request must be answered. Ends with 1 when the collector died, stopped answering or
grew; prints one line every few seconds.
"""

from __future__ import annotations

import argparse
import gzip
import random
import socket
import struct
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import httpx
import psutil

from store.embedded import EmbeddedPostgres
from tests.fixtures.otlp import span, traces
from tests.fixtures.services import ServiceProcess

BURST = 64
"""Connections between two checks."""
KEPT_OPEN = 32
ANSWER_S = 30.0
MAX_GROWTH_BYTES = 64 * 1024 * 1024
"""Beyond what the warm-up took: the allocator's slack, not a leak of every request."""
WARM_UP_BURSTS = 20

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


def good_body() -> bytes:
    """A request that must be stored."""
    attributes = {
        "xray.span.kind": "step",
        "xray.run.id": "storm",
        "xray.step.id": "s",
        "xray.step.attempt": 1,
    }
    return traces([span("a", attributes, trace="storm")]).SerializeToString()


def http_request(body: bytes, *headers: str, path: str = "/v1/traces") -> bytes:
    """A request of HTTP/1.1 as it stands on the wire."""
    lines = [f"POST {path} HTTP/1.1", "Host: localhost", *headers, f"Content-Length: {len(body)}"]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """A frame of HTTP/2 (RFC 9113, section 4.1)."""
    return struct.pack("!I", len(payload))[1:] + bytes((kind, flags)) + struct.pack("!I", stream) + payload


def grpc_call(message: bytes) -> bytes:
    """The frames of one Export call, its header block without compression (RFC 7541, section 6.2.2)."""
    path = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
    headers = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", path),
        (":authority", "localhost"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ]
    block = b"".join(
        b"\x00" + bytes((len(name),)) + name.encode() + bytes((len(value),)) + value.encode()
        for name, value in headers
    )
    data = b"\x00" + struct.pack("!I", len(message)) + message
    return _PREFACE + frame(4, 0, 0, b"") + frame(1, 4, 1, block) + frame(0, 1, 1, data)


def seeds() -> dict[str, list[bytes]]:
    """Well-formed streams for each socket; the storm breaks them."""
    body = good_body()
    protobuf, packed = "Content-Type: application/x-protobuf", "Content-Encoding: gzip"
    chunked = (
        b"POST /v1/traces HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"
    )
    return {
        "http": [
            http_request(body, protobuf),
            http_request(gzip.compress(body), protobuf, packed),
            http_request(gzip.compress(bytes(1 << 20)), protobuf, packed),
            http_request(b'{"resourceSpans":[]}', "Content-Type: application/json"),
            http_request(b"[" * 10_000, "Content-Type: application/json"),
            chunked,
            b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n",
            b"OPTIONS /v1/traces HTTP/1.1\r\nHost: x\r\nOrigin: https://a\r\n\r\n",
        ],
        "grpc": [
            grpc_call(body),
            grpc_call(b""),
            grpc_call(b"\xff" * 100),
            grpc_call(b"\x0a\x80\x80\x80\x80\x08"),
            _PREFACE + frame(4, 0, 0, struct.pack("!HI", 4, 0x7FFFFFFF)) + frame(6, 0, 0, bytes(8)),
            _PREFACE + frame(3, 0, 1, bytes(4)) + frame(7, 0, 0, bytes(8)),
        ],
    }


def broken(random_: random.Random, streams: Sequence[bytes]) -> bytes:
    """One of the streams with up to four faults; at times none."""
    data = bytearray(random_.choice(streams))
    for _ in range(random_.randrange(5)):
        at = random_.randrange(len(data) + 1)
        match random_.randrange(6):
            case 0:
                del data[at:]
            case 1:
                data[at : at + random_.randrange(8)] = random_.randbytes(random_.randrange(8))
            case 2:
                data[at:at] = data[: random_.randrange(len(data) + 1)]
            case 3:
                other = random_.choice(streams)
                data[at:] = other[random_.randrange(len(other)) :]
            case 4:
                data[at:at] = bytes((random_.randrange(256),)) * random_.randrange(2000)
            case _:
                data[at:at] = random_.choice(
                    (b"\r\n", b"\r\n\r\n", b"\x00\x00\x00", b"\xff" * 9, b"-1", b"9" * 20)
                )
    return bytes(data)


class Storm:
    """The sockets that it holds open, and what it has sent."""

    def __init__(self, ports: dict[str, int], seed: int) -> None:
        self._ports = ports
        self._random = random.Random(seed)
        self._seeds = seeds()
        self._open: list[socket.socket] = []
        self.sent = 0

    def burst(self) -> None:
        """Send to both sockets; some connections are read from, some cut, some left open."""
        for _ in range(BURST):
            which = self._random.choice(("http", "grpc"))
            with suppress(OSError):
                self._send(self._ports[which], broken(self._random, self._seeds[which]))
            self.sent += 1
        while len(self._open) > KEPT_OPEN:
            self._open.pop(0).close()

    def _send(self, port: int, data: bytes) -> None:
        connection = socket.create_connection(("127.0.0.1", port), timeout=2.0)
        connection.settimeout(0.02)
        end = self._random.randrange(3)
        try:
            connection.sendall(data)
            if end == 0:
                connection.recv(4096)
        finally:
            if end == 1:
                self._open.append(connection)
            else:
                connection.close()

    def close(self) -> None:
        """Close what was left open."""
        for connection in self._open:
            connection.close()


def answers(url: str) -> bool:
    """Tell whether a good request is stored."""
    try:
        answer = httpx.post(
            f"{url}/v1/traces",
            content=good_body(),
            headers={"Content-Type": "application/x-protobuf"},
            timeout=ANSWER_S,
            trust_env=False,
        )
    except httpx.HTTPError:
        return False
    return answer.status_code == 200


def main() -> int:
    """Run the storm; 0 when the collector stood it."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0] if __doc__ else None)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="xray-storm-") as folder,
        EmbeddedPostgres(Path(folder)) as postgres,
    ):
        environ = {"XRAY_DATABASE_URL": postgres.url, "XRAY_GRPC_PORT": "0", "XRAY_HTTP_PORT": "0"}
        server = ServiceProcess("collector", environ)
        try:
            return _storm(server, options.seconds, options.seed)
        finally:
            server.terminate()


def _storm(server: ServiceProcess, seconds: float, seed: int) -> int:
    ports = {
        "http": int(server.otlp_http.rpartition(":")[2]),
        "grpc": int(server.otlp_grpc.rpartition(":")[2]),
    }
    process = psutil.Process(server.pid)
    storm = Storm(ports, seed)
    until, said, bursts, base = time.monotonic() + seconds, 0.0, 0, 0
    try:
        while time.monotonic() < until or bursts <= WARM_UP_BURSTS:
            storm.burst()
            bursts += 1
            if not process.is_running() or not answers(server.otlp_http):
                print(
                    f"FAILED after {storm.sent} connections: no answer\n{server.stderr[-4000:]}",
                    file=sys.stderr,
                )
                return 1
            resident = process.memory_info().rss
            if bursts == WARM_UP_BURSTS:
                base = resident
            if base and resident > base + MAX_GROWTH_BYTES:
                print(
                    f"FAILED after {storm.sent} connections: {base} grew to {resident} bytes", file=sys.stderr
                )
                return 1
            if time.monotonic() - said > 5.0:
                said = time.monotonic()
                cpu = sum(process.cpu_times()[:2])
                print(f"{storm.sent} connections, {resident >> 20} MiB, {cpu:.0f} CPU s", flush=True)
    finally:
        storm.close()
    print(f"stood {storm.sent} connections, {sum(process.cpu_times()[:2]):.0f} CPU s", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
