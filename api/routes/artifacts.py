"""The bytes of artifacts."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping
from hashlib import sha256
from itertools import chain
from typing import Any
from urllib.parse import quote

from fastapi import APIRouter, Depends, HTTPException, Request, Response
from fastapi.responses import StreamingResponse

from api.errors import NotFound
from api.parameters import none_accepted
from api.ranges import NotSatisfiable, Part, asked_part, has_tag
from api.schemas import ErrorAnswer
from store.artifacts.objects import ObjectMissing, ObjectStore, StoreAway
from store.queries.conditions import shown
from store.queries.types import ArtifactContent, ArtifactRecord
from store.reader import Reader

router = APIRouter(tags=["artifacts"])
_log = logging.getLogger(__name__)

# type/subtype with parameters, printable (RFC 9110, section 8.3.1); senders may have sent anything.
# Not \s, which takes line breaks: such a head is refused by the server, or ends early.
_CONTENT_TYPE = re.compile(r"[\w.+-]+/[\w.+-]+([ \t]*;[\x20-\x7e]*)?", re.ASCII)
_ANY_TYPE = "application/octet-stream"
_PIECE_BYTES = 4 * 1024 * 1024
_BYTES: dict[str, Any] = {"content": {"*/*": {"schema": {"type": "string", "format": "binary"}}}}


class Damaged(Exception):
    """The bytes are not those that were put; the answer ends early, so that nobody takes them for whole."""


@router.get(
    "/artifacts/{artifact_id}",
    dependencies=[Depends(none_accepted)],
    response_class=Response,
    responses={
        200: _BYTES,
        206: {**_BYTES, "description": "The part that the header Range asks for."},
        304: {"description": "The header If-None-Match names its sha256."},
        416: {"model": ErrorAnswer, "description": "The range begins behind the end."},
    },
)
def get_artifact(request: Request, artifact_id: str) -> Response:
    """The payload as it was sent, always as a download; with ``Range``, one part of it."""
    reader: Reader = request.app.state.reader
    found = reader.artifact(artifact_id)
    if found is None:
        raise NotFound(f"no artifact {shown(artifact_id)} is known", "artifact_id")
    if found.data is None and found.object_path is None:
        where = f"it lies at {found.record.url}" if found.record.url else "it was not kept"
        raise NotFound(f"the payload of this artifact is not stored here; {where}", "artifact_id")
    record = found.record
    headers = _headers(record)
    if has_tag(request.headers.get("if-none-match"), headers["ETag"]):
        return Response(status_code=304, headers=headers)
    try:
        part = _asked_part(request, headers["ETag"], record.size_bytes)
    except NotSatisfiable:
        raise _refusal(
            416,
            "range_not_satisfiable",
            f"the payload has {record.size_bytes} bytes",
            {"Content-Range": f"bytes */{record.size_bytes}"},
        ) from None
    if part is not None:
        headers["Content-Range"] = part.content_range(record.size_bytes)
    status = 200 if part is None else 206
    if found.data is not None:
        data = found.data if part is None else found.data[part.start : part.end]
        return Response(data, status, headers, media_type=_media_type(record))
    length = record.size_bytes if part is None else part.end - part.start
    headers["Content-Length"] = str(length)
    body = _from_object_store(request, found, part)
    return StreamingResponse(body, status, headers, media_type=_media_type(record))


def _asked_part(request: Request, tag: str, size: int) -> Part | None:
    condition = request.headers.get("if-range")
    if condition is not None and condition.strip() != tag:
        return None
    return asked_part(request.headers.get("range"), size)


def _from_object_store(request: Request, found: ArtifactContent, part: Part | None) -> Iterator[bytes]:
    """Return the bytes, of which the first are there. Raises ``HTTPException``."""
    objects: ObjectStore | None = request.app.state.objects
    path = found.object_path
    assert path is not None  # else the payload lies in the database
    if objects is None:
        raise _refusal(
            503,
            "artifact_store_away",
            "the payload lies in an object store, and this server was told of none (XRAY_ARTIFACT_URL)",
        )
    try:
        if request.scope.get("is_head"):
            if not objects.exists(path):
                raise ObjectMissing
            return iter(())
        if part is not None:
            return _pieces(objects, path, part)
        return _checked(_pieces(objects, path, Part(0, found.record.size_bytes)), found.record.sha256)
    except ObjectMissing:
        _log.warning("an object is missing that an artifact refers to", extra={"path": path})
        raise _refusal(
            404, "artifact_missing", "the payload of this artifact was stored and is not there any more"
        ) from None
    except StoreAway as error:
        _log.warning("the object store is away: %s", error)
        raise _refusal(503, "artifact_store_away", "the object store cannot be reached; try again") from None


def _pieces(objects: ObjectStore, path: str, part: Part) -> Iterator[bytes]:
    """
    Return a part piece by piece, of which the first is there.

    Each by a request of its own: who fetches slowly must not meet the time limit of one.
    """
    bounds = [
        (start, min(start + _PIECE_BYTES, part.end)) for start in range(part.start, part.end, _PIECE_BYTES)
    ]
    first = [objects.get_range(path, *bounds[0])] if bounds else []
    return chain(first, (objects.get_range(path, *each) for each in bounds[1:]))


def _checked(pieces: Iterator[bytes], digest: str) -> Iterator[bytes]:
    """Yield the pieces, the last one only when all of them together are what was put."""
    so_far = sha256()
    last: bytes | None = None
    for piece in pieces:
        if last is not None:
            yield last
        so_far.update(piece)
        last = piece
    if so_far.hexdigest() != digest:
        raise Damaged("an object has other bytes than those that its name tells")
    if last is not None:
        yield last


def _refusal(status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> HTTPException:
    detail = {"code": code, "message": message, "parameter": None if status == 503 else "artifact_id"}
    if status == 416:
        detail["parameter"] = "Range"
    return HTTPException(status, detail, dict(headers or {}))


def _media_type(record: ArtifactRecord) -> str:
    return record.content_type if _CONTENT_TYPE.fullmatch(record.content_type) else _ANY_TYPE


def _headers(record: ArtifactRecord) -> dict[str, str]:
    return {
        "ETag": f'"{record.sha256}"',
        "Accept-Ranges": "bytes",
        # The bytes of an id never change; whoever may not read them any more must not have kept them.
        "Cache-Control": "private, no-cache",
        # What others sent must never run as a page of ours.
        "X-Content-Type-Options": "nosniff",
        "Content-Security-Policy": "sandbox; default-src 'none'",
        "Content-Disposition": _disposition(record),
    }


def _disposition(record: ArtifactRecord) -> str:
    """RFC 6266: the name in the form that can carry any character."""
    return f"attachment; filename*=UTF-8''{quote(record.name or record.artifact_id, safe='')}"
