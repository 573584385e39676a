"""The loss ledger over HTTP, and what runs and explanations say of it."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from api.schemas import LOST_THING
from store.losses import THINGS, loss_of
from store.rows import Loss
from tests.fixtures.reading import Shelf, chunk, run_copy, step_copy

KEYS = {"run_id", "pipeline", "service_name", "cause", "what", "count", "step_id", "attempt", "received_at"}
SHED = {
    "cause": "shed",
    "what": "decisions",
    "count": 2,
    "text": "2 decisions, shed by the server to keep up",
}


@pytest.fixture
def shed(shelf: Shelf) -> None:
    """A run of which one of two chunks was shed, and a report of losses without a run."""
    first, second = (chunk("r", "s", [f"{n}a", f"{n}b"], "KE", index=n, total=2) for n in (0, 1))
    step = step_copy("r", "s", candidates_in=4, candidates_out=2, decisions_recorded=4, decisions_chunks=2)
    lost = loss_of(second, "shed")
    assert lost is not None
    shelf.put(run_copy("r", pipeline="shop"), step, first, lost)
    shelf.put(Loss(None, "client_queue", "steps", "report-1", 3, pipeline="mail", service_name="svc"))


def answer(rest: httpx.Client, path: str, **parameters: Any) -> Any:
    response = rest.get(f"/api/v1{path}", params=parameters)
    assert response.status_code == 200, response.text
    return response.json()


@pytest.mark.usefixtures("shed")
def test_losses_are_listed(rest: httpx.Client) -> None:
    """Each item has all keys; pages and filters work as everywhere."""
    page = answer(rest, "/losses")
    assert [set(item) for item in page["items"]] == [KEYS, KEYS]
    assert page["completeness"] == {"state": "exact", "running": 0, "partial": 0}
    (of_run,) = answer(rest, "/losses", run_id="r")["items"]
    assert (of_run["pipeline"], of_run["step_id"], of_run["attempt"], of_run["count"]) == ("shop", "s", 1, 2)
    (of_none,) = answer(rest, "/losses", pipeline="mail")["items"]
    assert (of_none["run_id"], of_none["service_name"], of_none["count"]) == (None, "svc", 3)
    first = answer(rest, "/losses", limit=1)
    second = answer(rest, "/losses", limit=1, cursor=first["next_cursor"])
    assert (first["items"] + second["items"], second["next_cursor"]) == (page["items"], None)


@pytest.mark.usefixtures("shed")
def test_losses_are_summed_by_cause(rest: httpx.Client) -> None:
    """The totals take the filters of the list."""
    assert answer(rest, "/losses/totals")["items"] == [
        {"cause": "client_queue", "what": "steps", "count": 3, "entries": 1},
        {"cause": "shed", "what": "decisions", "count": 2, "entries": 1},
    ]
    assert answer(rest, "/losses/totals", what="artifacts")["items"] == []


@pytest.mark.usefixtures("shed")
@pytest.mark.parametrize(
    ("path", "parameter", "value", "said"),
    [
        ("/losses", "cause", "bad_luck", "client_queue"),
        ("/losses", "cause", "chunk_missing", "run_id"),
        ("/losses", "why", "1", "cause"),
        ("/losses", "limit", "0", "1 to 1000"),
        ("/losses/totals", "limit", "5", "no pages"),
        ("/losses/totals", "what", "socks", "decisions"),
    ],
)
def test_what_is_not_understood_is_refused(
    rest: httpx.Client, path: str, parameter: str, value: str, said: str
) -> None:
    """A wrong parameter is named, with what is accepted."""
    response = rest.get(f"/api/v1{path}", params={parameter: value})
    error = response.json()["error"]
    assert (response.status_code, error["code"], error["parameter"]) == (422, "invalid_parameter", parameter)
    assert said in error["message"]


@pytest.mark.usefixtures("shed")
def test_what_was_shed_is_said_in_words(rest: httpx.Client) -> None:
    """The run, its steps and its explanation say how many decisions were shed."""
    run = answer(rest, "/runs/r")
    assert run["completeness"] == {"state": "partial", "evidence": "partial", "missing": [SHED]}
    assert run["steps"][0]["completeness"]["missing"] == [SHED]
    explained = answer(rest, "/runs/r/explain")
    assert explained["completeness"]["missing"] == [SHED]
    assert explained["summary"][-1].endswith("Missing: 2 decisions, shed by the server to keep up.")


def test_lost_steps_are_not_called_lost_evidence(shelf: Shelf, rest: httpx.Client) -> None:
    """Where a sender dropped steps the explanation does not claim that counts are exact."""
    shelf.put(run_copy("r"), step_copy("r", "s"), Loss("r", "client_queue", "steps", "report-1", 1))
    last = answer(rest, "/runs/r/explain")["summary"][-1]
    assert "counts are exact" not in last
    assert "1 step, dropped from the sender's queue" in last


def test_all_that_can_be_lost_is_described() -> None:
    """In the OpenAPI document."""
    assert {thing for thing in THINGS if thing not in LOST_THING} == set()
