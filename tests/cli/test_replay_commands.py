"""``xray replay``, ``xray why`` and ``xray near`` against a running server that the client recorded into."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator

import pytest

import xray_otel as xray
from tests.fixtures.services import ROOT, ServiceProcess, environment

PRICES = {"a": 10.0, "b": 50.0, "c": 51.0, "d": 75.0}


@pytest.fixture(scope="module")
def recorded(module_xray_up: ServiceProcess) -> Iterator[tuple[ServiceProcess, str]]:
    """A server, and a run with a filter that compares by itself."""
    xray.configure(endpoint=module_xray_up.otlp_http, mode="strict")
    with xray.run("shop") as run:
        with xray.step("search", type="search") as step:
            step.accept_all(PRICES)
        with xray.step("price", type="filter") as step:
            step.filter(PRICES, value=PRICES.get, comparator="<=", threshold=50.0, reason="dear")
    with xray.run("ranked", run_id="ranked"):
        with xray.step("price", type="filter") as step:
            near = step.filter(PRICES, value=PRICES.get, comparator="<=", threshold=50.0, reason="dear")
        with xray.step("best", type="rank") as step:
            step.rank(near, {"a": 0.9, "b": 0.25}.get, top_k=1)
    assert xray.flush(60)
    yield module_xray_up, run.run_id
    xray.shutdown()


def said(server: ServiceProcess, *arguments: str, status: int = 0) -> str:
    """What the command writes."""
    done = subprocess.run(
        [sys.executable, "-m", "cli", *arguments, "--url", server.api],
        cwd=ROOT,
        env=environment({}),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == status, done.stderr
    return done.stdout if status == 0 else done.stderr


def test_replay_of_a_recorded_run(recorded: tuple[ServiceProcess, str]) -> None:
    """What the client declared of the rule comes to the answer, which is certain."""
    server, run_id = recorded
    text = said(server, "replay", run_id, "--set", "price.dear.threshold=60")
    assert "price dear: threshold 50 to 60 (value <= threshold, declared)" in text
    assert "certain: 3 kept, 1 eliminated" in text
    answer = json.loads(said(server, "replay", run_id, "--set", "price.threshold=60", "--json"))
    assert [item["item_id"] for item in answer["items"]] == ["c"]
    assert answer["completeness"]["state"] == "exact"


def test_replay_of_a_ranking(recorded: tuple[ServiceProcess, str]) -> None:
    """It rests on the score in the ranking, not on what a step before compared."""
    lines = said(recorded[0], "replay", "ranked", "--set", "best.top_k=2").splitlines()
    assert lines[0] == "best: keep the best 2, where it kept 1"
    assert "score 0.25" in next(line for line in lines if line.startswith("b "))


def test_why_and_near(recorded: tuple[ServiceProcess, str]) -> None:
    """Where two part and what would turn it; who was within the share of the limit."""
    server, run_id = recorded
    text = said(server, "why", run_id, "b", "c")
    assert text.startswith("b and c part at price.")
    assert "Smallest change: dear 50.0 to 51.0, 2.00%; then c goes on from price (certain)" in text
    near = said(server, "near", run_id, "--within", "0.02")
    assert [line.split()[0] for line in near.splitlines()[1:3]] == ["b", "c"]


def test_what_is_refused(recorded: tuple[ServiceProcess, str]) -> None:
    """The step is named, and what is accepted."""
    server, run_id = recorded
    assert "it has" in said(server, "replay", run_id, "--set", "nowhere.threshold=1", status=2)
    assert "is accepted" in said(server, "replay", run_id, "--set", "price", status=2)
