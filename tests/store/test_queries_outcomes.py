"""Late outcomes in questions: filters on runs, steps and candidates, and the answers that show them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import httpx
import pytest

from store.queries.errors import InvalidParameter
from store.queries.filters import parse
from store.queries.vocabulary import DECISIONS, ITEM_HISTORY, RUNS, STEPS
from store.reader import Reader
from store.rows import Outcome
from tests.fixtures.reading import START, Shelf, chunk, ns, run_copy, run_start, step_copy

ITEMS = ["a", "b", "c"]


def late(run_id: str, name: str, value: Any, item_id: str | None = None, at: int = 0) -> Outcome:
    """Return an outcome observed ``at`` seconds into the story."""
    return Outcome(run_id, name, item_id, value, ns(START + timedelta(seconds=at)), "support")


@pytest.fixture
def told(shelf: Shelf) -> Shelf:
    """Four runs of three candidates each; of three of them something became known."""
    for at, run_id in enumerate(("r1", "r2", "r3", "r4")):
        shelf.put(
            run_copy(run_id, at, pipeline="p", entity="E"),
            step_copy(run_id, "s", at, candidates_in=3, candidates_out=1, decisions_recorded=3),
            chunk(run_id, "s", ITEMS, "KEE"),
        )
    shelf.put(
        late("r1", "bad_match", True),
        late("r1", "refund", 24.9),
        late("r2", "bad_match", False),
        late("r2", "click", 3, "a"),
        late("r2", "click", 1, "b"),
        late("r3", "verdict", "wrong size", "c"),
        late("r3", "bad_match", True),
        late("r3", "bad_match", None, at=5),
        late("r3", "score_gt", 7),
        late("r3", "code", "5"),
    )
    return shelf


def runs_of(reader: Reader, **parameters: str) -> list[str]:
    """Ids of the runs that satisfy the parameters, in the order begun."""
    filters, page = parse(RUNS, [(name.replace("__", "."), value) for name, value in parameters.items()])
    return [run.run_id for run in reader.runs(filters, page).items][::-1]


@pytest.mark.parametrize(
    ("parameter", "value", "expected"),
    [
        ("outcome.bad_match", "true", ["r1"]),
        ("outcome.bad_match", "false", ["r2"]),
        ("outcome.refund", "24.9", ["r1"]),
        ("outcome.refund", "24.90", ["r1"]),
        ("outcome.refund_gt", "24.8", ["r1"]),
        ("outcome.refund_gt", "24.9", []),
        ("outcome.refund_gte", "24.9", ["r1"]),
        ("outcome.refund_lt", "24.9", []),
        ("outcome.refund_lte", "24.9", ["r1"]),
        ("outcome.click_gt", "2", ["r2"]),
        ("outcome.click", "1", ["r2"]),
        ("outcome.verdict", "wrong size", ["r3"]),
        ("outcome.verdict_gt", "0", []),
        ("outcome.code", "5", ["r3"]),
        ("outcome.score_gt_gt", "6", ["r3"]),
        ("outcome.unheard_of", "true", []),
    ],
)
def test_parameters(told: Shelf, reader: Reader, parameter: str, value: str, expected: list[str]):
    """A run is found by what became known of it or of one of its items, and by nothing withdrawn."""
    filters, page = parse(RUNS, [(parameter, value)])
    assert [run.run_id for run in reader.runs(filters, page).items][::-1] == expected
    of_steps, page = parse(STEPS, [(parameter, value)])
    assert [step.run_id for step in reader.steps(of_steps, page).items][::-1] == expected


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("outcome.bad_match = true", ["r1"]),
        ("outcome.bad_match != true", ["r2"]),
        ("not outcome.bad_match = true", ["r2", "r3", "r4"]),
        ("outcome.bad_match is null", ["r3", "r4"]),
        ("exists outcome.bad_match", ["r1", "r2"]),
        ("outcome.refund > 10", ["r1"]),
        ("outcome.refund = 24.9", ["r1"]),
        ("outcome.click >= 3 and outcome.click < 2", ["r2"]),
        ("outcome.click in (3, 4)", ["r2"]),
        ("outcome.click not in (3, 1)", []),
        ('outcome.verdict starts_with "wrong"', ["r3"]),
        ('outcome.verdict contains "size" or outcome.bad_match = true', ["r1", "r3"]),
        ('outcome.bad_match contains "ru"', []),
        ("step.drop_ratio > 0.5 and outcome.bad_match = true", ["r1"]),
        ("step.drop_ratio > 0.5 and not outcome.bad_match in (true, false)", ["r3", "r4"]),
    ],
)
def test_expressions(told: Shelf, reader: Reader, question: str, expected: list[str]):
    """The filter language asks the same; a comparison is true when it is of one of several."""
    assert runs_of(reader, q=question) == expected


def test_expressions_on_steps(told: Shelf, reader: Reader):
    """On steps an outcome is that of the step's run."""
    filters, page = parse(STEPS, [("q", "outcome.bad_match = true and drop_ratio > 0.5")])
    assert [step.run_id for step in reader.steps(filters, page).items] == ["r1"]


