"""The analysis on records that are built here; no store, no server."""

from __future__ import annotations

import random
from datetime import timedelta
from typing import Any

import pytest

from api.explain.analysis import explain
from api.explain.records import Explanation, Material
from api.explain.stories import best_rival
from store.queries.baseline import StepRow
from store.queries.types import CountsByVerdict, RunCompleteness
from tests.fixtures.run_records import START, baseline, decision, journey, judged, material, step_record


def kinds(explanation: Explanation) -> list[str]:
    """The kinds of the findings, in order."""
    return [finding.kind for finding in explanation.findings]


def healthy_rows(executions: int = 12) -> list[StepRow]:
    """``by_type`` as it usually goes: half of 100 candidates differ in type, no type is unknown."""
    counts = {"type_differs": 50, "type_matches": 50, "type_unknown": 0}
    return [
        StepRow("by_type", 100, 0.45 + 0.01 * number, list(counts), list(counts.values()), None)
        for number in range(executions)
    ] + [StepRow("search", None, None, None, None, {"type": {"missing": 0.0}}) for _ in range(executions)]


def laptop_stand_case() -> Material:
    """A phone case is matched to a laptop stand whose type is missing; the rival case comes second."""
    search = step_record("search", "search", candidates_out=100, fields={"type": {"missing": 0.25}})
    reasons = {"type_differs": 40, "type_matches": 45, "type_unknown": 15}
    by_type = judged("by_type", 100, 60, reasons=reasons)
    rank = step_record(
        "rank",
        "rank",
        candidates_in=60,
        candidates_out=2,
        counts=CountsByVerdict(kept=2, not_selected=58),
    )
    select = step_record(
        "choose",
        "select",
        candidates_in=2,
        candidates_out=1,
        selected_id="stand",
        counts=CountsByVerdict(selected=1, not_selected=1),
    )
    stand = journey(
        "stand",
        (
            by_type,
            decision("stand", "kept", reason="type_unknown", value_missing=True, threshold="phone_case"),
        ),
        (select, decision("stand", "selected", score=0.78)),
    )
    case = journey(
        "case",
        (
            by_type,
            decision("case", "kept", reason="type_matches", value="phone_case", threshold="phone_case"),
        ),
        (select, decision("case", "not_selected", score=0.63)),
    )
    rivals = [decision("case", "not_selected", score=0.63)]
    usual = baseline(healthy_rows(), 12)
    return material([search, by_type, rank, select], usual=usual, winner=stand, runner_up=case, rivals=rivals)


def test_missing_value_is_named() -> None:
    """The check that passed the winner without a value is the step at fault, with reason and counts."""
    found = explain(laptop_stand_case())
    assert found.suspect is not None
    assert found.suspect.step == "by_type"
    decisive = found.findings[found.suspect.findings[0]]
    assert decisive.kind == "kept_without_value"
    assert decisive.evidence["item_id"] == "stand"
    assert decisive.evidence["reason"] == "type_unknown"
    assert (decisive.evidence["reason_count"], decisive.evidence["baseline_reason_count"]) == (15, 0)
    assert "by_type kept stand although the value it checks was missing" in decisive.text


def test_origin_of_missing_value_is_cited() -> None:
    """The earlier step whose items lack the field, and the new reason, support the verdict."""
    found = explain(laptop_stand_case())
    assert found.suspect is not None
    cited = {(found.findings[number].kind, found.findings[number].step) for number in found.suspect.findings}
    assert cited == {
        ("kept_without_value", "by_type"),
        ("new_reason", "by_type"),
        ("missing_field_rise", "search"),
    }


def test_runner_up_and_margin() -> None:
    """The item that would have won comes with its margin and with what the faulty step said about it."""
    found = explain(laptop_stand_case())
    assert found.winner is not None
    assert found.winner.item_id == "stand"
    assert found.runner_up is not None
    assert found.runner_up.item_id == "case"
    assert found.runner_up.margin == pytest.approx(0.15)
    assert any("case was kept for type_matches (value phone_case)" in line for line in found.summary)


def test_usual_habit_is_no_fault() -> None:
    """A pipeline that usually passes items without a value is told so, and no step is blamed for it."""
    counts = {"type_unknown": 20, "type_matches": 80}
    rows = [StepRow("by_type", 100, 0.0, list(counts), list(counts.values()), None) for _ in range(12)]
    step = judged("by_type", 100, 100, reasons=counts, selected_id="a")
    made = journey("a", (step, decision("a", "kept", reason="type_unknown", value_missing=True)))
    found = explain(material([step], usual=baseline(rows, 12), winner=made))
    assert kinds(found) == ["kept_without_value"]
    assert found.suspect is None
    assert any("as usual in this pipeline" in line for line in found.summary)


