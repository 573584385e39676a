"""
What a request says, before we say what it is to us: spans and log records as Python values.

Both encodings of OTLP decode to the same records, so nothing behind this line knows which
one was used. Attribute values are str, bool, int, float, bytes, None, lists and dicts of
these, or ``Unreadable``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

MAX_DEPTH = 64
"""Levels of nesting that an attribute value may have (OpenTelemetry specification, "Attribute limits")."""


class Unreadable(NamedTuple):
    """Stands for an attribute value that could not be read; its record is kept, the value is flagged."""

    reason: str


TOO_DEEP = Unreadable(f"nested deeper than {MAX_DEPTH} levels")


class Resource(NamedTuple):
    """The program that sent; one object per ``ResourceSpans``, shared by its records."""

    attributes: Mapping[str, Any]


class SpanRecord(NamedTuple):
    """
    One span. Ids are raw bytes of whatever length was sent; times are nanoseconds since the
    Unix epoch, 0 when missing; status_code: 0 unset, 1 ok, 2 error (OTLP ``Status``).
    """

    trace_id: bytes
    span_id: bytes
    parent_span_id: bytes
    name: str
    start_ns: int
    end_ns: int
    attributes: Mapping[str, Any]
    status_code: int
    status_message: str
    dropped_attributes: int
    resource: Resource


class LogRecord(NamedTuple):
    """
    One log record. time_ns is its Timestamp, else its ObservedTimestamp, else 0 (OTLP
    ``LogRecord``); event_name is empty for a record that is no event.
    """

    event_name: str
    time_ns: int
    trace_id: bytes
    span_id: bytes
    attributes: Mapping[str, Any]
    dropped_attributes: int
    resource: Resource


RecordT = TypeVar("RecordT", SpanRecord, LogRecord)


class Decoded(NamedTuple, Generic[RecordT]):
    """What one request held. Records that cannot concern us are counted, not decoded."""

    records: Sequence[RecordT]
    foreign: int
    undecodable: Sequence[str]
    """One message for each record that could not be read at all."""
    recognised: bool
    """False for a body in which no field of this signal was found: it was meant for another path."""
