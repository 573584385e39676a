"""One run over services, thread pools and worker processes is one run with ordered steps."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import httpx

from collector.service import CollectorService
from tests.fixtures.collector_service import Tables
from tests.fixtures.waiting import wait_until

ROOT = Path(__file__).parents[2]
STEPS = ["search", "rank", "rescore", "warm", "judge-thread", "judge-spawn", "judge-fork", "select"]


def start(*arguments: str, endpoint: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.acceptance.joined_services", *arguments],
        cwd=ROOT,
        env=os.environ | {"XRAY_ENDPOINT": endpoint, "XRAY_SERVICE_NAME": arguments[0]},
        stderr=subprocess.PIPE,
        text=True,
    )


def answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/openapi.json", trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


def test_one_run_over_services(
    collector: CollectorService, tables: Tables, rest: httpx.Client, free_port: int
):
    """Two runs at once through HTTP, a thread pool and worker processes: two runs, all steps in order."""
    endpoint = f"http://127.0.0.1:{collector.http_port}"
    url = f"http://127.0.0.1:{free_port}"
    service = start("ranking", str(free_port), endpoint=endpoint)
    try:
        wait_until(lambda: answers(url), timeout_s=60, what="the service answers")
        shops = [start("shop", url, run_id, endpoint=endpoint) for run_id in ("one", "two")]
        for shop in shops:
            _, said = shop.communicate(timeout=120)
            assert (shop.returncode, said) == (0, "")
    finally:
        service.terminate()
        service.communicate(timeout=60)
    wait_until(lambda: len(tables.rows("steps")) == 2 * len(STEPS), timeout_s=60, what="all steps")
    ended = [run["terminal_status"] for run in tables.rows("runs")]
    assert ended == ["completed", "completed"]
    for run_id in ("one", "two"):
        run = rest.get(f"/api/v1/runs/{run_id}").json()
        assert (run["pipeline"], run["status"], run["service_name"]) == ("shop", "completed", "shop")
        assert [step["name"] for step in run["steps"]] == STEPS
        assert [step["index"] for step in run["steps"]] == list(range(len(STEPS)))
