"""
The fields of a step: attributes to a ``StepCopy``.

One pass over the attributes with one look-up each; a name that is none of ours costs nothing
more. The values are laid into a list in the order of ``StepCopy``'s fields, which is six
times cheaper than 47 keyword arguments. Attributes that only together make a field (score
statistics, parallel arrays) wait in slots behind the last field.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from collector.extract.arrays import field_statistics, histogram, sources
from collector.extract.fields import (
    INT32_MAX,
    WHY_BYTES,
    Reader,
    count,
    items,
    name,
    number,
    text,
    version,
    word,
)
from collector.extract.flags import UNKNOWN_STEP_TYPE, WRONG_TYPE, flag
from collector.extract.identity import step_identity
from collector.extract.json_text import json_text
from store.rows import Flag, StepCopy
from xray_otel import semconv

_FIELDS = StepCopy._fields
_SCORES = (
    semconv.SCORE_MIN,
    semconv.SCORE_MAX,
    semconv.SCORE_MEAN,
    semconv.SCORE_STD,
    semconv.SCORE_P10,
    semconv.SCORE_P50,
    semconv.SCORE_P90,
)
_ARRAYS = (
    semconv.REASONS_CODES,
    semconv.REASONS_COUNTS,
    semconv.FIELDS_NAMES,
    semconv.FIELDS_MISSING,
    semconv.FIELDS_MEAN,
    semconv.FIELDS_STD,
    semconv.FIELDS_P50,
    semconv.SOURCES_NAMES,
    semconv.SOURCES_COUNTS,
)
SLOT = {field: slot for slot, field in enumerate((*_FIELDS, *_SCORES, *_ARRAYS))}
"""Where a field, or an attribute that is a part of one, lies in the list of values."""

_EMPTY: list[Any] = [StepCopy._field_defaults.get(field) for field in _FIELDS] + [None] * (
    len(SLOT) - len(_FIELDS)
)
_FIRST_SCORE = SLOT[_SCORES[0]]
_PAST_SCORES = _FIRST_SCORE + len(_SCORES)
_METRIC = semconv.METRIC_PREFIX
_METRICS, _SCORE = SLOT["metrics"], SLOT["score"]
_TYPE, _TYPE_ORIGINAL = SLOT["step_type"], SLOT["step_type_original"]


class _Rule(NamedTuple):
    slot: int
    read: Reader


def step_ids(value: Any, field: str, flags: list[Flag]) -> tuple[str, ...] | None:
    """Return step ids as their steps' keys hold them."""
    sent = items(value, field, flags)
    if sent is None:
        return None
    ids = (step_identity(item, field, flags) for item in sent)
    return tuple(id_ for id_ in ids if id_ is not None)


def _rules() -> dict[str, _Rule]:
    plain: dict[str, tuple[str, Reader]] = {
        semconv.STEP_NAME: ("name", name),
        semconv.STEP_INDEX: ("step_index", count(INT32_MAX)),
        semconv.STEP_WHY: ("why", text(WHY_BYTES)),
        semconv.STEP_INPUT: ("input", json_text),
        semconv.STEP_OUTPUT: ("output", json_text),
        semconv.STEP_REASONING: ("reasoning", json_text),
        semconv.STEP_PARENTS: ("parents", step_ids),
        semconv.STEP_TOP_K: ("top_k", count()),
        semconv.STEP_ERROR_MESSAGE: ("error_message", text(WHY_BYTES)),
        semconv.ERROR_TYPE: ("error_type", name),
        semconv.PIPELINE_NAME: ("pipeline", name),
        semconv.PIPELINE_VERSION: ("pipeline_version", version),
        semconv.CANDIDATES_IN: ("candidates_in", count()),
        semconv.CANDIDATES_OUT: ("candidates_out", count()),
        semconv.CANDIDATES_KEPT: ("kept", count()),
        semconv.CANDIDATES_ELIMINATED: ("eliminated", count()),
        semconv.CANDIDATES_SCORED: ("scored", count()),
        semconv.CANDIDATES_SELECTED: ("selected", count()),
        semconv.CANDIDATES_NOT_SELECTED: ("not_selected", count()),
        semconv.CANDIDATES_DEFERRED: ("deferred", count()),
        semconv.CANDIDATES_MERGED: ("merged", count()),
        semconv.SELECTED_ID: ("selected_id", name),
        semconv.CONFIG_FINGERPRINT: ("config_fingerprint", version),
        semconv.CAPTURE_LEVEL: ("capture_level", word(semconv.CAPTURE_LEVELS)),
        semconv.DECISIONS_RECORDED: ("decisions_recorded", count()),
        semconv.DECISIONS_CHUNKS: ("decisions_chunks", count(INT32_MAX)),
        semconv.GEN_AI_REQUEST_MODEL: ("model", name),
        semconv.GEN_AI_REQUEST_TEMPERATURE: ("temperature", number),
    }
    rules = {attribute: _Rule(SLOT[field], read) for attribute, (field, read) in plain.items()}
    rules |= {attribute: _Rule(SLOT[attribute], number) for attribute in _SCORES}
    return rules | {attribute: _Rule(SLOT[attribute], items) for attribute in _ARRAYS}


