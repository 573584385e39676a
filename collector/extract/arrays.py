"""
Attributes that are parallel arrays, joined into one field.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from collector.extract.fields import INT64_MAX, NAME_BYTES, count, items, name, number
from collector.extract.flags import REASON_LENGTHS_DIFFER, WRONG_TYPE, flag
from store.rows import Flag
from xray_otel import semconv

_count = count()
_INTEGER = frozenset({int})


def reason_codes(value: Any, field: str, flags: list[Flag]) -> tuple[str, ...] | list[Any] | None:
    """Return the codes: a tuple when each is as it is stored and none comes twice, else the items sent."""
    sent = items(value, field, flags)
    if sent is None or not all(map(_is_plain_code, sent)) or len(set(sent)) < len(sent):
        return sent
    return tuple(sent)


def reason_counts(value: Any, field: str, flags: list[Flag]) -> tuple[int, ...] | list[Any] | None:
    """Return the counts: a tuple when each is as it is stored, else the items sent."""
    sent = items(value, field, flags)
    if sent and _INTEGER.issuperset(map(type, sent)) and min(sent) >= 0 and max(sent) <= INT64_MAX:
        return tuple(sent)
    return sent


def histogram(codes: Sequence[Any], counts: Sequence[Any], flags: list[Flag]) -> list[tuple[str, int]]:
    """
    Return reason codes with their counts, in the order sent, each code once.

    A code that is listed twice has the sum. Arrays of different lengths are read as far as
    they go together and flagged.
    """
    if len(codes) != len(counts):
        flags.append(
            flag(REASON_LENGTHS_DIFFER, semconv.REASONS_CODES, f"{len(codes)} codes, {len(counts)} counts")
        )
    totals: dict[str, int] = {}
    for sent_code, sent_count in zip(codes, counts, strict=False):
        code = name(sent_code, semconv.REASONS_CODES, flags)
        number_ = _count(sent_count, semconv.REASONS_COUNTS, flags)
        if code is not None and number_ is not None:
            totals[code] = min(totals.get(code, 0) + number_, INT64_MAX)
    return list(totals.items())


def field_statistics(
    names: Sequence[Any],
    missing: Sequence[Any] | None,
    mean: Sequence[Any] | None,
    std: Sequence[Any] | None,
    p50: Sequence[Any] | None,
    flags: list[Flag],
) -> dict[str, dict[str, float | None]] | None:
    """Return field name to ``{missing, mean, std, p50}``; NaN says that a statistic does not apply."""
    columns = {
        "missing": (semconv.FIELDS_MISSING, missing),
        "mean": (semconv.FIELDS_MEAN, mean),
        "std": (semconv.FIELDS_STD, std),
        "p50": (semconv.FIELDS_P50, p50),
    }
    for attribute, column in columns.values():
        if column is not None and len(column) != len(names):
            flags.append(flag(WRONG_TYPE, attribute, f"{len(column)} values for {len(names)} fields"))
    statistics: dict[str, dict[str, float | None]] = {}
    for position, sent_name in enumerate(names):
        field = name(sent_name, semconv.FIELDS_NAMES, flags)
        if field is not None:
            statistics[field] = {
                statistic: _at(column, position, attribute, flags)
                for statistic, (attribute, column) in columns.items()
            }
    return statistics or None


def sources(names: Sequence[Any], counts: Sequence[Any], flags: list[Flag]) -> dict[str, int] | None:
    """Return source name to the number of items it gave."""
    if len(names) != len(counts):
        flags.append(flag(WRONG_TYPE, semconv.SOURCES_NAMES, f"{len(names)} names, {len(counts)} counts"))
    found: dict[str, int] = {}
    for sent_name, sent_count in zip(names, counts, strict=False):
        source = name(sent_name, semconv.SOURCES_NAMES, flags)
        number_ = _count(sent_count, semconv.SOURCES_COUNTS, flags)
        if source is not None and number_ is not None:
            found[source] = number_
    return found or None


def _is_plain_code(code: Any) -> bool:
    return type(code) is str and code.isascii() and 0 < len(code) <= NAME_BYTES and "\0" not in code


def _at(column: Sequence[Any] | None, position: int, attribute: str, flags: list[Flag]) -> float | None:
    if column is None or position >= len(column):
        return None
    value = column[position]
    if type(value) is float and math.isnan(value):
        return None
    return number(value, attribute, flags)
