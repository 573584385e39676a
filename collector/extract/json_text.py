"""
Reader of the bounded JSON of inputs, outputs and reasoning.

What cannot be stored as the JSON that it claims to be is kept as text and flagged: a
developer who looks at a wrong decision wants to see what was there.
"""

from __future__ import annotations

import base64
import json
import math
import re
from typing import Any

import orjson

from collector.extract.fields import cut, text
from collector.extract.flags import COERCED, NOT_FINITE, NUL_REMOVED, TRUNCATED, WRONG_TYPE, clean, flag
from collector.records import MAX_DEPTH, Unreadable
from store.rows import Flag

JSON_BYTES = 16 * 1024
_text = text(JSON_BYTES)

_ESCAPED_UNSTORABLE = re.compile(r"\\u(?:0000|d[89a-f])", re.IGNORECASE)


class _TooDeep(Exception):
    pass


class _NotFinite(Exception):
    pass


def json_text(value: Any, field: str, flags: list[Flag]) -> Any:
    """Return what a JSON text says, or a text when it cannot be parsed or stored; never raises."""
    if type(value) is str:
        if _is_plain(value):
            try:
                return orjson.loads(value)
            except orjson.JSONDecodeError:
                pass
        return _odd_text(value, field, flags)
    if isinstance(value, Unreadable) or value is None:
        if value is not None:
            flags.append(flag(WRONG_TYPE, field, value.reason))
        return None
    return _native(value, field, flags)


def _is_plain(value: str) -> bool:
    # Fewer openings than levels allowed: it cannot be too deep, and nobody has to walk it.
    return (
        len(value) <= JSON_BYTES
        and value.isascii()
        and value.count("[") + value.count("{") <= MAX_DEPTH
        and not _ESCAPED_UNSTORABLE.search(value)
    )


def json_value(value: Any, field: str, flags: list[Flag]) -> Any:
    """Return a value that came as JSON itself, bounded; a text in it is a text and is not parsed."""
    if isinstance(value, str):
        return _text(value, field, flags)
    return None if value is None else _native(value, field, flags)


def _odd_text(value: str, field: str, flags: list[Flag]) -> Any:
    kept = clean(value[: 2 * JSON_BYTES])
    if len(kept) < min(len(value), 2 * JSON_BYTES):
        flags.append(flag(NUL_REMOVED, field, value))
    bounded = cut(kept, JSON_BYTES)
    if len(bounded) < len(kept) or len(value) > 2 * JSON_BYTES:
        flags.append(flag(TRUNCATED, field, f"{len(value)} characters"))
        return bounded
    try:
        return _storable(json.loads(bounded), field, flags)
    except (_NotFinite, _TooDeep, ValueError, RecursionError) as exc:
        flags.append(flag(_code(exc), field, bounded))
        return bounded


def _code(exc: Exception) -> str:
    if isinstance(exc, _NotFinite):
        return NOT_FINITE
    # Plain words where JSON was due are taken as they are; only what is JSON and too deep is at fault.
    return WRONG_TYPE if isinstance(exc, _TooDeep | RecursionError) else COERCED


def _native(value: Any, field: str, flags: list[Flag]) -> Any:
    """Maps and arrays as OTLP values instead of JSON text, and lone numbers."""
    try:
        stored = _storable(value, field, flags)
    except _NotFinite:
        flags.append(flag(NOT_FINITE, field, value))
        return cut(clean(str(value)), JSON_BYTES)
    except (_TooDeep, RecursionError):
        flags.append(flag(WRONG_TYPE, field, f"nested deeper than {MAX_DEPTH} levels"))
        return None
    # Sorted: senders and encodings differ in the order of a map, and a text cut short would show it.
    encoded = orjson.dumps(stored, option=orjson.OPT_SORT_KEYS)
    if len(encoded) <= JSON_BYTES:
        return stored
    flags.append(flag(TRUNCATED, field, f"{len(encoded)} bytes"))
    return encoded[:JSON_BYTES].decode("utf-8", "ignore")


def _storable(value: Any, field: str, flags: list[Flag]) -> Any:
    """Return the value as jsonb can hold it. Raises ``_NotFinite`` and ``_TooDeep``."""
    removed = False

    def cleaned_text(part: str) -> str:
        nonlocal removed
        cleaned = clean(part)
        removed = removed or len(cleaned) < len(part)
        return cleaned

    def walk(part: Any, depth: int) -> Any:
        if isinstance(part, str):
            return cleaned_text(part)
        if isinstance(part, list):
            if depth >= MAX_DEPTH:
                raise _TooDeep
            return [walk(item, depth + 1) for item in part]
        if isinstance(part, dict):
            if depth >= MAX_DEPTH:
                raise _TooDeep
            return {cleaned_text(key): walk(item, depth + 1) for key, item in part.items()}
        if isinstance(part, float) and not math.isfinite(part):
            raise _NotFinite
        if isinstance(part, int) and not -(1 << 63) <= part < 1 << 63:
            return (
                float(part)
                if abs(part) < 1 << 1000
                else cleaned_text(f"an integer of {part.bit_length()} bits")
            )
        if isinstance(part, bytes):
            return base64.b64encode(part).decode()
        return part.reason if isinstance(part, Unreadable) else part

    # Unreadable is a NamedTuple, not a list: it never enters the branches above.
    result = walk(value, 0)
    if removed:
        flags.append(flag(NUL_REMOVED, field))
    return result