_RULES = _rules()


def step_values(attributes: Mapping[str, Any], flags: list[Flag]) -> list[Any]:
    """
    Read everything about a step that is not its identity, time or status.

    Returns the values by ``SLOT``; ``step_copy`` makes the row of them.
    """
    values = _EMPTY.copy()
    metrics: dict[str, float] = {}
    for attribute, value in attributes.items():
        rule = _RULES.get(attribute)
        if rule is not None:
            slot, read = rule
            values[slot] = read(value, attribute, flags)
        elif attribute.startswith(_METRIC):
            _read_metric(attribute, value, metrics, flags)
    if metrics:
        values[_METRICS] = metrics
    if semconv.STEP_TYPE in attributes:
        values[_TYPE], values[_TYPE_ORIGINAL] = _step_type(attributes[semconv.STEP_TYPE], flags)
    _join(values, flags)
    return values


def step_copy(values: list[Any]) -> StepCopy:
    """Return the row of the values, without the slots of parts."""
    return StepCopy._make(values[: len(_FIELDS)])


def _read_metric(attribute: str, value: Any, metrics: dict[str, float], flags: list[Flag]) -> None:
    metric = name(attribute[len(_METRIC) :], attribute, flags)
    if metric is None:
        flags.append(flag(WRONG_TYPE, attribute, "a metric without a name"))
        return
    result = number(value, attribute, flags)
    if result is not None:
        metrics[metric] = result


def _step_type(value: Any, flags: list[Flag]) -> tuple[str | None, str | None]:
    if value in semconv.STEP_TYPES if type(value) is str else False:
        return value, None
    sent = name(value, semconv.STEP_TYPE, flags)
    if sent is None:
        return None, None
    known = sent.strip().lower()
    step_type = known if known in semconv.STEP_TYPES else semconv.STEP_TYPE_ALIASES.get(known)
    if step_type is None:
        flags.append(flag(UNKNOWN_STEP_TYPE, semconv.STEP_TYPE, sent))
    return step_type or "custom", sent


def _join(values: list[Any], flags: list[Flag]) -> None:
    # Most steps have none of the parallel arrays: one test on a slice instead of nine.
    parts = values[_FIRST_SCORE:]
    if parts.count(None) == len(parts):
        return
    scores = values[_FIRST_SCORE:_PAST_SCORES]
    if scores.count(None) < len(scores):
        values[_SCORE] = tuple(scores)
    codes, counts, names, missing, mean, std, p50, source_names, source_counts = values[_PAST_SCORES:]
    if codes is not None or counts is not None:
        pairs = histogram(codes or [], counts or [], flags)
        values[SLOT["reason_codes"]] = tuple(code for code, _ in pairs)
        values[SLOT["reason_counts"]] = tuple(number_ for _, number_ in pairs)
    if names is not None:
        values[SLOT["fields"]] = field_statistics(names, missing, mean, std, p50, flags)
    if source_names is not None:
        values[SLOT["sources"]] = sources(source_names, source_counts or [], flags)
