"""What a chunk of decisions is stored as: the text that came, with a filter of its items."""

from __future__ import annotations

import orjson
import pytest

from collector.decisions import parse
from collector.errors import DecisionsUnreadable
from collector.extract.evidence import packed
from store.decisions import DecisionColumns, pack, pack_text, rows, unpack
from store.item_filter import build

ITEMS = ["a", "https://shop/ü?x=1", ""]
SENT = orjson.dumps({"v": 1, "n": 3, "item": ITEMS, "verdict": "KEE", "score": [1, 0.5, None]})


def test_the_text_is_stored_as_it_came_with_a_filter():
    """Nothing is rebuilt of a text that was understood, and every item can be looked for."""
    payload = parse(SENT)
    chunk = packed("r", "s", "1", 0, 1, payload.columns, payload.text)
    assert (chunk.data, chunk.item_filter, chunk.item_count) == (pack_text(SENT), build(ITEMS), 3)


def test_columns_without_a_text_are_stored_with_a_filter():
    """Decisions that came as objects, or in other words, are stored the same way."""
    columns = parse(SENT).columns
    chunk = packed("r", "s", "1", 0, 1, columns)
    assert (chunk.data, chunk.item_filter) == (pack(columns), build(ITEMS))
    assert chunk.data is not None
    assert list(rows(unpack(chunk.data))) == list(rows(columns))


def test_an_item_that_cannot_be_stored_makes_the_chunk_unreadable():
    """Half a surrogate pair is refused before anything is made of it."""
    with pytest.raises(DecisionsUnreadable):
        packed("r", "s", "1", 0, 1, DecisionColumns(count=1, item=["\ud800"], verdict="K"))