@pytest.mark.parametrize("hidden", [1, 7, 99])
def test_audit_names_hidden_items(hidden: int) -> None:
    """A step that gives no verdict on some candidates is named with exactly their number."""
    step = step_record(
        "by_price",
        candidates_in=1000,
        candidates_out=400,
        counts=CountsByVerdict(kept=400, eliminated=600 - hidden),
    )
    found = explain(material([step]))
    assert found.audit[0].unaccounted == hidden
    assert kinds(found) == ["count_gap"]
    assert found.findings[0].evidence["unaccounted"] == hidden
    assert found.suspect is not None
    assert found.suspect.step == "by_price"


def test_audit_names_items_lost_between_steps() -> None:
    """Candidates that one step gives out and the next does not take in are counted."""
    found = explain(material([judged("first", 100, 60), judged("second", 57, 20)]))
    assert kinds(found) == ["handover_gap"]
    assert found.findings[0].evidence["difference"] == 3
    assert found.findings[0].evidence["previous_step_ids"] == ["id-first"]


def test_audit_follows_declared_parents() -> None:
    """A join takes in at most what its branches gave out together; fewer is no loss, more is."""
    branches = [judged("left", 100, 30), judged("right", 100, 50, parents=())]
    parents = ("id-left", "id-right")
    fewer = explain(material([*branches, judged("join", 70, 10, parents=parents)]))
    join = step_record("join", candidates_in=81, candidates_out=10, parents=parents)
    more = explain(material([*branches, join]))
    assert kinds(fewer)[-1:] != ["handover_gap"]
    assert more.findings[-1].evidence["difference"] == -1


def test_step_without_counts_is_passed_over() -> None:
    """A step that counts nothing stands between two that do without breaking the chain."""
    think = step_record("think", "llm")
    found = explain(material([judged("first", 100, 60), think, judged("second", 60, 20)]))
    assert kinds(found) == []
    assert found.audit[2].previous_step_ids == ["id-first"]


def test_search_is_no_judge() -> None:
    """A search step names what it found and not what it passed over: no alarm."""
    search = step_record(
        "find", "search", candidates_in=500, candidates_out=20, counts=CountsByVerdict(kept=20)
    )
    found = explain(material([search]))
    assert found.audit[0].unaccounted is None
    assert kinds(found) == []


@pytest.mark.parametrize("seed", range(20))
def test_clean_run_has_nothing_unusual(seed: int) -> None:
    """A run like the others, chance included, is told to be unremarkable."""
    rng = random.Random(seed)
    rows = []
    for _ in range(30):
        kept = sum(rng.random() < 0.5 for _ in range(200))
        share = {"missing": rng.random() * 0.02}
        rows.append(StepRow("f", 200, 1 - kept / 200, ["dear", "fine"], [200 - kept, kept], {"price": share}))
    kept = sum(rng.random() < 0.5 for _ in range(200))
    reasons = {"dear": 200 - kept, "fine": kept}
    step = judged("f", 200, kept, reasons=reasons, fields={"price": {"missing": rng.random() * 0.02}})
    found = explain(material([step], usual=baseline(rows, 30)))
    assert kinds(found) == []
    assert found.suspect is None
    assert "Nothing unusual was found." in found.summary


def test_unusual_drop_ratio_is_named() -> None:
    """A filter that drops far more than usual is the step at fault, with the median it is held against."""
    rows = [StepRow("f", 100, 0.5 + 0.01 * (number % 3), None, None, None) for number in range(20)]
    found = explain(material([judged("f", 100, 2)], usual=baseline(rows, 20)))
    assert kinds(found) == ["drop_ratio_unusual"]
    assert found.findings[0].evidence["baseline_median"] == pytest.approx(0.51)
    assert found.largest_deviation is not None
    assert found.largest_deviation.difference == pytest.approx(0.47)


def test_few_runs_are_no_baseline() -> None:
    """With fewer executions than eight, nothing is called unusual."""
    rows = [StepRow("f", 100, 0.5, None, None, None) for _ in range(7)]
    found = explain(material([judged("f", 100, 2)], usual=baseline(rows, 7)))
    assert kinds(found) == []
    assert found.funnel[0].baseline_drop_ratio == 0.5


