"""
What the API counts about itself; as ``collector/telemetry.py``, ``METRICS`` is the one table of it.
"""

from __future__ import annotations

from time import perf_counter
from typing import Final, NamedTuple

from fastapi import APIRouter, Depends, Request, Response
from prometheus_client import CollectorRegistry, Counter, Histogram
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.parameters import none_accepted
from store.metrics_page import metrics_page

PREFIX: Final = "xray_api_"
_SECONDS: Final = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_NO_ROUTE: Final = "(none)"


class Metric(NamedTuple):
    """One metric as Prometheus shows it."""

    name: str
    labels: tuple[str, ...]
    unit: str
    meaning: str

    @property
    def exposed(self) -> str:
        """The name on ``/metrics``."""
        return PREFIX + self.name


REQUESTS: Final = Metric(
    "requests_total",
    ("route", "status"),
    "requests",
    "Requests answered, by the path as the documentation has it and the HTTP status.",
)
DURATION: Final = Metric(
    "request_duration_seconds",
    ("route",),
    "seconds",
    "From the request's head to the end of the answer, by the path as the documentation has it.",
)
METRICS: Final = (REQUESTS, DURATION)


def page(registry: CollectorRegistry) -> APIRouter:
    """Return the route of ``/metrics``."""
    router = APIRouter(include_in_schema=False, dependencies=[Depends(none_accepted)])

    @router.get("/metrics")
    def metrics(request: Request) -> Response:
        text, media_type = metrics_page(registry, request.headers.get("accept", ""))
        return Response(text, headers={"Content-Type": media_type})

    return router


class Measured:
    """ASGI middleware: counts and times every request."""

    def __init__(self, app: ASGIApp, registry: CollectorRegistry, prefix: str) -> None:
        """prefix: of the paths of included routers; FastAPI's routes may know theirs without it."""
        self._app = app
        self._prefix = prefix
        self._requests = Counter(REQUESTS.exposed, REQUESTS.meaning, REQUESTS.labels, registry=registry)
        self._duration = Histogram(
            DURATION.exposed, DURATION.meaning, DURATION.labels, registry=registry, buckets=_SECONDS
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        # 499, as other servers write it: whoever asked left before the answer began.
        status = 499

        async def send_and_note(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        began = perf_counter()
        try:
            await self._app(scope, receive, send_and_note)
        finally:
            route = self._route(scope)
            self._requests.labels(route, str(status)).inc()
            self._duration.labels(route).observe(perf_counter() - began)

    def _route(self, scope: Scope) -> str:
        """The template, never the path itself: ids in labels would fill the memory."""
        template: str | None = getattr(scope.get("route"), "path", None)
        if template is None:
            return _NO_ROUTE
        lacks_prefix = scope["path"].startswith(self._prefix) and not template.startswith(self._prefix)
        return self._prefix + template if lacks_prefix else template
