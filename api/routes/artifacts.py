"""The bytes of artifacts."""

from __future__ import annotations

import re
from urllib.parse import quote

from fastapi import APIRouter, Depends, Request, Response

from api.errors import NotFound
from api.parameters import none_accepted
from store.queries.conditions import shown
from store.queries.types import ArtifactRecord
from store.reader import Reader

router = APIRouter(tags=["artifacts"])

# type/subtype with parameters, printable (RFC 9110, section 8.3.1); senders may have sent anything.
# Not \s, which takes line breaks: such a head is refused by the server, or ends early.
_CONTENT_TYPE = re.compile(r"[\w.+-]+/[\w.+-]+([ \t]*;[\x20-\x7e]*)?", re.ASCII)
_ANY_TYPE = "application/octet-stream"


@router.get(
    "/artifacts/{artifact_id}",
    dependencies=[Depends(none_accepted)],
    response_class=Response,
    responses={200: {"content": {"*/*": {"schema": {"type": "string", "format": "binary"}}}}},
)
def get_artifact(request: Request, artifact_id: str) -> Response:
    """The payload as it was sent, always as a download."""
    reader: Reader = request.app.state.reader
    found = reader.artifact(artifact_id)
    if found is None:
        raise NotFound(f"no artifact {shown(artifact_id)} is known", "artifact_id")
    if found.data is None:
        where = f"it lies at {found.record.url}" if found.record.url else "it was not kept"
        raise NotFound(f"the payload of this artifact is not stored here; {where}", "artifact_id")
    sent_type = found.record.content_type
    return Response(
        found.data,
        media_type=sent_type if _CONTENT_TYPE.fullmatch(sent_type) else _ANY_TYPE,
        # What others sent must never run as a page of ours.
        headers={
            "X-Content-Type-Options": "nosniff",
            "Content-Security-Policy": "sandbox; default-src 'none'",
            "Content-Disposition": _disposition(found.record),
        },
    )


def _disposition(record: ArtifactRecord) -> str:
    """RFC 6266: the name in the form that can carry any character."""
    return f"attachment; filename*=UTF-8''{quote(record.name or record.artifact_id, safe='')}"
