"""Runs the example pipelines as the programs they are, each in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from cli.demo_options import DemoOptions, Endpoints
from cli.errors import Failure

ROOT = Path(__file__).resolve().parent.parent
SIDE_RUNS = 8
"""Runs of each of the two pipelines that are only there to be compared with."""
TIMEOUT_S = 120.0

Line = Mapping[str, Any]
"""What a program prints about one run: ``run_id``, ``entity`` and its result."""


def run_ids(lines: Iterable[Line]) -> set[str]:
    """Ids of the runs that the lines tell of."""
    return {line["run_id"] for line in lines}


def run_competitor_selection(endpoints: Endpoints, options: DemoOptions) -> Sequence[Line]:
    """
    Run the pipeline of the story, the faulty feed in one of its runs, and return its lines.

    Raises ``Failure`` with the last line of its errors when it fails.
    """
    if not (ROOT / "examples").is_dir():
        raise Failure("the walk-through needs the example pipelines of a checkout; use ./xray demo there")
    with _started("competitor_selection", ["--fault", *_common(options, options.runs)], endpoints) as process:
        return _lines(process)


@contextmanager
def side_programs(endpoints: Endpoints, options: DemoOptions) -> Iterator[Callable[[], Sequence[Line]]]:
    """
    Start the two pipelines that are only there to be compared with.

    Gives a function that waits for both and returns their lines; it raises ``Failure`` as above.
    """
    arguments = _common(options, SIDE_RUNS)
    with (
        _started("listing_optimisation", arguments, endpoints) as first,
        _started("categorisation", arguments, endpoints) as second,
    ):
        yield lambda: [*_lines(first), *_lines(second)]


def _common(options: DemoOptions, runs: int) -> list[str]:
    arguments = ["--runs", str(runs), "--seed", str(options.seed)]
    return arguments if options.catalog is None else [*arguments, "--catalog", str(options.catalog.resolve())]


@contextmanager
def _started(name: str, arguments: Sequence[str], endpoints: Endpoints) -> Iterator[subprocess.Popen[str]]:
    """The running program; it does not outlive the block."""
    with TemporaryDirectory(prefix="xray-demo-", ignore_cleanup_errors=True) as spool:
        process = _start(name, arguments, endpoints, spool)
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()
                process.communicate()


def _start(name: str, arguments: Sequence[str], endpoints: Endpoints, spool: str) -> subprocess.Popen[str]:
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("XRAY_", "OTEL_"))}
    environment |= {
        "XRAY_ENDPOINT": endpoints.otlp_http,
        "XRAY_SPOOL_DIR": spool,
        "PYTHONIOENCODING": "utf-8",
    }
    return subprocess.Popen(
        [sys.executable, "-m", f"examples.{name}", *arguments],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    )


def _lines(process: subprocess.Popen[str]) -> list[Line]:
    try:
        output, errors = process.communicate(timeout=TIMEOUT_S)
    except subprocess.TimeoutExpired as error:
        raise Failure(f"an example pipeline took longer than {TIMEOUT_S:.0f} s") from error
    if process.returncode != 0:
        last = (errors.strip().splitlines() or ["no message"])[-1]
        raise Failure(f"an example pipeline ended with exit code {process.returncode}: {last}")
    return [json.loads(line) for line in output.splitlines()]
