"""``/runs/{run_id}/explain`` over a real database and a real socket."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.fixtures.reading import Shelf, chunk, run_copy, step_copy

IDENTITY: dict[str, Any] = {"pipeline": "shop", "pipeline_version": "v1"}
ITEMS = [f"i{number}" for number in range(50)]


def put_run(shelf: Shelf, run_id: str, *, unknown: int = 0, hidden: int = 0, at: float = 0.0) -> None:
    """
    Store a run: a filter on 50 items of which 20 pass, then a selection of ``i0`` before ``i1``.

    unknown: so many of those that pass do so without a value, ``i0`` first. hidden: so many of those that
    pass are not seen by the selection's recording.
    """
    verdicts = "K" * 20 + "E" * 30
    reasons = [2] * unknown + [1] * (20 - unknown) + [0] * 30
    by_type = step_copy(
        run_id,
        "s1",
        at,
        name="by_type",
        candidates_in=50,
        candidates_out=20,
        kept=20,
        eliminated=30,
        reason_codes=("differs", "matches", "unknown"),
        reason_counts=(30, 20 - unknown, unknown),
        decisions_recorded=50,
        decisions_chunks=1,
    )
    seen = [*ITEMS[:2], *ITEMS[2 + hidden : 20]]
    choose = step_copy(
        run_id,
        "s2",
        at + 0.5,
        name="choose",
        step_type="select",
        candidates_in=20,
        candidates_out=1,
        selected=1,
        not_selected=len(seen) - 1,
        selected_id="i0",
        decisions_recorded=len(seen),
        decisions_chunks=1,
    )
    shelf.put(
        run_copy(run_id, at, outcome="matched", **IDENTITY),
        by_type,
        choose,
        chunk(
            run_id,
            "s1",
            ITEMS,
            verdicts,
            reasons=["differs", "matches", "unknown"],
            reason=reasons,
            value=[None if number < unknown else "case" for number in range(50)],
            missing=list(range(unknown)),
        ),
        chunk(
            run_id,
            "s2",
            seen,
            "W" + "N" * (len(seen) - 1),
            score=[1.0 - position / 50 for position in range(len(seen))],
        ),
    )


def put_baseline(shelf: Shelf) -> None:
    """Ten ordinary runs."""
    for number in range(10):
        put_run(shelf, f"usual-{number}", at=10.0 * number)


def explained(rest: httpx.Client, run_id: str) -> Any:
    """The explanation of a run that exists."""
    response = rest.get(f"/api/v1/runs/{run_id}/explain")
    assert response.status_code == 200, response.text
    return response.json()


def test_missing_value_is_the_fault(shelf: Shelf, rest: httpx.Client) -> None:
    """The check that passed the winner without a value is named, with reason, item and margin."""
    put_baseline(shelf)
    put_run(shelf, "bad", unknown=12, at=200)
    found = explained(rest, "bad")
    assert found["baseline_runs"] == 10
    assert found["suspect"]["step_id"] == "s1"
    assert [found["findings"][number]["kind"] for number in found["suspect"]["findings"]] == [
        "kept_without_value",
        "new_reason",
    ]
    assert found["findings"][0]["evidence"]["reason"] == "unknown"
    assert found["winner"]["item_id"] == "i0"
    assert found["winner"]["journey"][0]["value_missing"] is True
    assert found["runner_up"]["item_id"] == "i1"
    assert found["runner_up"]["margin"] == pytest.approx(0.02)
    assert found["funnel"][0]["baseline_drop_ratio"] == pytest.approx(0.6)
    assert found["run"]["run_id"] == "bad"
    assert found["completeness"] == {"state": "complete", "evidence": "full", "missing": []}


def test_clean_run_has_nothing_unusual(shelf: Shelf, rest: httpx.Client) -> None:
    """A run like its baseline has no finding, and the text says so."""
    put_baseline(shelf)
    found = explained(rest, "usual-3")
    assert (found["findings"], found["suspect"]) == ([], None)
    assert "Nothing unusual was found." in found["summary"]


@pytest.mark.parametrize("hidden", [1, 5])
def test_hidden_items_are_counted_and_named(shelf: Shelf, rest: httpx.Client, hidden: int) -> None:
    """Items that a step takes in and gives no verdict on are counted, and named from the step before."""
    put_run(shelf, "gap", hidden=hidden)
    found = explained(rest, "gap")
    assert [line["unaccounted"] for line in found["audit"]] == [0, hidden]
    finding = found["findings"][0]
    assert (finding["kind"], finding["step_id"]) == ("count_gap", "s2")
    assert finding["evidence"]["items"] == ITEMS[2 : 2 + hidden]
    assert found["suspect"]["step_id"] == "s2"


def test_evidence_that_is_away_names_no_item(shelf: Shelf, rest: httpx.Client) -> None:
    """When a chunk of decisions is missing, the gap is counted, no item is named, and that is said."""
    step = step_copy(
        "r", "s1", candidates_in=50, candidates_out=20, kept=20, eliminated=27, decisions_recorded=47,
        decisions_chunks=2,
    )  # fmt: skip
    shelf.put(run_copy("r", **IDENTITY), step, chunk("r", "s1", ITEMS[:20], "K" * 20, total=2))
    found = explained(rest, "r")
    assert found["findings"][0]["evidence"] == {"in": 50, "accounted": 47, "unaccounted": 3}
    assert found["completeness"]["state"] == "partial"
    assert "evidence is missing" in found["summary"][-1]


def test_text_is_the_summary(shelf: Shelf, rest: httpx.Client) -> None:
    """``format=text`` answers with the same sentences, one per line."""
    put_run(shelf, "r")
    response = rest.get("/api/v1/runs/r/explain", params={"format": "text"})
    assert response.headers["content-type"] == "text/plain; charset=utf-8"
    assert response.text.splitlines() == explained(rest, "r")["summary"]


def test_run_without_steps(shelf: Shelf, rest: httpx.Client) -> None:
    """A run of which only itself is known is explained as far as that goes."""
    shelf.put(run_copy("bare"))
    found = explained(rest, "bare")
    assert (found["funnel"], found["winner"], found["suspect"]) == ([], None, None)


@pytest.mark.parametrize(
    ("path", "status", "parameter"),
    [
        ("/api/v1/runs/nobody/explain", 404, "run_id"),
        ("/api/v1/runs/r/explain?format=xml", 422, "format"),
        ("/api/v1/runs/r/explain?form=text", 422, "form"),
        ("/api/v1/runs/r/explain?format=text&format=json", 422, "format"),
    ],
)
def test_refusals(shelf: Shelf, rest: httpx.Client, path: str, status: int, parameter: str) -> None:
    """An unknown run and an unknown parameter or form are refused with the one error object."""
    shelf.put(run_copy("r"))
    response = rest.get(path)
    assert response.status_code == status
    assert response.json()["error"]["parameter"] == parameter


def test_every_part_of_an_explanation_is_documented(rest: httpx.Client) -> None:
    """OpenAPI says what the keys of a finding mean, also those of its evidence by kind."""
    schemas = rest.get("/openapi.json").json()["components"]["schemas"]
    finding = schemas["Finding"]["properties"]
    for kind in finding["kind"]["enum"]:
        assert kind in finding["kind"]["description"]
        assert kind in finding["evidence"]["description"]
    assert "description" in schemas["AuditLine"]["properties"]["handover_difference"]
