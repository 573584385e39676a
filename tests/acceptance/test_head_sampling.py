"""With head sampling at 1 % every step is stored, and the team's own spans are what they were."""

from __future__ import annotations

import pytest
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased

import xray_otel as xray
from collector.service import CollectorService
from tests.fixtures.collector_service import Tables
from tests.fixtures.sampled_application import Application
from tests.fixtures.waiting import wait_until

RUNS = 1_000


@pytest.mark.parametrize("joined", [True, False], ids=["joined", "private"])
def test_steps_survive_the_sampler(collector: CollectorService, tables: Tables, joined: bool):
    """1,000 runs at 1 %: all runs, steps and decisions are stored; the application exports what it did."""
    sampler = ParentBased(TraceIdRatioBased(0.01))
    without = Application(sampler)
    without.serve(RUNS, recorded=False)
    application = Application(sampler)
    xray.configure(
        endpoint=f"http://127.0.0.1:{collector.http_port}",
        tracer_provider=application.provider if joined else None,
    )
    application.serve(RUNS, recorded=True)
    assert xray.flush(60)
    assert application.exported == without.exported
    assert 0 < len(application.exported) < RUNS / 2  # 9 or more spans to a run
    wait_until(lambda: len(tables.rows("decisions")) == 2 * RUNS, timeout_s=60, what="all decisions")
    steps = tables.rows("steps")
    assert len(steps) == 3 * RUNS
    assert {step["eliminated"] for step in steps if step["name"] != "inside"} == {1}
    runs = tables.rows("runs")
    assert {run["run_id"] for run in runs} == {f"run-{number}" for number in range(RUNS)}
    assert {run["terminal_status"] for run in runs} == {"completed"}
