"""``xray diff``, ``xray compare``, ``xray drift`` and ``xray audit`` against a running server."""

from __future__ import annotations

import json

import httpx
import pytest

from tests.fixtures.command import answered
from tests.fixtures.services import ServiceProcess


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
        for run_id, taken in (("lossy", "ac"), ("whole", "abc")):
            client.post("/runs", json={"run_id": run_id, "pipeline": "audited"}).raise_for_status()
            client.post(f"/runs/{run_id}/events", json={"events": two_steps(taken)}).raise_for_status()
    return module_xray_up


def two_steps(taken: str) -> list[dict[str, object]]:
    """The events of a run: a source of three items, and a filter that takes these in and keeps them."""
    events: list[dict[str, object]] = []
    for number, (name, items) in enumerate((("find", "abc"), ("price", taken))):
        counts: dict[str, object] = {"candidates_out": len(items)}
        if number:
            counts["candidates_in"] = len(items)
        events.append(
            {
                "type": "step_end",
                "step_id": f"s{number}",
                "attempt": 1,
                "name": name,
                "step_type": "filter" if number else "search",
                "status": "ok",
                "started_at": f"2026-01-05T10:00:0{2 * number}Z",
                "ended_at": f"2026-01-05T10:00:0{2 * number + 1}Z",
                "decisions": [{"item_id": item, "verdict": "kept"} for item in items],
            }
            | counts
        )
    return [*events, {"type": "run_finish", "status": "completed"}]


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
    for named in (["--pipeline", "shop"], ["shop"]):
        assert answered(server, "drift", *named) == (
            "no reason could be looked at; 2 others with too few executions\n"
        )


def test_audit_names_what_vanished(server: ServiceProcess) -> None:
    """The item stands below the counts with its step; of a whole run it is said that none vanished."""
    find, price, gap, heading, item = answered(server, "audit", "lossy").splitlines()[1:]
    assert find.split() == ["find", "–", "–", "–", "–", "0", "0"]
    assert price.split() == ["price", "2", "–", "–", "3", "1", "0"]
    assert (gap, heading.split(), item.split()) == ("", ["ITEM", "WHAT", "STEP"], ["b", "vanished", "price"])
    parsed = json.loads(answered(server, "audit", "lossy", "--json"))
    assert [one["item_id"] for one in parsed["items"]] == ["b"]
    assert parsed["next_cursor"] is None
    said = answered(server, "audit", "whole").splitlines()
    assert said[-1] == "No candidate vanished or appeared, as far as it can be told."


def test_diff_counts_items_that_it_does_not_show(server: ServiceProcess) -> None:
    """With all changed items shown nothing more is said of them; else how many there are."""
    assert "--limit" not in answered(server, "diff", "run-0", "run-1")
    shown = answered(server, "diff", "whole", "lossy", "--limit", "1")
    assert "changed item" not in shown
    assert "1 only b" not in shown
