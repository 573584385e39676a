"""Columns that are read from the stored text one by one are those that a parser finds in all of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from api.explain.named import Named
from store.decision_text import StoredColumns, open_columns
from store.decisions import (
    VERDICTS,
    WIRE_NAMES,
    DecisionColumns,
    UnknownCodec,
    about,
    pack_text,
    rows,
    unpack,
)

AWKWARD = [
    "item",
    "verdict",
    "n",
    "a]",
    "a],",
    ":1,",
    ",",
    '","',
    '"',
    "\\",
    "{",
    "}",
    "],",
    ' ":',
    "é",
    "",
    "null",
]
texts = st.sampled_from(AWKWARD) | st.text(st.sampled_from('a,:"[]{}\\ '), max_size=5)
scalars = st.none() | st.booleans() | st.integers(-9, 9) | st.floats(-1, 1) | texts
CLIENT = "as the client does"


def _with_spaces_in_lists(sent: Mapping[str, Any]) -> bytes:
    columns = (
        orjson.dumps(name) + b":" + (_spaced(value) if name == "item" else orjson.dumps(value))
        for name, value in sent.items()
    )
    return b"{" + b",".join(columns) + b"}"


def _spaced(items: Sequence[str]) -> bytes:
    return b"[ " + b" ,".join(map(orjson.dumps, items)) + b" ]"


WRITTEN: Mapping[str, Callable[[Any], bytes]] = {
    CLIENT: orjson.dumps,
    "in order of names": lambda sent: orjson.dumps(sent, option=orjson.OPT_SORT_KEYS),
    "with spaces": lambda sent: json.dumps(sent, ensure_ascii=False).encode(),
    "with spaces in lists": lambda sent: _with_spaces_in_lists(sent),
    "in lines": lambda sent: orjson.dumps(sent, option=orjson.OPT_INDENT_2),
    "with escapes": lambda sent: json.dumps(sent, separators=(",", ":")).encode(),
    "the last column twice": lambda sent: (
        orjson.dumps(sent)[:-1] + b',"item":' + orjson.dumps(sent["item"]) + b"}"
    ),
}

ways = st.sampled_from(sorted(WRITTEN))


@st.composite
def sent_chunks(draw: st.DrawFn, names: st.SearchStrategy[str] = texts) -> dict[str, Any]:
    """What a sender could send, in the order of the client."""
    n = draw(st.integers(0, 4))

    def column(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
        return st.none() | values | st.lists(values, min_size=n, max_size=n)

    check = st.fixed_dictionaries({"name": texts, "value": scalars})
    sent = {
        "v": 1,
        "n": n,
        "item": draw(st.lists(names, min_size=n, max_size=n)),
        "verdict": "".join(draw(st.lists(st.sampled_from(sorted(VERDICTS)), min_size=n, max_size=n))),
        "reasons": draw(st.none() | st.lists(texts, max_size=2)),
        "score": draw(column(st.none() | st.floats(-1, 1))),
        "value": draw(column(scalars)),
        "threshold": draw(column(scalars)),
        "missing": draw(st.none() | st.just([0][:n])),
        "checks": draw(st.none() | st.lists(st.none() | st.lists(check, max_size=2), min_size=n, max_size=n)),
        "rules": draw(st.none() | st.dictionaries(texts, texts | st.dictionaries(texts, texts), max_size=2)),
    }
    return {name: value for name, value in sent.items() if value is not None}


@given(sent=sent_chunks(), order=st.permutations(sorted(WIRE_NAMES)), way=ways)
@example(sent={"v": 1, "n": 2, "item": ["a],", ":1,"], "verdict": "KK"}, order=sorted(WIRE_NAMES), way=CLIENT)
@example(
    sent={"v": 1, "n": 1, "item": ["a"], "verdict": "K", "rules": {"item": "b"}},
    order=sorted(WIRE_NAMES),
    way=CLIENT,
)
@example(
    sent={"v": 1, "n": 1, "item": ["a"], "verdict": "K", "rules": {"b": "c"}, "score": [0.5]},
    order=sorted(WIRE_NAMES),
    way=CLIENT,
)
def test_each_column_is_what_the_parser_finds(sent, order, way):
    """In whatever order they are asked for, and however the text was written."""
    packed = pack_text(WRITTEN[way](sent))
    opened, whole = open_columns(packed), unpack(packed)
    assert [(name, getattr(opened, name)) for name in order] == [
        (name, getattr(whole, name)) for name in order
    ]
    assert [type(one) for one in opened.item] == [type(one) for one in whole.item]


@given(sent=sent_chunks(), other=texts, way=ways)
@example(sent={"v": 1, "n": 1, "item": ["é"], "verdict": "K"}, other="b", way="with escapes")
def test_an_item_that_is_named_may_be_named(sent, other, way):
    """Only of an item that is not there may it be said that it is not."""
    opened = open_columns(pack_text(WRITTEN[way](sent)))
    for item in sent["item"]:
        assert opened.may_name({item, other})
    if not opened.may_name({other}):
        assert other not in sent["item"]


def _parts(chunks: Sequence[Mapping[str, Any]], write: Callable[[Any], bytes]) -> list[DecisionColumns]:
    return [open_columns(pack_text(write(chunk))) for chunk in chunks]


def _chunked(items: Sequence[str], size: int) -> list[dict[str, Any]]:
    pieces = [items[at : at + size] for at in range(0, len(items), size)]
    return [{"v": 1, "n": len(piece), "item": list(piece), "verdict": "E" * len(piece)} for piece in pieces]


@given(
    chunks=st.lists(sent_chunks(st.sampled_from([*AWKWARD, "b", "c"])), max_size=3),
    both_ways=st.tuples(ways, ways),
    size=st.integers(1, 5),
    change=st.none() | st.tuples(st.integers(0, 9), texts),
)
def test_what_a_step_hands_on_is_told_from_texts_as_from_lists(chunks, both_ways, size, change):
    """Whatever the items are called and however both steps cut and wrote them."""
    before = Named(_parts(chunks, WRITTEN[both_ways[0]]))
    taken = list(before.let_pass)
    if change is not None:
        place, item = change
        taken[place : place + 1] = [item]
    after = Named(_parts(_chunked(taken, size), WRITTEN[both_ways[1]]))
    assert before.hands_on(after) == (list(before.let_pass) == taken)
    assert after.count == len(taken)


def test_white_space_in_a_list_is_no_item():
    """Cut off like the brackets of a list without any, it would leave quotes that read as other items."""
    spaced = b'{"v":1,"n":1,"item":[ "," ],"verdict":"K"}'
    plain = b'{"v":1,"n":2,"item":["",""],"verdict":"KK"}'
    one, other = (
        [open_columns(pack_text(text)) for text in texts] for texts in ((spaced, plain), (plain, spaced))
    )
    assert not Named(one).hands_on(Named(other))
    assert Named(one).hands_on(Named(_parts(_chunked([",", "", ""], 2), orjson.dumps)))


def test_plain_texts_are_compared_without_making_their_items():
    """Else the audit of a large run takes three times as long."""
    sent = {
        "v": 1,
        "n": 3,
        "item": ["a", "b", "c"],
        "verdict": "KEK",
        "value": [1, 2, 3],
        "rules": {"x": "y"},
    }
    parts = _parts([sent], orjson.dumps)
    after = _parts(_chunked(["a", "c"], 1), orjson.dumps)
    assert Named(parts).hands_on(Named(after))
    slots = [DecisionColumns.__dict__["item"], DecisionColumns.__dict__["value"]]
    for part in (*parts, *after):
        assert isinstance(part, StoredColumns)
        for slot in slots:
            with pytest.raises(AttributeError):
                slot.__get__(part)


def test_another_codec_is_refused():
    """As by ``unpack``."""
    with pytest.raises(UnknownCodec):
        open_columns(b"\x02?")
    assert not hasattr(open_columns(pack_text(b'{"n":0,"item":[],"verdict":""}')), "unknown")


def test_a_changed_copy_has_all_columns():
    """As of any other dataclass, and what it names is what it was given."""
    opened = open_columns(pack_text(b'{"v":1,"n":1,"item":["a"],"verdict":"K","score":[1]}'))
    changed = replace(opened, item=["b"], score=None)
    assert (changed.item, changed.verdict, changed.count, changed.score) == (["b"], "K", 1, None)
    assert (changed.may_name({"b"}), changed.may_name({"a"}), changed.joined(b"\1")) == (True, False, None)


@given(sent=sent_chunks(), way=ways, asked=st.frozensets(texts, max_size=3))
@example(
    sent={"v": 1, "n": 3, "item": ["a", ",", "b"], "verdict": "KEK", "score": [0.5, 1e-7, 2]},
    way=CLIENT,
    asked=frozenset({",", "b"}),
)
@example(
    sent={"v": 1, "n": 2, "item": ["a", "b"], "verdict": "KE", "value": ["x,y", 1], "score": [None, 7]},
    way=CLIENT,
    asked=frozenset({"b"}),
)
def test_decisions_about_items_are_those_that_the_parser_finds(sent, way, asked):
    """In their order, whatever the items are called and whichever columns there are."""
    asked |= frozenset(sent["item"][:1])
    packed = pack_text(WRITTEN[way](sent))
    expected = [decision for decision in rows(unpack(packed)) if decision.item_id in asked]
    assert repr(list(rows(about(open_columns(packed), asked)))) == repr(expected)


def test_one_of_many_numbers_is_found_without_reading_them() -> None:
    """Whether they are of one length or not, from the first to the last."""
    numbers = [*range(150), None, -0.5, *(10**power for power in range(15)), True, 1e300]
    n = len(numbers)
    packed = pack_text(
        orjson.dumps({"n": n, "item": [f"i{at}" for at in range(n)], "verdict": "K" * n, "score": numbers})
    )
    for at, number in enumerate(numbers):
        opened = open_columns(packed)
        assert isinstance(opened, StoredColumns)
        (decision,) = rows(about(opened, {f"i{at}"}))
        assert repr(decision.score) == repr(number)
        with pytest.raises(AttributeError):
            DecisionColumns.__dict__["score"].__get__(opened)


def test_an_item_that_was_judged_over_and_over() -> None:
    """Then the column is read once, not looked through once for each decision."""
    n = 50
    opened = open_columns(
        pack_text(orjson.dumps({"n": n, "item": ["i"] * n, "verdict": "K" * n, "score": [*range(n)]}))
    )
    assert [decision.score for decision in rows(about(opened, {"i"}))] == [*range(n)]
    assert DecisionColumns.__dict__["score"].__get__(opened) == [*range(n)]
