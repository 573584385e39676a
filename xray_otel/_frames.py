"""Values of numpy, pandas, polars and Arrow, told by what they can do: none of these is imported."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_COLUMNAR = ("dtype", "as_py", "to_pylist")
_TO_LIST = ("tolist", "to_list", "to_pylist")


def is_frame(value: Any) -> bool:
    """Whether it is a frame or table of pandas, polars or Arrow."""
    try:
        # Shape first: a lazy frame has none, and works its columns out when it is asked for them.
        return not isinstance(value, Mapping) and hasattr(value, "shape") and hasattr(value, "columns")
    except Exception:  # noqa: BLE001 - the host's object may do anything when it is asked
        return False


def is_labelled(value: Any) -> bool:
    """Whether it is a series of pandas with names, such as a row of a frame."""
    try:
        if not (hasattr(value, "dtype") and hasattr(value, "index") and hasattr(value, "items")):
            return False
        return isinstance(next(iter(value.index), None), str)
    except Exception:  # noqa: BLE001 - the host's object may do anything when it is asked
        return False


def is_absent(value: object) -> bool:
    """Whether it is pandas' missing value, which is equal to nothing and true of nothing."""
    return type(value).__name__ in ("NAType", "NaTType")


def is_columnar(value: Any) -> bool:
    """Whether it is an array, a series, a frame or a scalar of them."""
    try:
        return any(hasattr(value, name) for name in _COLUMNAR) or is_frame(value)
    except Exception:  # noqa: BLE001 - the host's object may do anything when it is asked
        return False


def listed(values: Any) -> Any:
    """An array or series as a list; anything else as it is. Raises what its library raises."""
    for method in _TO_LIST:
        if hasattr(values, method):
            return getattr(values, method)()
    return values


def plain_scalar(value: Any) -> Any:
    """A scalar of numpy or Arrow as Python's; anything else as it is. Raises what its library raises."""
    if getattr(value, "shape", None) == () and hasattr(value, "item"):
        return value.item()
    return value.as_py() if hasattr(value, "as_py") else value
