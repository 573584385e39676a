"""The gate of the API: turns away who may not ask, before anything of the body is read."""

from __future__ import annotations

import math

from fastapi import Request
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from api.errors import error_response
from store.access.guard import Denial, Denied, Guard
from store.access.keys import Scope as KeyScope

_OPEN = ("/healthz", "/readyz")
"""Asked by machines that start and stop servers, and tell no more than that."""
_SCOPES = {
    "GET": KeyScope.READ,
    "HEAD": KeyScope.READ,
    "POST": KeyScope.INGEST,
    "PUT": KeyScope.INGEST,
    "PATCH": KeyScope.INGEST,
}
"""By method, so that a path which is added later is never open. What is not named needs admin."""
_QUESTIONS = ("/api/v1/contracts/check",)
"""Asked by POST because they are long; they write nothing."""
_ADMIN = ("/api/v1/alerts",)
"""What tells the server where to send requests: whoever may write to these paths steers it."""
_READING = "/replay"
"""End of a path that takes a question by POST and stores nothing."""
_ANSWERS = {
    Denial.NO_KEY: (401, "unauthorized"),
    Denial.WRONG_SCOPE: (403, "forbidden"),
    Denial.TOO_MANY: (429, "too_many_requests"),
    Denial.UNDECIDED: (503, "unavailable"),
}


class ApiGate:
    """ASGI middleware, within the one that gives requests their ids and the one for CORS."""

    def __init__(self, app: ASGIApp, guard: Guard) -> None:
        self._app = app
        self._guard = guard

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        denied = self._check(scope) if scope["type"] == "http" else None
        if denied is None:
            await self._app(scope, receive, send)
            return
        status, code = _ANSWERS[denied.denial]
        headers = {}
        if denied.retry_after_s is not None:
            headers["Retry-After"] = str(math.ceil(denied.retry_after_s))
        if status == 401:
            # RFC 9110, section 11.6.1; RFC 6750, section 3
            headers["WWW-Authenticate"] = 'Bearer realm="xray"'
        answer = error_response(Request(scope), status, code, denied.message, headers=headers)
        await answer(scope, receive, send)

    def _check(self, scope: Scope) -> Denied | None:
        if scope["path"] in _OPEN:
            return None
        headers = Headers(scope=scope)
        asks = _scope(scope["method"], scope["path"])
        if scope["method"] == "POST" and scope["path"].endswith(_READING):
            asks = KeyScope.READ
        return self._guard.check(headers.get("authorization"), headers.get("x-api-key"), asks)


def _scope(method: str, path: str) -> KeyScope:
    if path in _QUESTIONS:
        return KeyScope.READ
    asks = _SCOPES.get(method, KeyScope.ADMIN)
    of_admin = any(path == prefix or path.startswith(f"{prefix}/") for prefix in _ADMIN)
    return KeyScope.ADMIN if of_admin and asks is not KeyScope.READ else asks
