"""
What attributes mean: names to slots, readers and marks; one attribute to a ``Reading``.

All of it depends on the attribute's name and value alone, never on the record around it, so
that a decoder may remember readings. What depends on several attributes (arrays that belong
together, a time against the clock) is done by ``steps``, ``runs`` and ``events``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

from collector.extract import fields
from collector.extract.arrays import reason_codes, reason_counts
from collector.extract.classify import ELSEWHERE, FLAGGED, REASONS, RENAMED_BITS, SCORES, TABLES, marks_of
from collector.extract.fields import (
    INT32_MAX,
    INT64_MAX,
    NAME_BYTES,
    WHY_BYTES,
    Reader,
    count,
    items,
    name,
    number,
)
from collector.extract.flags import WRONG_TYPE, flag
from collector.extract.foreign import Inference
from collector.extract.identity import is_run_id, run_identity, step_identity, step_ids
from collector.extract.json_text import json_text
from collector.extract.step_types import step_type
from collector.extract.violations import violations
from collector.records import IGNORED, Detail, Reading, ValueReader
from store.rows import Flag, StepCopy
from xray_otel import semconv

EVENT_NAME: Final = "event.name"
"""Where senders from before ``LogRecord.event_name`` put it."""

_count = count()
_count32 = count(INT32_MAX)
_why = fields.text(WHY_BYTES)


def _as_sent(value: Any, _field: str, _flags: list[Flag]) -> Any:
    return value


def _nanoseconds(value: Any, field: str, flags: list[Flag]) -> Any:
    # Any integer: whether a time is believed depends on the clock.
    return value if type(value) is int else _count(value, field, flags)


_STEP_FIELDS: dict[str, tuple[str, Reader]] = {
    semconv.STEP_ID: ("step_id", step_identity),
    semconv.STEP_ATTEMPT: ("attempt", _count32),
    semconv.STEP_NAME: ("name", name),
    semconv.STEP_TYPE: ("step_type", step_type),
    semconv.STEP_INDEX: ("step_index", _count32),
    semconv.STEP_WHY: ("why", _why),
    semconv.STEP_INPUT: ("input", json_text),
    semconv.STEP_OUTPUT: ("output", json_text),
    semconv.STEP_REASONING: ("reasoning", json_text),
    semconv.STEP_PARENTS: ("parents", step_ids),
    semconv.STEP_TOP_K: ("top_k", _count),
    semconv.STEP_ERROR_MESSAGE: ("error_message", _why),
    semconv.ERROR_TYPE: ("error_type", name),
    semconv.PIPELINE_NAME: ("pipeline", name),
    semconv.PIPELINE_VERSION: ("pipeline_version", fields.version),
    semconv.CANDIDATES_IN: ("candidates_in", _count),
    semconv.CANDIDATES_OUT: ("candidates_out", _count),
    semconv.CANDIDATES_KEPT: ("kept", _count),
    semconv.CANDIDATES_ELIMINATED: ("eliminated", _count),
    semconv.CANDIDATES_SCORED: ("scored", _count),
    semconv.CANDIDATES_SELECTED: ("selected", _count),
    semconv.CANDIDATES_NOT_SELECTED: ("not_selected", _count),
    semconv.CANDIDATES_DEFERRED: ("deferred", _count),
    semconv.CANDIDATES_MERGED: ("merged", _count),
    semconv.SELECTED_ID: ("selected_id", name),
    semconv.CONFIG_FINGERPRINT: ("config_fingerprint", fields.version),
    semconv.CAPTURE_LEVEL: ("capture_level", fields.word(semconv.CAPTURE_LEVELS)),
    semconv.DECISIONS_RECORDED: ("decisions_recorded", _count),
    semconv.DECISIONS_CHUNKS: ("decisions_chunks", _count32),
    semconv.GEN_AI_REQUEST_MODEL: ("model", name),
    semconv.GEN_AI_REQUEST_TEMPERATURE: ("temperature", number),
}
"""Attributes that are a field of ``StepCopy``."""

_PARTS: dict[str, tuple[int, Reader]] = {
    **dict.fromkeys(
        (
            semconv.SCORE_MIN,
            semconv.SCORE_MAX,
            semconv.SCORE_MEAN,
            semconv.SCORE_STD,
            semconv.SCORE_P10,
            semconv.SCORE_P50,
            semconv.SCORE_P90,
        ),
        (SCORES, number),
    ),
    semconv.REASONS_CODES: (REASONS, reason_codes),
    semconv.REASONS_COUNTS: (REASONS, reason_counts),
    **dict.fromkeys(
        (
            semconv.FIELDS_NAMES,
            semconv.FIELDS_MISSING,
            semconv.FIELDS_MEAN,
            semconv.FIELDS_STD,
            semconv.FIELDS_P50,
            semconv.SOURCES_NAMES,
            semconv.SOURCES_COUNTS,
        ),
        (TABLES, items),
    ),
}
"""Attributes of which several make one field of a step, with a mark that says which."""

_RUN_FIELDS: dict[str, Reader] = {
    semconv.RUN_ENTITY: name,
    semconv.RUN_INPUT: json_text,
    semconv.RUN_OUTPUT: json_text,
    semconv.RUN_OUTCOME: name,
    semconv.RUN_OUTCOME_REASON: _why,
    semconv.RUN_TIMEOUT_S: fields.positive,
    semconv.RUN_STATUS: fields.word(semconv.RUN_STATUSES),
    semconv.RUN_ERROR_MESSAGE: _why,
    semconv.SCHEMA_ID: name,
    semconv.SCHEMA_VERSION: fields.version,
    semconv.SCHEMA_VIOLATIONS: violations,
}
"""Attributes of a run alone."""

_OF_EVENTS: dict[str, Reader] = {
    semconv.STEP_STATUS: fields.word(semconv.STEP_STATUSES),
    semconv.STEP_START_UNIX_NANO: _nanoseconds,
    semconv.STEP_END_UNIX_NANO: _nanoseconds,
    semconv.RUN_WAIT_UNTIL_UNIX_NANO: _count,
}
_PREFIXES = frozenset({semconv.METRIC_PREFIX, semconv.RUN_TAG_PREFIX})
_NAMES = [
    value
    for constant, value in vars(semconv).items()
    if constant.isupper()
    and isinstance(value, str)
    and value.startswith("xray.")
    and not constant.startswith("EVENT_")
    and value not in _PREFIXES
]
_TYPED = {*_STEP_FIELDS, *_PARTS, *_RUN_FIELDS, *_OF_EVENTS, semconv.RUN_ID}
_AS_SENT = [EVENT_NAME, *(attribute for attribute in _NAMES if attribute not in _TYPED)]
"""Read where they are used: evidence, reports of losses, and ``xray.span.kind``."""

_NAMED: Final = ("(metrics)", "(tags)", "(others)", "(renamed)", "(ignored)")
SLOT: Final = {
    field: slot
    for slot, field in enumerate((*StepCopy._fields, *_PARTS, *_RUN_FIELDS, *_OF_EVENTS, *_AS_SENT, *_NAMED))
}
"""
Where a field of ``StepCopy``, or another attribute, lies in a record's list of values.

