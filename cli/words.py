"""
Values as a person reads them: durations, ratios, instants, JSON in one line.

Null is shown as an en dash everywhere, so that "nobody said" never looks like zero.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import orjson

NULL = "–"
MOST_FREQUENT_REASON = "MOST FREQUENT REASON"
"""Heading of ``top_reason``: the counts of a step's reasons do not tell for which verdict each was given."""
_DUE_S = 60.0
"""So long it takes at most until a server sees what is due; what waits longer waits for one that looks."""
_SECOND_MS = 1000.0
_MINUTE_MS = 60 * _SECOND_MS
_HOUR_MS = 60 * _MINUTE_MS
_DAY_MS = 24 * _HOUR_MS


def text(value: Any) -> str:
    """Any JSON value in one line; strings as they are."""
    if value is None:
        return NULL
    if isinstance(value, str):
        return " ".join(value.split())
    return orjson.dumps(value).decode()


def count(value: int | None) -> str:
    """5000 becomes 5,000."""
    return NULL if value is None else f"{value:,}"


def counted(number: int, noun: str) -> str:
    """``1 run``, ``5,000 runs``: for nouns with a plural in s."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def number(value: Any) -> str:
    """A number with at most six significant digits; other JSON values as text."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return text(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:.6g}"


def percent(ratio: float | None) -> str:
    """
    0.994 becomes 99.4 %.

    Never rounded up to 100 % nor down to 0 %: "everything went" and "nearly everything
    went" are different findings.
    """
    if ratio is None:
        return NULL
    if 0 < ratio < 0.001:
        return "<0.1 %"
    if 0.999 < ratio < 1:
        return ">99.9 %"
    return f"{ratio * 100:.1f} %"


def duration(milliseconds: float | None) -> str:
    """In the largest unit that leaves a number a person can compare: 340 µs, 12 ms, 3.4 s, 2 h 5 min."""
    if milliseconds is None:
        return NULL
    if milliseconds < 1:
        return f"{milliseconds * 1000:.0f} µs"
    if milliseconds < _SECOND_MS:
        return f"{milliseconds:.3g} ms" if milliseconds < 999.5 else "1 s"
    if milliseconds < _MINUTE_MS:
        return f"{milliseconds / _SECOND_MS:.3g} s"
    if milliseconds < _HOUR_MS:
        minutes, seconds = divmod(round(milliseconds / _SECOND_MS), 60)
        return f"{minutes} min {seconds} s"
    if milliseconds < _DAY_MS:
        hours, minutes = divmod(round(milliseconds / _MINUTE_MS), 60)
        return f"{hours} h {minutes} min"
    days, hours = divmod(round(milliseconds / _HOUR_MS), 24)
    return f"{days} d {hours} h"


def ago(instant: str | None, now: datetime | None = None) -> str:
    """An RFC 3339 instant as the time since then: ``3 min ago``."""
    if instant is None:
        return NULL
    elapsed_s = ((now or datetime.now(UTC)) - datetime.fromisoformat(instant)).total_seconds()
    if elapsed_s < 0:
        return "in future"
    for unit, seconds in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if elapsed_s >= seconds:
            return f"{int(elapsed_s // seconds)} {unit} ago"
    return f"{int(elapsed_s)} s ago"


def due(instant: str, now: datetime | None = None) -> str:
    """When something comes that is to come at an RFC 3339 instant: ``due in 3 min``, ``due now``."""
    left_s = (datetime.fromisoformat(instant) - (now or datetime.now(UTC))).total_seconds()
    if left_s < -_DUE_S:
        return f"due {ago(instant, now)}"
    if left_s <= 0:
        return "due now"
    return f"due in {duration(left_s * _SECOND_MS)}"


def instant(value: str | None) -> str:
    """An RFC 3339 instant in UTC, to the second."""
    if value is None:
        return NULL
    return datetime.fromisoformat(value).astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def error(error_type: str | None, message: str | None) -> str:
    """``KeyError: 'price'``, as far as it was told, or a dash."""
    return ": ".join(text(part) for part in (error_type, message) if part) or NULL


def top_reason(reasons: dict[str, int] | None) -> str:
    """The most frequent reason with its count, or a dash."""
    given = [(n, code) for code, n in (reasons or {}).items() if n]
    if not given:
        return NULL
    frequency, code = max(given, key=lambda pair: (pair[0], pair[1]))
    return f"{code} {frequency:,}"
