"""Figures of the host program: scores, counts and metrics as finite floats."""

from __future__ import annotations

import decimal
import enum
import math
from typing import Any

_EXACT = 2**53


def number(value: Any) -> float | None:
    """
    A finite float, or None for what is no number; a boolean counts as 0 or 1.

    Not masked: it is a figure (a score, count or metric), never the value of a record.
    """
    kind = type(value)
    if kind is not float:
        if kind is int and -_EXACT <= value <= _EXACT:
            return float(value)
        value = _figure(value)
    return value if value is not None and math.isfinite(value) else None


def _figure(value: Any) -> float | None:
    try:
        if isinstance(value, enum.Enum):
            value = value.value
        if not isinstance(value, int | float | decimal.Decimal) and hasattr(value, "dtype"):
            value = value.item() if getattr(value, "size", 0) == 1 else None
        if isinstance(value, int):
            return float(int.__pos__(value))
        return plain_float(value) if isinstance(value, float | decimal.Decimal) else None
    except Exception:  # noqa: BLE001 - the host's value may do anything when it is asked
        return None


def plain_float(value: float | decimal.Decimal) -> float:
    """The number itself, whatever a subclass makes of it."""
    return float.__pos__(value) if isinstance(value, float) else decimal.Decimal.__float__(value)
