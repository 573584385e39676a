"""JSON bodies of requests, with a bound."""

from __future__ import annotations

import re
from typing import Any

import orjson
from fastapi import HTTPException, Request

_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")


async def json_body(request: Request, max_bytes: int) -> Any:
    """Return the parsed body; raises the failure of one that is too large or no JSON."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > max_bytes:
            raise refused(413, "too_large", f"the body has at most {max_bytes} bytes")
    if _NUL.search(body):
        raise refused(422, "invalid_body", "the body must not hold the character NUL, which no text here may")
    try:
        return orjson.loads(bytes(body))
    except orjson.JSONDecodeError as exc:
        raise refused(422, "invalid_body", f"the body must be JSON: {exc}") from None


def refused(status: int, code: str, message: str, parameter: str | None = None) -> HTTPException:
    """Return a failure in the shape of the one error object."""
    return HTTPException(status, {"code": code, "message": message, "parameter": parameter})
