"""
What does recording cost the pipeline, and how much goes over the wire?

A filter step of 5,000 candidates of which 30 pass, against the bare loop; a step without
decisions, against a bare OpenTelemetry span. Cases take turns, so that a busy moment of
the machine hits all of them; medians over the rounds, processor time of the calling thread
(encoding included, sending not: that is the background thread's).

    python -m benchmarks.client_overhead [--rounds 40] [--json]
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import json
import platform
import random
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

import xray_otel as xray

CANDIDATES = 5_000
PASSING = 30
STEPS = 50
"""Steps or spans per measurement of the cases without decisions."""

SINK = """
import http.server
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    total = 0
    def do_POST(self):
        size = int(self.headers["Content-Length"])
        self.rfile.read(size)
        Handler.total += size
        self.answer(b"")
    def do_GET(self):
        body, Handler.total = str(Handler.total).encode(), 0
        self.answer(body)
    def answer(self, body):
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *args):
        pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(server.server_port, flush=True)
server.serve_forever()
"""


@contextlib.contextmanager
def sink() -> Iterator[str]:
    """A process that takes and counts requests; gives its URL."""
    with subprocess.Popen([sys.executable, "-c", SINK], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
        finally:
            process.kill()


class Discard(SpanExporter):
    """Stands for any exporter: it is the caller's time that is measured."""

    def export(self, spans: object) -> SpanExportResult:  # noqa: ARG002 - the interface
        return SpanExportResult.SUCCESS


randomness = random.Random(7)
ITEMS = [f"B{randomness.getrandbits(48):011X}" for _ in range(CANDIDATES)]
PRICES = [randomness.uniform(51, 500) for _ in range(CANDIDATES)]
for at in randomness.sample(range(CANDIDATES), PASSING):
    PRICES[at] = 20.0


def bare_loop() -> None:
    kept = []
    for item, price in zip(ITEMS, PRICES, strict=True):
        if price <= 50.0:
            kept.append(item)


def per_candidate(capture: xray.settings.Capture) -> Callable[[], None]:
    def case() -> None:
        with xray.step("price", type="filter", capture=capture) as step:
            for item, price in zip(ITEMS, PRICES, strict=True):
                if price <= 50.0:
                    step.accept(item, value=price, threshold=50.0)
                else:
                    step.reject(item, "price_too_high", value=price, threshold=50.0)

    return case


def bulk(capture: xray.settings.Capture) -> Callable[[], None]:
    def case() -> None:
        passed = [price <= 50.0 for price in PRICES]
        with xray.step("price", type="filter", capture=capture) as step:
            step.record(
                ITEMS,
                ["K" if yes else "E" for yes in passed],
                [None if yes else "price_too_high" for yes in passed],
                values=PRICES,
                thresholds=50.0,
            )

    return case


def helper() -> None:
    with xray.step("price", type="filter", capture="full") as step:
        step.filter(ITEMS, PRICE_OF_ITEM, reason="price_too_high")


_PRICE_BY_ITEM = dict(zip(ITEMS, PRICES, strict=True))


def PRICE_OF_ITEM(item: str) -> bool:  # noqa: N802 - a constant that is called
    return _PRICE_BY_ITEM[item] <= 50.0


def plain_steps() -> None:
    for _ in range(STEPS):
        with xray.step("price", type="filter", why="band") as step:
            step.counts(in_=CANDIDATES, out=PASSING)


def bare_spans(provider: TracerProvider, attributes: int) -> Callable[[], None]:
    tracer = provider.get_tracer("bare")
    values = {f"attribute.{number}": number for number in range(attributes)}

    def case() -> None:
        for _ in range(STEPS):
            with tracer.start_as_current_span("price") as span:
                span.set_attributes(values)

    return case


def measure(cases: dict[str, Callable[[], None]], rounds: int) -> dict[str, float]:
    """Median milliseconds of processor time per case."""
    times: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(rounds):
        for name, case in cases.items():
            gc.collect()
            started = time.thread_time()
            case()
            times[name].append((time.thread_time() - started) * 1000)
            xray.flush(10)
    return {name: statistics.median(found) for name, found in times.items()}


def wire_bytes(url: str, case: Callable[[], None]) -> int:
    """Compressed bytes that one call of the case sends."""
    with urllib.request.urlopen(url) as answer:
        answer.read()
    case()
    xray.flush(10)
    with urllib.request.urlopen(url) as answer:
        return int(answer.read())


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.client_overhead")
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--json", action="store_true", help="print machine-readable output")
    options = parser.parse_args()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(Discard()))
    with sink() as url:
        xray.configure(endpoint=url, capture="full", flush_interval_ms=60_000, buffer_bytes=2**28)
        cases = {
            "bare loop": bare_loop,
            "per candidate, full": per_candidate("full"),
            "per candidate, sampled": per_candidate("sampled"),
            "per candidate, metrics_only": per_candidate("metrics_only"),
            "bulk, full": bulk("full"),
            "bulk, metrics_only": bulk("metrics_only"),
            "step.filter, full": helper,
            "bare OTel span": bare_spans(provider, 0),
            "OTel span, 15 attributes": bare_spans(provider, 15),
            "step without decisions": plain_steps,
        }
        with xray.run("benchmark"):
            found = measure(cases, options.rounds)
            wire = {name: wire_bytes(url, cases[name]) for name in list(cases)[1:7]}
        xray.configure(disabled=True)
        found["disabled step"] = measure({"": plain_steps}, options.rounds)[""]
    report(found, wire, as_json=options.json)


def report(found: dict[str, float], wire: dict[str, int], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps({"ms": found, "wire_bytes": wire}))
        return
    print(
        f"Python {platform.python_version()}, {platform.machine()}, {CANDIDATES} candidates, {PASSING} pass"
    )
    print(f"{'case':30} {'ms':>8} {'x bare loop':>12} {'bytes sent':>11}")
    for name in list(found)[:7]:
        ratio = found[name] / found["bare loop"]
        print(f"{name:30} {found[name]:8.2f} {ratio:12.1f} {wire.get(name, 0):11,}")
    print(f"{'case':30} {'us':>8} {'x bare span':>12}")
    for name in list(found)[7:]:
        print(f"{name:30} {found[name] * 1000 / STEPS:8.1f} {found[name] / found['bare OTel span']:12.2f}")


if __name__ == "__main__":
    main()
