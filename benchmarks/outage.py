"""
What does an outage of the server cost the pipeline, and what does it lose?

A program records a run with a step of 200 decisions at a steady rate. In the one case the
server is there all the time; in the other it is killed after a moment, stays away for
``--seconds`` and comes back. Cases take turns. Compared are the steps' times during that
window (95th percentile, ratio in each pair, median over the pairs); and what arrived, by
ids, with what the program says it lost.

    python -m benchmarks.outage [--seconds 60] [--pairs 3] [--rate 100] [--json]
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

import xray_otel as xray

LEAD_S = 2.0
"""With the server there, before and after the window."""
CANDIDATES = 200
ITEMS = [f"B{number:011X}" for number in range(CANDIDATES)]

SINK = """
import http.server, struct, sys
file = open(sys.argv[2], "ab", buffering=0)
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        file.write(struct.pack("<?I", self.path == "/v1/traces", len(body)) + body)
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()
    def log_message(self, *args):
        pass
http.server.ThreadingHTTPServer.request_queue_size = 64
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


class Report(NamedTuple):
    """What the program says of itself."""

    recorded: int
    """Runs, each with one step and one chunk of decisions."""
    p50_us: float
    p95_us: float


def program(total_s: float, rate: float) -> Report:
    """Records at this rate; times of the steps that lie in the window."""
    started_s = time.perf_counter()
    window = started_s + LEAD_S, started_s + total_s - LEAD_S
    times: list[float] = []
    recorded = 0
    while (now_s := time.perf_counter()) < started_s + total_s:
        with xray.run("outage"):
            begin_s = time.perf_counter()
            with xray.step("price", type="filter") as step:
                for item in ITEMS:
                    step.reject(item, "price_too_high", value=80.0, threshold=50.0)
            if window[0] <= now_s < window[1]:
                times.append(time.perf_counter() - begin_s)
        recorded += 1
        time.sleep(max(0.0, started_s + recorded / rate - time.perf_counter()))
    cuts = statistics.quantiles(times, n=100)
    return Report(recorded, cuts[49] * 1e6, cuts[94] * 1e6)


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


