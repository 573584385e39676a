"""
What operators and their machines ask: alive, ready, and how it goes.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from prometheus_client import CollectorRegistry
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from collector.responses import RETRY_AFTER_S
from store.errors import Unavailable
from store.metrics_page import metrics_page

Ready = Callable[[], None]
"""Returns when rows can be stored; raises ``Unavailable`` when not. It may block."""
Endpoint = Callable[[Request], Awaitable[Response]]


def routes(registry: CollectorRegistry, ready: Ready) -> list[Route]:
    """Return ``/healthz``, ``/readyz`` and ``/metrics``."""
    return [
        Route("/healthz", _healthz, methods=["GET"]),
        Route("/readyz", _readyz(ready), methods=["GET"]),
        Route("/metrics", _metrics(registry), methods=["GET"]),
    ]


async def _healthz(_request: Request) -> Response:
    return JSONResponse({"status": "ok"})


def _readyz(ready: Ready) -> Endpoint:
    async def answer(_request: Request) -> Response:
        try:
            await run_in_threadpool(ready)
        except Unavailable as exc:
            problem = {"status": "unavailable", "message": str(exc)}
            return JSONResponse(problem, 503, {"Retry-After": str(RETRY_AFTER_S)})
        return JSONResponse({"status": "ready"})

    return answer


def _metrics(registry: CollectorRegistry) -> Endpoint:
    async def answer(request: Request) -> Response:
        page, media_type = await run_in_threadpool(metrics_page, registry, request.headers.get("accept", ""))
        return Response(page, headers={"Content-Type": media_type})

    return answer
