"""
The fields of a run: readings to the arguments of a ``RunCopy``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from collector.extract.classify import FLAGGED
from collector.extract.fields import INT64_MAX
from collector.extract.readings import collect, flags_of, members
from collector.extract.vocabulary import OURS, RUN_SLOTS, SLOT_OF, TAG_SLOT
from collector.records import Reading
from store.rows import FINAL_END, Flag
from xray_otel import semconv

_FIELDS: Final = {
    "pipeline": SLOT_OF[semconv.PIPELINE_NAME],
    "pipeline_version": SLOT_OF[semconv.PIPELINE_VERSION],
    "entity": SLOT_OF[semconv.RUN_ENTITY],
    "input": SLOT_OF[semconv.RUN_INPUT],
    "output": SLOT_OF[semconv.RUN_OUTPUT],
    "outcome": SLOT_OF[semconv.RUN_OUTCOME],
    "outcome_reason": SLOT_OF[semconv.RUN_OUTCOME_REASON],
    "timeout_s": SLOT_OF[semconv.RUN_TIMEOUT_S],
    "status": SLOT_OF[semconv.RUN_STATUS],
    "error_message": SLOT_OF[semconv.RUN_ERROR_MESSAGE],
    "error_type": SLOT_OF[semconv.ERROR_TYPE],
    "schema_id": SLOT_OF[semconv.SCHEMA_ID],
    "schema_version": SLOT_OF[semconv.SCHEMA_VERSION],
    "capture_level": SLOT_OF[semconv.CAPTURE_LEVEL],
}
_FINAL: Final = SLOT_OF[semconv.RUN_FINAL]
_LATEST_NS: Final = FINAL_END - 1
"""Whatever is later is no time that anybody meant."""


def run_fields(
    values: list[Any],
    marks: int,
    detailed: Sequence[Reading],
    readings: Iterable[Reading],
    flags: list[Flag],
) -> dict[str, Any]:
    """
    Return everything about a run that is not its identity or time.

    values, marks, detailed: as ``collect`` returned them of the readings. Returns keyword
    arguments of ``RunCopy``.
    """
    fields = {field: values[slot] for field, slot in _FIELDS.items()}
    if detailed:
        fields["tags"] = members(detailed, TAG_SLOT)
        if marks & FLAGGED:
            flags += flags_of(readings, RUN_SLOTS)
    return fields


def end_order(end_sent_ns: int | None, values: Sequence[Any] = ()) -> int | None:
    """
    Return the place of an end among the ends of its run, of which the greatest holds: when it came.

    Final ends come after all others, and the earlier the greater (decision 0030). values: what the
    attributes say, where they may call it final.
    """
    if end_sent_ns is None:
        return None
    place = max(0, min(end_sent_ns, _LATEST_NS))
    return INT64_MAX - place if values and values[_FINAL] is True else place


def run_fields_of(attributes: Mapping[str, Any], flags: list[Flag]) -> dict[str, Any]:
    """Return the same from named values."""
    readings = OURS.read(attributes)
    values, marks, detailed = collect(readings)
    return run_fields(values, marks, detailed, readings, flags)
