"""
Does X-Ray name the step at fault?

    python -m benchmarks.faults [--runs 60] [--baseline 200] [--pipelines N | NAME,NAME] [--without NAME]
                                [--purpose report|tune] [--seed 1] [--keep FILE] [--from FILE] [--json]
                                [--offline [--pool N]]

Pipelines that really decide run through the client, a collector and PostgreSQL, half of them with a
fault planted in one step; then ``GET /runs/{run_id}/explain`` is asked about each. What is true of a
run is never sent. ``--pipelines 3 --runs 20 --baseline 40`` takes a quarter of a minute.

``--purpose tune`` uses other seeds than ``report``; together with ``--pipelines`` and ``--without``,
what is tuned on some pipelines is reported on the others. ``--keep`` writes truth and answer of each
run as a line of JSON, and ``--from`` reports on such a file again. ``--offline`` leaves out client,
collector, database and sockets: a change of the ranking is seen in a minute (``offline.py``).
``--pool N`` asks about N runs with the same fault together (``pools.py``).
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import xray_otel as xray
from benchmarks import servers
from benchmarks.faults import visibility
from benchmarks.faults.answers import Reply
from benchmarks.faults.driving import Addresses, Result, ask_all, record_baseline
from benchmarks.faults.offline import answer_all
from benchmarks.faults.pipeline import Pipeline
from benchmarks.faults.pools import answer_pools
from benchmarks.faults.registry import PIPELINES
from benchmarks.faults.report import report
from benchmarks.faults.strengths import load
from benchmarks.faults.trials import PURPOSES, Trial, plan


def main() -> None:
    """Read the options, run, report."""
    parser = _options()
    options = parser.parse_args()
    if options.pool is not None and (options.pool < 1 or not options.offline):
        parser.error("--pool takes a number of runs, and --offline")
    results = _read(options.from_) if options.from_ else _run(options)
    if options.keep:
        options.keep.write_text("".join(_line(result) + "\n" for result in results))
    if options.json:
        for result in results:
            print(_line(result))
    else:
        print("\n".join(report(results)))


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.faults",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--pipelines", default="", help="how many, or names separated by commas")
    parser.add_argument("--without", default="", help="names of pipelines that are left out")
    parser.add_argument("--runs", type=int, default=60, help="faulty ones of each pipeline, and healthy ones")
    parser.add_argument("--baseline", type=int, default=200, help="healthy runs of each pipeline before them")
    parser.add_argument("--purpose", choices=PURPOSES, default="report")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", type=Path, metavar="FILE")
    parser.add_argument("--from", dest="from_", type=Path, metavar="FILE")
    parser.add_argument("--offline", action="store_true", help="without the stack, for tuning")
    parser.add_argument("--pool", type=int, metavar="N", help="of N runs together; with --offline")
    parser.add_argument("--json", action="store_true", help="one line of JSON for each run, no tables")
    return parser


def _chosen(wanted: str, without: str) -> list[Pipeline]:
    left_out = {name for name in without.split(",") if name}
    names = list(PIPELINES)
    if wanted.isdecimal():
        names = names[: int(wanted)]
    elif wanted:
        names = wanted.split(",")
    unknown = sorted((left_out | set(names)) - PIPELINES.keys())
    if unknown:
        raise SystemExit(f"unknown pipeline {', '.join(unknown)}; there are {', '.join(PIPELINES)}")
    return [PIPELINES[name] for name in names if name not in left_out]


def _run(options: argparse.Namespace) -> list[Result]:
    pipelines = _chosen(options.pipelines, options.without)
    seed = f"{options.purpose}-{options.seed}"
    trials = plan(pipelines, options.runs, seed, load())
    _say(f"{len(pipelines)} pipelines, {options.baseline} runs before, {len(trials)} asked about")
    by_name = {pipeline.name: pipeline for pipeline in pipelines}
    if options.pool is not None:
        return list(answer_pools(trials, by_name, options.baseline, seed, options.pool))
    if options.offline:
        return list(answer_all(trials, by_name, options.baseline, seed))
    habits = {pipeline.name: visibility.usual(pipeline, seed) for pipeline in pipelines}
    results = []
    with _stack() as addresses:
        started = time.monotonic()
        record_baseline(pipelines, options.baseline, seed)
        _say(f"the baseline took {time.monotonic() - started:.0f} s")
        started = time.monotonic()
        for result in ask_all(trials, by_name, habits, addresses):
            results.append(result)
            if len(results) % max(1, len(trials) // 10) == 0:
                _say(f"{len(results)} of {len(trials)} runs in {time.monotonic() - started:.0f} s")
    return results


@contextmanager
def _stack() -> Iterator[Addresses]:
    """A server with everything in a folder of its own, and the client set up for it."""
    with (
        tempfile.TemporaryDirectory(prefix="xray-bench-spool-") as spool,
        servers.postgres() as postgres,
        servers.whole(postgres.url) as server,
    ):
        xray.configure(endpoint=server.otlp_http, spool_dir=spool, service_name="faults", capture="full")
        try:
            yield Addresses(server.otlp_http, server.api, postgres.url)
        finally:
            xray.shutdown()


def _say(what: str) -> None:
    print(what, file=sys.stderr, flush=True)


def _line(result: Result) -> str:
    shown = {
        "trial": result.trial._asdict(),
        "seen": None if result.seen is None else result.seen._asdict(),
        "reply": result.reply._asdict(),
    }
    return json.dumps(shown)


def _read(file: Path) -> list[Result]:
    results = []
    for line in file.read_text().splitlines():
        kept = json.loads(line)
        seen = None if kept["seen"] is None else visibility.Seen(**kept["seen"])
        answered: dict[str, Any] = {
            name: tuple(v) if isinstance(v, list) else v for name, v in kept["reply"].items()
        }
        answer = Reply(**answered)
        results.append(Result(Trial(**kept["trial"]), seen, answer))
    return results


if __name__ == "__main__":
    main()
