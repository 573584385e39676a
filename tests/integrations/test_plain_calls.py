"""Functions decorated for an engine, called without it, as unit tests of their authors do."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.fixtures.otlp_receiver import HttpReceiver
from tests.fixtures.services import ROOT, environment

PROGRAM = """
import xray_otel as xray
from xray_otel.integrations.dbos import recorded_step
from xray_otel.integrations.langgraph import recorded_node

@recorded_step(type="search")
def search(prices):
    return sorted(prices)

@recorded_node("approved", type="select")
def choose(prices):
    return prices[0]

print(choose(search([2, 1])))
assert xray.flush(30.0)
"""


def test_nothing_is_recorded_and_nothing_fails(engines_python: Path, otlp_receiver: HttpReceiver):
    """There is no run to record them in; made up, it would be one for all such calls."""
    done = subprocess.run(
        [engines_python, "-c", PROGRAM],
        cwd=ROOT,
        env=environment(
            {"PYTHONPATH": str(ROOT), "XRAY_ENDPOINT": otlp_receiver.endpoint, "XRAY_MODE": "strict"}
        ),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "1\n"), done.stderr
    assert otlp_receiver.received.records == []
