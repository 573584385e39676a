"""
The fields of a step: readings to the values of a ``StepCopy``.

Most of the collector's time per span is spent in the three functions that begin here and in
``spans``: they do for a well-formed step only what cannot be left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from collector.extract.arrays import field_statistics, histogram, sources
from collector.extract.classify import FLAGGED, REASONS, SCORES, TABLES
from collector.extract.readings import collect, flags_of, members
from collector.extract.vocabulary import METRIC_SLOT, OURS, SLOT, STEP_SLOTS
from collector.records import Reading
from store.rows import Flag, StepCopy
from xray_otel import semconv

_FIELDS: Final = len(StepCopy._fields)
_TYPE, _TYPE_ORIGINAL = SLOT["step_type"], SLOT["step_type_original"]
_METRICS, _SCORE = SLOT["metrics"], SLOT["score"]
_SUMMARY = slice(SLOT[semconv.SCORE_MIN], SLOT[semconv.SCORE_P90] + 1)
_REASON_CODES, _REASON_COUNTS = SLOT["reason_codes"], SLOT["reason_counts"]
_CODES, _COUNTS = SLOT[semconv.REASONS_CODES], SLOT[semconv.REASONS_COUNTS]
_STATISTICS = slice(SLOT[semconv.FIELDS_NAMES], SLOT[semconv.FIELDS_P50] + 1)
_SOURCES = slice(SLOT[semconv.SOURCES_NAMES], SLOT[semconv.SOURCES_COUNTS] + 1)


def complete_step(
    values: list[Any],
    marks: int,
    detailed: Sequence[Reading],
    readings: Iterable[Reading],
    flags: list[Flag],
) -> None:
    """
    Finish what depends on several readings of a step.

    values, marks, detailed: as ``collect`` returned them of the readings.
    """
    if detailed:
        values[_METRICS] = members(detailed, METRIC_SLOT)
        if marks & FLAGGED:
            flags += flags_of(readings, STEP_SLOTS)
    if type(values[_TYPE]) is tuple:
        values[_TYPE], values[_TYPE_ORIGINAL] = values[_TYPE]
    if marks & REASONS:
        codes, counts = values[_CODES], values[_COUNTS]
        if type(codes) is tuple and type(counts) is tuple and len(codes) == len(counts):
            values[_REASON_CODES], values[_REASON_COUNTS] = codes, counts
        elif codes is not None or counts is not None:
            pairs = histogram(codes or (), counts or (), flags)
            values[_REASON_CODES] = tuple(code for code, _ in pairs)
            values[_REASON_COUNTS] = tuple(number for _, number in pairs)
    if marks & SCORES:
        scores = tuple(values[_SUMMARY])
        values[_SCORE] = scores if any(score is not None for score in scores) else None
    if marks & TABLES:
        _join_tables(values, flags)


def step_copy(values: list[Any]) -> StepCopy:
    """Return the row of the values; takes the slots that are no fields away from them."""
    del values[_FIELDS:]
    return tuple.__new__(StepCopy, values)


def step_values(attributes: Mapping[str, Any], flags: list[Flag]) -> list[Any]:
    """
    Read everything about a step that is not its identity, time or status from named values.

    Returns the values by ``SLOT``; ``step_copy`` makes the row of them.
    """
    readings = OURS.read(attributes)
    values, marks, detailed = collect(readings)
    complete_step(values, marks, detailed, readings, flags)
    return values


def _join_tables(values: list[Any], flags: list[Flag]) -> None:
    names, missing, mean, std, p50 = values[_STATISTICS]
    if names is not None:
        values[SLOT["fields"]] = field_statistics(names, missing, mean, std, p50, flags)
    names, counts = values[_SOURCES]
    if names is not None:
        values[SLOT["sources"]] = sources(names, counts or (), flags)
