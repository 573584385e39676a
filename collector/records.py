"""
What a request says, before we say what it is to us: spans and log records as Python values.

Both encodings of OTLP decode to the same records, so nothing behind this line knows which
one was used. Attribute values are str, bool, int, float, bytes, None, lists and dicts of
these, or ``Unreadable``.

Attributes of spans and log records come interpreted, as readings: what an attribute means
depends on its name and value alone, so a decoder that meets the same bytes again need
neither decode nor check them twice. Which names mean what is told by an ``Interpreter``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from store.rows import Flag

MAX_DEPTH = 64
"""Levels of nesting that an attribute value may have (OpenTelemetry specification, "Attribute limits")."""


class Unreadable(NamedTuple):
    """Stands for an attribute value that could not be read; its record is kept, the value is flagged."""

    reason: str


TOO_DEEP = Unreadable(f"nested deeper than {MAX_DEPTH} levels")


class Detail(NamedTuple):
    """What only some readings have: a name that says more than the slot, or something wrong."""

    name: str
    """The attribute's."""
    flags: tuple[Flag, ...] = ()


Reading = tuple[int, Any, int, Detail | None]
"""
What one attribute says: (slot, value, marks, detail).

The value belongs into this slot of the record's list of values; marks are bits that say what
the presence of the name means; see ``extract/vocabulary.py``. A plain tuple: there are fifteen
to a span, and to unpack a NamedTuple costs three times as much.
"""

IGNORED: Reading = (-1, None, 0, None)
"""Of an attribute that nobody reads: the last slot is looked at by no one."""

ValueReader = Callable[[Any], Reading]


class Interpreter(Protocol):
    """
    Says what attributes mean. Pure: the same name and value make the same reading.
    """

    @property
    def reads_events(self) -> bool:
        """Whether anybody asks for the events of spans."""
        ...

    @property
    def undecoded(self) -> frozenset[str]:
        """Names whose texts are wanted as UTF-8 where the encoding has it: long ones that are parsed next."""
        ...

    def reader(self, name: str) -> ValueReader | None:
        """Return what reads values of this name; None when nobody does."""
        ...


class Resource(NamedTuple):
    """The program that sent; one object per ``ResourceSpans``, shared by its records."""

    attributes: Mapping[str, Any]
    sent_hash: int = 0
    """Signed 64-bit hash of it as it was sent."""


class SpanEvent(NamedTuple):
    """An event on a span, of those that concern us."""

    name: str
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
    readings: Sequence[Reading]
    """One per attribute, in the order sent; of several for one name the last holds."""
    status_code: int
    status_message: str
    dropped_attributes: int
    resource: Resource
    sent_hash: int
    """Signed 64-bit hash of the span and its resource as they were sent."""
    events: Sequence[SpanEvent] = ()
    dropped_events: int = 0
    """Events that the sender's limit removed, and those that could not be read."""


class LogRecord(NamedTuple):
    """
    One log record. time_ns is its Timestamp, else its ObservedTimestamp, else 0 (OTLP
    ``LogRecord``); event_name is empty for a record that is no event.
    """

    event_name: str
    time_ns: int
    trace_id: bytes
    span_id: bytes
    readings: Sequence[Reading]
    dropped_attributes: int
    resource: Resource
    sent_hash: int | None
    """As for a span; None for evidence, of which there are no copies to order."""


RecordT = TypeVar("RecordT", SpanRecord, LogRecord)


@dataclass(slots=True)
class Decoded(Generic[RecordT]):
    """
    What one request holds; complete when ``records`` has been walked to its end.

    One record after the other, so that a request of thousands never lies there decoded as a
    whole. Records that cannot concern us are counted, not decoded.
    """

    recognised: bool
    """False for a body in which no field of this signal was found: it was meant for another path."""
    records: Iterator[RecordT] = field(default_factory=lambda: iter(()))
    foreign: int = 0
    undecodable: list[str] = field(default_factory=list)
    """One message for each record that could not be read at all."""
