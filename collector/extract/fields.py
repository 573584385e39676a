"""
Readers of single values: what was sent, the field's name, and where to put flags.

A reader never raises. It returns a value that its column can hold, or None. Each begins with
a test that a well-formed value passes, so that the good path costs one comparison; whatever
is odd goes to the functions below them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection
from typing import Any

from collector.extract.flags import (
    COERCED,
    NEGATIVE,
    NOT_FINITE,
    NUL_REMOVED,
    TRUNCATED,
    WRONG_TYPE,
    clean,
    flag,
)
from store.rows import Flag

Reader = Callable[[Any, str, list[Flag]], Any]

NAME_BYTES = 512
WHY_BYTES = 2048
INT32_MAX = (1 << 31) - 1
INT64_MAX = (1 << 63) - 1
MAX_LIST_ITEMS = 1000

_INTEGER = re.compile(r"\s*[+-]?\d{1,19}(\.0*)?\s*")
_NUMBER = re.compile(r"\s*[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?\s*", re.IGNORECASE)
_NOT_FINITE = frozenset({"nan", "inf", "infinity", "-inf", "-infinity", "+inf", "+infinity"})


def text(limit_bytes: int) -> Reader:
    """Return a reader of text of at most limit_bytes of UTF-8; an empty text reads as None."""

    def read(value: Any, field: str, flags: list[Flag]) -> str | None:
        if type(value) is str and value.isascii() and 0 < len(value) <= limit_bytes and "\0" not in value:
            return value
        return _odd_text(value, limit_bytes, field, flags)

    return read


def count(limit: int = INT64_MAX) -> Reader:
    """Return a reader of an integer from 0 to limit."""

    def read(value: Any, field: str, flags: list[Flag]) -> int | None:
        if type(value) is int and 0 <= value <= limit:
            return value
        return _odd_count(value, limit, field, flags)

    return read


def number(value: Any, field: str, flags: list[Flag]) -> float | None:
    """Return a finite double; an integer is one too (JavaScript cannot tell 1.0 from 1)."""
    if type(value) is float and -math.inf < value < math.inf:
        return value
    return _odd_number(value, field, flags)


def positive(value: Any, field: str, flags: list[Flag]) -> float | None:
    """Return a finite double that is not below 0."""
    result = number(value, field, flags)
    if result is not None and result < 0:
        flags.append(flag(NEGATIVE, field, result))
        return None
    return result


def word(vocabulary: Collection[str]) -> Reader:
    """Return a reader of one word of a closed vocabulary."""

    def read(value: Any, field: str, flags: list[Flag]) -> str | None:
        if type(value) is str and value in vocabulary:
            return value
        if value is None or value == "":
            return None
        flags.append(flag(WRONG_TYPE, field, value))
        return None

    return read


def version(value: Any, field: str, flags: list[Flag]) -> str | None:
    """Return a version as text; a whole number is a usual version and no fault."""
    if type(value) is int and abs(value) <= INT64_MAX:
        return str(value)
    return name(value, field, flags)  # type: ignore[no-any-return]


def items(value: Any, field: str, flags: list[Flag]) -> list[Any] | None:
    """Return the items of an array, at most ``MAX_LIST_ITEMS``; a lone text or number is an array of one."""
    if type(value) is list:
        if len(value) <= MAX_LIST_ITEMS:
            return value
        flags.append(flag(TRUNCATED, field, len(value)))
        return value[:MAX_LIST_ITEMS]
    if value is None:
        return None
    if isinstance(value, str | int | float) and not isinstance(value, bool):
        flags.append(flag(COERCED, field, value))
        return [value]
    flags.append(flag(WRONG_TYPE, field, value))
    return None


def cut(value: str, limit_bytes: int) -> str:
    """Return the longest beginning that fits into limit_bytes of UTF-8 and ends between characters."""
    return value[:limit_bytes].encode()[:limit_bytes].decode("utf-8", "ignore")


name = text(NAME_BYTES)


def _odd_text(value: Any, limit_bytes: int, field: str, flags: list[Flag]) -> str | None:
    if value is None or value == "":
        return None
    if isinstance(value, bool):
        flags.append(flag(COERCED, field, value))
        return "true" if value else "false"
    if isinstance(value, int | float) and not (isinstance(value, int) and abs(value) > INT64_MAX):
        flags.append(flag(COERCED, field, value))
        return str(value)
    if not isinstance(value, str):
        flags.append(flag(WRONG_TYPE, field, value))
        return None
    # Only what may remain is looked at: a text of megabytes is cut before it is cleaned, with as much
    # to spare as an honest text can need.
    cleaned = clean(value[: 2 * limit_bytes])
    if len(cleaned) < min(len(value), 2 * limit_bytes):
        flags.append(flag(NUL_REMOVED, field, value[:limit_bytes]))
    result = cut(cleaned, limit_bytes)
    if len(result) < len(cleaned) or len(value) > 2 * limit_bytes:
        flags.append(flag(TRUNCATED, field, f"{len(value)} characters"))
    return result or None


def _odd_count(value: Any, limit: int, field: str, flags: list[Flag]) -> int | None:
    result: int | None = None
    if value is None:
        return None
    if type(value) is int:
        result = value
    elif type(value) is float and not math.isfinite(value):
        flags.append(flag(NOT_FINITE, field, value))
        return None
    elif type(value) is float and value.is_integer():
        result = int(value)
    elif type(value) is str and len(value) <= 40 and _INTEGER.fullmatch(value):
        result = int(value.partition(".")[0])
        flags.append(flag(COERCED, field, value))
    if result is not None and result < 0:
        flags.append(flag(NEGATIVE, field, value))
        return None
    if result is None or result > limit:
        flags.append(flag(WRONG_TYPE, field, value))
        return None
    return result


def _odd_number(value: Any, field: str, flags: list[Flag]) -> float | None:
    if value is None:
        return None
    result: float | None = None
    if type(value) is float or (type(value) is int and abs(value) <= INT64_MAX):
        result = float(value)
    elif type(value) is str and len(value) <= 400:
        if _NUMBER.fullmatch(value):
            result = float(value)
            flags.append(flag(COERCED, field, value))
        elif value.strip().lower() in _NOT_FINITE:
            result = math.nan
    if result is None:
        flags.append(flag(WRONG_TYPE, field, value))
        return None
    if not math.isfinite(result):
        flags.append(flag(NOT_FINITE, field, value))
        return None
    return result
