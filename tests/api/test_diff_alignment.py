"""Which step of one run is which of another: hand cases, and the properties that every comparison has."""

from __future__ import annotations

from collections import Counter
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from api.compare.alignment import align
from api.compare.diff import diff
from api.compare.items import equal
from api.compare.records import Side
from store.decisions import Decision
from store.queries.types import RunDetail, StepCompleteness, StepRecord
from tests.fixtures.run_records import run_record, step_record


def nothing(_: StepRecord) -> frozenset[str]:
    return frozenset()


def names(pairs: Any) -> list[tuple[str | None, str | None]]:
    return [(p.a and p.a.name, p.b and p.b.name) for p in pairs]


def named(*given_names: str, step_type: str = "filter") -> list[StepRecord]:
    """Steps of these names; the ids are their places."""
    return [step_record(name, step_type, step_id=f"{place}-{name}") for place, name in enumerate(given_names)]


def test_inserted_and_removed_steps_stand_alone():
    """What one run lacks has no partner, and the steps around it keep theirs."""
    pairs = align(named("find", "price", "choose"), named("find", "stock", "choose"), nothing)
    assert names(pairs) == [("find", "find"), ("price", None), (None, "stock"), ("choose", "choose")]


def test_of_very_many_steps_only_rows_are_looked_at():
    """Two runs of a thousand steps with names of their own: no set of items is asked for, in either order."""
    asked: list[str] = []

    def items(step: StepRecord) -> frozenset[str]:
        asked.append(step.name)
        return frozenset()

    one = [step_record(f"a{n}", "filter", step_id=f"a{n}", candidates_in=n) for n in range(201)]
    other = [step_record(f"b{n}", "filter", step_id=f"b{n}", candidates_in=n) for n in range(201)]
    assert names(align(one, other, items)) == [(f"a{n}", f"b{n}") for n in range(201)]
    assert not asked
    assert names(align(other, one, items)) == [(f"b{n}", f"a{n}") for n in range(201)]


def test_repeated_names_are_paired_in_order():
    """Of a loop with more rounds in one run, the rounds that fit are paired."""
    pairs = align(
        named("find", "ask", "ask", "choose"), named("find", "ask", "ask", "ask", "choose"), nothing
    )
    assert Counter(names(pairs)) == Counter(
        [("find", "find"), ("ask", "ask"), ("ask", "ask"), (None, "ask"), ("choose", "choose")]
    )


def test_a_renamed_step_is_known_by_its_work():
    """The same reasons and items under another name are a rename; other reasons are another step."""
    one = [step_record("price", candidates_in=5, reasons={"too_dear": 2})]
    renamed = [step_record("price_check", candidates_in=5, reasons={"too_dear": 1})]
    other = [step_record("stock_check", candidates_in=5, reasons={"sold_out": 1})]
    assert names(align(one, renamed, nothing)) == [("price", "price_check")]
    assert align(one, renamed, nothing)[0].renamed
    assert len(align(one, other, nothing)) == 2


def decision(item: str, verdict: str, **values: Any) -> Decision:
    given_values: dict[str, Any] = dict.fromkeys(Decision._fields)
    return Decision(**(given_values | {"item_id": item, "verdict": verdict, "value_missing": False} | values))


_VERDICTS = st.sampled_from(["kept", "eliminated", "scored", "selected"])


@st.composite
def _steps(draw: st.DrawFn) -> list[tuple[StepRecord, list[Decision]]]:
    found = []
    for place in range(draw(st.integers(0, 5))):
        name = draw(st.sampled_from("abcd"))
        judged = [
            decision(
                draw(st.sampled_from("uvwxyz")),
                draw(_VERDICTS),
                reason=draw(st.sampled_from([None, "r1", "r2"])),
                score=draw(st.sampled_from([None, 0.1, 0.2])),
                threshold=draw(st.sampled_from([None, 3, 4])),
                value=draw(st.sampled_from([None, 1, 2])),
            )
            for _ in range(draw(st.integers(0, 5)))
        ]
        record = step_record(
            name,
            draw(st.sampled_from(["filter", "rank"])),
            step_id=draw(st.sampled_from([f"s{place}", f"id-{name}-{place}"])),
            candidates_in=draw(st.sampled_from([None, len(judged)])),
            model=draw(st.sampled_from([None, "m1", "m2"])),
            parents=draw(st.sampled_from([None, (), ("s0",)])),
            completeness=StepCompleteness(
                "exact", draw(st.sampled_from(["full", "sampled", "none"])), len(judged), len(judged)
            ),
        )
        found.append((record, judged))
    return found


