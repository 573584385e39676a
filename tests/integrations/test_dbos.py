"""DBOS: a workflow that is killed in the middle and recovered is one run without a step too many."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import psycopg

import xray_otel as xray
from tests.fixtures.services import ROOT, ServiceProcess, environment
from tests.fixtures.waiting import wait_until

PROGRAM = ROOT / "tests" / "integrations" / "dbos_program.py"
DEADLINE_S = 90.0


WORKFLOW_ID = "orders/17 é"
"""An id that X-Ray cannot take as it is."""


def test_killed_and_recovered(engines_python: Path, module_xray_up: ServiceProcess, tmp_path: Path):
    """Steps that were done are not done again; the one that was cut off, and all after it, are marked."""
    settings = {
        "XRAY_ENDPOINT": module_xray_up.otlp_http,
        "XRAY_MODE": "strict",
        "XRAY_FLUSH_INTERVAL_MS": "50",
    }
    environ = environment({"PYTHONPATH": str(ROOT), **settings})
    command: list[str | Path] = [engines_python, PROGRAM, tmp_path, WORKFLOW_ID]

    with subprocess.Popen([*command, "first"], env=environ, stdout=subprocess.DEVNULL) as first:
        try:
            wait_until((tmp_path / "in the middle").exists, timeout_s=DEADLINE_S, what="the third step")
            wait_until(
                lambda: len(_steps(module_xray_up)) == 3,
                timeout_s=DEADLINE_S,
                what="three steps",
            )
        finally:
            first.kill()
    run = _run(module_xray_up)
    assert (run["status"], run["pipeline"], run["entity"]) == ("running", "dearest", "P1")

    second = subprocess.run(
        command, env=environ, capture_output=True, text=True, timeout=DEADLINE_S, check=False
    )
    assert second.returncode == 0, second.stderr
    said = json.loads(second.stdout.splitlines()[-1])
    assert said == {"result": 3, "runs": {"rank": 1, "select": 1}}

    run = _run(module_xray_up)
    assert (run["status"], run["outcome"], run["steps_count"]) == ("completed", "chosen", 5)
    assert [
        (s["step_id"], s["step_type"], s["attempt"], s["status"], s["metrics"].get("recovered"))
        for s in run["steps"]
    ] == [
        ("search:1", "search", 1, "ok", None),
        ("cheap:2", "filter", 1, "error", None),
        ("cheap:2", "filter", 2, "ok", None),
        ("rank:3", "rank", 1, "ok", 1.0),
        ("select:4", "select", 1, "ok", 1.0),
    ]


def _run(server: ServiceProcess) -> dict:
    """The only run, with its steps."""
    [run_id] = {run_id for run_id, _ in _steps(server)}
    assert run_id == xray.derive_ids(WORKFLOW_ID).run_id
    return server.get(f"/runs/{run_id}")


def _steps(server: ServiceProcess) -> list[tuple[str, str]]:
    """(run id, step id) of every step that is stored."""
    with psycopg.connect(server.database_url) as connection:
        return connection.execute(
            "select r.run_id, s.step_id from steps s join runs r using (run_key)"
        ).fetchall()
