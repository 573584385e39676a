"""
What a step costs in the pipeline, recorded by X-Ray, Logfire, MLflow and OpenInference.

    python -m benchmarks.client_peers [--rounds 30] [--json]

Each library runs in a process of its own, in a Python environment that pip makes once in
``~/.cache/xray/peers``, and is measured there against a bare OpenTelemetry span of the same
environment, in turns: a span with 15 attributes, and an exporter that does nothing. Processor
time of the calling thread, medians.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.environments import environment, package_version

HEAD = """
import json, statistics, sys, time
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
class Discard(SpanExporter):
    def export(self, spans): return SpanExportResult.SUCCESS
VALUES = {f"attribute.{number}": number for number in range(15)}
STEPS = 50
provider = TracerProvider(shutdown_on_exit=False)
provider.add_span_processor(BatchSpanProcessor(Discard()))
tracer = provider.get_tracer("bare")
def bare():
    with tracer.start_as_current_span("price"): pass
def attributes():
    with tracer.start_as_current_span("price") as span: span.set_attributes(VALUES)
"""
TAIL = """
cases = {"bare": bare, "attributes": attributes, "step": step}
times = {name: [] for name in cases}
for _ in range(int(sys.argv[1]) + 2):
    for name, case in cases.items():
        started = time.thread_time()
        for _ in range(STEPS): case()
        times[name].append((time.thread_time() - started) / STEPS * 1e6)
print(json.dumps({name: statistics.median(found[2:]) for name, found in times.items()}))
"""


class Peer(NamedTuple):
    """A library: its packages, and the code that defines ``step``."""

    package: str
    packages: Sequence[str]
    code: str


PEERS = {
    "Logfire": Peer(
        "logfire",
        ("logfire==5.2.0",),
        """
import logfire
processor = BatchSpanProcessor(Discard())
logfire.configure(send_to_logfire=False, console=False, additional_span_processors=[processor])
def step():
    with logfire.span("price", **{f"attribute_{number}": number for number in range(15)}): pass
""",
    ),
    "MLflow": Peer(
        "mlflow-tracing",
        ("mlflow-tracing==3.17.2",),
        """
import mlflow
from mlflow.tracing import provider as of_mlflow
mlflow.set_tracking_uri("file:///tmp/xray-client-peers")
def step():
    with mlflow.start_span("price") as span: span.set_attributes(VALUES)
root = mlflow.start_span("run"); root.__enter__()
""",
    ),
    "OpenInference": Peer(
        "openinference-instrumentation",
        ("openinference-instrumentation==0.1.72", "opentelemetry-sdk==1.45.2"),
        """
from openinference.instrumentation import TracerProvider as Theirs
theirs = Theirs(shutdown_on_exit=False)
theirs.add_span_processor(BatchSpanProcessor(Discard()))
their_tracer = theirs.get_tracer("step")
def step():
    with their_tracer.start_as_current_span("price", openinference_span_kind="chain") as span:
        span.set_attributes(VALUES)
""",
    ),
}
XRAY = """
import xray_otel as xray
xray.configure(endpoint="http://127.0.0.1:9", offline="drop", flush_interval_ms=60_000)
run = xray.run("benchmark"); run.__enter__()
def step():
    with xray.step("price", type="filter", why="band", top_k=30) as step:
        step.counts(in_=5_000, out=30)
        step.metric("mean_price", 24.5)
        step.metric("attempts", 3)
        step.model("rules-v3")
"""


def measure(python: Path, code: str, rounds: int, extra: Mapping[str, str]) -> dict[str, float]:
    """Median microseconds by case, in a process of that Python."""
    command = [str(python), "-c", HEAD + code + TAIL, str(rounds)]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **extra}, check=False)
    if done.returncode:
        raise SystemExit(f"{python}:\n{done.stderr[-2000:]}")
    found: dict[str, float] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def main() -> None:
    """Read the options and measure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--peers", default=",".join(PEERS), help="some of them, separated by commas")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout, no table")
    options = parser.parse_args()
    root = str(Path(__file__).parent.parent)
    found: dict[str, Any] = {
        "X-Ray": measure(Path(sys.executable), XRAY, options.rounds, {"PYTHONPATH": root})
    }
    for name in filter(None, options.peers.split(",")):
        peer = PEERS[name]
        programs = environment(f"client-{name.lower()}", peer.packages, _say)
        version = package_version(programs, peer.package)
        found[f"{name} {version}"] = measure(programs / "python", peer.code, options.rounds, {})
    if options.json:
        print(json.dumps(found, indent=2))
        return
    print(f"{'µs':24} {'bare span':>10} {'+ 15 attributes':>16} {'step':>8} {'× bare':>7}")
    for name, times in found.items():
        ratio = times["step"] / times["bare"]
        print(
            f"{name:24} {times['bare']:10.1f} {times['attributes']:16.1f} {times['step']:8.1f} {ratio:7.1f}"
        )


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
