"""``/runs/{a}/diff/{b}`` over a real database and a real socket."""

from __future__ import annotations

from random import Random
from typing import Any

import httpx

from benchmarks.diff import turned, unturned
from tests.fixtures.reading import Shelf, chunk, run_copy, step_copy

ITEMS = [f"i{number}" for number in range(30)]


def put_run(shelf: Shelf, run_id: str, verdicts: str, *, capture: str | None = None, **run: Any) -> None:
    """Store a run: a source of 30 items, and a filter with these verdicts, of which the rest is ranked."""
    kept = [item for item, verdict in zip(ITEMS, verdicts, strict=True) if verdict == "K"]
    shelf.put(
        run_copy(run_id, pipeline="shop", **run),
        step_copy(
            run_id,
            "s0",
            name="find",
            step_type="search",
            candidates_out=30,
            decisions_recorded=30,
            decisions_chunks=1,
        ),
        chunk(run_id, "s0", ITEMS, "K" * 30),
        step_copy(
            run_id,
            "s1",
            0.1,
            name="price",
            candidates_in=30,
            candidates_out=len(kept),
            kept=len(kept),
            eliminated=30 - len(kept),
            reason_codes=("too_dear",),
            reason_counts=(30 - len(kept),),
            decisions_recorded=30,
            decisions_chunks=1,
            capture_level=capture,
        ),
        chunk(
            run_id,
            "s1",
            ITEMS,
            verdicts,
            reasons=["too_dear"],
            reason=[None if verdict == "K" else 0 for verdict in verdicts],
        ),
        step_copy(
            run_id,
            "s2",
            0.2,
            name="rank",
            step_type="rank",
            candidates_in=len(kept),
            candidates_out=len(kept),
            decisions_recorded=len(kept),
            decisions_chunks=1,
        ),
        chunk(run_id, "s2", kept, "S" * len(kept), score=[1 - ITEMS.index(item) / 100 for item in kept]),
    )


def asked(rest: httpx.Client, a: str, b: str, **parameters: Any) -> Any:
    response = rest.get(f"/api/v1/runs/{a}/diff/{b}", params=parameters)
    assert response.status_code == 200, response.text
    return response.json()


def test_the_first_divergence_and_what_follows(shelf, rest):
    """The filter is named, with the items; the ranks behind it follow."""
    put_run(shelf, "a", "K" * 30, tags={"market": "US"})
    put_run(shelf, "b", "EE" + "K" * 28, tags={"market": "DE"})
    answer = asked(rest, "a", "b")
    first = answer["first_divergence"]
    assert (first["step"], first["kind"], first["certain"]) == ("price", "verdicts", True)
    by_name = {step["name"]: step for step in answer["steps"]}
    assert by_name.keys() == {"price", "rank"}
    assert by_name["rank"]["standing"] == "follows"
    assert [change["item_id"] for change in by_name["price"]["items"]["examples"]] == ["i0", "i1"]
    assert by_name["price"]["items"]["examples"][0]["b"]["reason"] == "too_dear"
    assert answer["changed"] == {"only_a": 2, "rank": 28, "reason": 2, "verdict": 2}
    assert answer["differences"] == [{"field": "tags.market", "a": "US", "b": "DE"}]
    assert answer["completeness"]["state"] == "exact"
    assert sum(len(step["items"]["examples"]) for step in asked(rest, "a", "b", limit=3)["steps"]) == 3


def test_generated_runs_mirror_and_equal_themselves(shelf, rest):
    """Over REST, for runs drawn by lot: a with b is b with a turned, a with a is empty."""
    random = Random(4)
    for number in range(6):
        put_run(shelf, f"r{number}", "".join(random.choice("KKKE") for _ in ITEMS), entity=str(number % 2))
    for number in range(6):
        own = f"r{number}"
        itself = asked(rest, own, own)
        assert (itself["same"], itself["steps"], itself["differences"]) == (True, [], [])
        assert itself["first_divergence"] is None
        other = f"r{(number + 1) % 6}"
        one, back = asked(rest, own, other, limit=1000), asked(rest, other, own, limit=1000)
        assert not one["same"]
        assert unturned(one) == turned(back)


def test_a_sample_is_no_difference(shelf, rest):
    """Equal counts of a sampled step: not each decision is known, and that is all that is said."""
    put_run(shelf, "a", "K" * 30, capture="sampled")
    put_run(shelf, "b", "K" * 30, capture="sampled")
    answer = asked(rest, "a", "b")
    assert answer["first_divergence"] is None
    assert answer["completeness"] == answer["completeness"] | {"state": "partial", "unknown_steps": ["price"]}


def test_a_sample_that_differs_may_differ_in_more(shelf, rest):
    """What is seen to differ is said; the answer is partial all the same, and a run with itself is empty."""
    put_run(shelf, "a", "K" * 30, capture="sampled")
    put_run(shelf, "b", "EE" + "K" * 28, capture="sampled")
    answer = asked(rest, "a", "b")
    assert answer["first_divergence"]["step"] == "price"
    assert answer["completeness"] == answer["completeness"] | {"state": "partial", "unknown_steps": ["price"]}
    itself = asked(rest, "a", "a")
    assert (itself["same"], itself["steps"], itself["completeness"]["state"]) == (True, [], "exact")
    assert itself["summary"] == ["The two runs do not differ."]


def test_a_run_that_goes_on_is_not_compared_for_good(shelf, rest):
    """Equal as far as both have come; more may follow."""
    put_run(shelf, "a", "K" * 30)
    put_run(shelf, "b", "K" * 30, terminal=False, status=None, end_ns=None)
    answer = asked(rest, "a", "b")
    assert [one["field"] for one in answer["differences"]] == ["status"]
    assert answer["completeness"]["state"] == "partial"


def test_decisions_that_are_too_many_are_said_to_be_unread(shelf, rest, monkeypatch):
    """The steps of which nothing was read are named, and how many decisions they have."""
    monkeypatch.setattr("api.compare.gather.MAX_DECISIONS", 60)
    put_run(shelf, "a", "E" + "K" * 29)
    put_run(shelf, "b", "EE" + "K" * 28)
    answer = asked(rest, "a", "b")
    stated = answer["completeness"]
    assert stated["state"] == "partial"
    assert stated["unknown_steps"] == ["price"]
    missing = [(entry["cause"], entry["what"], entry["count"]) for entry in stated["a"]["missing"]]
    assert missing == [("not_read", "decisions", 30)]
    assert stated["a"]["missing"][0]["text"] == "30 decisions, stored and more than one answer reads"


def test_items_are_counted_once_however_they_changed(shelf, rest):
    """An item with another verdict and another reason is one item."""
    put_run(shelf, "a", "K" * 30)
    put_run(shelf, "b", "EE" + "K" * 28)
    price = next(step for step in asked(rest, "a", "b")["steps"] if step["name"] == "price")
    assert (price["items"]["total"], price["items"]["changed"]) == (2, {"reason": 2, "verdict": 2})


def test_what_is_refused(shelf, rest):
    """Unknown runs and parameters are named."""
    put_run(shelf, "a", "K" * 30)
    assert rest.get("/api/v1/runs/a/diff/nowhere").status_code == 404
    assert rest.get("/api/v1/runs/nowhere/diff/a").json()["error"]["parameter"] == "run_id"
    for parameters in ({"limit": "0"}, {"pipeline": "shop"}):
        refused = rest.get("/api/v1/runs/a/diff/a", params=parameters)
        assert refused.status_code == 422
        assert refused.json()["error"]["parameter"] == next(iter(parameters))
