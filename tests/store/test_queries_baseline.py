"""What a run is held against, read from a real database."""

from __future__ import annotations

from contextlib import closing
from itertools import pairwise
from typing import Any

import pytest

from store.erase import Eraser
from store.queries.baseline import Baseline, Baselines, Spread, State, StepBaseline, spread
from store.reader import Reader
from store.rows import Outcome
from tests.fixtures.reading import Shelf, ns, run_copy, seconds, step_copy

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


def test_a_second_question_does_not_read_the_steps_again(shelf: Shelf, reader: Reader) -> None:
    """Whoever asks: what a baseline depends on are its runs."""
    put_run(shelf, "r1", 50)
    first = reader.baseline("shop", "v1", without="asked")
    assert reader.baseline("shop", "v1", without="another") is first
    assert reader.baseline("shop", "v1", without="r1").runs == 0


def test_what_is_remembered_is_what_would_be_read(shelf: Shelf, reader: Reader, database_url: str) -> None:
    """After another run, a step that came late, another end of a step, a bad outcome and an erased run."""
    seen: list[Baseline] = []

    def check(runs: int) -> None:
        with closing(Reader.open(database_url)) as fresh:
            seen.append(fresh.baseline("shop", "v1", without="asked"))
        assert seen[-1].runs == runs
        assert reader.baseline("shop", "v1", without="asked") == seen[-1]

    put_run(shelf, "first-run", 50, at=1.0)
    check(1)
    put_run(shelf, "r2", 20, at=2.0)
    check(2)
    late = {"name": "late of first-run", "candidates_in": 5}
    shelf.put(step_copy("first-run", "late", 1.5, candidates_out=1, **late))
    check(2)
    # Of two ends the earlier one holds.
    shelf.put(step_copy("first-run", "late", 1.4, candidates_out=5, **late))
    check(2)
    shelf.put(Outcome("r2", "bad", None, True, ns(seconds(3.0))))
    check(1)
    # Its counts stay, without its id.
    assert Eraser(database_url).run("first-run") is not None
    check(1)
    assert not any("first-run" in name for name in seen[-1].steps)
    assert all(one != other for one, other in pairwise(seen))


def test_baselines_that_are_remembered_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """By their bytes; the one not asked for the longest goes first, and one that is too large is not kept."""
    monkeypatch.setattr("store.queries.baseline.REMEMBERED_BYTES", 2_500)
    step = StepBaseline("s", 1, None, {"a": 1}, 1, 1, {})
    small, large = Baseline("p", None, 1, {"s": step}), Baseline("p", None, 1, dict.fromkeys("abcd", step))
    states = [State("p", None, bytes([number])) for number in range(4)]
    known = Baselines()
    for state in states[:2]:
        known.put(state, small)
    assert known.get(states[0]) is small
    known.put(states[2], small)
    assert [known.get(state) for state in states] == [small, None, small, None]
    known.put(states[3], large)
    assert [known.get(state) for state in states] == [small, None, small, None]
