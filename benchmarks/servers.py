"""A database and collectors for one measurement: real processes in a temporary folder."""

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

from store.database import libpq_url
from store.embedded import EmbeddedPostgres

ROOT = Path(__file__).parents[1]
_START_S = 40.0
_STOP_S = 20.0


class Servers(NamedTuple):
    """Where they answer."""

    database: str
    otlp_http: str


class Whole(NamedTuple):
    """A server with collector and API that runs."""

    pid: int
    otlp_http: str
    api: str


class Collector(NamedTuple):
    """A collector that runs."""

    pid: int
    otlp_grpc: str
    """``http://host:port``, as the other one."""
    otlp_http: str


def clean_environment() -> dict[str, str]:
    """The environment of this process without settings of X-Ray and OpenTelemetry."""
    return {name: text for name, text in os.environ.items() if not name.startswith(("XRAY_", "OTEL_"))}


@contextmanager
def servers() -> Iterator[Servers]:
    """An embedded PostgreSQL and a collector process with their default settings; both end with the block."""
    with postgres() as server, collector(server.url) as started:
        yield Servers(server.url, started.otlp_http)


@contextmanager
def postgres() -> Iterator[EmbeddedPostgres]:
    """An embedded PostgreSQL with its default settings, which ends with the block."""
    with (
        tempfile.TemporaryDirectory(prefix="xray-bench-") as folder,
        EmbeddedPostgres(Path(folder)) as server,
    ):
        yield server


@contextmanager
def database(url: str | None) -> Iterator[str]:
    """The URL of the named server, or of one of our own that ends with the block."""
    if url is not None:
        yield libpq_url(url)
        return
    with postgres() as own:
        yield own.url


@contextmanager
def collector(database: str, **settings: str) -> Iterator[Collector]:
    """A collector process on free ports, which ends with the block; settings: its environment variables."""
    with _process("collector", database, settings) as (pid, said):
        yield Collector(pid, said["otlp_grpc"], said["otlp_http"])


@contextmanager
def whole(database: str, **settings: str) -> Iterator[Whole]:
    """A process with collector and API on free ports, which ends with the block; settings: as above."""
    with _process("up", database, settings) as (pid, said):
        yield Whole(pid, said["otlp_http"], said["api"])


@contextmanager
def _process(part: str, database: str, settings: dict[str, str]) -> Iterator[tuple[int, dict[str, str]]]:
    """A server process with its id and addresses."""
    with tempfile.TemporaryFile("w+") as log:
        process = _start(part, database, settings, log)
        try:
            yield process.pid, _addresses(process, log)
        finally:
            process.terminate()
            try:
                process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            if process.stdout is not None:
                process.stdout.close()


def _start(part: str, database: str, settings: dict[str, str], log: IO[str]) -> subprocess.Popen[str]:
    ports = {"XRAY_GRPC_PORT": "0", "XRAY_HTTP_PORT": "0", "XRAY_API_PORT": "0"}
    return subprocess.Popen(
        [sys.executable, "-m", "cli", part, "--json", "--with-parent"],
        cwd=ROOT,
        env={**clean_environment(), **ports, **settings, "XRAY_DATABASE_URL": database},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=log,
        text=True,
    )


def _addresses(process: subprocess.Popen[str], log: IO[str]) -> dict[str, str]:
    """Wait for the line that says that the collector is ready."""
    assert process.stdout is not None  # opened as a pipe above
    ready, _, _ = select.select([process.stdout], [], [], _START_S)
    line = process.stdout.readline() if ready else ""
    if not line:
        log.seek(0)
        raise SystemExit(f"the server did not start; it said:\n{log.read()}")
    found: dict[str, str] = json.loads(line)
    return found