The last five belong to readings that go by their name; what lies there means nothing.
"""
METRIC_SLOT, TAG_SLOT, OTHER_SLOT, RENAMED_SLOT = (SLOT[field] for field in _NAMED[:4])
OTHER_SLOTS: Final = frozenset((OTHER_SLOT, *(SLOT[attribute] for attribute in _AS_SENT)))
"""Whose readings, if they have a detail, an ``Inference`` wants."""

_RULES: dict[str, tuple[int, Reader]] = {
    **{attribute: (SLOT[field], read) for attribute, (field, read) in _STEP_FIELDS.items()},
    **{attribute: (SLOT[attribute], read) for attribute, (_, read) in _PARTS.items()},
    **{attribute: (SLOT[attribute], read) for attribute, read in (_RUN_FIELDS | _OF_EVENTS).items()},
    **{attribute: (SLOT[attribute], _as_sent) for attribute in _AS_SENT},
    semconv.RUN_ID: (SLOT["run_id"], run_identity),
}
SLOT_OF: Final[Mapping[str, int]] = {attribute: slot for attribute, (slot, _) in _RULES.items()}
"""The slot of every attribute that has one of its own."""

_SHARED = frozenset(
    SLOT_OF[attribute]
    for attribute in (
        semconv.PIPELINE_NAME,
        semconv.PIPELINE_VERSION,
        semconv.ERROR_TYPE,
        semconv.CAPTURE_LEVEL,
        semconv.SCHEMA_VIOLATIONS,
    )
)
RUN_ID_SLOT: Final = frozenset({SLOT["run_id"]})
STEP_SLOTS: Final = frozenset(
    SLOT_OF[attribute] for attribute in (*_STEP_FIELDS, *_PARTS, semconv.SCHEMA_VIOLATIONS)
) | {METRIC_SLOT}
"""Those whose flags are a step's."""
RUN_SLOTS: Final = frozenset(SLOT_OF[attribute] for attribute in _RUN_FIELDS) | _SHARED | {TAG_SLOT}
"""Those whose flags are a run's."""

_MAX_REMEMBERED_NAMES = 4096
_MAX_NAME_CHARACTERS = 256
_UNKNOWN = object()


