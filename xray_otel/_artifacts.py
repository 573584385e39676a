"""Bulky payloads of a step or run, as ``xray.artifact`` events."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

from xray_otel import _mask, semconv
from xray_otel._buffer import Cause, Event, Priority
from xray_otel._client import Client
from xray_otel._encode import json_text, text_of
from xray_otel._text import NAME_BYTES, clean

_JSON_BYTES = 256 * 1024
"""Bound of a payload that is given as an object; text and bytes have the setting's bound."""


def artifact_attributes(
    kind: str,
    data: Any,
    content_type: str | None,
    name: str | None,
    max_bytes: int,
) -> tuple[dict[str, object], bool]:
    """
    The event's attributes without identity, and whether the payload is in them.

    data: text, bytes, or anything else, which is sent as JSON. A payload of more than
    ``max_bytes`` stays behind: only its size and hash are sent, both of the masked payload.
    """
    payload: str | bytes
    if any(_mask.current.hides(text_of(word, NAME_BYTES)) for word in (kind, name) if word is not None):
        payload, default = _mask.MASKED, "text/plain; charset=utf-8"
    elif isinstance(data, str):
        payload, default = clean(_mask.current.text(str.__str__(data))), "text/plain; charset=utf-8"
    elif isinstance(data, bytes | bytearray | memoryview):
        payload, default = _mask.current.payload(bytes(data)), "application/octet-stream"
    else:
        payload, default = json_text(data, min(max_bytes, _JSON_BYTES)), "application/json"
    raw = payload.encode("utf-8") if isinstance(payload, str) else payload
    attributes: dict[str, object] = {
        semconv.ARTIFACT_KIND: text_of(kind, NAME_BYTES),
        semconv.ARTIFACT_CONTENT_TYPE: text_of(content_type or default, NAME_BYTES),
        semconv.ARTIFACT_SIZE: len(raw),
        semconv.ARTIFACT_SHA256: hashlib.sha256(raw).hexdigest(),
    }
    if name is not None:
        attributes[semconv.ARTIFACT_NAME] = text_of(name, NAME_BYTES)
    if len(raw) > max_bytes:
        return attributes, False
    attributes[semconv.ARTIFACT_DATA] = payload
    return attributes, True


def send_artifact(
    current: Client,
    event: Callable[[str, dict[str, Any]], Event],
    identity: dict[str, object],
    artifact: tuple[str, Any, str | None, str | None],
) -> None:
    """Sends one artifact of a step or run: (kind, data, content type, name)."""
    kind, data, content_type, name = artifact
    attributes, complete = artifact_attributes(
        kind, data, content_type, name, current.settings.artifact_bytes
    )
    if not complete:
        current.pipeline.lose(Priority.ARTIFACT, Cause.TOO_LARGE, identity.get(semconv.RUN_ID))
        current.guard.note("artifact", f"payload of {attributes[semconv.ARTIFACT_SIZE]} bytes is not sent")
    current.emit(Priority.ARTIFACT, event(semconv.EVENT_ARTIFACT, attributes | identity))
