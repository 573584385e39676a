"""
What does recording cost the pipeline, and how much goes over the wire?

    python -m benchmarks.client_overhead [--rounds 40] [--json]

Everything in one run with the default settings (masking on), so that ratios hold on a slow or
busy machine. Cases take turns; medians over the rounds, processor time of the calling thread:
judging, statistics and encoding are in it, sending is not. The processor time of the
background thread is measured apart.

- *Bare decision loop*: 5,000 candidates, objects with an id and a price. For each its id,
  reason, value and threshold are determined and those that pass are kept; nothing is
  recorded. The other decision cases do the same, and record it.
- *Bare span*: ``start_as_current_span`` of OpenTelemetry with nothing set, a batch processor
  behind it and an exporter that does nothing.
- *Pauses*: the longest gaps that the main thread saw, and how many were above 4 ms, while
  the background thread sent 200 full steps; and in an equally long time when nothing was sent.
  What of a gap the thread spent waiting for a processor is told apart (``pauses.py``).
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import json
import os
import platform
import random
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from opentelemetry.sdk.trace import SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

import xray_otel as xray
from benchmarks.pauses import Pauses, watch
from xray_otel.settings import Capture

CANDIDATES = 5_000
PASSING = 30
MANY_CANDIDATES = 100_000
MAX_PRICE = 50.0
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


@dataclass(frozen=True, slots=True)
class Product:
    """A candidate."""

    id: str
    price: float


def products(count: int) -> list[Product]:
    """Of which ``PASSING`` are cheap enough; the same each time."""
    random_ = random.Random(7)
    found = [Product(f"B{random_.getrandbits(48):011X}", random_.uniform(51, 500)) for _ in range(count)]
    for at in random_.sample(range(count), PASSING):
        found[at] = Product(found[at].id, random_.uniform(1, 50))
    return found


PRODUCTS = products(CANDIDATES)
ITEMS = [product.id for product in PRODUCTS]
PRICES = [product.price for product in PRODUCTS]
MANY = products(MANY_CANDIDATES)


def bare_loop(found: list[Product] = PRODUCTS) -> list[Product]:
    """The decisions, with nothing recorded."""
    kept = []
    for product in found:
        item_id, reason, value, threshold = product.id, None, product.price, MAX_PRICE  # noqa: F841
        if value > threshold:
            reason = "price_too_high"  # noqa: F841 - what a pipeline knows when it decides
        else:
            kept.append(product)
    return kept


def per_candidate(capture: Capture, found: list[Product] = PRODUCTS) -> Callable[[], object]:
    """A call for each decision."""

    def case() -> list[Product]:
        kept = []
        with xray.step("price", type="filter", capture=capture) as step:
            for product in found:
                price = product.price
                if price > MAX_PRICE:
                    step.reject(product.id, "price_too_high", value=price, threshold=MAX_PRICE)
                else:
                    step.accept(product.id, value=price, threshold=MAX_PRICE)
                    kept.append(product)
        return kept

    return case


def bulk(capture: Capture) -> Callable[[], object]:
    """One call for a pipeline that has columns anyway, and compares them by the column."""

    def case() -> None:
        passed = [price <= MAX_PRICE for price in PRICES]
        with xray.step("price", type="filter", capture=capture) as step:
            step.record(ITEMS, passed, "price_too_high", values=PRICES, thresholds=MAX_PRICE)

    return case


def helper() -> None:
    """The pipeline's own predicate, recorded by ``step.filter``."""
    with xray.step("price", type="filter", capture="full") as step:
        step.filter(PRODUCTS, lambda product: product.price <= MAX_PRICE, reason="price_too_high")


def span_events(provider: TracerProvider) -> Callable[[], object]:
    """The same decisions as events of a span, which is what OpenTelemetry offers."""
    tracer = provider.get_tracer("bare")

    def case() -> None:
        with tracer.start_as_current_span("price") as span:
            for product in PRODUCTS:
                verdict = "kept" if product.price <= MAX_PRICE else "eliminated"
                reason = "" if product.price <= MAX_PRICE else "price_too_high"
                span.add_event(
                    "decision",
                    {
                        "item": product.id,
                        "verdict": verdict,
                        "reason": reason,
                        "value": product.price,
                        "threshold": MAX_PRICE,
                    },
                )

    return case


def steps_of_15() -> None:
    """Steps without decisions, 15 attributes on the wire."""
    for _ in range(STEPS):
        with xray.step("price", type="filter", why="band", top_k=PASSING) as step:
            step.counts(in_=CANDIDATES, out=PASSING)
            step.metric("mean_price", 24.5)
            step.metric("attempts", 3)
            step.model("rules-v3")


def bare_spans(provider: TracerProvider, attributes: int) -> Callable[[], object]:
    """Spans of OpenTelemetry with so many attributes, set at once."""
    tracer = provider.get_tracer("bare")
    values = {f"attribute.{number}": number for number in range(attributes)}

    def case() -> None:
        for _ in range(STEPS):
            with tracer.start_as_current_span("price") as span:
                if values:
                    span.set_attributes(values)

    return case


