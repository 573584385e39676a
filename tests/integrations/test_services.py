"""A web service and a Celery worker, two processes with a queue between them: one run."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

from tests.fixtures.services import ROOT, ServiceProcess, environment
from tests.fixtures.waiting import wait_until
from tests.integrations.programs import free_port, serving

DEADLINE_S = 90.0
STOP_DEADLINE_S = 30.0


def test_one_run_of_service_and_worker(engines_python: Path, module_xray_up: ServiceProcess, tmp_path: Path):
    """
    Steps of both stand in one run in their order, those of a chain's second task, too.

    A task that no run sent lands in none of those that the worker has seen.
    """
    environ = environment(
        {
            "PYTHONPATH": str(ROOT),
            "XRAY_ENDPOINT": module_xray_up.otlp_http,
            "XRAY_MODE": "strict",
            "XRAY_FLUSH_INTERVAL_MS": "50",
            "SHOP_QUEUE": str(tmp_path / "queue"),
        }
    )
    port = free_port()
    shop = [str(engines_python), "-m", "uvicorn", "examples.services.shop:app", "--port", str(port)]
    celery = [str(engines_python), "-m", "celery", "--quiet", "-A", "examples.services.tasks"]

    def wait_for(steps: int) -> None:
        wait_until(
            lambda: len(_services(module_xray_up)) >= steps, timeout_s=DEADLINE_S, what=f"{steps} steps"
        )

    with (
        _worker(celery, environ | {"XRAY_SERVICE_NAME": "worker"}),
        serving(shop, port, "/openapi.json", **environ | {"XRAY_SERVICE_NAME": "shop"}) as client,
    ):
        run_id = client.post("/alternatives/G00001").json()["run_id"]
        wait_for(4)
        alone = [*celery, "call", "examples.services.tasks.choose", "--args", "[[]]"]
        subprocess.run(alone, cwd=ROOT, env=environ, check=True, timeout=DEADLINE_S)
        wait_for(5)

    services = _services(module_xray_up)
    assert len({found for found, _ in services}) == 2
    run = module_xray_up.get(f"/runs/{run_id}")
    assert (run["status"], run["pipeline"], run["entity"]) == ("completed", "alternative", "G00001")
    assert [(s["name"], s["step_type"], services[run_id, s["step_id"]]) for s in run["steps"]] == [
        ("same_type", "search", "shop"),
        ("cheaper", "filter", "shop"),
        ("rank", "rank", "worker"),
        ("choose", "select", "worker"),
    ]
    came_in, went_out = zip(*((s["candidates_in"], s["candidates_out"]) for s in run["steps"]), strict=True)
    assert came_in[1:] == went_out[:-1]
    assert went_out[-1] == 1


def _services(server: ServiceProcess) -> dict[tuple[str, str], str]:
    """The service that recorded a step, by (run id, step id), of every finished step that is stored."""
    with psycopg.connect(server.database_url) as connection:
        rows = connection.execute(
            "select r.run_id, s.step_id, s.service_name from steps s join runs r using (run_key)"
            " where s.status = 'ok'"
        ).fetchall()
    return {(run_id, step_id): service for run_id, step_id, service in rows}


@contextmanager
def _worker(celery: list[str], environ: dict[str, str]) -> Iterator[None]:
    """The worker, with a process of its own for the tasks; it ends as at a deployment, by SIGTERM."""
    options = ["--concurrency", "1", "--without-mingle", "--without-gossip", "--loglevel", "ERROR"]
    worker = subprocess.Popen([*celery, "worker", *options], cwd=ROOT, env=environ)
    try:
        yield
    finally:
        worker.terminate()
        try:
            code = worker.wait(STOP_DEADLINE_S)
        finally:
            worker.kill()
            worker.wait()
    assert code == 0
