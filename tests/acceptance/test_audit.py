"""Candidates that a step does not record are named, exactly those, and clean runs raise no alarm."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from tests.fixtures.services import ROOT, ServiceProcess, environment
from tests.fixtures.waiting import wait_until

RUNS = int(os.environ.get("XRAY_TEST_AUDIT_RUNS", "150"))
FIRST = int(os.environ.get("XRAY_TEST_AUDIT_FIRST", "0"))


def play(server: ServiceProcess, *arguments: str) -> list[dict[str, Any]]:
    """Run pipelines of random shape; returns what they say of each run once all are stored."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.acceptance.audited_pipelines", *arguments],
        cwd=ROOT,
        env=environment({"XRAY_ENDPOINT": server.otlp_http}),
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told = [json.loads(line) for line in done.stdout.splitlines()]
    awaited = {line["run_id"] for line in told}

    def stored() -> bool:
        found: set[str] = set()
        cursor: dict[str, str] = {}
        while True:
            page = server.get("/runs", status="completed", limit=1000, **cursor)
            found |= {run["run_id"] for run in page["items"]}
            if page["next_cursor"] is None:
                return awaited <= found
            cursor = {"cursor": page["next_cursor"]}

    wait_until(stored, timeout_s=120, what="all runs stored", every_s=0.2)
    return told


def gaps(server: ServiceProcess, run_id: str) -> tuple[set[str], list[str]]:
    """The items that the audit names, read page by page, and the texts of the findings about gaps."""
    named: set[str] = set()
    page = server.get(f"/runs/{run_id}/audit", limit=5)
    total = page["items_total"]
    read = 0
    while True:
        read += len(page["items"])
        named |= {item["item_id"] for item in page["items"]}
        if page["next_cursor"] is None:
            break
        page = server.get(f"/runs/{run_id}/audit", limit=1000, cursor=page["next_cursor"])
    assert read == total
    findings = server.get(f"/runs/{run_id}/explain")["findings"]
    return named, [one["text"] for one in findings if one["kind"] in ("count_gap", "handover_gap")]


@pytest.fixture(scope="module")
def full(module_xray_up: ServiceProcess) -> list[dict[str, Any]]:
    """Runs with full evidence, of which about two thirds hide items."""
    return play(module_xray_up, "--first", str(FIRST), "--runs", str(RUNS))


def test_exactly_the_hidden_items_are_named(
    module_xray_up: ServiceProcess, full: list[dict[str, Any]]
) -> None:
    """However many items a step does not record, those are named and no others; clean runs name none."""
    wrong = []
    hiding = 0
    for line in full:
        named, texts = gaps(module_xray_up, line["run_id"])
        hiding += bool(line["hidden"])
        if named != set(line["hidden"]) or bool(texts) != bool(line["hidden"]):
            wrong.append({**line, "named": sorted(named), "texts": texts})
    assert 0.3 * len(full) < hiding < 0.9 * len(full)
    assert not wrong, f"{len(wrong)} of {len(full)}: {json.dumps(wrong[:5])}"


def test_samples_name_no_item_that_was_recorded(module_xray_up: ServiceProcess) -> None:
    """Of a sample, absence proves nothing: what is named was hidden, and clean runs raise no alarm."""
    told = play(module_xray_up, "--first", "100000", "--runs", str(RUNS // 3), "--capture", "sampled")
    for line in told:
        named, texts = gaps(module_xray_up, line["run_id"])
        assert named <= set(line["hidden"]), line
        assert line["hidden"] or not texts, (line, texts)
