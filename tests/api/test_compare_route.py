"""``/compare``: what two groups of runs are told apart by, over a real database and a real socket."""

from __future__ import annotations

import tracemalloc
from random import Random
from typing import Any
from uuid import UUID

import pytest

from api.compare.features import MAX_WORDS, features
from api.compare.groups import compare_groups
from benchmarks.compare import report
from store.queries import groups
from store.queries.group_questions import parse_groups
from store.queries.groups import RunFacts, StepFacts
from tests.fixtures.reading import Shelf, run_copy, step_copy

NO_STEP = StepFacts._make([None] * len(StepFacts._fields))._replace(name="s", status="ok")


def put_runs(shelf: Shelf, count: int) -> None:
    """Every third run is bad: its filter gives ``type_unknown``, its market is DE twice as often."""
    random = Random(1)
    rows: list[Any] = []
    for number in range(count):
        bad = number % 3 == 0
        unknown = random.randrange(10, 20) if bad else random.randrange(3)
        dear = random.randrange(20, 40)
        run_id = f"run-{number}"
        rows.append(
            run_copy(
                run_id,
                number * 10.0,
                pipeline="shop",
                pipeline_version="v1",
                outcome="no_match" if bad else "matched",
                tags={"market": random.choice("DDE" if bad else "DEE"), "colour": random.choice("abc")},
            )
        )
        rows.append(
            step_copy(
                run_id,
                "s1",
                number * 10.0 + 0.1,
                name="by_type",
                candidates_in=100,
                candidates_out=100 - unknown - dear,
                kept=100 - unknown - dear,
                eliminated=unknown + dear,
                reason_codes=("type_unknown", "too_dear"),
                reason_counts=(unknown, dear),
                metrics={"noise": random.random()},
            )
        )
    shelf.put(*rows)


def test_the_planted_reason_is_first(shelf, rest):
    """It comes before what follows from it; what says nothing is not significant; n is shown."""
    put_runs(shelf, 150)
    asked = {"bad": 'outcome = "no_match"', "pipeline": "shop", "limit": 100}
    response = rest.get("/api/v1/compare", params=asked)
    assert response.status_code == 200, response.text
    answer = response.json()
    assert (answer["bad"], answer["good"]) == ({"found": 50, "compared": 50}, {"found": 100, "compared": 100})
    assert answer["matched_by"] == ["pipeline", "pipeline_version", "day"]
    first = answer["items"][0]
    assert (first["step"], first["field"], first["significant"]) == ("by_type", "reason.type_unknown", True)
    assert first["low"] > 0.5
    assert (first["bad_n"], first["good_n"]) == (50, 100)
    assert 0.1 <= first["bad_mean"] < 0.2
    by_field = {item["field"]: item for item in answer["items"]}
    assert by_field["tag.market"]["significant"]
    assert by_field["outcome"]["defining"]
    assert not any(by_field[name]["significant"] for name in ("metric.noise", "reason.too_dear"))
    assert not any(item["significant"] for item in answer["items"] if item["field"] == "tag.colour")
    assert answer["items"] == sorted(answer["items"], key=lambda item: not item["significant"])
    assert rest.get("/api/v1/compare", params=asked).content == response.content


def test_groups_that_share_no_day_are_not_matched_by_it(shelf, rest):
    """Before and after a time: the answer says that the day could not be held equal."""
    put_runs(shelf, 40)
    shelf.put(*(run_copy(f"late-{n}", 86_400 + n, pipeline="shop", pipeline_version="v1") for n in range(20)))
    answer = rest.get("/api/v1/compare", params={"bad": 'started >= "2025-03-02T00:00:00Z"'}).json()
    assert answer["not_matched_by"] == ["day"]
    assert answer["bad"] == {"found": 20, "compared": 20}
    ran = next(item for item in answer["items"] if item["field"] == "name")
    assert (ran["word"], ran["bad_mean"], ran["good_mean"], ran["significant"]) == ("by_type", 0.0, 1.0, True)


def test_overlap_and_too_few_runs(shelf, rest):
    """Runs of both groups are left out; with too few, nothing is tested and that is said."""
    put_runs(shelf, 12)
    asked = {"bad": 'outcome = "no_match"', "good": 'pipeline = "shop"'}
    answer = rest.get("/api/v1/compare", params=asked).json()
    assert (answer["bad"]["found"], answer["good"]["found"], answer["in_both"]) == (0, 8, 4)
    assert "Left out as both bad and good: 4." in answer["summary"]
    assert answer["summary"][0] == "0 of 0 bad runs beside 0 of 8 good ones."
    answer = rest.get("/api/v1/compare", params={"bad": 'outcome = "no_match"'}).json()
    assert (answer["tests"], answer["items"]) == (0, [])
    assert "Too few runs" in answer["summary"][-1]