def side(run_id: str, steps: list[tuple[StepRecord, list[Decision]]], **changes: Any) -> Side:
    """One run; its decisions by step."""
    detail = RunDetail(
        run_record(run_id=run_id, steps_count=len(steps), **changes), [step for step, _ in steps]
    )
    return Side(detail, {(step.step_id, step.attempt_key): judged for step, judged in steps})


def shape(found: Any, *, turned: bool) -> Any:
    """All that a comparison says but its sentences, with a and b exchanged when it is ``turned``."""

    def pair(a: Any, b: Any) -> Any:
        return (b, a) if turned else (a, b)

    words = {"only_a": "only_b", "only_b": "only_a"} if turned else {}

    def fields(differences: Any) -> Any:
        return [(one.field, pair(one.a, one.b)) for one in differences]

    def divergence(one: Any) -> Any:
        if one is None:
            return None
        return one.place, one.kind, one.certain, pair(one.step_id_a, one.step_id_b), len(one.possible_steps)

    return (
        found.same,
        found.whole,
        fields(found.differences),
        {words.get(kind, kind): n for kind, n in found.changed.items()},
        divergence(found.first_divergence),
        divergence(found.first_decision_change),
        [
            (
                words.get(step.standing, step.standing),
                pair(step.pair.a, step.pair.b),
                step.kinds,
                step.received,
                fields(step.config),
                fields(step.differences),
                step.items.both,
                [
                    (one.item_id, tuple(words.get(kind, kind) for kind in one.changed), pair(one.a, one.b))
                    for one in step.items.examples
                ],
            )
            for step in found.steps
        ],
    )


@settings(max_examples=150, deadline=None)
@given(_steps(), _steps(), st.booleans())
def test_the_other_way_round_is_the_mirror_image(one, other, same_pipeline):
    """Whatever the runs hold, nothing but the direction changes."""
    a = side("run-1", one)
    b = side("run-2", other, pipeline="shop" if same_pipeline else "other", tags={"market": "US"})
    assert shape(diff(a, b), turned=False) == shape(diff(b, a), turned=True)


@settings(max_examples=100, deadline=None)
@given(_steps())
def test_a_run_does_not_differ_from_itself(steps):
    """Nothing stands in it, whatever was recorded of the run."""
    a = side("run-1", steps)
    found = diff(a, a)
    assert found.same
    assert not found.differences
    assert not found.changed
    assert found.first_divergence is None
    assert all(step.standing in ("same", "unknown") for step in found.steps)


@settings(max_examples=100, deadline=None)
@given(_steps(), _steps())
def test_every_step_stands_once_and_in_order(one, other):
    """An alignment loses no step, doubles none, and keeps the order of both runs."""
    a, b = [step for step, _ in one], [step for step, _ in other]
    pairs = align(a, b, nothing)
    assert [id(pair.a) for pair in pairs if pair.a is not None] == list(map(id, a))
    assert [id(pair.b) for pair in pairs if pair.b is not None] == list(map(id, b))


def whole(*items: Decision) -> dict[str, Any]:
    """What a step with these decisions and a full record says of itself."""
    return {
        "candidates_in": len(items),
        "completeness": StepCompleteness("exact", "full", len(items), len(items)),
    }


