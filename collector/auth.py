"""
The gates of OTLP: give each request an id, and turn away who may not send, before anything of the
body is read.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
import grpc.aio
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from collector.responses import (
    ANSWERS,
    JSON,
    PROTOBUF,
    Outcome,
    Result,
    message,
    retry_trailers,
    status_response,
)
from store.access import request_ids
from store.access.guard import Denial, Denied, Guard
from store.access.keys import Scope as KeyScope
from store.access.tls import TlsFiles

Count = Callable[[Result], None]
"""Counts an answer that a receiver never sees (``Receiver.count``)."""

Context = grpc.aio.ServicerContext[bytes, bytes]

_OUTCOMES = {
    Denial.NO_KEY: Outcome.UNAUTHENTICATED,
    Denial.WRONG_SCOPE: Outcome.FORBIDDEN,
    Denial.TOO_MANY: Outcome.RATE_LIMITED,
    Denial.UNDECIDED: Outcome.UNAVAILABLE,
}
_OPEN = ("/healthz", "/readyz")
"""Asked by machines that start and stop servers, and tell no more than that."""
_HEALTH = "/grpc.health."


class HttpGate:
    """ASGI middleware of OTLP/HTTP. Reading needs the scope read, all else ingest."""

    def __init__(self, app: ASGIApp, guard: Guard | None, count: Count) -> None:
        """guard: None lets everybody in."""
        self._app = app
        self._guard = guard
        self._count = count

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        request_id = request_ids.begin(headers.get(request_ids.HEADER))

        async def send_with_id(answer: Message) -> None:
            if answer["type"] == "http.response.start":
                MutableHeaders(scope=answer)[request_ids.HEADER] = request_id
            await send(answer)

        denied = self._check(scope, headers)
        if denied is None:
            await self._app(scope, receive, send_with_id)
            return
        result = _result(denied)
        self._count(result)
        await _http_answer(result, headers)(scope, receive, send_with_id)

    def _check(self, scope: Scope, headers: Headers) -> Denied | None:
        if self._guard is None or scope["path"] in _OPEN:
            return None
        asks = KeyScope.READ if scope["method"] in ("GET", "HEAD") else KeyScope.INGEST
        return self._guard.check(headers.get("authorization"), headers.get("x-api-key"), asks)


class GrpcGate(grpc.aio.ServerInterceptor):  # type: ignore[type-arg]  # generic in the stubs alone
    """Interceptor of OTLP/gRPC; every method but those of the health service needs the scope ingest."""

    def __init__(self, guard: Guard | None, count: Count) -> None:
        """guard: None lets everybody in."""
        self._guard = guard
        self._count = count

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any]]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any]:
        sent: dict[str, Any] = dict(handler_call_details.invocation_metadata)
        # In the task of this call, so that the handler and its log lines see it too.
        request_id = request_ids.begin(sent.get(request_ids.HEADER))
        denied = None
        if self._guard is not None and not handler_call_details.method.startswith(_HEALTH):
            denied = self._guard.check(sent.get("authorization"), sent.get("x-api-key"), KeyScope.INGEST)
        if denied is None:
            return _with_request_id(await continuation(handler_call_details), request_id)
        result = _result(denied)
        self._count(result)
        return _with_request_id(_denying(result), request_id)


def credentials(tls: TlsFiles) -> grpc.ServerCredentials:
    """Return the files as gRPC takes them; it speaks TLS 1.2 and newer."""
    client_ca = tls.client_ca.read_bytes() if tls.client_ca else None
    return grpc.ssl_server_credentials(
        [(tls.key.read_bytes(), tls.cert.read_bytes())], client_ca, require_client_auth=client_ca is not None
    )


def _denying(result: Result) -> grpc.RpcMethodHandler[Any, Any]:
    """Return a handler that turns a call away without a look at its message."""

    async def deny(_requests: AsyncIterator[bytes], context: Context) -> bytes:
        context.set_trailing_metadata(retry_trailers(result))
        context.set_code(ANSWERS[result.outcome].grpc)
        context.set_details(message(result.messages))
        return b""

    # The same on the wire as a call with one request, but gRPC reads none before the handler asks for it.
    return grpc.stream_unary_rpc_method_handler(deny)


def _with_request_id(
    handler: grpc.RpcMethodHandler[Any, Any] | None, request_id: str
) -> grpc.RpcMethodHandler[Any, Any]:
    """Return a handler that adds the id to what the given one says after its answer."""
    # None: an unknown method, which gRPC answers itself. All of ours read their one request themselves.
    if handler is None or handler.stream_unary is None:
        return handler  # type: ignore[return-value]  # the stubs know no None
    inner: Any = handler.stream_unary

    async def handle(requests: AsyncIterator[bytes], context: Context) -> bytes:
        try:
            answer: bytes = await inner(requests, context)
        finally:
            said = context.trailing_metadata() or ()
            context.set_trailing_metadata((*said, (request_ids.HEADER, request_id)))
        return answer

    return grpc.stream_unary_rpc_method_handler(handle)


def _result(denied: Denied) -> Result:
    if denied.retry_after_s is None:
        return Result(_OUTCOMES[denied.denial], (denied.message,))
    return Result(_OUTCOMES[denied.denial], (denied.message,), retry_after_s=denied.retry_after_s)


def _http_answer(result: Result, headers: Headers) -> Response:
    sent_type = headers.get("content-type", "").partition(";")[0].strip().lower()
    encoding = PROTOBUF if sent_type == PROTOBUF else JSON
    answer = ANSWERS[result.outcome]
    extra = {}
    if answer.retryable:
        extra["Retry-After"] = str(math.ceil(result.retry_after_s))
    if result.outcome is Outcome.UNAUTHENTICATED:
        # RFC 9110, section 11.6.1; RFC 6750, section 3
        extra["WWW-Authenticate"] = 'Bearer realm="xray"'
    return Response(
        status_response(result, encoding), status_code=answer.http, headers=extra, media_type=encoding
    )
