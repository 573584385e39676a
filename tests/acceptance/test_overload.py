"""More than the database can take, with big decisions: metrics are stored, evidence is shed and counted."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import grpc
import pytest

from tests.fixtures.link import linked
from tests.fixtures.services import StartService, service_starter
from tests.fixtures.traffic import Shape, acknowledged, check, lost, traffic
from tests.fixtures.waiting import wait_until

SENDERS = 24
OVERLOAD_S = float(os.environ.get("XRAY_TEST_OVERLOAD_S", "8"))
LINK_BYTES_PER_S = 2_000_000
"""A fraction of what the senders offer, on any machine."""
BIG = Shape(steps=20, candidates=5000, artifact_bytes=10_000)
MAX_RESIDENT_BYTES = 400_000_000


def peak_resident_bytes(pid: int) -> int:
    """The most memory that a process had."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    (line,) = [line for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1]) * 1024


def test_overload_costs_evidence_not_metrics(database_url: str):
    """At a multiple of its capacity the collector stores all metrics, counts what it shed, stays small."""
    with linked(database_url, LINK_BYTES_PER_S) as link, service_starter(link.url) as start:
        collector = start("collector")
        urls = (collector.otlp_http, collector.otlp_grpc)
        with traffic(SENDERS, lambda: urls, BIG) as senders:
            time.sleep(OVERLOAD_S)
            wait_until(lambda: acknowledged(senders).steps, timeout_s=60.0, what="steps acknowledged")
            wait_until(lambda: lost(database_url)["decisions"], timeout_s=60.0, what="evidence shed")
        peak = peak_resident_bytes(collector.pid)
        assert collector.terminate() == 0, collector.stderr
    assert check(senders, database_url) > 0
    assert peak <= MAX_RESIDENT_BYTES


LARGEST_BYTES = 64 * 1024 * 1024
EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"


def field(tag: int, content: bytes) -> bytes:
    """A length-delimited field of protobuf."""
    length, size = bytearray(), len(content)
    while size > 127:
        length.append(size & 127 | 128)
        size >>= 7
    return bytes([tag, *length, size]) + content


def foreign_spans() -> bytes:
    """Spans of somebody else, as many as one request may hold."""
    span = field(0x12, field(0x0A, bytes(16)) + field(0x12, bytes(8)) + field(0x2A, b"x" * 800))
    return field(0x0A, field(0x12, span * (LARGEST_BYTES // len(span) - 4)))


def empty_spans() -> bytes:
    """More records than a request may hold."""
    return field(0x0A, field(0x12, b"\x12\x00" * (LARGEST_BYTES // 2 - 64)))


@pytest.mark.parametrize("largest", [foreign_spans, empty_spans])
def test_the_largest_grpc_requests_at_once(largest: Callable[[], bytes], start_service: StartService):
    """gRPC tells the size of a message at its end; the collector stays small, and who waits comes again."""
    collector, message = start_service("collector"), largest()

    def send(number: int) -> grpc.StatusCode:
        options = [
            ("grpc.use_local_subchannel_pool", 1),
            ("grpc.max_send_message_length", -1),
            ("xray.test.channel", number),
        ]
        with grpc.insecure_channel(urlsplit(collector.otlp_grpc).netloc, options) as channel:
            try:
                channel.unary_unary(EXPORT, None, None)(message, timeout=120.0)
            except grpc.RpcError as error:
                return error.code()
        return grpc.StatusCode.OK

    with ThreadPoolExecutor(8) as senders:
        answers = set(senders.map(send, range(8)))
    answered = grpc.StatusCode.OK if largest is foreign_spans else grpc.StatusCode.INVALID_ARGUMENT
    assert answers <= {answered, grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED}
    assert answered in answers
    # On a busy machine the collector is late to see what a second message takes.
    assert peak_resident_bytes(collector.pid) <= MAX_RESIDENT_BYTES + 2 * LARGEST_BYTES
