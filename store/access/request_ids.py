"""The id of a request: in its answer, in what the log says about it, and the sender's own when it has one."""

from __future__ import annotations

import re
import uuid
from contextvars import ContextVar

HEADER = "x-request-id"
"""Lower case, as HTTP/2 and gRPC want it; elsewhere case does not matter."""
_FORM = re.compile(r"[A-Za-z0-9._-]{1,64}")

current: ContextVar[str] = ContextVar("xray_request_id", default="")
"""Id of the request that this task or thread answers; empty outside of one."""


def begin(sent: str | None) -> str:
    """
    Give the request of this context an id and return it.

    sent: the sender's own. It goes to logs, so only 1 to 64 letters, digits and ``. _ -`` are
    taken over; anything else gets an id of ours.
    """
    request_id = sent if sent and _FORM.fullmatch(sent) else uuid.uuid4().hex
    current.set(request_id)
    return request_id