def test_error_comes_first() -> None:
    """A failed step is the one at fault, whatever else was found; its message is cited."""
    failed = step_record("rank", "rank", status="error", error_type="ValueError", error_message="no scores")
    gap = step_record("f", candidates_in=10, candidates_out=5, counts=CountsByVerdict(kept=5))
    found = explain(material([gap, failed], status="crashed"))
    assert found.suspect is not None
    assert found.suspect.step == "rank"
    assert found.first_error is not None
    assert found.first_error.error_message == "no scores"


def test_retry_is_judged_by_its_last_attempt() -> None:
    """A step that failed and then went well is no fault; the first error is still told."""
    first = judged("f", 10, 5, status="error", attempt_key="1", error_message="timeout")
    second = judged("f", 10, 5, attempt_key="2", attempt=2)
    found = explain(material([first, second]))
    assert [line.attempts for line in found.funnel] == [2]
    assert kinds(found) == []
    assert found.first_error is not None
    assert found.first_error.attempt == 1


def test_everything_eliminated() -> None:
    """When no candidate is left, the step that took the last ones is named with its reasons."""
    empty = judged("quality", 13, 0, reasons={"own_brand": 12, "out_of_stock": 1})
    found = explain(material([empty, judged("later", 0, 0)], outcome="no_match"))
    assert kinds(found) == ["all_eliminated"]
    assert "own_brand 12, out_of_stock 1" in found.findings[0].text
    assert found.winner is None
    assert "No item was selected." in found.summary


def test_largest_drop_leaves_out_what_cuts_by_size() -> None:
    """Ranking to a top ten is no elimination: the largest drop is a filter's."""
    rank = step_record("rank", "rank", candidates_in=60, candidates_out=1)
    found = explain(material([judged("f", 100, 60), rank]))
    assert found.largest_drop is not None
    assert found.largest_drop.step == "f"


@pytest.mark.parametrize(
    ("completeness", "sentence"),
    [
        (RunCompleteness("running", "full"), "has not ended"),
        (RunCompleteness("partial", "partial"), "evidence is missing"),
        (RunCompleteness("complete", "none"), "were not recorded"),
        (RunCompleteness("complete", "partial"), "Not every step recorded every candidate"),
        (RunCompleteness("complete", "sampled"), "as a sample"),
    ],
)
def test_completeness_is_stated(completeness: RunCompleteness, sentence: str) -> None:
    """The last line says how much of the record there is."""
    found = explain(material([], completeness=completeness))
    assert sentence in found.summary[-1]


def lasting(begin: float, end: float) -> dict[str, Any]:
    """Start and end of a step, in seconds into the run."""
    return {"started_at": START + timedelta(seconds=begin), "ended_at": START + timedelta(seconds=end)}


def test_parallel_steps_do_not_feed_each_other() -> None:
    """Steps that ran at the same time took nothing from each other, and it is not known what joined them."""
    search = step_record("search", "search", candidates_out=100, **lasting(0, 1))
    left = judged("left", 100, 30, **lasting(1, 3))
    right = judged("right", 100, 50, **lasting(2, 4))
    join = judged("join", 70, 10, **lasting(4, 5))
    after = judged("after", 9, 9, **lasting(5, 6))
    found = explain(material([search, left, right, join, after]))
    assert [line.previous_step_ids for line in found.audit] == [
        [], ["id-search"], ["id-search"], [], ["id-join"],
    ]  # fmt: skip
    assert [(finding.kind, finding.step) for finding in found.findings] == [("handover_gap", "after")]


def test_steps_inside_a_step_are_no_gap() -> None:
    """A step that encloses others hands nothing to them, nor do the inner ones feed what follows."""
    outer = judged("outer", 100, 10, **lasting(0, 5))
    first = judged("first", 100, 60, **lasting(1, 2))
    second = judged("second", 60, 12, **lasting(2, 3))
    after = judged("after", 10, 10, **lasting(6, 7))
    found = explain(material([outer, first, second, after]))
    assert kinds(found) == []


def test_an_earlier_attempt_is_not_held_against_the_last() -> None:
    """What a failed attempt decided about the winner is no finding about the attempt that counted."""
    failed = judged("f", 10, 5, status="error", error_type="Timeout", selected_id="a")
    second = judged("f", 10, 5, attempt_key="2", attempt=2, selected_id="a")
    made = journey(
        "a",
        (failed, decision("a", "selected", value_missing=True, score=0.1)),
        (second, decision("a", "selected", value=3.0, score=0.9)),
    )
    found = explain(material([failed, second], winner=made))
    assert kinds(found) == []
    assert found.winner is not None
    assert found.winner.score == 0.9
    assert [passage.value_missing for passage in found.winner.journey] == [False]


