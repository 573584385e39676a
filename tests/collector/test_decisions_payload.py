"""The payload of a step's decisions is checked before anybody trusts it."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collector.decisions import from_list, parse
from collector.errors import DecisionsUnreadable
from store.decisions import pack, pack_text, rows, unpack

WHOLE = {
    "v": 1,
    "n": 3,
    "item": ["a", "b", "c"],
    "verdict": "KEW",
    "reasons": ["price_too_high", "best"],
    "reason": [None, 0, 1],
    "texts": ["too dear"],
    "text": [None, 0, None],
    "score": [0.4, None, 0.9],
    "value": [12.5, 99, None],
    "threshold": 50,
    "missing": [2],
    "checks": [None, [{"name": "price", "value": 99, "threshold": 50, "passed": False}], None],
    "p": [1, 0.1, 1],
}


def test_a_whole_payload_reads_back():
    """Every column comes through, a scalar stands for all, and a missing value differs from none recorded."""
    first, second, third = rows(parse(orjson.dumps(WHOLE)).columns)
    assert (first.item_id, first.verdict, first.reason, first.threshold, first.value_missing) == (
        "a",
        "kept",
        None,
        50,
        False,
    )
    assert (second.verdict, second.reason, second.reason_text, second.value) == (
        "eliminated",
        "price_too_high",
        "too dear",
        99,
    )
    assert second.checks == [{"name": "price", "value": 99, "threshold": 50, "passed": False}]
    assert (third.verdict, third.score, third.value, third.value_missing, third.probability) == (
        "selected",
        0.9,
        None,
        True,
        1,
    )


@pytest.mark.parametrize(
    "change",
    [
        {"v": 2},
        {"v": None},
        {"n": -1},
        {"n": 2},
        {"n": True},
        {"item": ["a", "b", 3]},
        {"item": None},
        {"verdict": "KE"},
        {"verdict": "KEX"},
        {"reasons": "best"},
        {"reason": [None, 0, 2]},
        {"reason": [None, 0, -1]},
        {"reason": [None, 0, 0.5]},
        {"reason": [None, 0, []]},
        {"reason": [None, 0]},
        {"reason": 7},
        {"texts": None},
        {"score": [0.4, 0.9]},
        {"score": ["high", None, None]},
        {"value": [{}, None, None]},
        {"threshold": [1]},
        {"missing": [3]},
        {"missing": ["b"]},
        {"checks": [None]},
        {"checks": [[{"passed": True}], None, None]},
        {"checks": [[{"name": "x", "passed": "yes"}], None, None]},
        {"p": 0},
        {"p": [1, 1.5, 1]},
    ],
)
def test_what_breaks_the_format_is_unreadable(change: dict[str, Any]):
    """A column that a reader would trip over makes the payload unreadable, with a reason in words."""
    with pytest.raises(DecisionsUnreadable) as caught:
        parse(orjson.dumps(WHOLE | change))
    assert caught.value.reason


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-5, 5) | st.floats(allow_nan=False) | st.text(max_size=3),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
        max_leaves=8,
    ),
    st.sampled_from(sorted(WHOLE)),
)
@settings(max_examples=200, deadline=None)
def test_a_payload_is_read_whole_or_not_at_all(value: Any, column: str):
    """Whatever stands in a column, the payload is unreadable or every candidate can be read back."""
    try:
        payload = parse(orjson.dumps(WHOLE | {column: value}))
    except DecisionsUnreadable:
        return
    assert payload.text is not None
    as_sent, rebuilt = rows(unpack(pack_text(payload.text))), rows(unpack(pack(payload.columns)))
    assert len(list(as_sent)) == len(list(rebuilt)) == payload.columns.count


@pytest.mark.parametrize("change", [{}, {"reason": [None, 0.0, 1]}, {"missing": [2, 2]}, {"reasons": None}])
def test_what_was_sent_and_what_is_made_of_it_read_the_same(change: dict[str, Any]):
    """Whether the sent text is stored or one that is made of the columns makes no difference to readers."""
    sent = WHOLE | change
    if sent["reasons"] is None:
        sent = sent | {"reason": None}
    payload = parse(orjson.dumps(sent, option=orjson.OPT_INDENT_2))
    assert payload.text is not None
    as_sent = list(rows(unpack(pack_text(payload.text))))
    assert as_sent == list(rows(unpack(pack(payload.columns)))) == list(rows(payload.columns))
    assert [decision.value_missing for decision in as_sent] == [False, False, True]


def test_unknown_columns_are_not_stored():
    """What no reader of this version knows does not reach the table; the rest does."""
    payload = parse(orjson.dumps(WHOLE | {"embedding": [[0.1] * 100] * 3}))
    assert payload.text is None
    assert payload.columns == parse(orjson.dumps(WHOLE)).columns


@given(st.binary(max_size=60))
@settings(max_examples=100, deadline=None)
def test_any_bytes_are_read_or_unreadable(raw: bytes):
    """No bytes raise anything but ``DecisionsUnreadable``."""
    with pytest.raises(DecisionsUnreadable):
        parse(raw)


def test_objects_read_back_as_they_came():
    """Decisions given as objects come back as the same objects."""
    sent = [
        {"item_id": "a", "verdict": "kept", "score": 0.5, "threshold": "x"},
        {"item_id": "b", "verdict": "E", "reason": "dear", "reason_text": "too dear", "value_missing": True},
    ]
    first, second = rows(from_list(sent))
    assert (first.item_id, first.verdict, first.score, first.threshold) == ("a", "kept", 0.5, "x")
    assert (second.verdict, second.reason, second.reason_text, second.value_missing) == (
        "eliminated",
        "dear",
        "too dear",
        True,
    )


@pytest.mark.parametrize(
    "sent",
    [
        "x",
        [7],
        [{"item_id": "a"}],
        [{"item_id": "a", "verdict": "maybe"}],
        [{"item_id": 7, "verdict": "kept"}],
        [{"item_id": "a", "verdict": ["kept"]}],
        [{"item_id": "a", "verdict": "kept", "reason": 7}],
        [{"item_id": "a", "verdict": "kept", "score": "high"}],
    ],
)
def test_objects_that_are_no_decisions(sent: Any):
    """An object without an item or verdict, or with a wrong type, makes the list unreadable."""
    with pytest.raises(DecisionsUnreadable):
        from_list(sent)
