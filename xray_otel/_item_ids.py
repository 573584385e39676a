"""The id of a candidate, from whatever the host's candidates are."""

from __future__ import annotations

import datetime
import decimal
import enum
import uuid
from collections.abc import Callable, Mapping
from typing import Any

from xray_otel._encode import text_of
from xray_otel._frames import plain_scalar
from xray_otel._text import NAME_BYTES

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
        if not isinstance(item, _IDS):
            item = plain_scalar(item)
        if not isinstance(item, _IDS) or (isinstance(item, tuple) and hasattr(item, "id")):
            item = item["id"] if isinstance(item, Mapping) else item.id
    elif isinstance(key, str):
        item = item[key] if isinstance(item, Mapping) else getattr(item, key)
    else:
        item = key(item)
    return text_of(item, NAME_BYTES)
