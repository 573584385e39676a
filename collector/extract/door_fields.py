"""
The fields of the JSON doors, by the attributes that they stand for.

The doors are a second way into the same extraction: an object becomes the attributes that a
span would have carried, the same readers type and bound them, and flags are named back by
the field that was sent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from collector.extract.fields import count
from collector.extract.flags import WRONG_TYPE, flag, settled
from collector.extract.identity import Time, time
from store.rows import Flag
from xray_otel import semconv

_PLAIN_STEP = {
    "name": semconv.STEP_NAME,
    "index": semconv.STEP_INDEX,
    "attempt": semconv.STEP_ATTEMPT,
    "step_type": semconv.STEP_TYPE,
    "why": semconv.STEP_WHY,
    "parents": semconv.STEP_PARENTS,
    "top_k": semconv.STEP_TOP_K,
    "candidates_in": semconv.CANDIDATES_IN,
    "candidates_out": semconv.CANDIDATES_OUT,
    "selected_id": semconv.SELECTED_ID,
    "config_fingerprint": semconv.CONFIG_FINGERPRINT,
    "capture_level": semconv.CAPTURE_LEVEL,
    "decisions_recorded": semconv.DECISIONS_RECORDED,
    "model": semconv.GEN_AI_REQUEST_MODEL,
    "temperature": semconv.GEN_AI_REQUEST_TEMPERATURE,
    "pipeline": semconv.PIPELINE_NAME,
    "pipeline_version": semconv.PIPELINE_VERSION,
    "error_type": semconv.ERROR_TYPE,
    "error_message": semconv.STEP_ERROR_MESSAGE,
    "status": semconv.STEP_STATUS,
}
_PLAIN_RUN = {
    "pipeline": semconv.PIPELINE_NAME,
    "pipeline_version": semconv.PIPELINE_VERSION,
    "entity": semconv.RUN_ENTITY,
    "outcome": semconv.RUN_OUTCOME,
    "outcome_reason": semconv.RUN_OUTCOME_REASON,
    "timeout_s": semconv.RUN_TIMEOUT_S,
    "schema_id": semconv.SCHEMA_ID,
    "schema_version": semconv.SCHEMA_VERSION,
    "capture_level": semconv.CAPTURE_LEVEL,
    "error_type": semconv.ERROR_TYPE,
    "error_message": semconv.RUN_ERROR_MESSAGE,
    "status": semconv.RUN_STATUS,
}
_COUNTS = {
    "kept": semconv.CANDIDATES_KEPT,
    "eliminated": semconv.CANDIDATES_ELIMINATED,
    "scored": semconv.CANDIDATES_SCORED,
    "selected": semconv.CANDIDATES_SELECTED,
    "not_selected": semconv.CANDIDATES_NOT_SELECTED,
    "deferred": semconv.CANDIDATES_DEFERRED,
    "merged": semconv.CANDIDATES_MERGED,
}
_SCORE = {
    "min": semconv.SCORE_MIN,
    "max": semconv.SCORE_MAX,
    "mean": semconv.SCORE_MEAN,
    "std": semconv.SCORE_STD,
    "p10": semconv.SCORE_P10,
    "p50": semconv.SCORE_P50,
    "p90": semconv.SCORE_P90,
}
_STATISTICS = {
    "missing": semconv.FIELDS_MISSING,
    "mean": semconv.FIELDS_MEAN,
    "std": semconv.FIELDS_STD,
    "p50": semconv.FIELDS_P50,
}
_GROUPS = ("counts", "score", "reasons", "metrics", "fields", "sources")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_nanoseconds = count()

JSON_FIELDS = ("input", "output", "reasoning")
"""Fields that hold any JSON value; they are read by ``json_text.json_value``."""
TIME_FIELDS = ("started_at", "ended_at")
STEP_FIELDS = frozenset((*_PLAIN_STEP, *_GROUPS, *JSON_FIELDS, *TIME_FIELDS, "step_id", "decisions"))
RUN_FIELDS = frozenset((*_PLAIN_RUN, *TIME_FIELDS, "tags", "input", "output", "service_name", "environment"))

_FIELD_OF_ATTRIBUTE = {
    **{attribute: field for field, attribute in (_PLAIN_RUN | _PLAIN_STEP).items()},
    **{attribute: f"counts.{field}" for field, attribute in _COUNTS.items()},
    **{attribute: f"score.{field}" for field, attribute in _SCORE.items()},
    **{attribute: f"fields.{field}" for field, attribute in _STATISTICS.items()},
    semconv.FIELDS_NAMES: "fields",
    semconv.REASONS_CODES: "reasons",
    semconv.REASONS_COUNTS: "reasons",
    semconv.SOURCES_NAMES: "sources",
    semconv.SOURCES_COUNTS: "sources",
    semconv.RUN_STATUS: "status",
    semconv.RUN_ERROR_MESSAGE: "error_message",
    semconv.STEP_ID: "step_id",
}


class Attributes(NamedTuple):
    """What an object stands for, and what of it could not be a group of fields."""

    values: dict[str, Any]
    flags: list[Flag]


def step_attributes(sent: Mapping[str, Any]) -> Attributes:
    """Return the attributes of a step's object, except its JSON values and times."""
    attributes = {attribute: sent[field] for field, attribute in _PLAIN_STEP.items() if field in sent}
    groups, flags = _groups(sent, _GROUPS)
    for group, names in (("counts", _COUNTS), ("score", _SCORE)):
        for field, value in groups[group].items():
            if field in names:
                attributes[names[field]] = value
            else:
                flags.append(flag(WRONG_TYPE, f"{group}.{field}", value))
    for metric, value in groups["metrics"].items():
        attributes[f"{semconv.METRIC_PREFIX}{metric}"] = value
    for group, keys, values in (
        ("reasons", semconv.REASONS_CODES, semconv.REASONS_COUNTS),
        ("sources", semconv.SOURCES_NAMES, semconv.SOURCES_COUNTS),
    ):
        if groups[group]:
            attributes[keys] = list(groups[group])
            attributes[values] = list(groups[group].values())
    if fields := groups["fields"]:
        attributes[semconv.FIELDS_NAMES] = list(fields)
        for statistic, attribute in _STATISTICS.items():
            attributes[attribute] = [
                of_field.get(statistic) if isinstance(of_field, dict) else None
                for of_field in fields.values()
            ]
    return Attributes(attributes, flags)


