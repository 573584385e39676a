"""More than the database can take, with big decisions: metrics are stored, evidence is shed and counted."""

from __future__ import annotations

import os
import time
from pathlib import Path

from tests.fixtures.link import linked
from tests.fixtures.services import service_starter
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