class Sink:
    """A server in a process of its own that keeps the requests it takes; it can be killed and come back."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self._file = folder / "requests"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen([sys.executable, "-c", SINK, str(self.port), str(self._file)])
        while True:
            with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1.0):
                return
            time.sleep(0.02)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def requests(self) -> Iterator[ExportTraceServiceRequest | ExportLogsServiceRequest]:
        data = self._file.read_bytes()
        at = 0
        while at < len(data):
            size = int.from_bytes(data[at + 1 : at + 5], "little")
            body = gzip.decompress(data[at + 5 : at + 5 + size])
            yield (ExportTraceServiceRequest if data[at] else ExportLogsServiceRequest).FromString(body)
            at += 5 + size


def arrived(sink: Sink) -> tuple[Counter[str], Counter[str], int]:
    """Records by kind as the server keys them, reported losses by kind, and records that came twice."""
    keys: Counter[tuple[str, ...]] = Counter()
    lost: dict[str, Counter[str]] = {}
    for request in sink.requests():
        if isinstance(request, ExportTraceServiceRequest):
            for span in (s for r in request.resource_spans for c in r.scope_spans for s in c.spans):
                keys["runs" if _text(span, "xray.span.kind") == "run" else "steps", span.span_id.hex()] += 1
            continue
        for record in (e for r in request.resource_logs for c in r.scope_logs for e in c.log_records):
            if record.event_name == "xray.losses":
                values = {pair.key: pair.value for pair in record.attributes}
                what = [v.string_value for v in values["xray.losses.what"].array_value.values]
                counts = [v.int_value for v in values["xray.losses.counts"].array_value.values]
                lost[values["xray.losses.report_id"].string_value] = Counter(
                    dict(zip(what, counts, strict=True))
                )
            elif record.event_name == "xray.step.decisions":
                keys["decisions", _text(record, "xray.step.id")] += 1
            else:
                keys["runs", f"{record.event_name} {_text(record, 'xray.run.id')}"] += 1
    kinds = Counter(key[0] for key in keys)
    kinds["decisions"] *= CANDIDATES
    return kinds, sum(lost.values(), Counter()), sum(keys.values()) - len(keys)


def _text(record: Any, name: str) -> str:
    return next((str(pair.value.string_value) for pair in record.attributes if pair.key == name), "")


class Run(NamedTuple):
    """One run of the program."""

    report: Report
    missing: dict[str, int]
    """Recorded and not arrived, by kind: runs (starts and ends), steps, decisions."""
    reported: dict[str, int]
    """What the server was told of that."""
    twice: int
    """Records that came a second time; the server merges them."""
    spooled_bytes: int
    """The most that lay on disk."""


def run(offline: str, seconds: float, rate: float, *, outage: bool) -> Run:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sink = Sink(folder)
        sink.start()
        try:
            return _run(sink, folder, offline, seconds, rate, outage=outage)
        finally:
            sink.kill()


def _run(sink: Sink, folder: Path, offline: str, seconds: float, rate: float, *, outage: bool) -> Run:
    environ = os.environ | {
        "XRAY_ENDPOINT": f"http://127.0.0.1:{sink.port}",
        "XRAY_SPOOL_DIR": str(folder / "spool"),
        "XRAY_OFFLINE": offline,
        "XRAY_EXIT_TIMEOUT_S": "60",
    }
    total_s = seconds + 2 * LEAD_S
    command = [sys.executable, "-m", "benchmarks.outage", "--program", str(total_s), "--rate", str(rate)]
    spooled_bytes = 0
    with subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(LEAD_S)
        if outage:
            sink.kill()
            until_s = time.monotonic() + seconds
            while time.monotonic() < until_s:
                time.sleep(min(0.5, max(0.0, until_s - time.monotonic())))
                spooled_bytes = max(spooled_bytes, sum(p.stat().st_size for p in folder.glob("spool/*/*")))
            sink.start()
        report = Report(*json.loads(process.stdout.read()))
    kinds, reported, twice = arrived(sink)
    wanted = {"runs": 2, "steps": 1, "decisions": CANDIDATES}
    missing = {kind: each * report.recorded - kinds[kind] for kind, each in wanted.items()}
    return Run(report, missing, dict(reported), twice, spooled_bytes)


def main() -> None:
    parser = argparse.ArgumentParser(description="What an outage of the server costs and loses.")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--rate", type=float, default=100.0, help="runs per second")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--program", type=float, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.program:
        print("started", flush=True)
        print(json.dumps(program(options.program, options.rate)))
        return
    results: dict[str, list[tuple[Run, Run]]] = {"buffer": [], "drop": []}
    for _ in range(options.pairs):
        for offline, pairs in results.items():
            pairs.append(
                (
                    run(offline, options.seconds, options.rate, outage=False),
                    run(offline, options.seconds, options.rate, outage=True),
                )
            )
    if options.json:
        print(json.dumps(results))
        return
    for offline, pairs in results.items():
        ratio = statistics.median(away.report.p95_us / up.report.p95_us for up, away in pairs)
        print(f"{offline}: p95 of a step, server away / there: {ratio:.2f} (median of {len(pairs)} pairs)")
        for up, away in pairs:
            print(
                f"  there: p50 {up.report.p50_us:.0f} µs, p95 {up.report.p95_us:.0f} µs,"
                f" missing {up.missing}\n"
                f"  away: p50 {away.report.p50_us:.0f} µs, p95 {away.report.p95_us:.0f} µs,"
                f" {away.report.recorded} runs, missing {away.missing}, reported {away.reported},"
                f" twice {away.twice}, {away.spooled_bytes / 1e6:.1f} MB on disk"
            )


if __name__ == "__main__":
    main()
