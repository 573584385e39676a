"""Figures of a run and of those it is held against, read from a real database."""

from __future__ import annotations

import math
from typing import Any
from uuid import UUID

import pytest

from store.queries.figures import Figures, Recorded, figures
from store.queries.habits import NO_HABITS, REMEMBERED_S, Known
from store.reader import Reader
from tests.fixtures.reading import Shelf, chunk, run_copy, step_copy

IDENTITY: dict[str, Any] = {"pipeline": "shop", "pipeline_version": "v1"}


def put_run(shelf: Shelf, run_id: str, at: float, out: int, **step: Any) -> None:
    """Store a run of one filter of four candidates, with their decisions."""
    filtered = step_copy(
        run_id,
        "s1",
        at,
        name="by_price",
        candidates_in=4,
        candidates_out=out,
        reason_codes=("dear", "never"),
        reason_counts=(4 - out, 0),
        score=(None, None, 0.5, None, None, None, None),
        fields={"price": {"missing": 0.25, "mean": 3.0, "std": None, "p50": 3.5}},
        sources={"north": 3, "south": 1},
        metrics={"calls": 8.0},
        **step,
    )
    made = chunk(
        run_id, "s1", ["a", "b", "c", "a"], "KKEE", value=[1, 2.0, None, 9], threshold=5.0, missing=[2]
    )
    shelf.put(run_copy(run_id, at, **IDENTITY), filtered, made)


def test_figures_of_a_run_and_of_others(shelf: Shelf, reader: Reader) -> None:
    """Metrics and decisions of the run itself stand apart from those of the others, the latest first."""
    for number, out in enumerate((1, 2, 3)):
        put_run(shelf, f"r{number}", number, out)
    found = reader.habits("r0", "shop", "v1")
    assert [run["by_price"].values["share:out"] for run in found.baseline] == [0.75, 0.5]
    own = found.own["by_price"]
    assert own.size == 4
    assert own.values == pytest.approx(
        {
            "amount:out": math.log1p(1),
            "share:out": 0.25,
            "share:merged": 0.0,
            "share:deferred": 0.0,
            "share:not_selected": 0.0,
            "share:reason dear": 0.75,
            "share:reason never": 0.0,
            "level:score mean": 0.5,
            "share:missing of price": 0.25,
            "level:mean of price": 3.0,
            "level:p50 of price": 3.5,
            "amount:from north": math.log1p(3),
            "amount:from south": math.log1p(1),
            "share:from north": 0.75,
            "share:from south": 0.25,
            "level:metric calls": 2.0,
            "part:repeated": 0.25,
            "part:without a value": 0.25,
            "part:kept without a value": 0.0,
            "level:value mean": 4.0,
            "level:value least": 1,
            "level:value most": 9,
            "level:value kinds": 3,
            "part:judged both ways below the limit": 0.0,
            "part:judged both ways at the limit": 0.0,
            "part:judged both ways above the limit": 0.0,
            "part:judged both ways off the limit": 0.0,
            "level:threshold p50": 5.0,
        }
    )


def test_others_are_remembered_for_a_while(shelf: Shelf, reader: Reader) -> None:
    """A second question reads nothing of the baseline again; the run itself is always read."""
    put_run(shelf, "asked", 0, 1)
    put_run(shelf, "other", 1, 2)
    first = reader.habits("asked", "shop", "v1")
    again = reader.habits("asked", "shop", "v1")
    assert again == first
    assert again.baseline[0] is first.baseline[0]
    assert again.own is not first.own


def test_what_is_remembered_is_bounded_and_ages(monkeypatch: pytest.MonkeyPatch) -> None:
    """The longest known run goes first; an old one, or one without what is asked for, is read again."""
    now = [0.0]
    known = Known(lambda: now[0])
    monkeypatch.setattr("store.queries.habits.REMEMBERED_EXECUTIONS", 3)
    keys = [UUID(int=number) for number in range(3)]
    pair = {"a": Figures(1, {}), "b": Figures(1, {})}
    known.put(keys[0], pair, evidence=True)
    assert known.get(keys[0], evidence=True) is pair
    known.put(keys[1], pair, evidence=False)
    assert known.get(keys[0], evidence=False) is None
    assert known.get(keys[1], evidence=False) is pair
    assert known.get(keys[1], evidence=True) is None
    known.put(keys[1], pair, evidence=True)
    known.put(keys[2], {"a": Figures(1, {})}, evidence=True)
    assert known.get(keys[1], evidence=True) is pair
    now[0] = REMEMBERED_S + 1
    assert known.get(keys[1], evidence=True) is None


def test_failed_executions_are_no_habit(shelf: Shelf, reader: Reader) -> None:
    """What ended in error says nothing about what is usual; of the run itself it is looked at."""
    put_run(shelf, "asked", 0, 1, status="error")
    put_run(shelf, "failed", 1, 1, status="error")
    found = reader.habits("asked", "shop", "v1")
    assert found.baseline == [{}]
    assert found.own.keys() == {"by_price"}


def test_other_pipelines_and_versions_are_left_out(shelf: Shelf, reader: Reader) -> None:
    """Only completed runs of the same pipeline and version; none without a pipeline or of an unknown run."""
    put_run(shelf, "asked", 0, 1)
    shelf.put(run_copy("other", 1, pipeline="shop", pipeline_version="v2"))
    shelf.put(run_copy("crashed", 1, **IDENTITY, status="crashed"))
    assert reader.habits("asked", "shop", "v1").baseline == []
    assert reader.habits("asked", None, None) == NO_HABITS
    assert reader.habits("unknown", "shop", "v1") == NO_HABITS


def test_a_step_without_metrics_has_hardly_a_figure() -> None:
    """Nothing is made up of what was not recorded."""
    assert figures(Recorded(None, None, {}, {}, {}, {}, {}, {})) == Figures(
        1, {"share:merged": 0.0, "share:deferred": 0.0, "share:not_selected": 0.0}
    )
