"""
OTLP/HTTP: protobuf and JSON, plain and gzip, chunked or not.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from collector import body as request_body
from collector.errors import TooLarge, Undecodable
from collector.receive import Receiver
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

_PATHS = {"/v1/traces": Signal.TRACES, "/v1/logs": Signal.LOGS}
Endpoint = Callable[[Request], Awaitable[Response]]


def create_app(receiver: Receiver, max_request_bytes: int, cors_origins: Sequence[str] = ()) -> Starlette:
    """Return the OTLP/HTTP application. cors_origins: of the pages that may send from a browser."""
    routes = [
        Route(path, _export(signal, receiver, max_request_bytes), methods=["POST"])
        for path, signal in _PATHS.items()
    ]
    routes.append(Route("/v1/metrics", _refuse_metrics(receiver), methods=["POST"]))
    middleware = []
    if cors_origins:
        middleware.append(
            Middleware(
                CORSMiddleware, allow_origins=list(cors_origins), allow_methods=["POST"], allow_headers=["*"]
            )
        )
    return Starlette(
        routes=routes, middleware=middleware, exception_handlers={HTTPException: _on_http_exception(receiver)}
    )


def _export(signal: Signal, receiver: Receiver, max_request_bytes: int) -> Endpoint:
    async def export(request: Request) -> Response:
        encoding = _encoding(request)
        content_encoding = request.headers.get("content-encoding", "").strip().lower()
        if encoding not in (PROTOBUF, JSON) or not request_body.is_supported(content_encoding):
            problem = Result(
                Outcome.UNSUPPORTED_MEDIA,
                (f"send {PROTOBUF} or {JSON}, plain or gzip",),
            )
            return _failure(problem, encoding, receiver)
        try:
            raw = await request_body.read(request.stream(), max_request_bytes)
        except TooLarge as exc:
            return _failure(Result(Outcome.TOO_LARGE, (str(exc),)), encoding, receiver)
        except ClientDisconnect:
            # Nobody is left to answer.
            return Response(status_code=400)

        def receive() -> tuple[Result, bool]:
            try:
                body = request_body.decompressed(raw, content_encoding, max_request_bytes)
            except TooLarge as exc:
                return Result(Outcome.TOO_LARGE, (str(exc),)), False
            except Undecodable as exc:
                return Result(Outcome.MALFORMED, (str(exc),)), False
            return receiver.receive(signal, encoding, body), True

        # Decompression, parsing and the wait for the commit all block; the event loop must not.
        result, counted = await run_in_threadpool(receive)
        if result.outcome is Outcome.STORED:
            return Response(export_response(result, signal, encoding), media_type=encoding)
        return _failure(result, encoding, None if counted else receiver)

    return export


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