def test_a_budget_that_is_used_up_otherwise_only_follows():
    """A threshold that varies from item to item is no setting."""
    price = [decision("x", "kept"), decision("y", "kept"), decision("z", "kept")]
    price_b = [decision("x", "kept"), decision("y", "eliminated", reason="too_dear"), decision("z", "kept")]
    budget = [decision(i, "kept", threshold=left) for i, left in (("x", 10), ("y", 7), ("z", 3))]
    budget_b = [decision(i, "kept", threshold=left) for i, left in (("x", 10), ("z", 7))]
    a = side(
        "run-1", [(step_record("p", **whole(*price)), price), (step_record("q", **whole(*budget)), budget)]
    )
    b = side(
        "run-2",
        [(step_record("p", **whole(*price_b)), price_b), (step_record("q", **whole(*budget_b)), budget_b)],
    )
    found = diff(a, b)
    assert found.first_divergence is not None
    assert (found.first_divergence.step, found.first_divergence.kind) == ("p", "verdicts")
    assert found.first_divergence.certain
    assert [step.standing for step in found.steps] == ["differs", "follows"]
    assert not found.steps[1].config


def test_another_threshold_of_all_items_is_a_setting():
    """It is named although no decision differs; that none does is said, too."""
    judged = [decision("x", "kept", value=3, threshold=5), decision("y", "kept", value=4, threshold=5)]
    moved = [one._replace(threshold=6) for one in judged]
    a = side("run-1", [(step_record("p", **whole(*judged)), judged)])
    b = side("run-2", [(step_record("p", **whole(*moved)), moved)])
    found = diff(a, b)
    assert found.first_divergence is not None
    assert found.first_divergence.kind == "config"
    assert [(one.field, one.a, one.b) for one in found.steps[0].config] == [("threshold", 5, 6)]
    assert "No decision differs." in found.summary


def test_settings_without_effect_hide_no_later_decision():
    """A step behind one with other settings alone is the first whose decisions differ."""
    judged, gone = [decision("x", "kept")], [decision("x", "eliminated", reason="r")]
    a = side(
        "run-1",
        [
            (step_record("p", model="m1", **whole(*judged)), judged),
            (step_record("q", **whole(*judged)), judged),
        ],
    )
    b = side(
        "run-2",
        [(step_record("p", model="m2", **whole(*judged)), judged), (step_record("q", **whole(*gone)), gone)],
    )
    found = diff(a, b)
    assert found.first_divergence is not None
    assert (found.first_divergence.step, found.first_divergence.kind) == ("p", "config")
    assert found.first_decision_change is not None
    assert (found.first_decision_change.step, found.first_decision_change.kind) == ("q", "verdicts")


def test_what_a_sample_cannot_tell_is_said():
    """A step whose sample shows nothing may hide the difference that a later step shows."""
    sampled: dict[str, Any] = {"candidates_in": 9, "completeness": StepCompleteness("exact", "sampled", 2, 2)}
    first, kept = [decision("x", "kept")], [decision("x", "kept")]
    gone = [decision("x", "eliminated", reason="r")]
    a = side("run-1", [(step_record("p", **sampled), first), (step_record("q", **sampled), kept)])
    b = side("run-2", [(step_record("p", **sampled), first), (step_record("q", **sampled), gone)])
    found = diff(a, b)
    assert found.first_divergence is not None
    assert not found.first_divergence.certain
    assert found.first_divergence.possible_steps == ["p", "q"]
    assert [step.standing for step in found.steps] == ["unknown", "differs"]


def test_ranks_change_when_one_is_lost():
    """By hand: three scores, the first of them gone, so that the others move up."""
    three = [decision(i, "scored", score=s) for i, s in (("x", 0.9), ("y", 0.5), ("z", 0.1))]
    two = three[1:]
    a = side("run-1", [(step_record("r", "rank", **whole(*three)), three)])
    b = side("run-2", [(step_record("r", "rank", **whole(*two)), two)])
    found = diff(a, b)
    assert found.changed == {"only_a": 1, "rank": 2}
    moved = {
        one.item_id: (one.a and one.a.rank, one.b and one.b.rank) for one in found.steps[0].items.examples
    }
    assert moved == {"x": (1, None), "y": (2, 1), "z": (3, 2)}


def test_whole_numbers_have_no_rounding():
    """A second of a time in seconds is a difference; the last digit of a sum is none."""
    assert not equal(1_700_000_000, 1_700_000_001)
    assert not equal(2**62, 2**62 + 1)
    assert equal(0.1 + 0.2, 0.3)
    assert equal(3, 3.0)
