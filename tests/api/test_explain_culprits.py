"""Which step is suspected, on figures that are built here."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from random import Random
from typing import Any

import pytest

from api.explain.analysis import explain
from api.explain.records import Explanation
from store.queries.figures import Figures
from store.queries.habits import Habits
from store.queries.types import StepRecord
from tests.fixtures.run_records import judged, material, step_record

RUNS = 120
Run = Mapping[str, Figures]


def steps(**changes: Any) -> list[StepRecord]:
    """A search, a lookup, a filter and a filter after it, whose counts add up."""
    return [
        step_record("search", "search", candidates_out=100, index=0),
        judged("lookup", 100, 100, index=1),
        judged("first", 100, 50, index=2, **changes),
        judged("second", 50, 25, index=3),
    ]


def usual(random: Random, size: int = 100, **changed: float) -> Run:
    """
    One healthy run: ``first`` drops by what ``lookup`` gave, ``second`` by chance.

    changed: value of ``level`` of lookup, ``drop`` added to what first lets out, ``rare`` reason of second.
    """
    level = changed.get("level", random.gauss(10, 1))
    first = 0.5 + 0.03 * (level - 10) + random.gauss(0, 0.01) + changed.get("drop", 0.0)
    second = random.gauss(0.5, 0.05)
    return {
        "search": Figures(
            size,
            {"amount:out": math.log1p(size), "level:mean of x": changed.get("traffic", random.gauss(3, 0.2))},
        ),
        "lookup": Figures(size, {"level:mean of y": level}),
        "first": Figures(size, {"share:out": first, "share:reason low": 1 - first}),
        "second": Figures(size, {"share:out": second, "share:reason rare": changed.get("rare", 0.01)}),
    }


def explained(own: Run, runs: int = RUNS, found: Sequence[StepRecord] | None = None) -> Explanation:
    """The explanation of a run with these figures, held against healthy ones."""
    random = Random(1)
    baseline = [usual(random) for _ in range(runs)]
    return explain(replace(material(found or steps()), habits=Habits(own, baseline)))


def test_a_usual_run_has_no_culprit() -> None:
    """Of 60 healthy runs hardly one is called faulty."""
    random = Random(2)
    conclusions = [explained(usual(random)).conclusion for _ in range(60)]
    assert conclusions.count("nothing_unusual") >= 57


def test_the_step_that_stands_out_is_named_with_its_evidence() -> None:
    """A reason that is given far too often names its step; the evidence says how much is usual."""
    found = explained(usual(Random(3), rare=0.3))
    assert found.conclusion == "fault"
    culprit = found.culprits[0]
    assert culprit.step == "second"
    assert culprit.confidence > 0.8
    evidence = culprit.evidence[0]
    assert (evidence.figure, evidence.kind, evidence.value) == ("reason rare", "share", 0.3)
    assert evidence.usual == pytest.approx(0.01)
    assert evidence.baseline_runs == RUNS


def test_what_follows_from_an_earlier_step_is_not_suspected() -> None:
    """The drop ratio of ``first`` moves with the level of ``lookup``, as always: lookup is at fault."""
    found = explained(usual(Random(4), level=20.0))
    assert found.conclusion == "fault"
    assert found.culprits[0].step == "lookup"
    # The same drop without the level that explains it is its own fault.
    found = explained(usual(Random(4), drop=0.3))
    assert found.culprits[0].step == "first"


def test_other_traffic_is_no_fault_of_the_source() -> None:
    """Another mean of what is searched in does not speak against the search."""
    assert explained(usual(Random(5), traffic=9.0)).conclusion == "nothing_unusual"


def test_under_other_traffic_a_step_must_be_farther_off() -> None:
    """What follows from things never seen is no fault; what is still farther off is one."""
    assert explained(usual(Random(5), rare=0.04)).conclusion == "fault"
    assert explained(usual(Random(5), traffic=6.0, rare=0.04)).conclusion == "nothing_unusual"
    assert explained(usual(Random(5), traffic=4.0, rare=0.3)).conclusion == "fault"


def test_the_words_say_what_is_unusual() -> None:
    """The summary names the step, the confidence and each figure beside the usual one."""
    found = explained(usual(Random(3), rare=0.3))
    assert any(line.startswith("Most unusual: second, at fault with ") for line in found.summary)
    assert "There “reason rare” is 30.0 % (median of 120 runs: 1.0 %)." in found.summary
    assert "Nothing unusual was found." not in found.summary


def test_a_much_larger_run_is_outside_of_the_baseline() -> None:
    """Nothing is said about a run that is ten times as large as all others."""
    assert explained(usual(Random(6), size=1_000, rare=0.3)).conclusion == "outside_baseline"


def test_without_a_baseline_only_signs_count() -> None:
    """Few runs say nothing about what is usual; an error needs none."""
    assert explained(usual(Random(7), rare=0.3), runs=5).conclusion == "no_baseline"
    failed = steps(status="error", error_type="TimeoutError")
    found = explained(usual(Random(7)), runs=5, found=failed)
    assert found.conclusion == "fault"
    assert found.culprits[0].step == "first"
    assert [found.findings[number].kind for number in found.culprits[0].findings] == ["step_error"]


def test_the_same_record_gives_the_same_answer() -> None:
    """Nothing hangs on order or chance."""
    own = usual(Random(8), rare=0.2)
    assert explained(own) == explained(own)


def test_extreme_figures_do_no_harm() -> None:
    """Values without any spread in the baseline, and far from it, are ranked like others."""
    own = {**usual(Random(9)), "lookup": Figures(100, {"level:mean of y": 1e300})}
    found = explained(own)
    assert found.culprits[0].step == "lookup"
    assert all(0 <= culprit.confidence <= 1 for culprit in found.culprits)
