"""
Any value of the host program → bounded, clean text that can go on the wire.

Nothing here raises: what cannot be read is replaced by a word about it. Clean means
valid UTF-8 (no lone surrogates) without NUL, which Postgres cannot store; numbers finite
and integers within 64 bits. Text is masked before it is cut (``xray_otel/_mask.py``).
"""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import json
import math
import uuid
from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from typing import Any

from xray_otel import _mask
from xray_otel._figures import plain_float
from xray_otel._frames import (
    columns_of,
    is_absent,
    is_columnar,
    is_frame,
    is_labelled,
    listed,
)
from xray_otel._mask import MASKED, is_pair
from xray_otel._text import NAME_BYTES, TEXT_BYTES, clean, cut, type_name, unreadable

_fast_dumps: Callable[[Any], bytes] | None = None
try:
    import orjson
except ImportError:  # an optional accelerator; the standard library gives the same text
    pass
else:
    _fast_dumps = orjson.dumps

Scalar = str | int | float | bool | None

_INT_MIN, _INT_MAX = -(2**63), 2**63 - 1
_MAX_DEPTH = 8
_NODES, _STRING_BYTES = 2_000, 4_096


class Missing(enum.Enum):
    """The type of ``MISSING``."""

    MISSING = "missing"

    def __repr__(self) -> str:
        return "xray_otel.MISSING"


MISSING = Missing.MISSING
"""Says that the observed value was missing, which is not the same as "not recorded" (None)."""


def text_of(value: object, max_bytes: int) -> str:
    """
    Any value as bounded text, masked; a string as it is, an enumeration member by its value.

    A collection is written as JSON, of which no more is looked at than is needed.
    """
    if type(value) is str:
        return cut(_mask.current.window(value, max_bytes), max_bytes)
    try:
        if isinstance(value, enum.Enum):
            value = value.value
        if isinstance(value, str):
            text = str.__str__(value)
        elif isinstance(value, int | float):
            return _spoken(value, max_bytes)
        elif _is_short_tuple(value):
            text = str(value)
        elif _is_compound(value):
            # Not str(): it would go through the whole of it, and has no keys to mask by.
            text = json_text(value, max(max_bytes, _SMALLEST_JSON))
            return cut(text, max_bytes)
        elif isinstance(value, bytes | bytearray | memoryview):
            text = repr(bytes(value[: max_bytes + _mask.SPAN]))
        else:
            return _spoken(value, max_bytes)
        return cut(_mask.current.window(text, max_bytes), max_bytes)
    except Exception:  # noqa: BLE001 - the host's value may do anything when it is asked
        return unreadable(value)


def _spoken(value: object, max_bytes: int) -> str:
    """As Python writes it, bounded and masked."""
    return cut(_mask.current.window(str.__str__(str(value)), max_bytes), max_bytes)


def named_text(name: object, value: object, max_bytes: int) -> str:
    """As ``text_of``, of a value that goes by a name: hidden when the name is one of a secret."""
    return MASKED if _mask.current.hides(_key(name)) else text_of(value, max_bytes)


def shown(value: object) -> str:
    """How a message quotes what the host program gave: masked, at most 80 characters."""
    try:
        if isinstance(value, str):
            return clean(repr(_mask.current.window(str.__str__(value), _SHOWN))[:_SHOWN])
        if _is_compound(value):
            return text_of(value, _SHOWN)
        return clean(_mask.current.window(repr(value), _SHOWN)[:_SHOWN])
    except Exception:  # noqa: BLE001 - the host's __repr__ may do anything
        return unreadable(value)


def _key(name: object) -> str:
    return name if type(name) is str else _plain_text(name)


def _plain_text(value: object) -> str:
    try:
        return str.__str__(value) if isinstance(value, str) else str.__str__(str(value))[:NAME_BYTES]
    except Exception:  # noqa: BLE001 - the host's value may do anything when it is asked
        return ""


