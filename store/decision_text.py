"""
The decisions of a chunk as their stored text, of which each column is read when it is first asked for.

Whoever audits a run asks for verdicts and for items alone, and for most of the items only whether they are
those of another step: that can be told from the texts, without an object for each of 500,000.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence, Set
from itertools import compress
from typing import Any

import orjson

from store.decisions import BETWEEN, WIRE_NAMES, DecisionColumns, columns_of, text_of

_BY_WIRE_NAME = {wire_name.encode(): name for name, wire_name in WIRE_NAMES.items()}
_KNOWN = frozenset((*_BY_WIRE_NAME, b"v"))
_QUOTE = b'"'
_WORD = re.compile(rb"[^\s\[\]{},:\"]+")
"""A number, true, false or null."""
_FEW = 4
"""Decisions that are looked for in the text; for more it is quicker to read the column."""


class StoredColumns(DecisionColumns):
    """Columns of which a slot is filled when it is first asked for; made by ``open_columns``."""

    __slots__ = ("_lies", "_text")

    _text: bytes
    _lies: Mapping[str, slice]
    """Where in the text the value of a column lies; one that is not there was not recorded."""

    def may_name(self, item_ids: Set[str]) -> bool:
        lies = self._items_lie()
        if lies is None:
            return super().may_name(item_ids)
        return any(self._text.find(orjson.dumps(item), lies.start, lies.stop) >= 0 for item in item_ids)

    def places(self, item_ids: Set[str]) -> Sequence[int]:
        lies = self._items_lie()
        # Texts alone, and as many as there are: then each has two quotes, and begins behind an even number.
        if lies is None or self._text.count(_QUOTE, lies.start, lies.stop) != 2 * len(self.verdict):
            return super().places(item_ids)
        found = []
        for item in item_ids:
            quoted = orjson.dumps(item)
            at, quotes, counted = lies.start, 0, lies.start
            while (at := self._text.find(quoted, at, lies.stop)) >= 0:
                quotes += self._text.count(_QUOTE, counted, at)
                counted = at
                if quotes % 2 == 0:  # else the end of one and the beginning of the next
                    found.append(quotes // 2)
                at += 1
        return sorted(found)

    def picked(self, name: str, places: Sequence[int]) -> Any:
        lies = self._lies_of(name)
        # For each place the text is gone through again: of one item that was judged over and over, for ever.
        if lies is None or len(places) > _FEW or not self._text.startswith(b"[", lies.start):
            return super().picked(name, places)
        found = []
        for place in places:
            word = _word(self._text, lies.start + 1, lies.stop - 1, len(self.verdict), place)
            if word is None:
                return super().picked(name, places)
            found.append(orjson.loads(word))
        return found

    def joined(self, chosen: bytes) -> bytes | None:
        lies = self._items_lie()
        if lies is None:
            return None
        column = self._text[lies]
        if not (column.startswith(b'["') and column.endswith(b'"]')):
            return None  # white space, which would leave a quote at the end: that reads as other items
        items = column[2:-2]
        if 0 not in chosen:
            return items
        one_by_one = items.split(BETWEEN)
        return BETWEEN.join(compress(one_by_one, chosen)) if len(one_by_one) == len(chosen) else None

    def _items_lie(self) -> slice | None:
        return self._lies_of("item")

    def _lies_of(self, name: str) -> slice | None:
        # What ``dataclasses.replace`` makes of one has all its columns, and no text.
        lies: Mapping[str, slice] = getattr(self, "_lies", {})
        return lies.get(name)

    def __getattr__(self, name: str) -> Any:
        # Called for a column only while its slot is empty.
        if name not in WIRE_NAMES:
            raise AttributeError(name)
        lies = self._lies.get(name)
        value = None if lies is None else orjson.loads(self._text[lies])
        object.__setattr__(self, name, value)  # frozen for all others
        return value


def _word(text: bytes, start: int, stop: int, words: int, place: int) -> bytes | None:
    """
    Return one of so many words between commas, counted from 0; None where there is something else, or fewer.

    Found from where it would lie if all were of one length: to read 5,000 numbers takes five times as long.
    """
    if start >= stop or any(text.find(sign, start, stop) >= 0 for sign in (_QUOTE, b"[", b"{")):
        return None
    at = min(stop, start + (stop - start) * place // words)
    before = text.count(b",", start, at)
    while before < place:
        at = text.find(b",", at, stop) + 1
        if not at:
            return None
        before += 1
    while before > place:
        at = text.rfind(b",", start, at)
        before -= 1
    begin, end = text.rfind(b",", start, at) + 1, text.find(b",", at, stop)
    return text[begin or start : stop if end < 0 else end]


def _lying(text: bytes) -> Mapping[str, slice] | None:
    """
    Where the value of each column lies; None where only a parser can tell.

    Without an escape a quote begins or ends a text. Whoever takes one for the other comes to a name that
    consists of what stands between two texts, and that no column has.
    """
    if b"\\" in text:
        return None
    found: dict[str, slice] = {}
    at, last = 1, len(text) - 1
    while at < last:
        named = text.find(b'":', at)
        name, start = text[at + 1 : named], named + 2
        if name not in _KNOWN or text[at] != ord('"'):
            return None
        match text[start : start + 1]:
            case b"[":
                end = text.find(b"]", start) + 1
            case b'"':
                end = text.find(b'"', start + 1) + 1
            case b"{":  # the rules, where the client puts them
                end = last if _is_json(text[start:last]) else 0
            case _:
                word = _WORD.match(text, start)
                end = 0 if word is None else word.end()
        if text[end : end + 1] != (b"," if end < last else b"}"):
            return None
        if name in _BY_WIRE_NAME:
            # Given twice, the last counts, as it does for the parser.
            found[_BY_WIRE_NAME[name]] = slice(start, end)
        at = end + 1
    return found


def _is_json(text: bytes) -> bool:
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError:
        return False
    return True


def open_columns(data: bytes) -> DecisionColumns:
    """As ``unpack``, for whoever needs some of the columns."""
    text = text_of(data)
    lies = _lying(text)
    if lies is None:
        return columns_of(text)
    opened = StoredColumns.__new__(StoredColumns)
    object.__setattr__(opened, "_text", text)
    object.__setattr__(opened, "_lies", lies)
    return opened
