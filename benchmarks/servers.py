"""A database and a collector for one measurement: real processes in a temporary folder."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, NamedTuple

from store.embedded import EmbeddedPostgres

_ROOT = Path(__file__).parents[1]
_START_S = 40.0
_STOP_S = 20.0


class Servers(NamedTuple):
    """Where they answer."""

    database: str
    otlp_http: str


def clean_environment() -> dict[str, str]:
    """The environment of this process without settings of X-Ray and OpenTelemetry."""
    return {name: text for name, text in os.environ.items() if not name.startswith(("XRAY_", "OTEL_"))}


@contextmanager
def servers() -> Iterator[Servers]:
    """An embedded PostgreSQL and a collector process with their default settings; both end with the block."""
    with (
        tempfile.TemporaryDirectory(prefix="xray-bench-") as folder,
        EmbeddedPostgres(Path(folder)) as postgres,
        (Path(folder) / "collector.log").open("w+") as log,
    ):
        collector = _start(postgres.url, log)
        try:
            yield Servers(postgres.url, _address(collector, log))
        finally:
            collector.terminate()
            try:
                collector.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                collector.kill()
                collector.wait()
            if collector.stdout is not None:
                collector.stdout.close()


def _start(database: str, log: IO[str]) -> subprocess.Popen[str]:
    ports = {"XRAY_GRPC_PORT": "0", "XRAY_HTTP_PORT": "0"}
    return subprocess.Popen(
        [sys.executable, "-m", "cli", "collector", "--json", "--with-parent"],
        cwd=_ROOT,
        env={**clean_environment(), **ports, "XRAY_DATABASE_URL": database},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=log,
        text=True,
    )


def _address(collector: subprocess.Popen[str], log: IO[str]) -> str:
    """Wait for the line that says that the collector is ready."""
    assert collector.stdout is not None  # opened as a pipe above
    ready, _, _ = select.select([collector.stdout], [], [], _START_S)
    line = collector.stdout.readline() if ready else ""
    if not line:
        log.seek(0)
        raise SystemExit(f"the collector did not start; it said:\n{log.read()}")
    return str(json.loads(line)["otlp_http"])
