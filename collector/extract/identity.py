"""
Who a span or event belongs to, and when it was: ids, times, and what its resource says.

Source: ``contract.md`` (Run id, Step key, Times, Rejected).
"""

from __future__ import annotations

import re
from hashlib import blake2b
from typing import Any, Final, NamedTuple

from collector.extract.fields import INT64_MAX, NAME_BYTES, cut, items, name, version
from collector.extract.flags import (
    INVALID_RUN_ID,
    NUL_REMOVED,
    TIME_OUT_OF_RANGE,
    TRUNCATED,
    clean,
    flag,
)
from collector.records import Resource
from store.rows import Flag
from xray_otel import semconv

TRACE_ID_BYTES: Final = 16
SPAN_ID_BYTES: Final = 8
EARLIEST_NS: Final = 946_684_800 * 10**9
"""2000-01-01: a time before it is a clock that was never set."""
LATEST_AHEAD_NS: Final = 24 * 3600 * 10**9
DEFAULT_ATTEMPT_KEY: Final = "1"

_RUN_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")
_DIGEST_BYTES = 8
# Before OpenTelemetry's semantic conventions 1.27 the environment had this name.
_FORMER_ENVIRONMENT = "deployment.environment"


class Refusal(NamedTuple):
    """Why a record is not stored; said to the sender in partial success and counted by reason."""

    reason: str
    """A word for the counter."""
    message: str
    """A sentence for the sender."""


class Time(NamedTuple):
    """A time as it may be used (None: fall back to receipt) and as it was sent, clamped to 64 bits."""

    ns: int | None
    sent_ns: int | None


class Defaults(NamedTuple):
    """What a record takes from its resource when it does not say so itself."""

    service_name: str | None
    environment: str | None
    pipeline: str | None
    pipeline_version: str | None
    flags: tuple[Flag, ...]


NO_DEFAULTS = Defaults(None, None, None, None, ())


def is_run_id(value: object) -> bool:
    """Tell whether the value has the form of a run id."""
    return type(value) is str and _RUN_ID.fullmatch(value) is not None


def is_id(value: bytes, size: int) -> bool:
    """Tell whether these are the bytes of a trace or span id: of this size and not all zero."""
    return len(value) == size and any(value)


def run_identity(value: Any, field: str, flags: list[Flag]) -> str | None:
    """Return a run id; one that breaks the form is flagged, and the trace stands in."""
    if type(value) is str and _RUN_ID.fullmatch(value):
        return value
    if value is not None:
        flags.append(flag(INVALID_RUN_ID, field, value))
    return None


def step_identity(value: Any, field: str, flags: list[Flag]) -> str | None:
    """
    Return a step id as the key can hold it; None when there is none.

    An id past the limit is cut and ends in a hash of the whole: two long ids that begin alike
    stay two steps.
    """
    if type(value) is str and 0 < len(value) <= NAME_BYTES and value.isascii() and "\0" not in value:
        return value
    if not isinstance(value, str):
        return name(value, field, flags)  # type: ignore[no-any-return]
    cleaned = clean(value)
    if len(cleaned) < len(value):
        flags.append(flag(NUL_REMOVED, field, value))
    if len(cleaned.encode()) <= NAME_BYTES:
        return cleaned or None
    flags.append(flag(TRUNCATED, field, f"{len(value)} characters"))
    digest = blake2b(cleaned.encode(), digest_size=_DIGEST_BYTES).hexdigest()
    return f"{cut(cleaned, NAME_BYTES - len(digest) - 1)}~{digest}"


def step_ids(value: Any, field: str, flags: list[Flag]) -> tuple[str, ...] | None:
    """Return step ids as their steps' keys hold them."""
    sent = items(value, field, flags)
    if sent is None:
        return None
    ids = (step_identity(item, field, flags) for item in sent)
    return tuple(id_ for id_ in ids if id_ is not None)


def attempt_key(attempt: int | None, span_id: bytes | None) -> str:
    """Return the attempt's part of a step's key."""
    if attempt is not None:
        return str(attempt)
    return span_id.hex() if span_id else DEFAULT_ATTEMPT_KEY


def time(sent: int | None, field: str, received_ns: int, flags: list[Flag]) -> Time:
    """Return a time in nanoseconds since the Unix epoch, checked against the range that is believed."""
    if not sent:
        return Time(None, None)
    if EARLIEST_NS <= sent <= received_ns + LATEST_AHEAD_NS:
        return Time(sent, sent)
    flags.append(flag(TIME_OUT_OF_RANGE, field, sent if abs(sent) <= INT64_MAX else str(sent)[:40]))
    return Time(None, max(-INT64_MAX, min(sent, INT64_MAX)))


def defaults(resource: Resource) -> Defaults:
    """Read what every record of a resource shares."""
    attributes = resource.attributes
    flags: list[Flag] = []
    environment = semconv.DEPLOYMENT_ENVIRONMENT_NAME
    if environment not in attributes:
        environment = _FORMER_ENVIRONMENT
    return Defaults(
        name(attributes.get(semconv.SERVICE_NAME), semconv.SERVICE_NAME, flags),
        name(attributes.get(environment), environment, flags),
        name(attributes.get(semconv.PIPELINE_NAME), semconv.PIPELINE_NAME, flags),
        version(attributes.get(semconv.PIPELINE_VERSION), semconv.PIPELINE_VERSION, flags),
        tuple(flags),
    )
