"""``xray diff``, ``xray compare`` and ``xray drift`` against a running server."""

from __future__ import annotations

import json
import subprocess
import sys

import httpx
import pytest

from tests.fixtures.services import ROOT, ServiceProcess, environment


@pytest.fixture(scope="module")
def server(module_xray_up: ServiceProcess) -> ServiceProcess:
    """A server with 24 runs of one step; every second is bad and gives another reason."""
    with httpx.Client(base_url=f"{module_xray_up.api}/api/v1", timeout=30.0, trust_env=False) as client:
        for number in range(24):
            bad = number % 2 == 1
            run_id = f"run-{number}"
            client.post("/runs", json={"run_id": run_id, "pipeline": "shop"}).raise_for_status()
            reason = "unknown" if bad else "too_dear"
            # Which item is eliminated says the parity; 0 and 2 agree in all.
            decisions = [
                {"item_id": "a", "verdict": "kept"},
                {"item_id": "b", "verdict": "eliminated", "reason": reason, "value": 3, "threshold": 2},
            ]
            step = {"step_id": "s1", "attempt": 1, "name": "price", "step_type": "filter"}
            step |= {"candidates_in": 2, "candidates_out": 1, "reasons": {reason: 1}}
            events = [
                step | {"type": "step_end", "status": "ok", "decisions": decisions},
                {"type": "run_finish", "status": "completed", "outcome": "bad" if bad else "good"},
            ]
            answer = client.post(f"/runs/{run_id}/events", json={"events": events}).raise_for_status().json()
            assert not answer["refused"], answer
    return module_xray_up


def answered(server: ServiceProcess, *arguments: str) -> str:
    """What the command writes to stdout."""
    done = subprocess.run(
        [sys.executable, "-m", "cli", *arguments, "--url", server.api],
        cwd=ROOT,
        env=environment({}),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_diff_names_step_and_item(server: ServiceProcess) -> None:
    """The first divergence opens the answer; the changed item stands below with both judgements."""
    shown = answered(server, "diff", "run-0", "run-1")
    assert "First divergence: price decided otherwise about the same items: 1 reason (of 2 in both)." in shown
    assert "eliminated (too_dear) value 3" in shown
    assert "eliminated (unknown) value 3" in shown
    assert json.loads(answered(server, "diff", "run-0", "run-1", "--json"))["changed"] == {"reason": 1}
    assert answered(server, "diff", "run-0", "run-0") == "The two runs do not differ.\n"


def test_compare_ranks_what_differs(server: ServiceProcess) -> None:
    """The reason comes first, with means of both groups; what differs by definition is marked."""
    shown = answered(server, "compare", "--bad", 'outcome = "bad"', "--pipeline", "shop")
    lines = shown.splitlines()
    assert lines[0].startswith("12 of 12 bad runs beside 12 of 12 good ones, matched by pipeline")
    assert "reason.too_dear" in shown
    assert "reason.unknown" in shown
    assert any("outcome is good (by definition)" in line for line in lines)
    answer = json.loads(answered(server, "compare", "--bad", 'outcome = "bad"', "--json"))
    assert answer["items"][0]["field"].startswith("reason.")


def test_drift_says_how_much_it_looked_at(server: ServiceProcess) -> None:
    """Runs of one minute are no history; that is said."""
    assert answered(server, "drift", "--pipeline", "shop") == (
        "0 drifts in 0 reasons; of 2 others there are too few executions\n"
    )
