"""LangGraph: a thread that is interrupted and resumed is one run; its node, executed twice, one step."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from tests.fixtures.services import ROOT, ServiceProcess, environment

PROGRAM = ROOT / "tests" / "integrations" / "langgraph_program.py"


def test_interrupted_and_resumed(engines_python: Path, module_xray_up: ServiceProcess):
    """The first execution of the interrupted node leaves no step and the run waits; attempts are kept."""
    environ = environment(
        {"PYTHONPATH": str(ROOT), "XRAY_ENDPOINT": module_xray_up.otlp_http, "XRAY_MODE": "strict"}
    )
    command: list[str | Path] = [engines_python, PROGRAM, "thread-1"]
    with subprocess.Popen(
        command, env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as program:
        try:
            assert program.stdin is not None
            assert program.stdout is not None
            assert json.loads(program.stdout.readline()) == {
                "chosen": None,
                "runs": {"search": 2, "approve": 1},
            }
            run = module_xray_up.get("/runs/thread-1")
            assert (run["status"], [step["name"] for step in run["steps"]]) == (
                "waiting",
                ["search", "search"],
            )
            program.stdin.write("\n")
            program.stdin.flush()
            said = json.loads(program.stdout.readline())
        finally:
            program.kill()
    assert said == {"chosen": 2, "runs": {"search": 2, "approve": 2, "select": 1}}
    run = module_xray_up.get("/runs/thread-1")
    assert (run["status"], run["pipeline"]) == ("completed", "approved")
    assert [
        (
            s["name"],
            s["step_type"],
            s["attempt"],
            s["status"],
            s["candidates_out"],
            s["metrics"].get("recovered"),
        )
        for s in run["steps"]
    ] == [
        ("search", "search", 1, "error", None, None),
        ("search", "search", 2, "ok", None, None),
        ("approve", "filter", 1, "ok", 2, 1.0),
        ("select", "select", 1, "ok", None, None),
    ]
