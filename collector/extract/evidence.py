"""
Evidence: chunks of decisions and artifacts.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

from collector.decisions import parse
from collector.errors import DecisionsUnreadable
from collector.extract.extraction import Limits
from collector.extract.fields import INT32_MAX, INT64_MAX, WHY_BYTES, count, name, text
from collector.extract.identity import attempt, step_identity
from store.decisions import DecisionColumns, pack
from store.rows import Artifact, DecisionChunk, Flag
from xray_otel import semconv

_index = count(INT32_MAX)
_size = count(INT64_MAX)
_url = text(WHY_BYTES)
_SHA256_BYTES = 32


def chunk_of_event(run_id: str, span_id: bytes | None, attributes: Mapping[str, Any]) -> DecisionChunk | None:
    """
    Return one chunk of decisions; its ``error`` is set when the payload cannot be read.

    None when the event does not say which step it belongs to.
    """
    flags: list[Flag] = []
    step_id = step_identity(attributes.get(semconv.STEP_ID), semconv.STEP_ID, flags)
    step_id = step_id or (span_id.hex() if span_id else None)
    if step_id is None:
        return None
    _, attempt_key = attempt(attributes, span_id, flags)
    index = _index(attributes.get(semconv.CHUNK_INDEX), semconv.CHUNK_INDEX, flags) or 0
    total = _index(attributes.get(semconv.CHUNK_TOTAL), semconv.CHUNK_TOTAL, flags)
    try:
        return packed(run_id, step_id, attempt_key, index, total, _columns(attributes))
    except DecisionsUnreadable as exc:
        return DecisionChunk(run_id, step_id, attempt_key, index, total, 0, None, exc.reason)


def packed(
    run_id: str, step_id: str, attempt_key: str, index: int, total: int | None, columns: DecisionColumns
) -> DecisionChunk:
    """Return a readable chunk. Raises ``DecisionsUnreadable`` for values that cannot be stored."""
    try:
        data = pack(columns)
    except TypeError:
        raise DecisionsUnreadable("half a surrogate pair or an integer beyond 64 bits is in them") from None
    return DecisionChunk(run_id, step_id, attempt_key, index, total, columns.count, data)


def artifact_of_event(
    run_id: str, span_id: bytes | None, attributes: Mapping[str, Any], limits: Limits
) -> Artifact | str:
    """Return an artifact, or in words why it cannot be stored."""
    # Flags have no place on an artifact: what is odd in its description is read as far as it goes.
    flags: list[Flag] = []
    data = _payload(attributes.get(semconv.ARTIFACT_DATA))
    url = _url(attributes.get(semconv.ARTIFACT_URL), semconv.ARTIFACT_URL, flags)
    if data is None and url is None:
        return f"neither {semconv.ARTIFACT_DATA} (text or bytes) nor {semconv.ARTIFACT_URL} is there"
    if data is not None and len(data) > limits.max_artifact_bytes:
        return f"{len(data)} bytes exceed XRAY_MAX_ARTIFACT_BYTES={limits.max_artifact_bytes}; send a URL"
    digest = _digest(attributes.get(semconv.ARTIFACT_SHA256), data)
    if isinstance(digest, str):
        return digest
    step_id = step_identity(attributes.get(semconv.STEP_ID), semconv.STEP_ID, flags)
    binary = isinstance(attributes.get(semconv.ARTIFACT_DATA), bytes)
    sent_size = _size(attributes.get(semconv.ARTIFACT_SIZE), semconv.ARTIFACT_SIZE, flags) or 0
    return Artifact(
        run_id=run_id,
        step_id=step_id,
        attempt_key=attempt(attributes, span_id, flags)[1] if step_id else None,
        kind=name(attributes.get(semconv.ARTIFACT_KIND), semconv.ARTIFACT_KIND, flags) or "artifact",
        content_type=name(attributes.get(semconv.ARTIFACT_CONTENT_TYPE), semconv.ARTIFACT_CONTENT_TYPE, flags)
        or ("application/octet-stream" if binary else "text/plain"),
        size_bytes=sent_size if data is None else len(data),
        sha256=digest,
        data=data,
        url=url,
        name=name(attributes.get(semconv.ARTIFACT_NAME), semconv.ARTIFACT_NAME, flags),
    )


def _columns(attributes: Mapping[str, Any]) -> DecisionColumns:
    data = attributes.get(semconv.DECISIONS_DATA)
    if isinstance(data, bytes):
        raw = data
    elif isinstance(data, str):
        raw = data.encode("utf-8", "surrogatepass")
    else:
        raise DecisionsUnreadable(f"{semconv.DECISIONS_DATA} is no text")
    checksum = attributes.get(semconv.CHUNK_CHECKSUM)
    if checksum is not None and checksum != (found := f"{zlib.crc32(raw):08x}"):
        raise DecisionsUnreadable(f"checksum {str(checksum)[:20]!r} was sent, the text has {found!r}")
    columns = parse(raw)
    sent_count = attributes.get(semconv.CHUNK_COUNT)
    if sent_count is not None and sent_count != columns.count:
        raise DecisionsUnreadable(
            f"{semconv.CHUNK_COUNT} is {str(sent_count)[:20]}, the text has {columns.count}"
        )
    return columns


def _payload(data: Any) -> bytes | None:
    if isinstance(data, bytes):
        return data
    if not isinstance(data, str):
        return None
    try:
        # Undoes what the decoder did to bytes that were not UTF-8, so that the hash is that of the original.
        return data.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return data.encode("utf-8", "replace")


def _digest(sent: Any, data: bytes | None) -> bytes | str:
    stated: bytes | None = None
    if sent is not None:
        try:
            stated = bytes.fromhex(sent)
        except (TypeError, ValueError):
            stated = b""
        if len(stated) != _SHA256_BYTES:
            return f"{semconv.ARTIFACT_SHA256} is not 64 hex digits"
    if data is None:
        return stated or f"an artifact behind a URL needs {semconv.ARTIFACT_SHA256}"
    computed = sha256(data).digest()
    if stated is not None and stated != computed:
        return f"{semconv.ARTIFACT_SHA256} does not match the payload"
    return computed
