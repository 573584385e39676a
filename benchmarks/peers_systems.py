"""X-Ray and its peers: how each starts on a database of its own, and what it has stored there."""

from __future__ import annotations

import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from benchmarks import processes
from benchmarks.environments import environment, package_version
from benchmarks.servers import clean_environment, collector
from store import migrate

_START_S = 300.0
_POLL_S = 0.2

Say = Callable[[str], None]


class System(NamedTuple):
    """One that runs."""

    name: str
    """With its version and the protocol."""
    pid: int
    target: str
    """``host:port`` for gRPC, a URL for HTTP."""
    headers: Mapping[str, str]
    database: str
    total: str
    """Query: spans that are stored."""
    by_serial: str
    """Query: serial of a template in hex, number of its spans that are stored."""


class Peer(NamedTuple):
    """What is measured."""

    start: Callable[[str, Say], AbstractContextManager[System]]
    """Takes the URL of an empty database."""
    batches: int
    """Requests to a measurement, so that each takes some seconds."""


@contextmanager
def xray(database: str, _say: Say) -> Iterator[System]:
    """Our collector, with its default settings."""
    migrate.upgrade(database)
    with collector(database) as started:
        yield System(
            "X-Ray, gRPC",
            started.pid,
            urlsplit(started.otlp_grpc).netloc,
            {},
            database,
            "SELECT (SELECT count(*) FROM steps) + (SELECT count(*) FROM runs WHERE ended_at IS NOT NULL)",
            "SELECT right(replace(trace_id::text, '-', ''), 8), count(*) FROM steps GROUP BY 1 UNION ALL"
            " SELECT encode(convert_to(right(run_id, 4), 'UTF8'), 'hex'), count(*) FROM runs"
            " WHERE ended_at IS NOT NULL GROUP BY 1",
        )


@contextmanager
def phoenix(database: str, say: Say) -> Iterator[System]:
    """Arize Phoenix, with its default settings."""
    programs = environment("phoenix", ("arize-phoenix[pg]",), say)
    http, grpc = _free_port(), _free_port()
    settings = {
        "PHOENIX_SQL_DATABASE_URL": database,
        "PHOENIX_HOST": "127.0.0.1",
        "PHOENIX_PORT": str(http),
        "PHOENIX_GRPC_PORT": str(grpc),
        "PHOENIX_TELEMETRY_ENABLED": "false",
        "PHOENIX_ALLOW_EXTERNAL_RESOURCES": "false",
    }
    name = f"Phoenix {package_version(programs, 'arize-phoenix')}, gRPC"
    with _running(name, [programs / "phoenix", "serve"], settings, f"http://127.0.0.1:{http}/healthz") as pid:
        yield System(
            name,
            pid,
            f"127.0.0.1:{grpc}",
            {},
            database,
            "SELECT count(*) FROM spans",
            "SELECT right(trace_id, 8), count(*) FROM spans JOIN traces ON traces.id = trace_rowid"
            " GROUP BY 1",
        )


@contextmanager
def mlflow(database: str, say: Say) -> Iterator[System]:
    """MLflow's tracking server with two workers, one for each core of a small machine; it has no gRPC."""
    programs = environment("mlflow", ("mlflow", "psycopg2-binary"), say)
    port = _free_port()
    url = f"http://127.0.0.1:{port}"
    # SQLAlchemy takes another driver when none is named.
    store = database.replace("postgresql://", "postgresql+psycopg2://")
    command: list[str | Path] = [
        programs / "mlflow",
        "server",
        "--backend-store-uri",
        store,
        "--workers",
        "2",
    ]
    settings = {"MLFLOW_DISABLE_TELEMETRY": "true"}
    name = f"MLflow {package_version(programs, 'mlflow')}, HTTP"
    with _running(name, [*command, "--port", str(port)], settings, f"{url}/health") as pid:
        yield System(
            name,
            pid,
            url,
            # The experiment that every server begins with.
            {"x-mlflow-experiment-id": "0"},
            database,
            "SELECT count(*) FROM spans",
            "SELECT right(trace_id, 8), count(*) FROM spans GROUP BY 1",
        )


PEERS: Mapping[str, Peer] = {
    "xray": Peer(xray, 200),
    "phoenix": Peer(phoenix, 8),
    "mlflow": Peer(mlflow, 20),
}


@contextmanager
def _running(
    name: str, command: Sequence[str | Path], settings: Mapping[str, str], health: str
) -> Iterator[int]:
    """The program in a folder of its own, once it is healthy; killed afterwards, its data is not kept."""
    with (
        tempfile.TemporaryDirectory(prefix="xray-bench-") as folder,
        tempfile.TemporaryFile("w+") as log,
        subprocess.Popen(
            [str(word) for word in command],
            cwd=folder,
            # HOME: what they keep for their users must not come to stand in ours.
            env={**clean_environment(), **settings, "HOME": folder, "PYTHONUNBUFFERED": "1"},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        ) as process,
    ):
        try:
            deadline = time.monotonic() + _START_S
            while not _answers(health):
                if process.poll() is not None or time.monotonic() > deadline:
                    log.seek(0)
                    raise SystemExit(f"{name} did not start; it said:\n{log.read()[-4000:]}")
                time.sleep(_POLL_S)
            yield process.pid
        finally:
            processes.kill(process.pid)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5.0) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port