@pytest.mark.parametrize("verdict", ["deferred", "merged", "not_selected"])
def test_only_what_let_the_winner_pass_is_a_finding(verdict: str) -> None:
    """A step that did not let the winner pass is not said to have kept it."""
    step = judged("f", 10, 5, selected_id="a")
    made = journey("a", (step, decision("a", verdict, value_missing=True)))
    assert kinds(explain(material([step], winner=made))) == []


@pytest.mark.parametrize(
    ("own", "others", "nearest", "sentence"),
    [
        (0.9, (0.2, 0.7, 0.5), "i1", "Next: i1, 0.2 behind."),
        (1.0, (4.0, 3.0, 2.5), "i2", "Next: i2, whose score is 1.5 higher."),
        (0.5, (0.2, 0.7, 0.5), "i1", "Next: i1, whose score is 0.2 higher."),
        (0.5, (0.5, 0.2), "i0", "Next: i0, with the same score."),
    ],
)
def test_next_item(own: float, others: tuple[float, ...], nearest: str, sentence: str) -> None:
    """The best of the others comes next; where the smallest score won, the smallest of the others."""
    step = step_record("choose", "select", candidates_in=4, candidates_out=1, selected_id="w")
    rivals = [decision("w", "selected", score=own)]
    rivals += [decision(f"i{number}", "not_selected", score=score) for number, score in enumerate(others)]
    rival = best_rival(rivals, "w")
    assert rival is not None
    assert rival.item_id == nearest
    found = explain(
        material(
            [step],
            winner=journey("w", (step, rivals[0])),
            runner_up=journey(nearest, (step, rival)),
            rivals=rivals,
        )
    )
    assert sentence in found.summary


def test_a_run_that_has_not_ended() -> None:
    """While a run goes on, nothing is said as if it were final, and its steps are not called wanting."""
    begun = step_record("f", status="running", candidates_in=10)
    running = RunCompleteness("running", "none")
    found = explain(material([begun], status="running", outcome=None, completeness=running))
    assert "No item has been selected so far." in found.summary
    assert "Nothing unusual has been found so far." in found.summary
    assert "has not ended" in found.summary[-1]


def test_the_error_of_the_run_is_told() -> None:
    """What the run itself reported as its error stands in the first line."""
    found = explain(
        material([], status="crashed", outcome=None, error_type="KeyError", error_message="no price")
    )
    assert found.summary[0] == "Run run-1 of shop v1 for P1: crashed (KeyError: no price)."


def test_steps_beyond_those_read_are_said() -> None:
    """A run with more steps than are read says which part of it was looked at."""
    found = explain(material([judged("f", 10, 5)], steps_count=1200))
    assert "Only the first 1 of 1,200 steps were looked at." in found.summary


def test_one_execution_is_singular() -> None:
    """Numbers agree with their nouns."""
    rows = [StepRow("f", 100, 0.5, None, None, None)]
    found = explain(material([judged("f", 100, 60)], usual=baseline(rows, 1)))
    assert "Largest drop: f dropped 40.0 % (median of 1 execution: 50.0 %)." in found.summary


def test_reason_of_several_verdicts_is_not_counted_as_passed() -> None:
    """How many candidates passed that way is said only where the reason's count can mean nothing else."""
    step = judged("f", 10, 2, reasons={"unknown": 10}, selected_id="a")
    made = journey("a", (step, decision("a", "kept", reason="unknown", value_missing=True)))
    (finding,) = explain(material([step], winner=made)).findings
    assert "10 of 10 candidates" in finding.text
    assert "passed" not in finding.text


def test_a_long_funnel_is_told_in_short() -> None:
    """However many steps there are, the sentence stays readable: both ends and how many lie between."""
    steps = [judged(f"f{number}", 500 - number, 499 - number) for number in range(300)]
    (sentence,) = [s for s in explain(material(steps)).summary if s.startswith("Candidates: ")]
    assert sentence.startswith("Candidates: 500 → 499 (f0) → ")
    assert "→ … 281 more … →" in sentence
    assert sentence.endswith("→ 200 (f299).")


def test_no_drop_is_no_largest_drop() -> None:
    """Where every candidate passed, no step is named for having dropped the most."""
    found = explain(material([judged("f", 10, 10)]))
    assert not any(sentence.startswith("Largest drop") for sentence in found.summary)
