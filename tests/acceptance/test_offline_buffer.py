"""What a client kept on disk reaches the server's tables once, however often it is sent."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.fixtures.services import ROOT, ServiceProcess

PROGRAM = """
import os
import xray_otel as xray
with xray.run("shop", run_id="run-1") as run:
    with xray.step("price", type="filter") as step:
        step.record([str(item) for item in range(5000)], "E", "too_dear", values=80.0, thresholds=50.0)
    run.artifact("noise", os.urandom(100_000))  # more than the spool holds
"""


def python(*arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env=os.environ | settings,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_sent_twice_is_stored_once(xray_up: ServiceProcess, unused_endpoint: str, tmp_path: Path) -> None:
    """Run, step, decisions, artifact and the report of a loss: the second sending changes nothing."""
    spool = tmp_path / "spool"
    settings = {"XRAY_SPOOL_DIR": str(spool), "XRAY_SPOOL_BYTES": "65536"}
    done = python("-c", PROGRAM, XRAY_ENDPOINT=unused_endpoint, **settings)
    assert done.returncode == 0, done.stderr
    [kept] = spool.iterdir()
    kept = kept.rename(tmp_path / "kept")
    answers = []
    for _ in range(2):
        shutil.copytree(kept, spool / xray_up.otlp_http.replace(":", "%3A").replace("/", "%2F"))
        synced = python("-m", "xray_otel", "sync", XRAY_ENDPOINT=xray_up.otlp_http, **settings)
        assert synced.returncode == 0, synced.stderr
        shutil.rmtree(spool)
        run = xray_up.get("/runs/run-1")
        [step] = xray_up.get("/runs/run-1/steps")["items"]
        decisions = xray_up.get(f"/runs/run-1/steps/{step['step_id']}/decisions?limit=1")
        losses = [(one["cause"], one["what"], one["count"]) for one in xray_up.get("/losses")["items"]]
        assert run["status"] == "completed"
        assert losses == [("client_queue", "artifacts", 1)]
        answers.append((run, step, decisions))
    assert answers[0] == answers[1]
    assert answers[0][1]["candidates_in"] == 5000