def scalar(value: Any) -> Scalar:
    """A value as a string, finite number, boolean or None; what is none of them as text."""
    kind = type(value)
    if value is None or kind is bool:
        return value  # type: ignore[no-any-return]
    if is_absent(value):
        return None
    try:
        if kind is str:
            return text_of(value, NAME_BYTES)
        if isinstance(value, float | decimal.Decimal):
            found = plain_float(value)
            return _looked_at(found) if math.isfinite(found) else None
        if isinstance(value, enum.Enum):
            return scalar(value.value)
        if isinstance(value, int):
            whole = int.__pos__(value)
            return _looked_at(whole if _INT_MIN <= whole <= _INT_MAX else float(whole))
        if isinstance(value, datetime.date | datetime.time):
            return text_of(value.isoformat(), NAME_BYTES)
        if hasattr(value, "dtype") and getattr(value, "size", 0) == 1 and not _is_compound(value):
            return scalar(value.item())
    except Exception:  # noqa: BLE001 - the host's value may do anything when it is asked
        return unreadable(value)
    return text_of(value, NAME_BYTES)


def _looked_at(value: int | float) -> Scalar:
    found: Scalar = _mask.current.number(value)
    return found


def json_text(value: Any, max_bytes: int = TEXT_BYTES) -> str:
    """
    Any value as JSON text of at most ``max_bytes``, a snapshot of the moment of the call.

    What does not fit is cut inside (long lists and strings first), so the text stays
    valid JSON. Costs at most some 2,000 visited nodes, however large the value is.
    """
    nodes, string_bytes = _NODES, _STRING_BYTES
    while nodes >= 8:
        tree = _Simplifier(nodes, string_bytes, 2 * max_bytes).simplify(value, 0)
        text = dumps(tree).decode("utf-8")
        if len(text.encode("utf-8")) <= max_bytes:
            return text
        nodes, string_bytes = nodes // 4, max(16, string_bytes // 4)
    return dumps(f"<{type_name(value)}>").decode("utf-8")


def simplified(value: Any) -> Any:
    """Any value as clean JSON-able values, masked; of a large one the beginning."""
    return _Simplifier(_NODES, _STRING_BYTES, 2 * TEXT_BYTES).simplify(value, 0)


