"""Where a collector under load spends its time, by samples of py-spy."""

from __future__ import annotations

import signal
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.environments import environment
from benchmarks.ingest_collector import Way, measure
from benchmarks.ingest_databases import Databases
from benchmarks.ingest_scenarios import SPANS, Bench

_PY_SPY = ("py-spy",)
_SAMPLES_PER_S = 250
_SHOWN = 30
_OURS = ("collector/", "store/", "cli/", "xray_otel/")
_WAYS = {"steps": Way("steps"), "decisions": Way("decisions"), "foreign": Way("mixed")}


def profile(bench: Bench, scenario: str) -> None:
    """Print the functions in which the samples that held the interpreter lock were, most first."""
    program = environment("py-spy", _PY_SPY, bench.say) / "py-spy"
    databases = Databases(bench.server, f"profile_{scenario}")
    with tempfile.TemporaryDirectory(prefix="xray-bench-") as folder, databases.fresh() as url:
        file = Path(folder) / "samples"

        @contextmanager
        def sampled(pid: int) -> Iterator[None]:
            command = [str(program), "record", "--pid", str(pid), "--gil", "--format", "raw", "--nonblocking"]
            command += ["--rate", str(_SAMPLES_PER_S), "--duration", "600", "--output", str(file)]
            with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as sampling:
                yield
                # It writes what it has, and ends.
                sampling.send_signal(signal.SIGINT)

        one = measure(url, bench.postgres_pid, bench.tuned(_WAYS[scenario]), bench.load, sampled)
        samples = _samples(file.read_text().splitlines())
    held = sum(count for _, count in samples) / (_SAMPLES_PER_S * one.seconds)
    cost_us = SPANS.cost_us(one, one.collector_s)
    print(
        f"\n{scenario}: {SPANS.rate(one):,.0f} spans/s, {cost_us:.1f} µs of CPU a span"
        f" on {one.collector_s / one.seconds:.2f} cores, the interpreter lock held for {held:.0%} of the time"
    )
    _print("by file: the innermost of ours on the stack", _by_file(samples), samples)
    _print("by function: in itself", _own(samples), samples)
    _print("by function: with what it calls", _with_callees(samples), samples)


Samples = list[tuple[list[str], int]]
"""A stack, outermost first, and how often it was seen."""


def _samples(lines: Iterable[str]) -> Samples:
    found = []
    for line in lines:
        stack, _, count = line.rpartition(" ")
        found.append(([_short(frame) for frame in stack.split(";")], int(count)))
    return found


def _by_file(samples: Samples) -> Counter[str]:
    counts: Counter[str] = Counter()
    for stack, count in samples:
        ours = (frame for frame in reversed(stack) if frame.partition("(")[2].startswith(_OURS))
        frame = next(ours, None)
        counts["none of ours" if frame is None else frame.partition("(")[2].rstrip(")")] += count
    return counts


def _own(samples: Samples) -> Counter[str]:
    counts: Counter[str] = Counter()
    for stack, count in samples:
        counts[stack[-1]] += count
    return counts


def _with_callees(samples: Samples) -> Counter[str]:
    counts: Counter[str] = Counter()
    for stack, count in samples:
        # Once to a stack, however often it calls itself.
        counts.update(dict.fromkeys(stack, count))
    return counts


def _short(frame: str) -> str:
    """``write (store/writer.py)``: without the line, on which hardly anything hangs."""
    return frame.rpartition(":")[0] + ")" if ":" in frame else frame


def _print(title: str, counts: Counter[str], samples: Samples) -> None:
    total = sum(count for _, count in samples)
    print(f"\n  {title}, % of {total} samples")
    for function, count in counts.most_common(_SHOWN):
        print(f"  {count / total:6.1%}  {function}")