@pytest.mark.parametrize(
    ("parameters", "name"),
    [
        ({}, "bad"),
        ({"bad": "outcome ="}, "bad"),
        ({"bad": 'outcome = "x"', "good": "nonsense = 1"}, "good"),
        ({"bad": 'outcome = "x"', "level": "1"}, "level"),
        ({"bad": 'outcome = "x"', "cursor": "x"}, "cursor"),
        ({"bad": 'outcome = "x"', "colour": "x"}, "colour"),
    ],
)
def test_what_is_refused(rest, parameters, name):
    """Each wrong parameter is named, an expression by its own name and with the place."""
    response = rest.get("/api/v1/compare", params=parameters)
    assert response.status_code == 422
    error = response.json()["error"]
    assert error["parameter"] == name
    assert error["message"].startswith(name)


def test_what_differs_by_definition_makes_no_other_figure_significant():
    """Figures that are certain beforehand do not count as tests passed: the others are corrected alone."""
    random = Random(3)
    runs = [facts(number, {"kind": "b" if number < 40 else "g"}) for number in range(80)]
    keys = [run.run_key for run in runs]
    noise = [
        NO_STEP._replace(run_key=key, metrics={f"m{n}": random.random() for n in range(40)}) for key in keys
    ]
    strata = dict.fromkeys(keys, 0)
    found = features(runs, noise)
    alone = compare_groups(keys[:40], keys[40:], strata, found, defining=["tag.kind"])
    assert alone.tests == 40
    chosen = [finding for finding in alone.findings if finding.defining]
    assert all(finding.significant for finding in chosen)
    assert chosen
    p_values = sorted(one.result.p_value for one in alone.findings if not one.defining)
    expected = min(p * 40 / rank for rank, p in enumerate(p_values, 1))
    least = min(one.q_value for one in alone.findings if not one.defining)
    assert least == pytest.approx(expected, rel=1e-4)


def test_tags_that_each_run_has_anew_take_no_memory():
    """Ten ids per run of 1,000: zeros are noted for the figures that are tested, not for 10,000 words."""
    runs = [facts(number, {f"id{n}": f"{number}-{n}" for n in range(10)}) for number in range(1000)]
    tracemalloc.start()
    found = features(runs, [])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(found.columns) == 10 * MAX_WORDS
    assert all(len(column) == 1000 for column in found.columns.values())
    assert peak < 64 << 20


def test_a_run_of_very_many_steps_is_left_out(shelf, rest, monkeypatch):
    """One run does not take the room of all others; the answer says that not all were compared."""
    put_runs(shelf, 60)
    shelf.put(*(step_copy("run-0", f"more-{n}", 1.0 + n, name="loop") for n in range(4)))
    monkeypatch.setattr(groups, "MAX_STEPS", 4)
    answer = rest.get("/api/v1/compare", params={"bad": 'outcome = "no_match"'}).json()
    assert answer["bad"] == {"found": 20, "compared": 19}
    assert answer["completeness"]["state"] == "sampled"
    assert "loop" not in {item["step"] for item in answer["items"]}


def test_no_more_steps_are_read_than_may_be(shelf, reader):
    """Of both groups the first runs by key, whatever the number of their steps."""
    put_runs(shelf, 30)
    shelf.put(*(step_copy(f"run-{r}", f"more-{n}", 400.0, name="loop") for r in range(5) for n in range(9)))
    question = parse_groups([("bad", 'outcome = "no_match"')], 0.05)
    made = reader.find_groups(question.shared, question.bad, question.good)
    read = reader.group_facts(made.bad, made.good, 20)
    assert 0 < len(read.steps) <= 20
    assert len(read.runs) == len(read.bad) + len(read.good) < 30


def facts(number: int, tags: dict[str, str]) -> RunFacts:
    """A run that says nothing but its tags."""
    return RunFacts(UUID(int=number), "shop", "v1", "completed", None, None, None, tags, None)


def test_the_benchmark_in_small():
    """What is planted is found, and null sets stay silent."""
    null, planted = report(sets=4, runs=400, seed=5)
    assert ": 0 with a false discovery" in null
    assert float(planted.split("recall ")[1].split(" %")[0]) >= 75
