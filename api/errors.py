"""
The one error object that every failure is answered with, and what becomes of which exception:

================================  ======  ====================
raised                            status  code
================================  ======  ====================
``InvalidParameter``              422     invalid_parameter
``RequestValidationError``        422     invalid_parameter
``NotFound``, unknown path        404     not_found
method that a path does not take  405     method_not_allowed
``QueryTimeout``                  503     query_timeout
``TooManyExports``                429     too_many_requests
no turn in time (``api/turns``)   503     busy
``Unavailable``                   503     unavailable
``HTTPException`` of any router   its     its detail's
anything else                     500     internal_error
================================  ======  ====================

No stack, SQL, file path or payload stands in an answer; the log has them under the request id.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import orjson
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.routing import Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from store.access import request_ids
from store.errors import Unavailable
from store.queries.errors import InvalidParameter, QueryTimeout, TooManyExports

log = logging.getLogger(__name__)

REQUEST_ID_HEADER = "X-Request-Id"
_RETRY_AFTER_S = "1"
_CODES = {
    400: "bad_request",
    401: "unauthorized",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    409: "conflict",
    413: "payload_too_large",
    415: "unsupported_media_type",
    422: "invalid_parameter",
    429: "too_many_requests",
    500: "internal_error",
    503: "unavailable",
}
_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")


class NotFound(Exception):
    """An id that nothing is known about."""

    def __init__(self, message: str, parameter: str) -> None:
        super().__init__(message)
        self.message = message
        self.parameter = parameter


class RequestIds:
    """ASGI middleware: gives each request an id (``request_ids.begin``), answers for what nobody caught."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = request_ids.begin(Headers(scope=scope).get(request_ids.HEADER))
        scope.setdefault("state", {})["request_id"] = request_id
        started = False

        async def send_with_id(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                message["headers"] = [
                    *message.get("headers", ()),
                    (request_ids.HEADER.encode(), request_id.encode()),
                ]
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        except Exception:
            # The edge of the process: whatever it is, the caller gets an answer.
            log.exception("request %s failed", request_id)
            if started:
                raise  # the answer is half out; only closing the connection tells so
            answer = error_response(Request(scope), 500, "internal_error", "the server failed to answer")
            await answer(scope, receive, send_with_id)


def error_response(
    request: Request,
    status: int,
    code: str,
    message: str,
    parameter: str | None = None,
    headers: Mapping[str, str] | None = None,
    column: int | None = None,
) -> Response:
    """Return the error object as a response; column: where in the parameter's value, from 1."""
    error = {
        "code": code,
        "message": message,
        "parameter": parameter,
        "request_id": request.state.request_id,
    }
    if column is not None:
        error["column"] = column
    return Response(
        orjson.dumps({"error": error}), status, headers=dict(headers or {}), media_type="application/json"
    )


def install(app: FastAPI) -> None:
    """Make every failure of the app the one error object."""
    app.add_middleware(RequestIds)
    app.add_exception_handler(InvalidParameter, _invalid_parameter)
    app.add_exception_handler(RequestValidationError, _invalid_request)
    app.add_exception_handler(NotFound, _not_found)
    app.add_exception_handler(QueryTimeout, _query_timeout)
    app.add_exception_handler(TooManyExports, _too_many_exports)
    app.add_exception_handler(Unavailable, _unavailable)
    app.add_exception_handler(HTTPException, _http_exception)


def _invalid_parameter(request: Request, exc: Exception) -> Response:
    assert isinstance(exc, InvalidParameter)
    return error_response(request, 422, "invalid_parameter", str(exc), exc.parameter, column=exc.column)


def _invalid_request(request: Request, exc: Exception) -> Response:
    assert isinstance(exc, RequestValidationError)
    first = exc.errors()[0]
    where = ".".join(str(part) for part in first["loc"][1:]) or str(first["loc"][0])
    if first["type"] == "json_invalid":
        return error_response(request, 422, "invalid_json", "the body must be JSON", "body")
    # pydantic's words name what is accepted; the value sent is left out, it may be a payload.
    return error_response(request, 422, "invalid_parameter", f"{where}: {first['msg']}", where)


def _not_found(request: Request, exc: Exception) -> Response:
    assert isinstance(exc, NotFound)
    return error_response(request, 404, "not_found", exc.message, exc.parameter)


def _query_timeout(request: Request, exc: Exception) -> Response:
    assert isinstance(exc, QueryTimeout)
    return error_response(request, 503, "query_timeout", str(exc), headers={"Retry-After": _RETRY_AFTER_S})


def _too_many_exports(request: Request, exc: Exception) -> Response:
    assert isinstance(exc, TooManyExports)
    headers = {"Retry-After": _RETRY_AFTER_S}
    return error_response(request, 429, "too_many_requests", str(exc), headers=headers)


def _unavailable(request: Request, exc: Exception) -> Response:
    log.warning("request %s: %s", request.state.request_id, exc)
    message = "the database cannot be reached; try again"
    return error_response(request, 503, "unavailable", message, headers={"Retry-After": _RETRY_AFTER_S})


def _http_exception(request: Request, exc: Exception) -> Response:
    assert isinstance(exc, HTTPException)
    status, detail = exc.status_code, exc.detail
    headers = dict(exc.headers or {})
    code = _CODES.get(status, HTTPStatus(status).phrase.lower().replace(" ", "_"))
    if status == 405:
        allowed = ", ".join(allowed_methods(request))
        return error_response(
            request, 405, code, f"this path takes {allowed}", headers=headers | {"Allow": allowed}
        )
    if isinstance(detail, Mapping):
        return _detailed(request, status, code, detail, headers)
    if status == 404 and detail == HTTPStatus.NOT_FOUND.phrase:
        detail = "no such path; the paths are listed in /openapi.json"
    if status == 503:
        headers.setdefault("Retry-After", _RETRY_AFTER_S)
    return error_response(request, status, code, str(detail), headers=headers)


def _detailed(
    request: Request, status: int, code: str, detail: Mapping[str, Any], headers: dict[str, str]
) -> Response:
    """A mounted router says code, message and parameter itself."""
    if status == 503:
        headers.setdefault("Retry-After", _RETRY_AFTER_S)
    return error_response(
        request,
        status,
        str(detail.get("code", code)),
        str(detail.get("message", HTTPStatus(status).phrase)),
        detail.get("parameter"),
        headers,
    )


def allowed_methods(request: Request) -> list[str]:
    """Return the methods that the path takes; routers share paths, so each alone knows only its own."""
    found: list[str] = []
    for method in _METHODS:
        scope = dict(request.scope) | {"method": method}
        if any(route.matches(scope)[0] is Match.FULL for route in request.app.router.routes):
            # Every GET is a HEAD too (``api/middleware.py``); no route says so itself.
            found += ["GET", "HEAD"] if method == "GET" else [method]
    return found
