"""Inngest's TypeScript SDK under Node: one run and one step per execution, in however many traces."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fixtures.services import ROOT, ServiceProcess
from tests.integrations.inngest_executor import Executor
from tests.integrations.programs import free_port, serving

RUN, FAILED = "01JD5X6Z7Q8R9S0T1V2W3X4YZ1", "01JD5X6Z7Q8R9S0T1V2W3X4YZ2"


@pytest.fixture(scope="module")
def executor(inngest_typescript: Path, module_xray_up: ServiceProcess) -> Iterator[Executor]:
    """Calls the example's functions."""
    port = free_port()
    command: list[str | Path] = ["node", inngest_typescript / "app.mjs", str(port)]
    with serving(command, port, "/flush", XRAY_ENDPOINT=module_xray_up.otlp_http) as client:
        yield Executor(client, "app", wraps_memos=True)


def test_one_run_with_a_step_per_execution(executor: Executor, module_xray_up: ServiceProcess):
    """A retry, a loop over one id, a sleep and parallel steps; delivered twice, it is the same run."""
    assert executor.run("select", RUN)[0] == "completed"
    ran = executor.client.post("/flush").json()["ran"]
    assert ran == 8
    run = module_xray_up.get(f"/runs/{RUN}")
    assert (run["status"], run["pipeline"], run["tags"]) == ("completed", "select", {"engine": "inngest"})
    assert len(run["trace_ids"]) > 1
    assert len(run["steps"]) == ran
    assert sorted((s["step_id"], s["attempt"], s["status"]) for s in run["steps"]) == [
        ("choose", 1, "ok"),
        ("keywords", 1, "ok"),
        ("left", 1, "ok"),
        ("right", 1, "ok"),
        ("score", 1, "ok"),
        ("score:1", 1, "ok"),
        ("search", 1, "error"),
        ("search", 2, "ok"),
    ]
    chosen = next(step for step in run["steps"] if step["step_id"] == "choose")
    assert (chosen["step_type"], chosen["candidates_in"], chosen["candidates_out"]) == ("select", 3, 1)

    executor.deliver_again()
    executor.client.post("/flush")
    again = module_xray_up.get(f"/runs/{RUN}")
    for told in (run, again):
        told.pop("trace_ids")  # a delivered request is a trace of its own
    assert again == run


def test_a_failed_run(executor: Executor, module_xray_up: ServiceProcess):
    """The attempts that failed, and the end of the run when none is left."""
    assert executor.run("fails", FAILED, most_attempts=2)[0] == "failed"
    executor.client.post("/flush")
    run = module_xray_up.get(f"/runs/{FAILED}")
    assert (run["status"], [(s["attempt"], s["status"]) for s in run["steps"]]) == (
        "crashed",
        [(1, "error"), (2, "error")],
    )


def test_ids_are_the_same_as_in_python(inngest_typescript: Path):
    """The example's ``deriveIds`` gives the published ids."""
    vectors = json.loads((ROOT / "semconv" / "derived_ids.json").read_text(encoding="utf-8"))["vectors"]
    program = (
        "import { deriveIds } from './derive_ids.mjs'; import { readFileSync } from 'node:fs';"
        "const given = JSON.parse(readFileSync(0)); console.log(JSON.stringify("
        "given.map(({ run_id, key, attempt }) => deriveIds(run_id, key ?? undefined, attempt))))"
    )
    done = subprocess.run(
        ["node", "--input-type=module", "-e", program],
        cwd=inngest_typescript,
        input=json.dumps([vector["given"] for vector in vectors]),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [vector["ids"] for vector in vectors]
