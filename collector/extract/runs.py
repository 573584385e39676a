"""
The fields of a run: attributes to a ``RunCopy``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from collector.extract.fields import WHY_BYTES, Reader, name, positive, text, version, word
from collector.extract.flags import WRONG_TYPE, flag
from collector.extract.json_text import json_text
from store.rows import Flag
from xray_otel import semconv

_TAG = semconv.RUN_TAG_PREFIX

_RULES: dict[str, tuple[str, Reader]] = {
    semconv.PIPELINE_NAME: ("pipeline", name),
    semconv.PIPELINE_VERSION: ("pipeline_version", version),
    semconv.RUN_ENTITY: ("entity", name),
    semconv.RUN_INPUT: ("input", json_text),
    semconv.RUN_OUTPUT: ("output", json_text),
    semconv.RUN_OUTCOME: ("outcome", name),
    semconv.RUN_OUTCOME_REASON: ("outcome_reason", text(WHY_BYTES)),
    semconv.RUN_TIMEOUT_S: ("timeout_s", positive),
    semconv.RUN_STATUS: ("status", word(semconv.RUN_STATUSES)),
    semconv.RUN_ERROR_MESSAGE: ("error_message", text(WHY_BYTES)),
    semconv.ERROR_TYPE: ("error_type", name),
    semconv.SCHEMA_ID: ("schema_id", name),
    semconv.SCHEMA_VERSION: ("schema_version", version),
    semconv.CAPTURE_LEVEL: ("capture_level", word(semconv.CAPTURE_LEVELS)),
}


def run_fields(attributes: Mapping[str, Any], flags: list[Flag]) -> dict[str, Any]:
    """
    Read everything about a run that is not its identity or time.

    Returns keyword arguments of ``RunCopy``; there are a few runs to hundreds of steps, so
    this may cost more than ``steps.step_values``.
    """
    fields: dict[str, Any] = {}
    tags: dict[str, str] = {}
    for attribute, value in attributes.items():
        rule = _RULES.get(attribute)
        if rule is not None:
            fields[rule[0]] = rule[1](value, attribute, flags)
        elif attribute.startswith(_TAG):
            _read_tag(attribute, value, tags, flags)
    if tags:
        fields["tags"] = tags
    return fields


def _read_tag(attribute: str, value: Any, tags: dict[str, str], flags: list[Flag]) -> None:
    key = name(attribute[len(_TAG) :], attribute, flags)
    if key is None:
        flags.append(flag(WRONG_TYPE, attribute, "a tag without a key"))
        return
    tag = name(value, attribute, flags)
    if tag is not None:
        tags[key] = tag