def run_attributes(sent: Mapping[str, Any]) -> Attributes:
    """Return the attributes of a run's object, except its JSON values and times."""
    attributes = {attribute: sent[field] for field, attribute in _PLAIN_RUN.items() if field in sent}
    groups, flags = _groups(sent, ("tags",))
    for key, value in groups["tags"].items():
        attributes[f"{semconv.RUN_TAG_PREFIX}{key}"] = value
    return Attributes(attributes, flags)


def time_field(sent: Mapping[str, Any], field: str, received_ns: int, flags: list[Flag]) -> Time:
    """Return a time sent as RFC 3339 text with an offset, or as nanoseconds since the Unix epoch."""
    value = sent.get(field)
    if isinstance(value, str) and not value.isdecimal():
        try:
            parsed = datetime.fromisoformat(value)
            value = (parsed - _EPOCH) // timedelta(microseconds=1) * 1000
        except (TypeError, ValueError, OverflowError):
            # TypeError: without an offset it could be any of a day's hours.
            flags.append(flag(WRONG_TYPE, field, value))
            value = None
    elif type(value) is not int:
        value = _nanoseconds(value, field, flags)
    return time(value, field, received_ns, flags)


def named_back(flags: Sequence[Flag]) -> tuple[Flag, ...]:
    """Return the flags by the fields of the doors instead of attributes."""
    return settled([raised._replace(field=_field_name(raised.field)) for raised in flags])


def _field_name(attribute: str) -> str:
    for prefix, group in ((semconv.METRIC_PREFIX, "metrics."), (semconv.RUN_TAG_PREFIX, "tags.")):
        if attribute.startswith(prefix):
            return group + attribute.removeprefix(prefix)
    return _FIELD_OF_ATTRIBUTE.get(attribute, attribute)


def _groups(sent: Mapping[str, Any], names: Sequence[str]) -> tuple[dict[str, dict[str, Any]], list[Flag]]:
    groups: dict[str, dict[str, Any]] = {}
    flags: list[Flag] = []
    for name in names:
        value = sent.get(name)
        groups[name] = value if isinstance(value, dict) else {}
        if value is not None and not isinstance(value, dict):
            flags.append(flag(WRONG_TYPE, name, value))
    return groups, flags