class Found(NamedTuple):
    """Medians of one case, in ms of processor time."""

    caller_ms: float
    sender_ms: float
    """Of the background thread, until all was delivered."""


def measure(cases: dict[str, Callable[[], object]], rounds: int) -> dict[str, Found]:
    """All cases, in turns."""
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in cases}
    gc.collect()
    gc.freeze()  # a collection between the cases shall not empty the processor's caches
    for _ in range(rounds):
        for name, case in cases.items():
            gc.collect()
            process_s, started_s = time.process_time(), time.thread_time()
            case()
            caller_s = time.thread_time() - started_s
            xray.flush(10)
            others_s = (time.process_time() - process_s) - (time.thread_time() - started_s)
            times[name].append((caller_s * 1000, max(0.0, others_s) * 1000))
    return {name: Found(*map(statistics.median, zip(*found, strict=True))) for name, found in times.items()}


def send_much() -> None:
    """200 full steps of 5,000 decisions, and 2,000 steps without."""
    for _ in range(200):
        bulk("full")()
    for _ in range(2_000 // STEPS):
        steps_of_15()


def wire_bytes(url: str, case: Callable[[], object]) -> int:
    """Compressed bytes that one call of the case sends."""
    with urllib.request.urlopen(url) as answer:
        answer.read()
    case()
    xray.flush(10)
    with urllib.request.urlopen(url) as answer:
        return int(answer.read())


def main() -> None:
    """Read the options and measure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout, no table")
    options = parser.parse_args()
    provider = TracerProvider(
        shutdown_on_exit=False, span_limits=SpanLimits(max_events=CANDIDATES, max_event_attributes=8)
    )
    provider.add_span_processor(BatchSpanProcessor(Discard()))
    decisions: dict[str, Callable[[], object]] = {
        "bare decision loop": bare_loop,
        "accept/reject, full": per_candidate("full"),
        "accept/reject, sampled": per_candidate("sampled"),
        "accept/reject, metrics_only": per_candidate("metrics_only"),
        "record, full": bulk("full"),
        "record, metrics_only": bulk("metrics_only"),
        "step.filter, full": helper,
        "span.add_event (not encoded)": span_events(provider),
    }
    many: dict[str, Callable[[], object]] = {
        "bare decision loop": lambda: bare_loop(MANY),
        "accept/reject, sampled": per_candidate("sampled", MANY),
        "accept/reject, full": per_candidate("full", MANY),
    }
    spans: dict[str, Callable[[], object]] = {
        "bare OTel span": bare_spans(provider, 0),
        "OTel span, 15 attributes": bare_spans(provider, 15),
        "step, 15 attributes": steps_of_15,
    }
    with sink() as url:
        xray.configure(endpoint=url, flush_interval_ms=60_000, buffer_bytes=2**28, offline="drop")
        with xray.run("benchmark"):
            found = {
                f"{CANDIDATES:,} decisions": measure(decisions, options.rounds),
                f"{MANY_CANDIDATES:,} decisions": measure(many, max(3, options.rounds // 4)),
                f"{STEPS} spans": measure(spans, options.rounds),
            }
            wire = {name: wire_bytes(url, decisions[name]) for name in list(decisions)[1:-1]}
        xray.configure(endpoint=url, offline="drop")
        with xray.run("benchmark"):
            seen = {"nothing is sent": watch(4.0)}
            send_much()
            seen["while it is sent"] = watch(4.0)
            xray.flush(30)
        xray.configure(disabled=True)
        found[f"{STEPS} spans"] |= measure({"step, disabled": steps_of_15}, options.rounds)
    if options.json:
        cases = {
            title: {name: one._asdict() for name, one in group.items()} for title, group in found.items()
        }
        gaps = {name: one._asdict() for name, one in seen.items()}
        print(json.dumps({"cases": cases, "wire_bytes": wire, "pauses": gaps}, indent=2))
    else:
        report(found, wire, seen)


def report(found: dict[str, dict[str, Found]], wire: dict[str, int], seen: dict[str, Pauses]) -> None:
    """Print the tables; a ratio is to the first line of its table."""
    load = os.getloadavg()[0]
    print(f"Python {platform.python_version()}, {platform.machine()}, load {load:.1f}; {PASSING} pass")
    for title, group in found.items():
        print(f"\n{title:32} {'ms':>8} {'ratio':>7} {'sender ms':>10} {'bytes sent':>11}")
        base = next(iter(group.values())).caller_ms
        for name, one in group.items():
            sent = f"{wire[name]:11,}" if name in wire and title.startswith(f"{CANDIDATES:,}") else ""
            print(f"{name:32} {one.caller_ms:8.3f} {one.caller_ms / base:7.2f} {one.sender_ms:10.2f} {sent}")
    print()
    for name, pause in seen.items():
        print(f"pauses, {name}: {pause}")


if __name__ == "__main__":
    main()
