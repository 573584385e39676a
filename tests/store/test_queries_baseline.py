"""What a run is held against, read from a real database."""

from __future__ import annotations

from typing import Any

import pytest

from store.queries.baseline import Spread, spread
from store.reader import Reader
from tests.fixtures.reading import Shelf, run_copy, step_copy

IDENTITY: dict[str, Any] = {"pipeline": "shop", "pipeline_version": "v1"}


def put_run(shelf: Shelf, run_id: str, out: int, *, at: float = 0.0, **changes: Any) -> None:
    """Store a run of one filter that let ``out`` of 100 candidates pass."""
    step = step_copy(
        run_id,
        "s1",
        at,
        name="by_price",
        candidates_in=100,
        candidates_out=out,
        reason_codes=("dear", "never"),
        reason_counts=(100 - out, 0),
        fields={"price": {"missing": out / 1000, "mean": None, "std": None, "p50": None}},
    )
    shelf.put(run_copy(run_id, at, **(IDENTITY | changes)), step)


def test_baseline_summarises_other_runs(shelf: Shelf, reader: Reader) -> None:
    """Medians, reasons and missing shares come from the other completed runs, not from the run itself."""
    for number, out in enumerate((10, 20, 60)):
        put_run(shelf, f"r{number}", out, at=number)
    put_run(shelf, "asked", 99, at=9)
    found = reader.baseline("shop", "v1", without="asked")
    assert found.runs == 3
    step = found.steps["by_price"]
    assert step.drop_ratio is not None
    assert (step.drop_ratio.n, step.drop_ratio.median) == (3, 0.8)
    assert step.drop_ratio.deviation == pytest.approx(0.1)
    assert step.reasons == {"dear": 210, "never": 0}
    assert (step.n, step.reasons_n, step.judged) == (3, 3, 300)
    assert step.missing["price"].median == pytest.approx(0.02)


@pytest.mark.parametrize(
    "changes",
    [{"pipeline": "other"}, {"pipeline_version": "v2"}, {"pipeline_version": None}, {"status": "crashed"}],
)
def test_other_runs_are_no_baseline(shelf: Shelf, reader: Reader, changes: dict[str, Any]) -> None:
    """Runs of another pipeline or version, and runs that did not complete, are not compared with."""
    put_run(shelf, "other", 50, **changes)
    assert reader.baseline("shop", "v1", without="asked").runs == 0


def test_version_unknown_matches_unknown(shelf: Shelf, reader: Reader) -> None:
    """Runs that name no version are the baseline of runs that name none."""
    put_run(shelf, "r1", 50, pipeline_version=None)
    assert reader.baseline("shop", None, without="asked").runs == 1


def test_latest_runs_count(shelf: Shelf, reader: Reader) -> None:
    """Of more than 200 runs the latest 200 are taken."""
    for number in range(205):
        put_run(shelf, f"r{number}", 0 if number < 5 else 50, at=number)
    found = reader.baseline("shop", "v1", without="asked")
    assert found.runs == 200
    assert found.steps["by_price"].drop_ratio == Spread(200, 0.5, 0.0)


def test_pipeline_without_name_has_no_baseline(reader: Reader) -> None:
    """A run that names no pipeline is compared with nothing."""
    assert reader.baseline(None, None, without="asked").runs == 0


def test_spread_of_nothing() -> None:
    """No values, no median."""
    assert spread([]) is None