@pytest.mark.parametrize(
    ("parameters", "named"),
    [
        ([("outcome.", "true")], "outcome."),
        ([("outcome.refund_gt", "much")], "outcome.refund_gt"),
        ([("q", 'outcome.refund > "much"')], "q"),
        ([("q", "outcome. > 1")], "q"),
    ],
)
def test_what_makes_no_sense_is_refused(parameters: list[tuple[str, str]], named: str):
    """A name is needed, and < and > compare numbers."""
    with pytest.raises(InvalidParameter) as refusal:
        parse(RUNS, parameters)
    assert refusal.value.parameter == named


def test_candidates(told: Shelf, reader: Reader):
    """Decisions of a step, totals about them and an item's history go by the item's own outcomes."""
    filters, page = parse(DECISIONS, [("outcome.click_gte", "1")])
    found = reader.decisions("r2", "s", filters, page)
    assert found is not None
    assert [decision.item_id for decision in found.items] == ["a", "b"]
    one, page = parse(DECISIONS, [("outcome.click", "3"), ("verdict", "kept")])
    found = reader.decisions("r2", "s", one, page)
    assert found is not None
    assert [decision.item_id for decision in found.items] == ["a"]
    totals = reader.estimates("r2", "s", filters)
    assert totals is not None
    assert totals.decisions_read == 2
    history, page = parse(ITEM_HISTORY, [("outcome.click_gt", "2")])
    (judged,) = reader.item_history("a", history, page).items
    assert (judged.run_id, [(o.name, o.value) for o in judged.outcomes]) == ("r2", [("click", 3)])
    assert reader.item_history("b", history, page).items == []


def test_answers_show_them(told: Shelf, rest: httpx.Client):
    """A run, an item's journey and its history, and the export name what became known."""
    shown = rest.get("/api/v1/runs/r1").json()["outcomes"]
    assert [(o["name"], o["item_id"], o["value"], o["source"]) for o in shown] == [
        ("bad_match", None, True, "support"),
        ("refund", None, 24.9, "support"),
    ]
    assert shown[0]["observed_at"] == "2025-03-01T12:00:00Z"
    assert [o["name"] for o in rest.get("/api/v1/runs/r3").json()["outcomes"]] == [
        "code",
        "score_gt",
        "verdict",
    ]
    assert rest.get("/api/v1/runs/r4").json()["outcomes"] == []
    journey = rest.get("/api/v1/runs/r2/items/a").json()
    assert [(o["name"], o["value"]) for o in journey["outcomes"]] == [("click", 3)]
    history = rest.get("/api/v1/items/b").json()["items"]
    assert {entry["run_id"]: [o["value"] for o in entry["outcomes"]] for entry in history} == {
        "r1": [],
        "r2": [1],
        "r3": [],
        "r4": [],
    }
    exported = rest.get("/api/v1/export/runs", params={"outcome.bad_match": "true"}).text.splitlines()
    assert len(exported) == 1
    assert '"name":"refund"' in exported[0]
    table = rest.get("/api/v1/export/runs", params={"format": "csv", "outcome.refund_gt": "1"}).text
    assert table.splitlines()[0].endswith(",outcomes")
    assert "bad_match" in table


def test_a_run_known_from_an_outcome_alone(shelf: Shelf, reader: Reader):
    """It is there, incomplete, and what arrives later completes it."""
    shelf.put(late("r9", "bad_match", True))
    run = reader.run("r9")
    assert run is not None
    assert (run.status, run.pipeline, [o.name for o in run.outcomes]) == ("incomplete", None, ["bad_match"])
    shelf.put(run_start("r9", pipeline="p"))
    run = reader.run("r9")
    assert run is not None
    assert (run.status, run.pipeline) == ("running", "p")


def test_bad_runs_are_no_baseline(told: Shelf, reader: Reader, database_url: str):
    """A run that turned out bad is not what others are compared with; taken back or denied, it is."""
    usual = reader.baseline("p", None, without="r4")
    assert usual.runs == 2
    assert len(reader.habits("r4", "p", None).baseline) == 2
    told.put(late("r2", "bad", True, "b"))
    assert reader.baseline("p", None, without="r4").runs == 1
    other = Reader.open(database_url, bad_outcomes=("refund",))
    assert other.baseline("p", None, without="r4").runs == 2
    other.close()
    no_names = Reader.open(database_url, bad_outcomes=())
    assert no_names.baseline("p", None, without="r4").runs == 3
    no_names.close()
