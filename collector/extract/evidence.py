"""
Evidence: chunks of decisions and artifacts.
"""

from __future__ import annotations

import zlib
from hashlib import sha256
from typing import Any

from collector.decisions import Payload, parse
from collector.errors import DecisionsUnreadable
from collector.extract.fields import INT32_MAX, INT64_MAX, WHY_BYTES, count, name, text
from collector.extract.identity import attempt_key
from collector.extract.readings import NamedValues
from store import item_filter
from store.decisions import DecisionColumns, pack, pack_text
from store.rows import Artifact, DecisionChunk, Flag, Loss
from xray_otel import semconv

_index = count(INT32_MAX)
_size = count(INT64_MAX)
_url = text(WHY_BYTES)
_SHA256_BYTES = 32


def chunk_of_event(run_id: str, span_id: bytes | None, attributes: NamedValues) -> DecisionChunk | None:
    """
    Return one chunk of decisions; its ``error`` is set when the payload cannot be read.

    None when the event does not say which step it belongs to.
    """
    step_id = attributes.get(semconv.STEP_ID) or (span_id.hex() if span_id else None)
    if step_id is None:
        return None
    flags: list[Flag] = []
    key = attempt_key(attributes.get(semconv.STEP_ATTEMPT), span_id)
    index = _index(attributes.get(semconv.CHUNK_INDEX), semconv.CHUNK_INDEX, flags) or 0
    total = _index(attributes.get(semconv.CHUNK_TOTAL), semconv.CHUNK_TOTAL, flags)
    try:
        payload = _payload_of(attributes)
        return packed(run_id, step_id, key, index, total, payload.columns, payload.text)
    except DecisionsUnreadable as exc:
        return DecisionChunk(run_id, step_id, key, index, total, 0, None, exc.reason)


def sent_count(attributes: NamedValues) -> int:
    """Return how many candidates a chunk has, as its sender says; 0 when it does not say."""
    return _size(attributes.get(semconv.CHUNK_COUNT), semconv.CHUNK_COUNT, []) or 0


def chunk_of_nobody(run_id: str, attributes: NamedValues) -> Loss:
    """Return the loss of a chunk that does not say whose it is; its text tells it from others."""
    raw = _text(attributes.get(semconv.DECISIONS_DATA)) or b""
    index = _index(attributes.get(semconv.CHUNK_INDEX), semconv.CHUNK_INDEX, []) or 0
    return Loss(run_id, "refused", "decisions", f"//{index}/{zlib.crc32(raw):08x}", sent_count(attributes))


def packed(
    run_id: str,
    step_id: str,
    attempt_key: str,
    index: int,
    total: int | None,
    columns: DecisionColumns,
    text: bytes | None = None,
) -> DecisionChunk:
    """
    Return a readable chunk; text: what the columns were read from, when it can be stored as it is.

    Raises ``DecisionsUnreadable`` for values that cannot be stored.
    """
    try:
        data = pack(columns) if text is None else pack_text(text)
    except TypeError:
        raise DecisionsUnreadable("half a surrogate pair or an integer beyond 64 bits is in them") from None
    items = item_filter.build(columns.item)
    return DecisionChunk(run_id, step_id, attempt_key, index, total, columns.count, data, item_filter=items)


def artifact_of_event(
    run_id: str, span_id: bytes | None, attributes: NamedValues
) -> tuple[Artifact, str | None]:
    """Return an artifact as far as it is known, and in words why it cannot be stored, if so."""
    # Flags have no place on an artifact: what is odd in its description is read as far as it goes.
    flags: list[Flag] = []
    data = _payload(attributes.get(semconv.ARTIFACT_DATA))
    url = _url(attributes.get(semconv.ARTIFACT_URL), semconv.ARTIFACT_URL, flags)
    sent_digest = attributes.get(semconv.ARTIFACT_SHA256)
    problem = None
    if data is None and url is None and sent_digest is None:
        # With a hash alone it is described: the sender kept a payload that was too large for it.
        found = f"{semconv.ARTIFACT_DATA} (text or bytes), {semconv.ARTIFACT_URL}"
        problem = f"none of {found} and {semconv.ARTIFACT_SHA256} is there"
    digest = _digest(sent_digest, data)
    if isinstance(digest, str):
        problem = problem or digest
        # It has no address, but its loss needs one.
        digest = sha256((url or "").encode() if data is None else data).digest()
    step_id = attributes.get(semconv.STEP_ID)
    binary = isinstance(attributes.get(semconv.ARTIFACT_DATA), bytes)
    sent_size = _size(attributes.get(semconv.ARTIFACT_SIZE), semconv.ARTIFACT_SIZE, flags) or 0
    artifact = Artifact(
        run_id=run_id,
        step_id=step_id,
        attempt_key=attempt_key(attributes.get(semconv.STEP_ATTEMPT), span_id) if step_id else None,
        kind=name(attributes.get(semconv.ARTIFACT_KIND), semconv.ARTIFACT_KIND, flags) or "artifact",
        content_type=name(attributes.get(semconv.ARTIFACT_CONTENT_TYPE), semconv.ARTIFACT_CONTENT_TYPE, flags)
        or ("application/octet-stream" if binary else "text/plain"),
        size_bytes=sent_size if data is None else len(data),
        sha256=digest,
        data=data,
        url=url,
        name=name(attributes.get(semconv.ARTIFACT_NAME), semconv.ARTIFACT_NAME, flags),
    )
    return artifact, problem


def _payload_of(attributes: NamedValues) -> Payload:
    raw = _text(attributes.get(semconv.DECISIONS_DATA))
    if raw is None:
        raise DecisionsUnreadable(f"{semconv.DECISIONS_DATA} is no text")
    checksum = attributes.get(semconv.CHUNK_CHECKSUM)
    if checksum is not None and checksum != (found := f"{zlib.crc32(raw):08x}"):
        raise DecisionsUnreadable(f"checksum {str(checksum)[:20]!r} was sent, the text has {found!r}")
    payload = parse(raw)
    sent_count = attributes.get(semconv.CHUNK_COUNT)
    if sent_count is not None and sent_count != payload.columns.count:
        raise DecisionsUnreadable(
            f"{semconv.CHUNK_COUNT} is {str(sent_count)[:20]}, the text has {payload.columns.count}"
        )
    return payload


def _text(data: Any) -> bytes | None:
    if isinstance(data, str):
        return data.encode("utf-8", "surrogatepass")
    return data if isinstance(data, bytes) else None


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
        return stated or f"an artifact without its payload needs {semconv.ARTIFACT_SHA256}"
    computed = sha256(data).digest()
    if stated is not None and stated != computed:
        return f"{semconv.ARTIFACT_SHA256} does not match the payload"
    return computed
