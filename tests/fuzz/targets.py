"""
What is fuzzed: functions of bytes that must end without an exception, whatever the bytes are.

Each reads a request as a collector does, with a reader that remembers what it read before, and
then does with the rows what would be done on their way to the database.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from collector.body import decompressed
from collector.decisions import parse
from collector.errors import DecisionsUnreadable, TooLarge, Undecodable
from collector.extract.extraction import DEFAULT_LIMITS
from collector.inference.infer import SpanInference
from collector.reading import RequestReader
from collector.reception import Claim, Room
from collector.responses import JSON, PROTOBUF, Signal
from store.assemble import assemble

RECEIVED_NS: Final = 1_795_000_000_000_000_000
_BODY_LIMIT_BYTES = 16 * 1024 * 1024


def request(signal: Signal, encoding: str) -> Callable[[bytes], None]:
    """Return a target that takes bodies of OTLP requests."""
    reader = RequestReader(DEFAULT_LIMITS, SpanInference())

    def read(body: bytes) -> None:
        try:
            extraction = reader.read(signal, encoding, body, RECEIVED_NS).extraction
        except Undecodable:
            return
        extraction.flags()
        assemble([extraction.batch(len(body))])

    return read


def gzip_body(body: bytes) -> None:
    """Bodies as they come, before decompression."""
    try:
        assert (
            len(decompressed(body, "gzip", _BODY_LIMIT_BYTES, Claim(Room(_BODY_LIMIT_BYTES))))
            <= _BODY_LIMIT_BYTES
        )
    except (Undecodable, TooLarge):
        return


def decisions(text: bytes) -> None:
    """The payload of a chunk of decisions."""
    try:
        parse(text)
    except DecisionsUnreadable:
        return


TARGETS: Final[dict[str, Callable[[], Callable[[bytes], None]]]] = {
    "traces_protobuf": lambda: request(Signal.TRACES, PROTOBUF),
    "traces_json": lambda: request(Signal.TRACES, JSON),
    "logs_protobuf": lambda: request(Signal.LOGS, PROTOBUF),
    "logs_json": lambda: request(Signal.LOGS, JSON),
    "decisions": lambda: decisions,
    "gzip_body": lambda: gzip_body,
}
