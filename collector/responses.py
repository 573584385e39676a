"""
How an outcome is answered: one table from outcome to gRPC code and HTTP status.

Sources: OTLP specification 1.11, "OTLP/gRPC Response", "OTLP/HTTP Response", "Partial
Success", "OTLP/gRPC Throttling", "OTLP/HTTP Throttling"; google.rpc ``Status``,
``RetryInfo`` and ``RequestInfo``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from enum import Enum
from typing import Any, NamedTuple

import grpc
import orjson
from google.protobuf.duration_pb2 import Duration
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import RequestInfo, RetryInfo  # type: ignore[import-untyped]  # ships no types
from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]  # ships no types

from collector.decode.messages import MESSAGES
from store.access import request_ids

MAX_MESSAGE_CHARACTERS = 4000
"""A response may have 4 MiB ("Response size"); nobody reads more than a page."""
RETRY_AFTER_S = 2
"""What senders are told to wait; the database is back after a restart within about as much."""

PROTOBUF = "application/x-protobuf"
JSON = "application/json"


class Signal(Enum):
    """The two signals that are taken, and how their refused records are named in JSON."""

    TRACES = "rejectedSpans"
    LOGS = "rejectedLogRecords"


class Outcome(Enum):
    """What became of a request."""

    STORED = "stored"
    """Everything that was asked of us is done and committed; refused records are in partial success."""
    MALFORMED = "malformed"
    TOO_LARGE = "too_large"
    UNSUPPORTED_MEDIA = "unsupported_media"
    NOT_FOUND = "not_found"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    METRICS = "metrics"
    """The metrics signal, which is refused politely."""
    UNAUTHENTICATED = "unauthenticated"
    """No API key, or none that holds."""
    FORBIDDEN = "forbidden"
    """The API key is not good for this."""
    RATE_LIMITED = "rate_limited"
    """The API key makes more requests than it may."""
    OVERLOADED = "overloaded"
    """More waits for the database than may wait."""
    UNAVAILABLE = "unavailable"
    """The database cannot be reached, or we are stopping, or the time of the request is up."""


class Answer(NamedTuple):
    """The codes of one outcome."""

    grpc: grpc.StatusCode
    http: int
    retryable: bool = False


ANSWERS: dict[Outcome, Answer] = {
    # "Full Success", "Partial Success"
    Outcome.STORED: Answer(grpc.StatusCode.OK, 200),
    # "Failures": bad data is not retryable
    Outcome.MALFORMED: Answer(grpc.StatusCode.INVALID_ARGUMENT, 400),
    # "Request size": RESOURCE_EXHAUSTED without RetryInfo is not retryable
    Outcome.TOO_LARGE: Answer(grpc.StatusCode.RESOURCE_EXHAUSTED, 413),
    Outcome.UNSUPPORTED_MEDIA: Answer(grpc.StatusCode.INVALID_ARGUMENT, 415),
    Outcome.NOT_FOUND: Answer(grpc.StatusCode.UNIMPLEMENTED, 404),
    Outcome.METHOD_NOT_ALLOWED: Answer(grpc.StatusCode.UNIMPLEMENTED, 405),
    Outcome.METRICS: Answer(grpc.StatusCode.UNIMPLEMENTED, 404),
    # "Failures": who may not send now may not either when the same comes again
    Outcome.UNAUTHENTICATED: Answer(grpc.StatusCode.UNAUTHENTICATED, 401),
    Outcome.FORBIDDEN: Answer(grpc.StatusCode.PERMISSION_DENIED, 403),
    # "OTLP/gRPC Throttling": RESOURCE_EXHAUSTED with RetryInfo is retryable
    Outcome.RATE_LIMITED: Answer(grpc.StatusCode.RESOURCE_EXHAUSTED, 429, retryable=True),
    # "Throttling": never 500, which makes senders drop what they have
    Outcome.OVERLOADED: Answer(grpc.StatusCode.UNAVAILABLE, 503, retryable=True),
    Outcome.UNAVAILABLE: Answer(grpc.StatusCode.UNAVAILABLE, 503, retryable=True),
}

METRICS_REFUSED = "metrics are not taken: send traces and logs here, and metrics to a metrics backend"


class Result(NamedTuple):
    """An outcome with what is said about it."""

    outcome: Outcome
    messages: Sequence[str] = ()
    """For STORED one per refused record or warning; else what happened and what to do."""
    rejected: int = 0
    """Refused records; may be 0 beside messages, which then are warnings."""
    retry_after_s: float = RETRY_AFTER_S
    """When to come again, where that helps."""


def message(messages: Sequence[str]) -> str:
    """Return the messages as one text of bounded length."""
    text = "; ".join(messages[:20])
    if len(messages) > 20:
        text += f"; and {len(messages) - 20} more"
    return text[:MAX_MESSAGE_CHARACTERS].encode("utf-8", "replace").decode()


def export_response(result: Result, signal: Signal, encoding: str) -> bytes:
    """
    Return the body for STORED in the encoding of the request.

    Partial success is left out on full success: an empty one makes clients log a warning.
    """
    said = message(result.messages)
    if encoding == JSON:
        partial = {signal.value: str(result.rejected)} if result.rejected else {}
        return orjson.dumps({"partialSuccess": partial | {"errorMessage": said}} if said else {})
    response = MESSAGES.export_response()
    if said:
        response.partial_success.rejected = result.rejected
        response.partial_success.error_message = said
    return bytes(response.SerializeToString())


def status_response(result: Result, encoding: str) -> bytes:
    """
    Return ``google.rpc.Status`` as the body of a failure, in the encoding of the request.

    Its details: when to come again, where that helps, and the id of the request.
    """
    answer = ANSWERS[result.outcome]
    code = answer.grpc.value[0]
    details = [_retry_info(result)] if answer.retryable else []
    if request_id := request_ids.current.get():
        details.append(RequestInfo(request_id=request_id))
    if encoding != PROTOBUF:
        said = {"code": code, "message": message(result.messages)}
        return orjson.dumps(said | ({"details": [_in_json(detail) for detail in details]} if details else {}))
    status = Status(code=code, message=message(result.messages))
    for detail in details:
        status.details.add().Pack(detail)
    return bytes(status.SerializeToString())


def retry_trailers(result: Result) -> tuple[tuple[str, bytes], ...]:
    """
    Return the trailing metadata of a failure by gRPC.

    RetryInfo stands in both places where clients look: within the Status, which is the
    standard, and bare, which is all that opentelemetry-python reads.
    """
    if not ANSWERS[result.outcome].retryable:
        return ()
    return (
        ("grpc-status-details-bin", status_response(result, PROTOBUF)),
        ("google.rpc.retryinfo-bin", _retry_info(result).SerializeToString()),
    )


def _retry_info(result: Result) -> Message:
    delay = Duration()
    delay.FromMilliseconds(math.ceil(result.retry_after_s * 1000))
    info: Message = RetryInfo(retry_delay=delay)
    return info


def _in_json(detail: Message) -> dict[str, Any]:
    """As ``google.protobuf.Any`` reads in JSON."""
    return {"@type": f"type.googleapis.com/{detail.DESCRIPTOR.full_name}"} | MessageToDict(detail)
