"""Masking of a step's decisions, a column at a time: nothing per candidate unless the user asked for it."""

from __future__ import annotations

import re
from typing import Any

from xray_otel import _mask
from xray_otel._columns import MERGED, Columns, counts_of
from xray_otel._mask import MASKED, digits_of

_BLANKS = rb"(?:[ \x80-\xff]|\\+(?:[nrtf]|u00[0-9a-f]{2}))*"
_KEY_ENDS = tuple(re.compile(quote + _BLANKS + b":") for quote in (rb"\\\"", b"'"))
"""How a quoted key ends inside a text of a payload; blanks may stand there, escaped or beyond ASCII."""


def mask_columns(columns: Columns) -> None:
    """Hides in place what must not leave. Item ids that are hashed still tell the items apart."""
    mask = _mask.current
    if mask.hashes_item_ids:
        _hash_ids(columns, mask)
    if mask.searches:
        if not mask.hashes_item_ids:
            columns.items = _column(columns.items)
        _search(columns)
    elif columns.reasons is not None:
        words = counts_of(columns)
        if any(word is not None and mask.text(word) is not word for word in words):
            _search(columns)
    if columns.checks is not None:
        columns.checks = [_checks(checks) for checks in columns.checks]


def mask_payload(columns: Columns, data: bytes) -> bool:
    """
    Hides in place what stands under hidden keys in texts that are themselves JSON, or written like it.

    data: the columns as encoded. Returns whether they have to be encoded again.
    """
    if not _may_quote(data):
        return False
    items, columns.items = columns.items, _column(columns.items)
    return _search(columns) or columns.items is not items


def _may_quote(data: bytes) -> bool:
    # A byte alone is found 50 times as fast, and mostly neither is there.
    return (b"\\" in data or b"'" in data) and any(end.search(data) for end in _KEY_ENDS)


def _hash_ids(columns: Columns, mask: _mask.Mask) -> None:
    hashed = {item: mask.item_id(item) for item in set(columns.items)}
    columns.items = [hashed[item] for item in columns.items]
    if columns.values is not None and MERGED in columns.verdicts:
        # The id of the item that it became part of.
        columns.values = [
            mask.item_id(value) if letter == MERGED and isinstance(value, str) else value
            for letter, value in zip(columns.verdicts, columns.values, strict=True)
        ]


def _search(columns: Columns) -> bool:
    before = (columns.reasons, columns.texts, columns.values, columns.thresholds)
    after = tuple(None if column is None else _column(column) for column in before)
    columns.reasons, columns.texts, columns.values, columns.thresholds = after
    changed = [left is not right for left, right in zip(before, after, strict=True)]
    if changed[0]:
        columns.forget_counts()
    if changed[2] or changed[3]:
        columns.plain = False
    return any(changed)


def _column(column: list[Any]) -> list[Any]:
    """The column as it may leave; itself when nothing in it is hidden."""
    mask = _mask.current
    known: dict[tuple[type, Any], Any] = {}
    hidden = False
    if any(kind is not str and issubclass(kind, str) for kind in set(map(type, column))):
        column = [str.__str__(entry) if isinstance(entry, str) else entry for entry in column]
    distinct = {(type(entry), entry) for entry in column if type(entry) in _LOOKED_AT}
    if mask.finds_nothing([entry if kind is str else digits_of(entry) for kind, entry in distinct]):
        return column
    for kind, entry in distinct:
        left: Any = mask.text(entry) if kind is str else mask.number(entry)
        if left is not entry and left != entry:
            hidden = True
            known[kind, entry] = left
    if not hidden:
        return column
    plain = _LOOKED_AT
    return [known.get((type(entry), entry), entry) if type(entry) in plain else entry for entry in column]


_LOOKED_AT = frozenset({str, int, float})


def _checks(checks: Any) -> Any:
    """Checks of one candidate; what they compared is hidden when they go by a hidden name."""
    if not isinstance(checks, list):
        return checks
    mask = _mask.current
    return [
        check | {name: _hide(check[name]) for name in ("value", "threshold") if name in check}
        if mask.hides(check["name"])
        else check
        for check in checks
    ]


def _hide(value: Any) -> Any:
    return None if value is None else MASKED
