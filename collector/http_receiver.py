"""
OTLP/HTTP: protobuf and JSON, plain and gzip, chunked or not.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from collector import body as request_body
from collector.auth import HttpGate
from collector.errors import BodyTooSlow, CollectorError
from collector.receive import Receiver, Taken, failure
from collector.reception import Claim, Reception
from collector.responses import (
    ANSWERS,
    JSON,
    METRICS_REFUSED,
    PROTOBUF,
    RETRY_AFTER_S,
    Outcome,
    Result,
    Signal,
    export_response,
    status_response,
)
from store.access.guard import Guard

_PATHS = {"/v1/traces": Signal.TRACES, "/v1/logs": Signal.LOGS}
Endpoint = Callable[[Request], Awaitable[Response]]


def create_app(
    receiver: Receiver,
    reception: Reception,
    max_request_bytes: int,
    cors_origins: Sequence[str] = (),
    guard: Guard | None = None,
    more_routes: Sequence[Route] = (),
) -> Starlette:
    """
    Return the OTLP/HTTP application.

    cors_origins: of the pages that may send from a browser. guard: checks API keys; None asks for none.
    """
    routes = [
        Route(path, _export(signal, receiver, reception, max_request_bytes), methods=["POST"])
        for path, signal in _PATHS.items()
    ]
    routes += [Route("/v1/metrics", _refuse_metrics(receiver), methods=["POST"]), *more_routes]
    middleware = []
    if cors_origins:
        middleware.append(
            Middleware(
                CORSMiddleware, allow_origins=list(cors_origins), allow_methods=["POST"], allow_headers=["*"]
            )
        )
    # Within CORS: browsers ask for leave without a key, and read refusals only with its headers.
    middleware.append(Middleware(HttpGate, guard=guard, count=receiver.count))
    return Starlette(
        routes=routes, middleware=middleware, exception_handlers={HTTPException: _on_http_exception(receiver)}
    )


def _export(signal: Signal, receiver: Receiver, reception: Reception, max_request_bytes: int) -> Endpoint:
    async def export(request: Request) -> Response:
        encoding, headers = _encoding(request), {}
        if encoding not in (PROTOBUF, JSON) or not request_body.is_supported(_content_encoding(request)):
            problem = Result(
                Outcome.UNSUPPORTED_MEDIA,
                (f"send {PROTOBUF} or {JSON}, plain or gzip",),
            )
            return _failure(problem, encoding, receiver)
        try:
            taken = await take(request, encoding)
        except ClientDisconnect:
            # Nobody is left to answer.
            return Response(status_code=400)
        except CollectorError as exc:
            taken = Taken(failure(exc))
            if isinstance(exc, BodyTooSlow):
                headers["Connection"] = "close"
        result = await receiver.answer(taken)
        if result.outcome is Outcome.STORED:
            return Response(export_response(result, signal, encoding), media_type=encoding)
        return _failure(result, encoding, None, headers)

    async def take(request: Request, encoding: str) -> Taken:
        """Read and decode the request; when this returns, nothing holds its bytes."""
        with reception.claim() as claim:
            async with reception.reading():
                raw = await request_body.read(request.stream(), max_request_bytes, claim)
            body = partial(_readable, raw, encoding, _content_encoding(request), max_request_bytes, claim)
            return await receiver.take(signal, encoding, body)

    return export


def _readable(raw: bytes, encoding: str, content_encoding: str, limit_bytes: int, claim: Claim) -> bytes:
    body = request_body.decompressed(raw, content_encoding, limit_bytes, claim)
    if encoding == JSON:
        request_body.check_json(body)
    return body


def _refuse_metrics(receiver: Receiver) -> Endpoint:
    async def refuse(request: Request) -> Response:
        return _failure(Result(Outcome.METRICS, (METRICS_REFUSED,)), _encoding(request), receiver)

    return refuse


def _on_http_exception(receiver: Receiver) -> Callable[[Request, Exception], Awaitable[Response]]:
    async def answer(request: Request, exc: Exception) -> Response:
        assert isinstance(exc, HTTPException)  # registered for nothing else
        if exc.status_code == 405:
            result = Result(Outcome.METHOD_NOT_ALLOWED, ("use POST",))
        else:
            result = Result(Outcome.NOT_FOUND, (f"nothing is here: send to {' or '.join(_PATHS)}",))
        return _failure(result, _encoding(request), receiver, exc.headers)

    return answer


def _content_encoding(request: Request) -> str:
    return request.headers.get("content-encoding", "").strip().lower()


def _encoding(request: Request) -> str:
    """Return the media type of the request without its parameters (RFC 9110, section 8.3.1)."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def _failure(
    result: Result, encoding: str, receiver: Receiver | None, headers: Mapping[str, str] | None = None
) -> Response:
    """Answer a failure with a Status body; counts it when a receiver is given, which has not yet."""
    if receiver is not None:
        receiver.count(result)
    answer = ANSWERS[result.outcome]
    extra = {"Retry-After": str(RETRY_AFTER_S)} if answer.retryable else {}
    # A sender whose encoding we do not know gets the one that a person can read.
    encoding = PROTOBUF if encoding == PROTOBUF else JSON
    return Response(
        status_response(result, encoding),
        status_code=answer.http,
        headers={**(headers or {}), **extra},
        media_type=encoding,
    )
