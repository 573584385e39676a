"""
How long the explanation of a large run takes, by REST.

``python -m benchmarks.explain_time [--candidates 100000] [--baseline 200] [--questions 100]``

A run of 20 steps with 100,000 candidates in its search step, each decision recorded: a search, eighteen
filters and ranks that let some pass, a selection. Its pipeline has other runs, smaller ones, to be compared
with. Cold: the first question to a server that has just started; warm: those that follow within five
minutes, while no other run ends. Beside it the processor time of the server for a warm answer, and of the
parts, asked for in this process.
"""

from __future__ import annotations

import argparse
import gc
import os
import random
import statistics
import time
from collections.abc import Callable
from contextlib import suppress

import httpx

import xray_otel as xray
from api.explain.analysis import explain
from api.explain.answer import answer
from api.explain.audit import audit
from api.explain.gather import gather, read_columns
from api.explain.usuals import Usuals
from benchmarks.servers import postgres, whole
from store.reader import Reader

STEPS = 20
KEPT = 0.75
STORED_WITHIN_S = 300.0


def play(rng: random.Random, candidates: int) -> str:
    """Run the pipeline once and return the run's id."""
    items = [f"B{rng.getrandbits(40):010X}" for _ in range(candidates)]
    with xray.run("explain-time", version="1") as run:
        with xray.step("search", type="search") as step:
            step.record(items, "kept", scores=[round(rng.random(), 4) for _ in items])
        for number in range(STEPS - 2):
            with xray.step(f"filter_{number}", type="filter") as step:
                values = [rng.random() for _ in items]
                passed = [value < KEPT for value in values]
                step.record(items, passed, "too_high", values=values, thresholds=KEPT)
            items = [item for item, good in zip(items, passed, strict=True) if good]
        with xray.step("select", type="select") as step:
            step.select_best(items, score=lambda _: rng.random())
        return run.run_id


def main() -> None:
    """Play the runs, ask, and print the figures."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--candidates", type=int, default=100_000)
    parser.add_argument("--baseline", type=int, default=200)
    parser.add_argument("--baseline-candidates", type=int, default=1_000)
    parser.add_argument("--questions", type=int, default=100)
    options = parser.parse_args()
    with postgres() as database:
        with whole(database.url) as first:
            run_id = _fill(first.otlp_http, first.api, options)
        with whole(database.url) as server, httpx.Client(timeout=60.0, trust_env=False) as client:
            url = f"{server.api}/api/v1/runs/{run_id}/explain"
            memory = _memory(server.pid)
            times = [_asked(client, url)]
            used_s = _processor_s(server.pid)
            times += [_asked(client, url) for _ in range(options.questions)]
            used_s = _processor_s(server.pid) - used_s
            print(f"decisions in the run: {_decisions(client, server.api, run_id):,}")
            print(f"cold: {times[0] * 1e3:.0f} ms")
            warm = sorted(times[1:])
            for name, place in (("p50", 0.5), ("p90", 0.9), ("p99", 0.99)):
                print(f"warm {name}: {warm[min(len(warm) - 1, int(place * len(warm)))] * 1e3:.0f} ms")
            print(f"warm, processor time of the server: {used_s / options.questions * 1e3:.0f} ms")
            print(f"server's memory: {memory:.0f} MB before, {_memory(server.pid):.0f} MB after (peak)")
        _parts(database.url, run_id)


def _fill(endpoint: str, api: str, options: argparse.Namespace) -> str:
    rng = random.Random(7)
    xray.configure(service_name="explain-time", endpoint=endpoint, buffer_bytes=1 << 30)
    ids = [play(rng, options.baseline_candidates) for _ in range(options.baseline)]
    ids.append(play(rng, options.candidates))
    xray.shutdown(timeout_s=STORED_WITHIN_S)
    deadline = time.monotonic() + STORED_WITHIN_S
    while time.monotonic() < deadline:
        with suppress(httpx.HTTPStatusError):
            answered = httpx.get(f"{api}/api/v1/runs/{ids[-1]}", trust_env=False, timeout=60.0)
            found = answered.raise_for_status().json()
            if found["status"] == "completed" and found["completeness"]["state"] == "complete":
                return ids[-1]
        time.sleep(0.2)
    raise SystemExit("the runs were not stored in time")


def _asked(client: httpx.Client, url: str) -> float:
    started = time.perf_counter()
    client.get(url).raise_for_status()
    return time.perf_counter() - started


def _decisions(client: httpx.Client, api: str, run_id: str) -> int:
    steps = client.get(f"{api}/api/v1/runs/{run_id}").json()["steps"]
    return sum(step["completeness"]["decisions_stored"] for step in steps)


def _memory(pid: int) -> float:
    """Largest resident set so far, in MB."""
    with open(f"/proc/{pid}/status") as status:
        return next(int(line.split()[1]) / 1024 for line in status if line.startswith("VmHWM"))


def _processor_s(pid: int) -> float:
    """Processor time of the process so far, of its own and of the system for it."""
    with open(f"/proc/{pid}/stat") as stat:
        fields = stat.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _parts(url: str, run_id: str) -> None:
    reader = Reader.open(url)
    material = gather(reader, run_id)
    assert material is not None
    detail, run = material.detail, material.detail.run
    explained = explain(material)
    usuals = Usuals()

    def whole_answer() -> object:
        found = gather(reader, run_id)
        assert found is not None
        return answer(explain(found, usuals.of(found.habits.baseline)))

    whole_answer()
    parts: dict[str, Callable[[], object]] = {
        "whole": whole_answer,
        "run and steps": lambda: reader.run_detail(run_id),
        "baseline": lambda: reader.baseline(run.pipeline, run.pipeline_version, without=run_id),
        "habits": lambda: reader.habits(run_id, run.pipeline, run.pipeline_version),
        "decisions": lambda: read_columns(reader, detail),
        "audit": lambda: audit(run, detail.steps, read_columns(reader, detail)),
        "analysis": lambda: explain(material, usuals.of(material.habits.baseline)),
        "analysis, the baseline not seen before": lambda: explain(material),
        "answer": lambda: answer(explained),
    }
    for name, part in parts.items():
        print(f"processor time of {name}: {_median_ms(part):.1f} ms")
    reader.close()


def _median_ms(part: Callable[[], object], repeats: int = 9) -> float:
    times = []
    for _ in range(repeats):
        gc.collect()
        started = time.thread_time()
        part()
        times.append(time.thread_time() - started)
    return statistics.median(times) * 1e3


if __name__ == "__main__":
    main()
