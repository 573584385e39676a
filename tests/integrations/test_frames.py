"""Frames and series of pandas, polars and Arrow: read as lists of plain items are, and masked by column."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from tests.fixtures.services import ROOT, environment

DEADLINE_S = 120.0


def test_frames_are_read_as_lists(frames_python: Path):
    """Statistics, verdicts and inputs are the same whatever the items lie in."""
    done = subprocess.run(
        [frames_python, "-m", "tests.integrations.frames_program"],
        cwd=ROOT,
        env=environment({"PYTHONPATH": str(ROOT)}),
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "hunter" not in done.stdout
    told = json.loads(done.stdout)

    fields = {name: step for name, step in told.items() if name.startswith("fields")}
    assert len(fields) == 8
    for name, step in fields.items():
        assert step["fields"] == [0.1, 0.0, 1.0], name
        assert step["mean"] == 50.0, name
        assert sorted(step["sources"]) == [25, 75], name
    columns = [step["decisions"] for name, step in told.items() if name.startswith("columns")]
    assert columns == [[["a", "kept", None, 1.0], ["b", "eliminated", "dear", 2.0]]] * 4

    assert [decision[0] for decision in told["ids"]["decisions"]] == [
        *("7", "x", "y", "2020-01-01 00:00:00"),
        *("i0", "i1", "i0"),
    ]

    assert [decision[1:3] for decision in told["gaps"]["decisions"]] == [
        *(["kept", None], ["kept", None]),
        ["eliminated", "dear"],
    ]
    hidden = '{"password":"***"}'
    assert [decision[3] for decision in told["hidden"]["decisions"]] == [hidden, hidden, None]

    inputs = {
        name.removeprefix("input of "): json.loads(step["input"])
        for name, step in told.items()
        if step["input"] is not None
    }
    for name in ("pandas", "polars", "Arrow"):
        assert inputs[name] == {"a": [1, 2], "password": "***"}
    assert inputs["row"] == {"a": 1, "password": "***"}
    assert inputs["mixed"] == {"0": 1, "password": "***"}
    assert inputs["fields"] == {"a": 1, "password": "***"}
    assert inputs["twice"] == {"a": 2, "password": "***", "…": "1 more"}
    assert inputs["type"].startswith("<class ")
    assert inputs["long"]["a"][-1].endswith(" more")
    assert inputs["missing"] == [None, None, 0.5, 3, 4, [1, "nan"]]
