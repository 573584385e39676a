"""A LlamaIndex program that was instrumented for somebody else: search, rank and llm steps."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.fixtures.services import ROOT, ServiceProcess, environment


def test_retriever_and_reranker_are_steps(openinference_python: Path, module_xray_up: ServiceProcess):
    """What was retrieved, what the reranker kept and what lost, and the model that was asked."""
    done = subprocess.run(
        [openinference_python, "-m", "examples.openinference"],
        cwd=ROOT,
        env=environment({"OTEL_EXPORTER_OTLP_ENDPOINT": module_xray_up.otlp_http}),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    run_id = done.stdout.split()[0]
    assert "laptop stand" in done.stdout
    run = module_xray_up.get(f"/runs/{run_id}")
    assert all(step["inferred"] for step in run["steps"])
    steps = {(step["step_type"], step["candidates_in"], step["candidates_out"]) for step in run["steps"]}
    assert {("search", None, 6), ("rank", 6, 2)} <= steps
    asked = [step for step in run["steps"] if step["step_type"] == "llm"]
    assert {step["model"] for step in asked} == {"rule-model"}
    [rank] = [step for step in run["steps"] if step["candidates_in"] == 6]
    decided = module_xray_up.get(f"/runs/{run_id}/steps/{rank['step_id']}/decisions", limit=100)["items"]
    assert sorted(decision["verdict"] for decision in decided) == ["kept"] * 2 + ["not_selected"] * 4
