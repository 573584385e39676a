"""The history of an item over a real socket: keys, filters, pages, what is refused."""

from __future__ import annotations

import httpx
import pytest

from tests.fixtures.reading import Shelf, chunk, run_copy, step_copy

ITEM = "https://shop/y?a=1"
PATH = "/api/v1/items/https%3A%2F%2Fshop%2Fy%3Fa%3D1"
KEYS = """
    item_id verdict outcomes reason reason_text score value threshold value_missing checks probability attempt
    run_id pipeline pipeline_version entity step_id name step_type started_at
"""


@pytest.fixture
def told(shelf: Shelf) -> Shelf:
    """Three runs that judged the item, the first and the last of them against it."""
    for n, verdict in enumerate("EKE"):
        run_id = f"r{n}"
        shelf.put(
            run_copy(run_id, n * 10, pipeline="shop", entity="P1"),
            step_copy(run_id, "price", n * 10, candidates_in=2, decisions_recorded=2, decisions_chunks=1),
            chunk(run_id, "price", ["a", ITEM], f"K{verdict}", reasons=["dear"], reason=0, value=[n, 9.5]),
        )
    return shelf


def test_the_answer(told: Shelf, rest: httpx.Client) -> None:
    """The newest decision comes first, with the step and run that made it; an id may be a URL."""
    answer = rest.get(PATH, params={"verdict": "eliminated"}).json()
    assert set(answer) == {"item_id", "items", "next_cursor", "completeness"}
    assert (answer["item_id"], answer["next_cursor"]) == (ITEM, None)
    newest, oldest = answer["items"]
    assert set(newest) == set(KEYS.split())
    assert (newest["run_id"], oldest["run_id"]) == ("r2", "r0")
    assert (newest["reason"], newest["value"], newest["name"]) == ("dear", 9.5, "price")
    assert newest["started_at"] == "2025-03-01T12:00:20Z"
    assert answer["completeness"] == {
        "state": "exact",
        "steps_searched": 3,
        "searched_back_to": "2025-03-01T12:00:00Z",
        "running": 0,
        "sampled": 0,
        "partial": 0,
        "none": 0,
    }


def test_pages(told: Shelf, rest: httpx.Client) -> None:
    """The cursor goes on where the page ended."""
    found = []
    parameters = {"limit": "1"}
    while True:
        answer = rest.get(PATH, params=parameters).json()
        found += [decision["run_id"] for decision in answer["items"]]
        if answer["next_cursor"] is None:
            break
        parameters["cursor"] = answer["next_cursor"]
    assert found == ["r2", "r1", "r0"]


def test_an_item_that_nobody_judged(told: Shelf, rest: httpx.Client) -> None:
    """A search that finds nothing says how far it has looked; it cannot know that the item is unknown."""
    answer = rest.get("/api/v1/items/nobody")
    assert answer.status_code == 200
    assert answer.json()["items"] == []
    assert answer.json()["completeness"]["steps_searched"] == 3


@pytest.mark.parametrize(
    ("query", "parameter"),
    [
        ("limit=0", "limit"),
        ("cursor=abc", "cursor"),
        ("verdict=dropped", "verdict"),
        ("step_type=filtering", "step_type"),
        ("run_id=r0", "run_id"),
        ("started_after=yesterday", "started_after"),
        ("reason=dear&reason=cheap", "reason"),
    ],
)
def test_what_is_not_understood_is_refused(rest: httpx.Client, query: str, parameter: str) -> None:
    """Nothing is ignored in silence."""
    answer = rest.get(f"/api/v1/items/x?{query}")
    assert answer.status_code == 422
    assert answer.json()["error"]["parameter"] == parameter


def test_an_id_that_no_text_can_equal(rest: httpx.Client) -> None:
    """A NUL is in no stored id."""
    assert rest.get("/api/v1/items/a%00b").status_code == 404
