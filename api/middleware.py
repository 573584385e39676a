"""What stands around the routes: HEAD for every GET, and refusals to browsers in the one error shape."""

from __future__ import annotations

from fastapi import Request
from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.errors import RequestIds, error_response


class HeadAsGet:
    """
    ASGI middleware: a HEAD is answered as its GET would be, without the body (RFC 9110, section 9.3.2).

    The scope of such a GET has the key ``is_head``, for routes whose body is long in the making.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return

        async def send_without_body(message: Message) -> None:
            await send({**message, "body": b""} if message["type"] == "http.response.body" else message)

        asked = {**scope, "method": "GET", "is_head": True}
        try:
            await self._app(asked, receive, send_without_body)
        finally:
            # Who stands around asks the scope it knows what was answered (``api/telemetry.py``).
            scope["route"] = asked.get("route")


class Cors(CORSMiddleware):
    """CORS whose refused preflights are the error object too; what browsers enforce stays the same."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope) if scope["type"] == "http" else Headers()
        asks_leave = "origin" in headers and "access-control-request-method" in headers
        if asks_leave and scope["method"] == "OPTIONS":
            refusal = self.preflight_response(headers)
            if refusal.status_code >= 400:
                await RequestIds(_refused)(scope, receive, send)
                return
        await super().__call__(scope, receive, send)


async def _refused(scope: Scope, receive: Receive, send: Send) -> None:
    message = "the origin, method or headers are not among those that XRAY_CORS_ORIGINS lets browsers use"
    await error_response(Request(scope), 400, "cors_refused", message)(scope, receive, send)
