"""
The type of a step: a word of the closed vocabulary, or another one that stands for it.
"""

from __future__ import annotations

from typing import Any

from collector.extract.fields import name
from collector.extract.flags import UNKNOWN_STEP_TYPE, flag
from store.rows import Flag
from xray_otel import semconv


def step_type(value: Any, field: str, flags: list[Flag]) -> str | tuple[str, str] | None:
    """Return the type; with the word sent, when that was an alias or an unknown word."""
    if type(value) is str and value in semconv.STEP_TYPES:
        return value
    sent = name(value, field, flags)
    if sent is None:
        return None
    known = sent.strip().lower()
    found = known if known in semconv.STEP_TYPES else semconv.STEP_TYPE_ALIASES.get(known)
    if found is None:
        flags.append(flag(UNKNOWN_STEP_TYPE, field, sent))
    return found or "custom", sent
