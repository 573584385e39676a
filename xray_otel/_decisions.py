"""Columns of decisions → chunks of wire text: columnar JSON, version 1."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from xray_otel._columns import Columns, counts_of, filled
from xray_otel._encode import MISSING, Missing, dumps, scalar, text_of
from xray_otel._figures import number
from xray_otel._mask_columns import mask_payload
from xray_otel._text import NAME_BYTES, WHY_BYTES, cut

CHUNK_BYTES = 256 * 1024
"""Longest text of one chunk; a larger one would not fit beside others into a request."""


class Chunk(NamedTuple):
    """One chunk of decisions: wire text (version 1), number of decisions, CRC-32 in hex."""

    text: str
    size: int
    checksum: str


def encode(columns: Columns, rules: Mapping[str, Any] | None = None) -> list[Chunk]:
    """
    The columns as chunks of at most 256 KiB, in order; never raises on what was recorded.

    rules: what the step declares of its rules, clean; each chunk says it.
    """
    count = len(columns)
    if not count:
        return []
    try:
        data = dumps(_payload(columns, rules))
        if _may_hold_long_item(data):
            columns.items = [cut(item, NAME_BYTES) for item in columns.items]
            data = dumps(_payload(columns, rules))
        dirty = b"\\" in data and b"\\u0000" in data  # the first look is 40 times as fast
    except Exception:  # noqa: BLE001 - surrogates, huge integers, NaN: whatever the encoder refuses
        dirty = True
    if dirty:
        _sanitize(columns)
        data = dumps(_payload(columns, rules))
    if mask_payload(columns, data):
        data = dumps(_payload(columns, rules))
    if len(data) <= CHUNK_BYTES or count == 1:
        return [Chunk(data.decode("utf-8"), count, f"{zlib.crc32(data):08x}")]
    parts = min(count, len(data) // CHUNK_BYTES + 1)
    rows = -(-count // parts)
    return [
        chunk
        for start in range(0, count, rows)
        for chunk in encode(columns.slice(start, min(count, start + rows)), rules)
    ]


def _may_hold_long_item(data: bytes) -> bool:
    """
    Whether an item id of the encoded columns may be longer than ``NAME_BYTES``.

    Every half of that many bytes holds an end of an id, or there may be one. ``","`` stands
    between two ids and nowhere within one, where JSON puts a backslash before the quotation
    mark. Asking each id for its length takes four times as long.
    """
    start, stop = data.find(b'"item":'), data.find(b'],"verdict"')
    half = NAME_BYTES // 2
    return any(data.find(b'","', at, at + half) < 0 for at in range(start, stop - half, half))


def _payload(columns: Columns, rules: Mapping[str, Any] | None) -> dict[str, Any]:
    payload: dict[str, Any] = {
        "v": 1,
        "n": len(columns),
        "item": columns.items,
        "verdict": columns.verdicts,
    }
    if columns.reasons is not None:
        payload |= _dictionary("reason", columns.reasons, counts_of(columns), columns.reason_places)
    if columns.texts is not None:
        payload |= _dictionary("text", columns.texts, dict.fromkeys(columns.texts))
    values, missing = (columns.values, []) if columns.plain else _without_missing(columns.values)
    payload |= _scalars("score", columns.scores, plain=True)
    payload |= _scalars("value", values, plain=columns.plain)
    payload |= _scalars("threshold", columns.thresholds, plain=columns.plain)
    if missing:
        payload["missing"] = missing
    if columns.checks is not None and filled(columns.checks):
        payload["checks"] = columns.checks
    if columns.probabilities is not None:
        payload |= _scalars("p", columns.probabilities, plain=True)
    if rules:
        payload["rules"] = rules
    return payload


def _dictionary(
    name: str,
    column: Sequence[str | None],
    distinct: Iterable[str | None],
    places: list[int | None] | None = None,
) -> dict[str, Any]:
    words = [word for word in distinct if word is not None]
    if not words:
        return {}
    if places is not None:
        return {f"{name}s": words, name: places}
    index: dict[str | None, int | None] = {word: at for at, word in enumerate(words)}
    index[None] = None
    return {f"{name}s": words, name: list(map(index.__getitem__, column))}


def _scalars(name: str, column: list[Any] | None, *, plain: bool) -> dict[str, Any]:
    """
    Nothing when no value was recorded, one scalar when all are the same, else the list.

    plain: as in ``Columns``. Otherwise equal is not the same: 1, 1.0 and True are equal.
    """
    if column is None:
        return {}
    first = column[0]
    if (
        first == column[-1]
        and column.count(first) == len(column)
        and (plain or len(set(map(type, column))) == 1)
    ):
        return {} if first is None else {name: first}
    return {name: column}


def _without_missing(column: list[Any] | None) -> tuple[list[Any] | None, list[int]]:
    # By type, because comparing each entry with MISSING takes three times as long.
    if column is None or Missing not in set(map(type, column)):
        return column, []
    missing = [at for at, value in enumerate(column) if value is MISSING]
    return [None if value is MISSING else value for value in column], missing


def _sanitize(columns: Columns) -> None:
    """Cleans every entry in place; the slow path, taken when the encoder refused a column."""
    columns.items = [text_of(item, NAME_BYTES) for item in columns.items]
    columns.reasons = _texts(columns.reasons, NAME_BYTES)
    columns.texts = _texts(columns.texts, WHY_BYTES)
    if columns.scores is not None:
        columns.scores = [number(score) for score in columns.scores]
    if columns.values is not None:
        columns.values = [value if value is MISSING else scalar(value) for value in columns.values]
    columns.forget_counts()
    if columns.thresholds is not None:
        columns.thresholds = [scalar(threshold) for threshold in columns.thresholds]


def _texts(column: list[str | None] | None, max_bytes: int) -> list[str | None] | None:
    if column is None:
        return None
    return [None if entry is None else text_of(entry, max_bytes) for entry in column]