def dumps(tree: Any) -> bytes:
    """Clean JSON-able values as compact UTF-8 JSON. Raises on anything that is not clean."""
    if _fast_dumps is not None:
        return _fast_dumps(tree)
    return json.dumps(tree, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode("utf-8")


class _Simplifier:
    """Walks a value and gives clean JSON-able values, until its budget of nodes or of characters is spent."""

    def __init__(self, nodes: int, string_bytes: int, characters: int) -> None:
        self._nodes = nodes
        self._string_bytes = string_bytes
        self._characters = characters
        self._mask = _mask.current

    def simplify(self, value: Any, depth: int) -> Any:
        self._nodes -= 1
        try:
            return self._simplify(value, depth)
        except Exception:  # noqa: BLE001 - the host's value may do anything when it is asked
            return unreadable(value)

    def _simplify(self, value: Any, depth: int) -> Any:
        if value is None or value is True or value is False:
            return value
        if isinstance(value, enum.Enum):
            return self.simplify(value.value, depth + 1) if depth < _MAX_DEPTH else f"<{type_name(value)}>"
        if isinstance(value, str):
            return self._text(value)
        if isinstance(value, int | float | decimal.Decimal):
            return self._mask.number(_json_number(value))
        if is_absent(value):
            return None
        if isinstance(value, datetime.date | datetime.time):
            return self._text(value.isoformat())
        if isinstance(value, bytes | bytearray | memoryview):
            return f"<{memoryview(value).nbytes} bytes>"
        if isinstance(value, uuid.UUID | datetime.timedelta | type):
            return self._words(value)
        if callable(value) and not _is_compound(value):
            return self._words(value)
        if depth >= _MAX_DEPTH:
            return f"<{type_name(value)}>"
        return self._compound(value, depth)

    def _compound(self, value: Any, depth: int) -> Any:
        if isinstance(value, Mapping):
            return self._mapping(value.items(), _size(value), depth)
        names = getattr(type(value), "_fields", None) if isinstance(value, tuple) else None
        if isinstance(names, tuple):  # a named tuple
            return self._mapping(zip(names, value, strict=False), len(names), depth)
        if isinstance(value, list | tuple | set | frozenset):
            return self._sequence(value, _size(value), depth)
        if is_columnar(value):
            return self._columnar(value, depth)
        if hasattr(type(value), "__len__"):
            return self._sequence(value, _size(value), depth)
        if dataclasses.is_dataclass(value):
            known = [field.name for field in dataclasses.fields(value)]
            return self._mapping(((name, getattr(value, name)) for name in known), len(known), depth)
        if isinstance(value, BaseException):
            return self._text(repr(value))
        says_nothing = getattr(type(value), "__repr__", None) is object.__repr__
        if hasattr(value, "__dict__") and (vars(value) or says_nothing):
            return self._mapping(vars(value).items(), len(vars(value)), depth)
        return self._words(value)

    def _columnar(self, value: Any, depth: int) -> Any:
        """Of numpy, pandas, polars or Arrow; a frame by column, each with the rows left out."""
        if is_frame(value):
            return self._mapping(*columns_of(value), depth)
        if is_labelled(value):
            return self._mapping(value.items(), _size(value), depth)
        if hasattr(value, "as_py"):
            return self.simplify(value.as_py(), depth + 1)
        if getattr(value, "size", 0) == 1 and hasattr(value, "item"):
            return self.simplify(value.item(), depth + 1)
        # A row at a time of more than one dimension: a slice of a few rows may be endless.
        flat = value if getattr(value, "ndim", 1) > 1 else listed(value[: max(1, self._nodes)])
        return self._sequence(flat, _size(value), depth)

    def _text(self, value: object) -> str:
        return self._spent(text_of(value, self._string_bytes))

    def _words(self, value: object) -> str:
        """Of what is not taken apart. Not ``text_of``, which may come here again, and so on for ever."""
        return self._spent(_spoken(value, self._string_bytes))

    def _spent(self, text: str) -> str:
        self._characters -= len(text)
        if self._characters <= 0:
            self._nodes = 0
        return text

    def _mapping(self, items: Iterable[tuple[Any, Any]], size: int, depth: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        named: dict[str, str] = {}
        for key, item in islice(items, max(0, self._nodes)):
            if self._nodes <= 0:
                break
            plain = _key(key)
            if self._mask.hides(plain):
                self._nodes -= 1
                found[self._text(key)] = MASKED
                continue
            if plain in ("name", "key", "value"):
                named[plain] = item if type(item) is str else ""
            found[self._text(key)] = self.simplify(item, depth + 1)
        if self._mask.hides_value_of(named):
            found["value"] = MASKED
        if size > len(found):
            found["…"] = f"{size - len(found)} more"
        return found

    def _sequence(self, items: Iterable[Any], size: int, depth: int) -> list[Any]:
        found: list[Any] = []
        for item in islice(items, max(0, self._nodes)):
            if self._nodes <= 0:
                break
            if len(found) == 1 and size == 2 and is_pair((found[0], item)) and self._mask.hides(found[0]):
                item = MASKED
            found.append(self.simplify(item, depth + 1))
        if size > len(found):
            found.append(f"… {size - len(found)} more")
        return found


def _is_short_tuple(value: Any) -> bool:
    """Whether it is a key of several parts, which is written as Python does."""
    if type(value) is not tuple or len(value) > _SHORT_TUPLE or not _PLAIN.issuperset(map(type, value)):
        return False
    return not (is_pair(value) and _mask.current.hides(value[0]))


def _is_record(value: object) -> bool:
    return dataclasses.is_dataclass(value) and not isinstance(value, type)


def _is_compound(value: object) -> bool:
    """Whether it has parts, with keys that may be hidden."""
    return isinstance(value, _COLLECTIONS) or _is_record(value) or is_frame(value) or is_labelled(value)


_COLLECTIONS = (Mapping, list, tuple, set, frozenset)
_PLAIN = frozenset({str, int, float, bool, type(None)})
_SHORT_TUPLE = 16
_SHOWN = 80
_SMALLEST_JSON = 64
"""Bytes within which ``json_text`` always finds a text."""


def _size(value: Any) -> int:
    """Entries of a collection as it says; 0 when it does not say, and then what is cut is not counted."""
    try:
        return len(value)
    except Exception:  # noqa: BLE001 - the host's __len__ may do anything
        return 0


def _json_number(value: int | float | decimal.Decimal) -> int | float | str:
    if isinstance(value, int):
        whole = int.__pos__(value)
        return whole if _INT_MIN <= whole <= _INT_MAX else text_of(whole, 64)
    found = plain_float(value)
    return found if math.isfinite(found) else repr(found)