class Vocabulary:
    """
    The ``Interpreter`` of the attributes of X-Ray, with a team's names and those an ``Inference`` wants.

    Any thread may use it.
    """

    undecoded: frozenset[str] = frozenset({semconv.DECISIONS_DATA})

    def __init__(self, inference: Inference | None = None) -> None:
        self.reads_events = inference is not None
        self._inference = inference
        self._renamed = dict(inference.renamed) if inference else {}
        self._readers: dict[str, ValueReader | None] = dict(_OURS)
        if inference is not None:
            wanted = filter(inference.wants, _AS_SENT)
            self._readers |= {attribute: _other(SLOT[attribute], attribute) for attribute in wanted}
        # Beside ours, so that no flood of names pushes those out.
        self._met: dict[str, ValueReader | None] = {}

    def reader(self, name: str) -> ValueReader | None:
        """Return what reads values of this name; None when nobody does."""
        read = self._readers.get(name, _UNKNOWN)
        if read is _UNKNOWN:
            read = self._met.get(name, _UNKNOWN)
        if read is _UNKNOWN:
            read = self._new_reader(name)
            if len(name) <= _MAX_NAME_CHARACTERS:
                if len(self._met) >= _MAX_REMEMBERED_NAMES:
                    self._met.clear()
                self._met[name] = read
        return read  # type: ignore[return-value]  # mypy does not narrow by a sentinel

    def read(self, attributes: Mapping[str, Any]) -> list[Reading]:
        """Return the readings of attributes that are values already."""
        return [read(value) for attribute, value in attributes.items() if (read := self.reader(attribute))]

    def _new_reader(self, attribute: str) -> ValueReader | None:
        read = _reader(attribute, attribute)
        if read is not None:
            return read
        if target := self._renamed.get(attribute):
            return _renamed(attribute, target)
        if self._inference is not None and self._inference.wants(attribute):
            return _other(OTHER_SLOT, attribute)
        return None


def _reader(attribute: str, sent_as: str) -> ValueReader | None:
    """Return the reader of an attribute of ours; sent_as: what flags call it."""
    marks = marks_of(attribute)
    if rule := _RULES.get(attribute):
        slot, read = rule
        if part := _PARTS.get(attribute):
            marks |= part[0]
        return _plain(slot, read, marks, sent_as)
    if attribute.startswith(semconv.METRIC_PREFIX):
        metric = attribute[len(semconv.METRIC_PREFIX) :]
        return _named(METRIC_SLOT, number, marks, sent_as, metric, "a metric without a name")
    if attribute.startswith(semconv.RUN_TAG_PREFIX):
        key = attribute[len(semconv.RUN_TAG_PREFIX) :]
        return _named(TAG_SLOT, name, marks, sent_as, key, "a tag without a key")
    if not marks:
        return None
    nothing: Reading = (IGNORED[0], None, marks, None)
    return lambda _value: nothing


def _plain(slot: int, read: Reader, marks: int, sent_as: str) -> ValueReader:
    """Return a reader; those of values that are seldom remembered take a short way when all is well."""

    def reading(value: Any) -> Reading:
        flags: list[Flag] = []
        result = read(value, sent_as, flags)
        if flags:
            return slot, result, marks | FLAGGED, Detail(sent_as, tuple(flags))
        return slot, result, marks, None

    def counting(value: Any) -> Reading:
        if type(value) is int and 0 <= value <= INT64_MAX:
            return slot, value, marks, None
        return reading(value)

    def naming(value: Any) -> Reading:
        if type(value) is str and value.isascii() and 0 < len(value) <= NAME_BYTES and "\0" not in value:
            return slot, value, marks, None
        return reading(value)

    def identifying(value: Any) -> Reading:
        return (slot, value, marks, None) if is_run_id(value) else reading(value)

    if read is _count:
        return counting
    if read is name or read is step_identity:
        return naming
    return identifying if read is run_identity else reading


def _named(slot: int, read: Reader, marks: int, sent_as: str, member: str, nameless: str) -> ValueReader:
    """Return a reader whose readings hold (name of the member, value)."""
    of_name: list[Flag] = []
    member_name = name(member, sent_as, of_name)
    plain = Detail(sent_as)

    def measuring(value: Any) -> Reading:
        if type(value) is float and -math.inf < value < math.inf:
            return slot, (member_name, value), marks, plain
        return reading(value)

    def reading(value: Any) -> Reading:
        if member_name is None:
            flags = [*of_name, flag(WRONG_TYPE, sent_as, nameless)]
            return slot, (None, None), marks | FLAGGED, Detail(sent_as, tuple(flags))
        flags = [*of_name]
        result = read(value, sent_as, flags)
        if flags:
            return slot, (member_name, result), marks | FLAGGED, Detail(sent_as, tuple(flags))
        return slot, (member_name, result), marks, plain

    return measuring if read is number and not of_name and member_name is not None else reading


def _other(slot: int, attribute: str) -> ValueReader:
    detail = Detail(attribute)
    marks = marks_of(attribute) | ELSEWHERE
    return lambda value: (slot, value, marks, detail)


def _renamed(sent_as: str, attribute: str) -> ValueReader | None:
    """Return a reader whose readings hold one by our name, for ``readings.fill``."""
    read = _reader(attribute, sent_as)
    if read is None:
        return None

    def reading(value: Any) -> Reading:
        ours = read(value)
        _, _, marks, detail = ours
        shifted = (marks & ~FLAGGED) << RENAMED_BITS | marks & FLAGGED | ELSEWHERE
        return RENAMED_SLOT, ours, shifted, Detail(sent_as, detail.flags if detail else ())

    return reading


_OURS: Final[Mapping[str, ValueReader | None]] = {
    attribute: _reader(attribute, attribute) for attribute in _RULES
}
OURS: Final = Vocabulary()
"""Without anybody else's names."""
