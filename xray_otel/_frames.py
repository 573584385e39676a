"""
Values of numpy, pandas, polars and Arrow, told by what their types can do: none of these is imported.

Types are asked and not values: of a mock everything can be had, a lazy frame works its columns
out, and a class has all that its values have.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

_TO_LIST = ("tolist", "to_list", "to_pylist")
_NO_NAMES = frozenset("biufcmM")
"""Kinds of an index that counts, measures or dates its rows."""


def is_frame(value: Any) -> bool:
    """Whether it is a frame or table of pandas, polars or Arrow, or of numpy with named fields."""
    try:
        if isinstance(value, Mapping):
            return False
        return _can(value, "shape", "columns", "__getitem__") or _fields(value) is not None
    except Exception:  # noqa: BLE001 - the host's object may do anything when it is asked
        return False


def is_labelled(value: Any) -> bool:
    """Whether it is a series of pandas with names, such as a row of a frame."""
    try:
        if not _can(value, "dtype", "index", "items", "tolist"):
            return False
        return getattr(getattr(value.index, "dtype", None), "kind", None) not in _NO_NAMES
    except Exception:  # noqa: BLE001 - the host's object may do anything when it is asked
        return False


def is_absent(value: object) -> bool:
    """Whether it is pandas' missing value, which is equal to nothing and true of nothing."""
    try:
        return type(value).__name__ in ("NAType", "NaTType")
    except Exception:  # noqa: BLE001 - a metaclass may do anything when it is asked
        return False


def is_columnar(value: Any) -> bool:
    """Whether it is an array, a series, a frame or a scalar of them."""
    kind = type(value)
    if hasattr(kind, "dtype"):
        return hasattr(kind, "tolist") or hasattr(kind, "to_list")
    return hasattr(kind, "as_py") or hasattr(kind, "to_pylist") or is_frame(value)


def columns_of(frame: Any) -> tuple[Iterable[tuple[Any, Any]], int]:
    """The columns by name, and how many there are. Raises what its library raises."""
    if _can(frame, "items"):  # of pandas, where several columns may have one name
        return frame.items(), len(frame.columns)
    names = _fields(frame)
    if names is None:
        names = frame.column_names if _can(frame, "column_names") else frame.columns
    return ((name, frame[name]) for name in names), len(names)


def listed(values: Any) -> Any:
    """An array or series as a list; anything else as it is. Raises what its library raises."""
    for method in _TO_LIST:
        if _can(values, method):
            return getattr(values, method)()
    return values


def plain_scalar(value: Any) -> Any:
    """A scalar of numpy or Arrow as Python's; anything else as it is. Raises what its library raises."""
    if _can(value, "dtype", "item") and getattr(value, "shape", None) == ():
        return value.item()
    return value.as_py() if _can(value, "as_py") else value


def _can(value: Any, *names: str) -> bool:
    kind = type(value)
    for name in names:  # noqa: SIM110 - a generator takes twice as long, and this is asked of many values
        if not hasattr(kind, name):
            return False
    return True


def _fields(value: Any) -> tuple[str, ...] | None:
    """Of an array or row of numpy with named fields."""
    names = getattr(value.dtype, "names", None) if _can(value, "dtype", "tolist") else None
    return names if isinstance(names, tuple) else None
