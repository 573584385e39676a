"""``/pipelines/{pipeline}/culprits`` and ``xray culprits`` over a real database and a real socket."""

from __future__ import annotations

import json
from collections.abc import Sequence
from random import Random
from typing import Any

import httpx
import pytest

from tests.fixtures.command import xray
from tests.fixtures.reading import Shelf, run_copy, seconds, step_copy

BEFORE, SINCE = 60, 20
CHANGE = BEFORE * 60.0
PATH = "/api/v1/pipelines/shop/prices/culprits"


def put_runs(
    shelf: Shelf, *, shift: float = 0.0, failing: int = 0, before: int = BEFORE, versions: str = "11"
) -> None:
    """
    A run a minute of a pipeline whose name has a slash: a search, a filter, a selection.

    shift: of the share that the filter gives for ``too_dear``, which is 20 ± 3 %, in the runs since. failing:
    so many of those end with an error in the selection. versions: before and since.
    """
    random = Random(5)
    rows: list[Any] = []
    for number in range(BEFORE - before, BEFORE + SINCE):
        since = number - BEFORE
        run_id, at = f"run-{number}", number * 60.0
        share = random.gauss(0.2, 0.03) + (shift if since >= 0 else 0.0)
        found = random.randrange(190, 210)
        dear = round(found * share)
        failed = 0 <= since < failing
        rows += [
            run_copy(run_id, at, pipeline="shop/prices", pipeline_version=versions[since >= 0]),
            step_copy(run_id, "s1", at, name="search", step_type="search", candidates_out=found),
            step_copy(
                run_id,
                "s2",
                at + 0.1,
                name="price",
                candidates_in=found,
                candidates_out=found - dear,
                kept=found - dear,
                eliminated=dear,
                reason_codes=("too_dear",),
                reason_counts=(dear,),
            ),
            step_copy(
                run_id,
                "s3",
                at + 0.2,
                name="choose",
                step_type="select",
                status="error" if failed else "ok",
                candidates_in=found - dear,
                candidates_out=None if failed else 1,
            ),
        ]
    shelf.put(*rows)


def asked(rest: httpx.Client, **parameters: Any) -> Any:
    response = rest.get(PATH, params={"since": seconds(CHANGE).isoformat()} | parameters)
    assert response.status_code == 200, response.text
    return response.json()


def told(rest: httpx.Client, *arguments: str, named: Sequence[str] = ("shop/prices",)) -> str:
    """What ``xray culprits`` writes to stdout."""
    done = xray("culprits", *named, "--url", str(rest.base_url), *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_shift_too_faint_for_one_run_shows_in_all_of_them(shelf: Shelf, rest: httpx.Client) -> None:
    """Explain calls the runs usual; together they name the step, with figures of both sides and runs."""
    put_runs(shelf, shift=0.035)
    single = [
        rest.get(f"/api/v1/runs/run-{BEFORE + number}/explain").json()["conclusion"] for number in range(5)
    ]
    assert set(single) == {"nothing_unusual"}
    found = asked(rest)
    assert found["conclusion"] == "fault"
    assert (found["pool"]["runs"], found["baseline"]["runs"]) == (SINCE, BEFORE)
    assert found["baseline"]["last_started_at"] < found["since"] <= found["pool"]["first_started_at"]
    culprit = found["culprits"][0]
    assert (culprit["step"], culprit["confidence"]) == ("price", None)
    figures = {one["figure"]: one for one in culprit["evidence"]}
    dear = figures["reason too_dear"]
    assert dear["value"] == pytest.approx(0.235, abs=0.012)
    assert dear["usual"] == pytest.approx(0.2, abs=0.01)
    assert dear["baseline_runs"] == BEFORE
    since = {f"run-{BEFORE + number}" for number in range(SINCE)}
    assert set(culprit["run_ids"]) <= since
    assert len(culprit["run_ids"]) == 5
    assert found["summary"][0] == f"{SINCE} runs since, held together against {BEFORE} runs before."
    assert asked(rest) == found
    assert json.loads(told(rest, "--since", found["since"], "--json")) == found
    shown = told(rest, "--since", found["since"], named=("-p", "shop/prices")).splitlines()
    assert shown[: len(found["summary"])] == found["summary"]
    assert any(line.startswith("price ") for line in shown)


def test_runs_like_those_before_have_no_culprit(shelf: Shelf, rest: httpx.Client) -> None:
    """Nothing changed, whatever part of the time is asked about."""
    put_runs(shelf)
    assert asked(rest)["conclusion"] == "nothing_unusual"
    part = asked(rest, until=seconds(CHANGE + 600).isoformat())
    assert (part["conclusion"], part["pool"]["runs"]) == ("nothing_unusual", 10)
    assert told(rest, "--since", part["since"]).splitlines()[1] == "Nothing unusual was found."


def test_executions_that_fail_more_often_are_seen(shelf: Shelf, rest: httpx.Client) -> None:
    """An error in a third of the runs, none before."""
    put_runs(shelf, failing=7)
    found = asked(rest)
    culprit = found["culprits"][0]
    assert (found["conclusion"], culprit["step"]) == ("fault", "choose")
    first = culprit["evidence"][0]
    assert (first["kind"], first["figure"], first["usual"]) == ("runs", "ended without error", 1.0)
    assert first["value"] == pytest.approx(1 - 7 / SINCE)
    assert set(culprit["run_ids"]) <= {f"run-{BEFORE + number}" for number in range(7)}


def test_too_few_runs_say_nothing(shelf: Shelf, rest: httpx.Client) -> None:
    """Below 20 runs before, and without any since; a version has its own runs on both sides."""
    put_runs(shelf, shift=0.2, before=19, versions="12")
    assert asked(rest)["conclusion"] == "no_baseline"
    of_version = asked(rest, version="2")
    assert (of_version["conclusion"], of_version["baseline"]["runs"]) == ("no_baseline", 0)
    assert of_version["pool"]["runs"] == SINCE
    none = asked(rest, version="1")
    assert (none["conclusion"], none["pool"], none["culprits"]) == (
        "no_runs",
        {"runs": 0, "first_started_at": None, "last_started_at": None},
        [],
    )


@pytest.mark.parametrize(
    ("parameters", "name"),
    [
        ({}, "since"),
        ({"since": "yesterday"}, "since"),
        ({"since": "2025-03-01T12:00:00"}, "since"),
        ({"since": "2025-03-01T12:00:00Z", "until": "2025-03-01T12:00:00Z"}, "until"),
        ({"since": "2025-03-01T12:00:00Z", "until": "later"}, "until"),
        ({"since": "2025-03-01T12:00:00Z", "version": ""}, "version"),
        ({"since": "2025-03-01T12:00:00Z", "limit": "5"}, "limit"),
    ],
)
def test_what_is_refused(rest: httpx.Client, parameters: dict[str, str], name: str) -> None:
    """Each wrong parameter is named."""
    response = rest.get(PATH, params=parameters)
    assert response.status_code == 422
    assert response.json()["error"]["parameter"] == name
