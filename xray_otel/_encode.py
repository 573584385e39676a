"""
Any value of the host program → bounded, clean text that can go on the wire.

Nothing here raises: what cannot be read is replaced by a word about it. Clean means
valid UTF-8 (no lone surrogates) without NUL, which Postgres cannot store; numbers finite
and integers within 64 bits.
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

_fast_dumps: Callable[[Any], bytes] | None = None
try:
    import orjson
except ImportError:  # an optional accelerator; the standard library gives the same text
    pass
else:
    _fast_dumps = orjson.dumps

TEXT_BYTES = 16 * 1024
"""Bound of input, output and reasoning (contract: server limits)."""
WHY_BYTES = 2 * 1024
NAME_BYTES = 512

Scalar = str | int | float | bool | None

_INT_MIN, _INT_MAX = -(2**63), 2**63 - 1
_EXACT = 2**53
_MAX_DEPTH = 8


class Missing(enum.Enum):
    """The type of ``MISSING``."""

    MISSING = "missing"

    def __repr__(self) -> str:
        return "xray_otel.MISSING"


MISSING = Missing.MISSING
"""Says that the observed value was missing, which is not the same as "not recorded" (None)."""


def clean(text: str) -> str:
    """The text without NUL and with lone surrogates replaced."""
    if "\x00" in text:
        text = text.replace("\x00", "")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        text = text.encode("utf-8", "replace").decode("utf-8")
    return text


def cut(text: str, max_bytes: int) -> str:
    """The clean text, cut to at most ``max_bytes`` of UTF-8 with a mark at the end."""
    if 4 * len(text) <= max_bytes and text.isascii() and "\x00" not in text:
        return text
    text = clean(text[: max_bytes + 1])
    data = text.encode("utf-8")
    if len(data) <= max_bytes:
        return text
    return data[: max_bytes - 3].decode("utf-8", "ignore") + "…"


def text_of(value: object, max_bytes: int) -> str:
    """Any value as bounded text; a string as it is, an enumeration member by its value."""
    if type(value) is str:
        return cut(value, max_bytes)
    try:
        if isinstance(value, enum.Enum):
            value = value.value
        return cut(str.__str__(value) if isinstance(value, str) else str(value), max_bytes)
    except Exception:  # noqa: BLE001 - the host's value may do anything when it is asked
        return f"<unreadable {type(value).__name__}>"


def shown(value: object) -> str:
    """How a message quotes what the host program gave: at most 80 characters."""
    try:
        return clean(repr(value)[:80])
    except Exception:  # noqa: BLE001 - the host's __repr__ may do anything
        return f"<unreadable {type(value).__name__}>"


def scalar(value: Any) -> Scalar:
    """A value as a string, finite number, boolean or None; what is none of them as text."""
    kind = type(value)
    if value is None or kind is bool or (kind is int and _INT_MIN <= value <= _INT_MAX):
        return value  # type: ignore[no-any-return]
    try:
        if kind is str:
            return cut(value, NAME_BYTES)
        if isinstance(value, float | decimal.Decimal):
            number = float(value)
            return number if math.isfinite(number) else None
        if isinstance(value, enum.Enum):
            return scalar(value.value)
        if isinstance(value, int):
            return int(value) if _INT_MIN <= value <= _INT_MAX else float(value)
        if isinstance(value, datetime.date | datetime.time):
            return value.isoformat()
        if hasattr(value, "dtype") and getattr(value, "size", 0) == 1:
            return scalar(value.item())
    except Exception:  # noqa: BLE001 - the host's value may do anything when it is asked
        return f"<unreadable {kind.__name__}>"
    return text_of(value, NAME_BYTES)


def number(value: Any) -> float | None:
    """A finite float, or None for what is no number; a boolean counts as 0 or 1."""
    kind = type(value)
    if kind is not float:
        if kind is int and -_EXACT <= value <= _EXACT:
            return float(value)
        value = scalar(value)
        if not isinstance(value, bool | int | float):
            return None
        value = float(value)
    return value if math.isfinite(value) else None


def json_text(value: Any, max_bytes: int = TEXT_BYTES) -> str:
    """
    Any value as JSON text of at most ``max_bytes``, a snapshot of the moment of the call.

    What does not fit is cut inside (long lists and strings first), so the text stays
    valid JSON. Costs at most some 2,000 visited nodes, however large the value is.
    """
    nodes, string_bytes = 2_000, 4_096
    while nodes >= 8:
        tree = _Simplifier(nodes, string_bytes, 2 * max_bytes).simplify(value, 0)
        text = dumps(tree).decode("utf-8")
        if len(text.encode("utf-8")) <= max_bytes:
            return text
        nodes, string_bytes = nodes // 4, max(16, string_bytes // 4)
    return dumps(text_of(value, max_bytes // 8)).decode("utf-8")


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

    def simplify(self, value: Any, depth: int) -> Any:
        self._nodes -= 1
        try:
            return self._simplify(value, depth)
        except Exception:  # noqa: BLE001 - the host's value may do anything when it is asked
            return f"<unreadable {type(value).__name__}>"

    def _simplify(self, value: Any, depth: int) -> Any:
        if value is None or value is True or value is False:
            return value
        if isinstance(value, enum.Enum):
            return self.simplify(value.value, depth)
        if isinstance(value, str):
            return self._text(value)
        if isinstance(value, int | float | decimal.Decimal):
            return _json_number(value)
        if isinstance(value, datetime.date | datetime.time):
            return value.isoformat()
        if isinstance(value, bytes | bytearray | memoryview):
            return f"<{len(value)} bytes>"
        if isinstance(value, uuid.UUID | datetime.timedelta | type) or callable(value):
            return self._text(value)
        if depth >= _MAX_DEPTH:
            return f"<{type(value).__name__}>"
        return self._compound(value, depth)

    def _compound(self, value: Any, depth: int) -> Any:
        if isinstance(value, Mapping):
            return self._mapping(value.items(), len(value), depth)
        if hasattr(value, "dtype") and hasattr(value, "tolist"):
            if getattr(value, "size", 1) == 1:
                return self.simplify(value.item(), depth)
            return self._sequence(value[: max(1, self._nodes)].tolist(), len(value), depth)
        if isinstance(value, list | tuple | set | frozenset) or hasattr(type(value), "__len__"):
            return self._sequence(value, len(value), depth)
        if dataclasses.is_dataclass(value):
            names = [field.name for field in dataclasses.fields(value)]
            return self._mapping(((name, getattr(value, name)) for name in names), len(names), depth)
        if hasattr(value, "__dict__"):
            return self._mapping(vars(value).items(), len(vars(value)), depth)
        return self._text(value)

    def _text(self, value: object) -> str:
        text = text_of(value, self._string_bytes)
        self._characters -= len(text)
        if self._characters <= 0:
            self._nodes = 0
        return text

    def _mapping(self, items: Iterable[tuple[Any, Any]], size: int, depth: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, item in islice(items, max(0, self._nodes)):
            if self._nodes <= 0:
                break
            found[self._text(key)] = self.simplify(item, depth + 1)
        if size > len(found):
            found["…"] = f"{size - len(found)} more"
        return found

    def _sequence(self, items: Iterable[Any], size: int, depth: int) -> list[Any]:
        found: list[Any] = []
        for item in islice(items, max(0, self._nodes)):
            if self._nodes <= 0:
                break
            found.append(self.simplify(item, depth + 1))
        if size > len(found):
            found.append(f"… {size - len(found)} more")
        return found


def _json_number(value: int | float | decimal.Decimal) -> int | float | str:
    if isinstance(value, int):
        return int(value) if _INT_MIN <= value <= _INT_MAX else text_of(value, 64)
    found = float(value)
    return found if math.isfinite(found) else str(found)


Key = str | Callable[[Any], object] | None
"""How to get an item's id: a field or attribute name, a function, or None for ``id``."""


_IDS = (str, int, float, tuple, bytes, decimal.Decimal, datetime.date, uuid.UUID, enum.Enum)
"""What is an id itself, unless a key says otherwise."""


def item_id(item: Any, key: Key = None) -> str:
    """
    The id of a candidate: a plain value itself, else its ``key`` (default ``id``). A named tuple
    with an ``id`` is no plain value.

    ``key``: name of a mapping key or attribute, or a function from the item. An item
    without one raises whatever it raises.
    """
    if key is None:
        if not isinstance(item, _IDS) or (isinstance(item, tuple) and hasattr(item, "id")):
            item = item["id"] if isinstance(item, Mapping) else item.id
    elif isinstance(key, str):
        item = item[key] if isinstance(item, Mapping) else getattr(item, key)
    else:
        item = key(item)
    return text_of(item, NAME_BYTES)
