"""
The words for what can be wrong with what was sent (``contract.md``: Flags), as far as one copy shows it.

A flagged row is stored and acknowledged. Flags that need several copies or derived values
(``out_exceeds_in``, ``time_missing`` …) are the store's.
"""

from __future__ import annotations

import math
import re
from typing import Any, Final

from store.rows import Flag

WRONG_TYPE: Final = "wrong_type"
"""A value of the wrong type or outside its vocabulary; read as null."""
COERCED: Final = "coerced"
"""A value of another type that says the same thing; taken."""
NEGATIVE: Final = "negative"
"""A count or size below zero; read as null."""
NOT_FINITE: Final = "not_finite"
"""NaN or infinite; read as null, or kept as text inside JSON."""
UNKNOWN_STEP_TYPE: Final = "unknown_step_type"
"""A step type outside the vocabulary; stored as custom with the word sent."""
REASON_LENGTHS_DIFFER: Final = "reason_lengths_differ"
"""Reason codes and counts do not pair up; the common part is stored."""
TIME_MISSING: Final = "time_missing"
"""A time that was not sent. For runs and steps the store says so; here, for a wait."""
TIME_OUT_OF_RANGE: Final = "time_out_of_range"
"""A time before 2000 or more than 24 h ahead; the receipt time stands in."""
TRUNCATED: Final = "truncated"
"""Longer than its limit; cut."""
NUL_REMOVED: Final = "nul_removed"
"""What the store cannot hold was removed: NUL, half surrogate pairs, bytes that are not UTF-8."""
INVALID_RUN_ID: Final = "invalid_run_id"
"""The run id breaks its form; the trace id stands in."""
DECISIONS_UNREADABLE: Final = "decisions_unreadable"
"""The payload of the step's decisions could not be read."""
SCHEMA_VIOLATION: Final = "schema_violation"
"""The sender says that the step or run breaks its schema, and where."""

MAX_FLAGS = 64
"""Flags of one copy; more of them say nothing new and would let a bad sender fill the table."""
_SHOWN_CHARACTERS = 200
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")
_INT64 = 1 << 63


def flag(code: str, field: str, sent: Any = None) -> Flag:
    """Return a flag that the store can hold, whatever was sent."""
    return Flag(code, clean(field)[:_SHOWN_CHARACTERS], _shown(sent))


def clean(text: str) -> str:
    """Return the text without NUL characters and lone surrogates, which neither text nor jsonb can hold."""
    return _UNSTORABLE.sub("", text)


def settled(flags: list[Flag]) -> tuple[Flag, ...]:
    """Return the flags in an order that does not depend on that of the attributes, none twice, bounded."""
    if len(flags) < 2:
        return tuple(flags)
    return tuple(sorted(set(flags), key=lambda flag: (flag.field, flag.code, str(flag.sent)))[:MAX_FLAGS])


def _shown(sent: Any) -> str | int | float | bool | None:
    if sent is None or isinstance(sent, bool):
        return sent
    if isinstance(sent, int):
        # str() of a huge integer is slow, and forbidden past 4,300 digits.
        return sent if -_INT64 <= sent < _INT64 else "an integer beyond 64 bits"
    if isinstance(sent, float):
        return sent if math.isfinite(sent) else str(sent)
    if isinstance(sent, str):
        return clean(sent[:_SHOWN_CHARACTERS])
    if isinstance(sent, bytes):
        return sent[: _SHOWN_CHARACTERS // 2].hex()
    return clean(repr(sent)[:_SHOWN_CHARACTERS])
