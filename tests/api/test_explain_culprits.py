"""Which step is suspected, on figures that are built here."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from random import Random
from typing import Any

import pytest

from api.explain.analysis import explain
from api.explain.records import Explanation
from api.explain.unusual import Executed, unusual
from api.explain.usual import Usual
from store.queries.baseline import StepRow
from store.queries.figures import Figures
from store.queries.habits import Habits
from store.queries.types import CountsByVerdict, StepRecord
from tests.fixtures.run_records import baseline, judged, material, step_record

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
    said = "“reason rare” is 30.0 % (median of 120 runs: 1.0 %)"
    percent = f"{100 * found.culprits[0].confidence:.1f} %"
    assert f"Step at fault: second, with {percent} confidence. {said}." in found.summary
    assert "Nothing unusual was found." not in found.summary


def test_a_figure_that_few_runs_have() -> None:
    """The evidence says of how many runs the usual value is, which is not of all."""
    random, score = Random(1), "level:score mean"

    def scored(run: Run, value: float) -> Run:
        second = run["second"]
        return {**run, "second": second._replace(values={**second.values, score: value})}

    runs = [usual(random) for _ in range(RUNS)]
    baseline = [scored(run, random.gauss(5, 0.1)) if not place % 3 else run for place, run in enumerate(runs)]
    found = explain(replace(material(steps()), habits=Habits(scored(usual(Random(3)), 9.0), baseline)))
    assert (found.conclusion, found.culprits[0].step) == ("fault", "second")
    assert found.culprits[0].evidence[0].baseline_runs == RUNS / 3
    assert "(median of 40 runs: " in " ".join(found.summary)


def test_too_few_runs_to_say_what_is_usual() -> None:
    """That nothing was found then says little, and the summary says so."""
    little = "That says little: fewer than 20 other runs tell what is usual."
    few, many = explained(usual(Random(2)), runs=19), explained(usual(Random(2)))
    assert (few.conclusion, little in few.summary) == ("no_baseline", True)
    assert (many.conclusion, little in many.summary) == ("nothing_unusual", False)


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


def sourced(random: Random, **amounts: float) -> Run:
    """A healthy run of a search in three sources and a lookup of one of three kinds; amounts: of sources."""
    given = {name: amounts.get(name, random.gauss(60, 6)) for name in ("east", "north", "west")}
    total = sum(given.values())
    kinds = {"level:value least": 0.0, "level:value most": 1.0, "level:value kinds": 3.0}
    mean = amounts.get("mean", random.gauss(0.4, 0.02))
    found = {f"amount:from {name}": math.log1p(count) for name, count in given.items() if count}
    found |= {f"share:from {name}": count / total for name, count in given.items() if count}
    return {
        "search": Figures(round(total), {"amount:out": math.log1p(total), **found}),
        "lookup": Figures(
            round(total),
            {
                "share:out": 1.0,
                **kinds,
                "level:value mean": mean,
                "level:value most": amounts.get("most", 1.0),
            },
        ),
        "first": Figures(round(total), {"share:out": random.gauss(0.5, 0.02)}),
        "second": Figures(round(total), {"share:out": amounts.get("share", random.gauss(0.5, 0.02))}),
    }


def held_against(own: Run, make: Callable[[Random], Run]) -> Explanation:
    """The explanation of a run beside healthy ones."""
    random = Random(1)
    habits = Habits(own, [make(random) for _ in range(RUNS)])
    return explain(replace(material(steps()), habits=habits))


def test_a_source_that_gives_less_is_named_and_another_mix_is_not() -> None:
    """One source that is down, or gone, is a fault of the search; that another gives more instead is none."""
    for left in (20.0, 0.0):
        found = held_against(sourced(Random(11), east=left), sourced)
        assert (found.conclusion, found.culprits[0].step) == ("fault", "search")
        assert found.culprits[0].evidence[0].figure == "from east"
    mixed = held_against(sourced(Random(11), east=20.0, west=110.0), sourced)
    assert mixed.conclusion == "nothing_unusual"


def test_what_is_less_of_a_wonder_tells_a_mix_from_a_loss() -> None:
    """Two sources that make up for a third are another mix; a source is down when all together lack it."""
    made_up = held_against(sourced(Random(11), east=22.0, north=79.0, west=79.0), sourced)
    assert made_up.conclusion == "nothing_unusual"
    down = held_against(sourced(Random(11), east=0.0, north=78.0, west=66.0), sourced)
    assert (down.conclusion, down.culprits[0].step) == ("fault", "search")


def test_a_source_that_never_was_silent_is_down_even_where_others_make_up_for_it() -> None:
    """A source that fails and is stood in for is no other mix: that asks it for less, not for nothing."""
    stood_in = held_against(sourced(Random(11), east=0.0, north=100.0, west=100.0), sourced)
    assert (stood_in.conclusion, stood_in.culprits[0].step) == ("fault", "search")


def test_under_another_mix_of_sources_a_later_step_must_be_farther_off_than_the_mix() -> None:
    """What comes of sources that were never asked so much is no fault of the step that it shows in."""
    mixed = sourced(Random(11), east=20.0, west=110.0, share=0.6)
    assert held_against(mixed, sourced).conclusion == "nothing_unusual"
    assert held_against(sourced(Random(11), share=0.6), sourced).conclusion == "fault"


def test_a_bound_that_was_never_reached_suspects_and_does_not_convict() -> None:
    """However far it is, one run in as many as are known goes beyond by chance."""

    def bounded(random: Random, most: float = 12.0) -> Run:
        return {"second": Figures(100, {"share:out": random.gauss(0.5, 0.02), "level:value most": most})}

    found = held_against(bounded(Random(13), most=18.0), bounded)
    assert (found.conclusion, found.culprits[0].step) == ("nothing_unusual", "second")
    assert found.culprits[0].evidence[0].figure == "value most"
    assert 2 < found.culprits[0].suspicion < 3


def test_what_few_runs_tell_counts_less() -> None:
    """The same spread over fewer runs is wider; of means of runs, hardly."""

    def deviation(runs: int, together: int = 1) -> float:
        known = [{"one": Figures(100, {"level:score mean": float(run % 5)})} for run in range(runs)]
        own = Figures(100, {"level:score mean": 2.0})
        return Usual(known, together).columns("one", own)["level:score mean"].deviation(100)

    assert deviation(40) > 1.2 * deviation(200) > 1.2 * deviation(200, together=5)
    assert deviation(40, together=5) < 1.05 * deviation(200, together=5)


def test_more_of_a_known_kind_is_traffic_and_a_new_kind_is_not() -> None:
    """A lookup that tells a few kinds is not at fault for their mix, until it tells one that never was."""
    assert held_against(sourced(Random(12), mean=0.6), sourced).conclusion == "nothing_unusual"
    new = held_against(sourced(Random(12), mean=0.6, most=7.0), sourced)
    assert (new.conclusion, new.culprits[0].step) == ("fault", "lookup")
    # Of other things, more must be unusual before a later step is suspected.
    assert held_against(sourced(Random(12), share=0.62), sourced).conclusion == "fault"
    assert held_against(sourced(Random(12), share=0.62, mean=0.6), sourced).conclusion == "nothing_unusual"


def queried(random: Random, limit: float | None = None, share: float | None = None) -> Run:
    """A healthy run in which the query sets the limit of ``second``, and with it how many pass."""
    limit = random.gauss(10, 2) if limit is None else limit
    passing = 0.5 + 0.04 * (limit - 10) + random.gauss(0, 0.01) if share is None else share
    figures = {"level:threshold p50": limit, "share:out": passing}
    return {"second": Figures(100, figures)}


def test_what_the_query_asks_for_explains_what_passes() -> None:
    """A limit at the edge of the usual with the share that belongs to it is usual; without it, it is not."""
    assert held_against(queried(Random(13), limit=15.5), queried).conclusion == "nothing_unusual"
    found = held_against(queried(Random(13), limit=10.0, share=0.85), queried)
    assert (found.conclusion, found.culprits[0].step) == ("fault", "second")


def test_a_step_cannot_keep_more_than_it_gets() -> None:
    """The best 60 of fewer than 60 are all of them, and no sign of a fault."""

    def best(random: Random, taken_in: int = 0) -> Run:
        taken_in = taken_in or random.randint(70, 110)
        out = min(60, taken_in)
        return {"second": Figures(taken_in, {"amount:out": math.log1p(out), "share:out": out / taken_in})}

    random = Random(14)
    baseline = [best(random) for _ in range(RUNS)]
    found = unusual([Executed("second", best(random, 50)["second"])], Usual(baseline))[0]
    assert next(one for one in found if one.figure == "amount:out").deviations == 0
    lost = Figures(100, {"amount:out": math.log1p(50), "share:out": 0.5})
    found = unusual([Executed("second", lost)], Usual(baseline))[0]
    assert next(one for one in found if one.figure == "amount:out").deviations < -5


def test_suspect_and_culprits_are_one_answer() -> None:
    """The suspect is the first culprit; without a fault there is none, whatever a rule would say."""
    rows = [StepRow("first", 100, 0.5 + 0.01 * (number % 3), None, None, None) for number in range(30)]
    dropping = [*steps()[:2], judged("first", 100, 2, index=2), judged("second", 2, 1, index=3)]
    ruled = replace(material(dropping, usual=baseline(rows, 30)), habits=Habits(usual(Random(3)), ()))
    found = explain(ruled)
    assert found.conclusion == "no_baseline"
    assert found.suspect is not None
    assert found.suspect.step == "first"
    random = Random(1)
    healthy = [usual(random) for _ in range(RUNS)]
    named = explain(replace(ruled, habits=Habits(usual(Random(3), rare=0.3), healthy)))
    assert named.suspect is not None
    assert named.suspect.step == named.culprits[0].step == "second"
    none = explain(replace(ruled, habits=Habits(usual(Random(3)), healthy)))
    assert (none.conclusion, none.suspect) == ("nothing_unusual", None)


def test_what_failed_comes_before_what_lost_candidates() -> None:
    """An error is the step's own, also after another step whose counts do not add up."""
    counts = CountsByVerdict(kept=5, eliminated=2)
    gap = step_record("first", candidates_in=10, candidates_out=5, counts=counts)
    failed = judged("second", 5, 2, status="error", error_type="TimeoutError")
    found = explain(material([gap, failed]))
    assert [culprit.step for culprit in found.culprits] == ["second", "first"]
    assert found.suspect is not None
    assert found.suspect.step == "second"
