"""Decisions on the span itself: events per candidate, packed events, parallel arrays."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.extract.flags import MAX_FLAGS
from collector.inference.infer import SpanInference
from tests.fixtures.foreign_spans import GEN_AI_RETRIEVAL, decisions, flags, infer, inferred, verdicts

NOTHING = SpanInference([])
PACKED = orjson.dumps({"v": 1, "n": 2, "item": ["a", "b"], "verdict": "KE"}).decode()


def decision(item: Any, verdict: Any, **fields: Any) -> tuple[str, Mapping[str, Any]]:
    sent = {"item_id": item, "verdict": verdict, **fields}
    return "xray.decision", {f"xray.decision.{field}": value for field, value in sent.items()}


EVENTS = [
    decision("a", "kept", score=0.9, value=24.9, threshold=50.0),
    decision("b", "E", reason="too_dear", reason_text="99 is above 50", value=99, threshold=50.0),
    decision("c", "eliminated", reason="too_dear"),
]


class TestEventsPerCandidate:
    def test_become_decisions_and_counts(self):
        found = inferred({}, NOTHING, is_step=True, events=EVENTS)
        assert verdicts(found) == [
            ("a", "kept", None, 0.9),
            ("b", "eliminated", "too_dear", None),
            ("c", "eliminated", "too_dear", None),
        ]
        assert [(one.value, one.threshold, one.reason_text) for one in decisions(found)] == [
            (24.9, 50.0, None),
            (99, 50.0, "99 is above 50"),
            (None, None, None),
        ]
        assert (
            found.attributes.items()
            >= {
                "xray.candidates.in": 3,
                "xray.candidates.out": 1,
                "xray.candidates.kept": 1,
                "xray.candidates.eliminated": 2,
                "xray.decisions.recorded": 3,
                "xray.decisions.chunks": 1,
            }.items()
        )
        assert (found.attributes["xray.reasons.codes"], found.attributes["xray.reasons.counts"]) == (
            ["too_dear"],
            [2],
        )

    def test_those_that_the_sender_dropped_are_flagged_and_nothing_is_counted(self):
        found = inferred({}, NOTHING, is_step=True, events=EVENTS, dropped_events=4872)
        assert (len(decisions(found)), found.lost) == (3, 4872)
        assert set(found.attributes) == {"xray.decisions.recorded", "xray.decisions.chunks"}
        (raised,) = found.flags
        assert raised == ("decisions_missing", "xray.decision", "4872 events dropped by the sender")

    def test_one_without_item_or_verdict_is_left_out_and_flagged(self):
        events = [*EVENTS, decision("d", "liked"), decision(None, "kept"), decision("e", None)]
        found = inferred({}, NOTHING, is_step=True, events=events)
        assert [one.item_id for one in decisions(found)] == ["a", "b", "c"]
        assert "xray.candidates.in" not in found.attributes
        assert ("decisions_unreadable", "xray.decision") in flags(found)

    def test_a_single_chosen_one_is_named(self):
        events = [decision("a", "selected"), decision("b", "not_selected")]
        assert inferred({}, NOTHING, is_step=True, events=events).attributes["xray.selected.id"] == "a"

    def test_make_no_step_of_a_span_that_is_none(self):
        assert infer({}, NOTHING, events=EVENTS) is None

    def test_go_before_what_was_inferred(self):
        found = inferred(GEN_AI_RETRIEVAL, events=EVENTS)
        assert [one.item_id for one in decisions(found)] == ["a", "b", "c"]
        assert found.attributes["xray.decisions.recorded"] == 3


class TestPackedEvents:
    def test_become_chunks_in_their_order(self):
        events = [("xray.decisions", {"xray.decisions.data": data}) for data in (PACKED, PACKED.encode())]
        found = inferred({}, NOTHING, is_step=True, events=events)
        assert [one.item_id for one in decisions(found)] == ["a", "b", "a", "b"]
        assert found.attributes == {"xray.decisions.recorded": 4, "xray.decisions.chunks": 2}

    def test_may_stand_in_an_attribute(self):
        found = inferred({"xray.decisions.data": PACKED}, NOTHING, is_step=True)
        assert [one.verdict for one in decisions(found)] == ["kept", "eliminated"]

    @pytest.mark.parametrize("data", [PACKED[:-1], "", None, 7, {"v": 1}])
    def test_that_cannot_be_read_are_said_to_be_so(self, data: Any):
        events = [("xray.decisions", {"xray.decisions.data": data})]
        found = inferred({}, NOTHING, is_step=True, events=events)
        assert found.unreadable
        assert not found.decisions


ARRAYS: Mapping[str, Any] = {
    "xray.decisions.items": ["a", "b", 3],
    "xray.decisions.verdicts": ["kept", "eliminated", "E"],
    "xray.decisions.reasons": ["", "too_dear", "no_stock"],
    "xray.decisions.scores": [0.9, math.nan, 0],
    "xray.decisions.values": [24.9, "99", math.nan],
    "xray.decisions.thresholds": [50.0, 50.0, math.nan],
}


class TestParallelArrays:
    def test_become_decisions_and_counts(self):
        found = inferred(ARRAYS, NOTHING, is_step=True)
        assert verdicts(found) == [
            ("a", "kept", None, 0.9),
            ("b", "eliminated", "too_dear", None),
            ("3", "eliminated", "no_stock", 0.0),
        ]
        assert [(one.value, one.threshold) for one in decisions(found)] == [
            (24.9, 50.0),
            ("99", 50.0),
            (None, None),
        ]
        assert found.attributes["xray.candidates.in"] == 3
        assert found.attributes["xray.candidates.out"] == 1

    def test_verdicts_may_be_one_text_of_letters(self):
        found = inferred({**ARRAYS, "xray.decisions.verdicts": "KEE"}, NOTHING, is_step=True)
        assert [one.verdict for one in decisions(found)] == ["kept", "eliminated", "eliminated"]

    def test_items_and_verdicts_are_enough(self):
        sent = {name: ARRAYS[name] for name in ("xray.decisions.items", "xray.decisions.verdicts")}
        assert len(decisions(inferred(sent, NOTHING, is_step=True))) == 3

    @pytest.mark.parametrize(
        ("changes", "why"),
        [
            ({"xray.decisions.verdicts": ["kept"]}, "xray.decisions.verdicts has 1 values for 3 candidates"),
            ({"xray.decisions.verdicts": None}, "xray.decisions.verdicts is not an array"),
            ({"xray.decisions.verdicts": "KEX"}, "candidate 2 has no item or no known verdict"),
            ({"xray.decisions.items": "abc"}, "xray.decisions.items is not an array"),
            ({"xray.decisions.items": ["a", None, "c"]}, "candidate 1 has no item or no known verdict"),
            ({"xray.decisions.scores": [0.5]}, "xray.decisions.scores has 1 values for 3 candidates"),
            ({"xray.decisions.reasons": "x"}, "xray.decisions.reasons is not an array"),
        ],
    )
    def test_that_do_not_pair_up_are_said_to_be_unreadable(self, changes: Mapping[str, Any], why: str):
        found = inferred({**ARRAYS, **changes}, NOTHING, is_step=True)
        assert found.unreadable == why
        assert not found.decisions


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.binary(max_size=3),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
FIELDS = ("item_id", "verdict", "reason", "reason_text", "score", "value", "threshold")


@given(
    st.dictionaries(st.sampled_from([*sorted(ARRAYS), "xray.decisions.data"]), ANYTHING | st.just(PACKED)),
    st.lists(
        st.tuples(
            st.sampled_from(["xray.decision", "xray.decisions", "xray.decision.odd"]),
            st.dictionaries(
                st.sampled_from([f"xray.decision.{field}" for field in FIELDS] + ["xray.decisions.data"]),
                ANYTHING | st.sampled_from(["kept", "E", PACKED]),
            ),
        ),
        max_size=4,
    ),
    st.integers(0, 10),
)
def test_any_values_give_decisions_that_can_be_read_back(
    sent: Mapping[str, Any], events: list[tuple[str, Mapping[str, Any]]], dropped: int
):
    found = inferred(sent, is_step=True, events=events, dropped_events=dropped)
    assert found.attributes.get("xray.decisions.recorded", 0) == len(decisions(found))
    assert len(found.flags) <= MAX_FLAGS
