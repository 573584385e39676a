"""The example programs against a real server: what they send, what is answered, what the demo prints."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from cli.demo import run_demo
from cli.demo_options import DemoOptions, Endpoints
from cli.errors import Failure
from tests.fixtures.services import ROOT, ServiceProcess, environment
from tests.fixtures.waiting import wait_until

PIPELINES = ("competitor_selection", "listing_optimisation", "categorisation")
RUNS = 10


def run_examples(names: Sequence[str], settings: Mapping[str, str], *arguments: str) -> list[dict[str, Any]]:
    """Run example programs side by side and return the lines of all."""
    started = [
        subprocess.Popen(
            [sys.executable, "-m", f"examples.{name}", *arguments],
            cwd=ROOT,
            env=environment(settings),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for name in names
    ]
    lines: list[dict[str, Any]] = []
    for process in started:
        output, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
        lines += [json.loads(line) for line in output.splitlines()]
    return lines


def completed(server: ServiceProcess) -> set[str]:
    """Ids of the completed runs that the API lists."""
    return {run["run_id"] for run in server.get("/runs", status="completed", limit=1000)["items"]}


@pytest.fixture(scope="module")
def run_ids(module_xray_up: ServiceProcess) -> set[str]:
    """Runs of three pipelines with different steps, all stored."""
    settings = {"XRAY_ENDPOINT": module_xray_up.otlp_http}
    lines = run_examples(PIPELINES, settings, "--runs", str(RUNS), "--seed", "11")
    ids = {line["run_id"] for line in lines}
    assert len(ids) == RUNS * len(PIPELINES)
    wait_until(lambda: ids <= completed(module_xray_up), timeout_s=30, what="all runs stored")
    return ids


@pytest.mark.parametrize("threshold", [0.6, 0.75, 0.9, 0.95])
def test_filters_above_a_threshold(
    module_xray_up: ServiceProcess, run_ids: set[str], threshold: float
) -> None:
    """Steps and runs with a filter above a threshold are exactly those that a look at every run gives."""
    steps = [step for run_id in run_ids for step in module_xray_up.get(f"/runs/{run_id}")["steps"]]
    expected = {
        (step["run_id"], step["step_id"])
        for step in steps
        if step["step_type"] == "filter" and (step["drop_ratio"] or 0) > threshold
    }
    assert 0 < len(expected) < len([step for step in steps if step["step_type"] == "filter"])

    found = module_xray_up.get("/steps", step_type="filter", drop_ratio_gt=threshold, limit=1000)
    runs = module_xray_up.get(
        "/runs", **{"step.step_type": "filter", "step.drop_ratio_gt": threshold, "limit": 1000}
    )

    answered = {(step["run_id"], step["step_id"]) for step in found["items"] if step["run_id"] in run_ids}
    assert answered == expected
    assert {run["run_id"] for run in runs["items"]} & run_ids == {run_id for run_id, _ in expected}


def test_a_step_takes_in_thousands(module_xray_up: ServiceProcess, run_ids: set[str]) -> None:
    """Every run of the competitor pipeline filters 5,000 candidates, each with its decision stored."""
    page = module_xray_up.get("/steps", name="filter_by_price", pipeline="competitor-selection", limit=1000)
    steps = [step for step in page["items"] if step["run_id"] in run_ids]
    assert len(steps) == RUNS
    assert {step["candidates_in"] for step in steps} == {5000}
    assert {step["completeness"]["decisions_stored"] for step in steps} == {5000}
    assert all(sum(step["reasons"].values()) == 5000 for step in steps)


def test_clean_runs_lose_no_candidate(module_xray_up: ServiceProcess, run_ids: set[str]) -> None:
    """In the pipelines as they are, counts add up in and between all steps of every run."""
    for run_id in sorted(run_ids):
        found = module_xray_up.get(f"/runs/{run_id}/explain")
        kinds = {finding["kind"] for finding in found["findings"]}
        assert not kinds & {"count_gap", "handover_gap", "kept_without_value", "step_error"}, found[
            "findings"
        ]


def test_plain_program_shows_up(module_xray_up: ServiceProcess) -> None:
    """The program on opentelemetry-sdk alone has runs, steps and drop ratios under its trace ids."""
    settings = {"OTEL_EXPORTER_OTLP_ENDPOINT": module_xray_up.otlp_http}
    lines = run_examples(["plain_otel"], settings, "--runs", "2")
    for line in lines:
        run = module_xray_up.get(f"/runs/{line['run_id']}")
        assert (run["pipeline"], run["status"]) == ("restock", "completed")
        assert [(step["name"], step["step_type"]) for step in run["steps"]] == [
            ("filter_out_of_stock", "filter"),
            ("filter_by_budget", "filter"),
            ("rank_by_views", "rank"),
        ]
        assert run["steps"][0]["drop_ratio"] > 0.9


def test_walk_through_is_readable(xray_up: ServiceProcess, capsys: pytest.CaptureFixture[str]) -> None:
    """The walk-through names the products, the step at fault, the reason and the next item, in 60 lines."""
    endpoints = Endpoints(otlp_http=xray_up.otlp_http, otlp_grpc=xray_up.otlp_grpc, api=xray_up.api)
    assert run_demo(endpoints, DemoOptions(runs=10)) == 0
    printed = capsys.readouterr().out
    assert len(printed.splitlines()) <= 60
    for expected in (
        "Orvane Adjustable Aluminium Kickstand Case - Graphite  (phone_case)",
        "Kestrel Adjustable Aluminium Laptop Kickstand with Case - Graphite  (laptop_stand, item G00000C)",
        "▸ filter_by_type",
        "(compared with 9 other runs)",
        "type_unknown 467 (kept)",
        "filter_by_type kept G00000C although the value it checks was missing (reason type_unknown)",
        "of the items that left search_catalogue, 25.0 % had no type",
        "not_selected lower_score",
        "top_k 1 to 2",
        "First other decision: filter_by_type",
        "G00000B, 0.149 behind: Corvia Aluminium Kickstand Case - Silver (phone_case)",
        f"{xray_up.api}/api/v1/steps?step_type=filter&drop_ratio_gt=0.9",
    ):
        assert expected in printed, printed


def test_walk_through_names_a_bad_catalogue(xray_up: ServiceProcess, tmp_path: Path) -> None:
    """A catalogue that cannot be read ends the walk-through with one line that names the file."""
    file = tmp_path / "bad.json"
    file.write_text("[]")
    endpoints = Endpoints(otlp_http=xray_up.otlp_http, otlp_grpc=xray_up.otlp_grpc, api=xray_up.api)
    with pytest.raises(Failure, match=r"bad\.json must hold a JSON array"):
        run_demo(endpoints, DemoOptions(runs=2, catalog=file))
