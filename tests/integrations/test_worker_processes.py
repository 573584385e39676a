"""Servers that fork their workers and replace them after some work: every run arrives, once."""

from __future__ import annotations

import signal
import subprocess
from collections import Counter
from pathlib import Path

import httpx
import pytest

from tests.fixtures.otlp_receiver import HttpReceiver
from tests.fixtures.services import ROOT, environment
from tests.fixtures.waiting import wait_until
from tests.integrations.programs import free_port

DEADLINE_S = 90.0
REQUESTS = 25
TASKS = 6


def settings(receiver: HttpReceiver, folder: Path) -> dict[str, str]:
    """Nothing is sent before a worker ends, unless its end sends it; an answer is waited for."""
    return environment(
        {
            "PYTHONPATH": str(ROOT),
            "XRAY_ENDPOINT": receiver.endpoint,
            "XRAY_SPOOL_DIR": str(folder / "spool"),
            "XRAY_FLUSH_INTERVAL_MS": "60000",
            "XRAY_EXPORT_TIMEOUT_S": "20",
            "XRAY_EXIT_TIMEOUT_S": "20",
        }
    )


def check(receiver: HttpReceiver, pipeline: str, expected: set[str]) -> None:
    """Of each run there is one start, one end, one step and one chunk of its decision."""
    of_runs: dict[str, Counter[str]] = {kind: Counter() for kind in ("start", "run", "step", "decisions")}
    for record in receiver.received.records:
        if record.attributes.get("xray.pipeline.name") == pipeline:
            kind = record.name.rpartition(".")[2] if record.event else record.attributes["xray.span.kind"]
            of_runs[kind][record.attributes["xray.run.id"]] += 1
    assert of_runs == {kind: Counter(dict.fromkeys(expected, 1)) for kind in of_runs}


@pytest.mark.parametrize("options", [["--preload"], ["--worker-class", "gthread", "--threads", "2"]])
def test_gunicorn(hosts_python: Path, otlp_receiver: HttpReceiver, tmp_path: Path, options: list[str]):
    """Workers are replaced after three requests, the last ones end by SIGTERM to the master."""
    port = free_port()
    command = [str(hosts_python), "-m", "gunicorn", "tests.integrations.gunicorn_app:app"]
    command += ["--bind", f"127.0.0.1:{port}", "--workers", "2", "--max-requests", "3", *options]
    server = subprocess.Popen(command, cwd=ROOT, env=settings(otlp_receiver, tmp_path))
    try:
        workers = Counter(ask(port, f"request-{number}") for number in range(REQUESTS))
        server.send_signal(signal.SIGTERM)
        assert server.wait(DEADLINE_S) == 0
    finally:
        server.kill()
        server.wait()
    assert len(workers) > 2, "none was replaced"
    check(otlp_receiver, "request", {f"request-{number}" for number in range(REQUESTS)})


def ask(port: int, run_id: str) -> str:
    """The process that answered; asked again while no worker listens, which began no run."""
    found: list[str] = []

    def answered() -> bool:
        try:
            found.append(httpx.get(f"http://127.0.0.1:{port}/?{run_id}", timeout=60.0, trust_env=False).text)
        except httpx.ConnectError:
            return False
        return True

    wait_until(answered, timeout_s=DEADLINE_S, what="an answer of gunicorn")
    return found[0]


def test_celery(hosts_python: Path, otlp_receiver: HttpReceiver, tmp_path: Path):
    """A prefork worker whose processes are replaced after each task; the last one ends by SIGTERM."""
    environ = settings(otlp_receiver, tmp_path) | {"TASKS_QUEUE": str(tmp_path / "queue")}
    send = f"from tests.integrations.celery_app import send; send({TASKS})"
    subprocess.run([hosts_python, "-c", send], cwd=ROOT, env=environ, check=True, timeout=DEADLINE_S)
    options = ["--concurrency", "1", "--pool", "prefork", "--max-tasks-per-child", "1"]
    options += ["--without-mingle", "--without-gossip", "--loglevel", "ERROR"]
    command = [str(hosts_python), "-m", "celery", "--quiet", "-A", "tests.integrations.celery_app"]
    worker = subprocess.Popen([*command, "worker", *options], cwd=ROOT, env=environ)
    try:
        otlp_receiver.received.wait(
            lambda received: len(received.spans("step")) == TASKS, timeout_s=DEADLINE_S
        )
        worker.terminate()
        assert worker.wait(DEADLINE_S) == 0
    finally:
        worker.kill()
        worker.wait()
    check(otlp_receiver, "task", {f"task-{number}" for number in range(TASKS)})
