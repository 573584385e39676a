"""Puts the API together: routes, the error object, CORS."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastapi import APIRouter, Depends, FastAPI
from prometheus_client import CollectorRegistry

from api import errors, telemetry
from api.auth import ApiGate
from api.explain.usuals import Usuals
from api.middleware import Cors, HeadAsGet
from api.parameters import none_accepted
from api.routes import (
    artifacts,
    audit,
    compare,
    contracts,
    contrast,
    culprits,
    decisions,
    diff,
    drift,
    explain,
    exports,
    health,
    items,
    losses,
    metrics,
    replay,
    runs,
    schemas,
    steps,
)
from api.schemas import ErrorAnswer
from api.settings import ApiSettings
from api.turns import Turns, turn
from store.access.guard import Guard
from store.artifacts.objects import ObjectStore
from store.reader import Reader

PREFIX = "/api/v1"
_VERSION = "1"
_OF_WHOLE_RUNS = (explain, culprits, audit, diff, compare, drift, contrast, replay)
"""Routers of questions that are answered in turns."""
_FAILURES: dict[int | str, dict[str, Any]] = {
    404: {"model": ErrorAnswer, "description": "Nothing is known under this id."},
    401: {"model": ErrorAnswer, "description": "Keys are asked for, and none that holds was sent."},
    403: {"model": ErrorAnswer, "description": "The API key lacks the scope: read, or ingest to write."},
    422: {"model": ErrorAnswer, "description": "A parameter is not accepted; the error names it."},
    429: {"model": ErrorAnswer, "description": "The API key makes more requests than it may; come again."},
    500: {"model": ErrorAnswer, "description": "The server failed."},
    503: {
        "model": ErrorAnswer,
        "description": "The database is away or too slow, or the server busy; try again.",
    },
}


def create_app(
    settings: ApiSettings,
    reader: Reader,
    routers: Sequence[APIRouter] = (),
    guard: Guard | None = None,
    registry: CollectorRegistry | None = None,
    objects: ObjectStore | None = None,
) -> FastAPI:
    """
    Return the API. The reader stays the caller's to close.

    guard: checks API keys; without one the settings must not ask for any. registry: where requests are
    counted and what ``/metrics`` shows; None: one of its own. objects: where payloads of artifacts lie
    that are not in the database.

    routers: what else is served under ``/api/v1`` (the JSON doors of the collector); they take no query
    parameters. Their failures are given the same shape:
    ``HTTPException(status, {"code": …, "message": …, "parameter": …})``.
    """
    if settings.asks_for_keys and guard is None:
        raise ValueError("the settings ask for API keys and nothing is given that checks them")
    app = FastAPI(
        title="X-Ray",
        summary="Why a pipeline decided as it did, and where decisions fail.",
        version=_VERSION,
        # Pages that load scripts from elsewhere are not served; /openapi.json is the documentation, by a
        # route of ours that refuses parameters as the others do.
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.reader = reader
    app.state.usuals = Usuals()
    app.state.turns = Turns()
    app.state.objects = objects
    for ours in (
        runs,
        explain,
        culprits,
        audit,
        diff,
        compare,
        drift,
        steps,
        decisions,
        contrast,
        items,
        replay,
        metrics,
        artifacts,
        losses,
        schemas,
        contracts,
        exports,
    ):
        waits = [Depends(turn, scope="function")] if ours in _OF_WHOLE_RUNS else []
        app.include_router(ours.router, prefix=PREFIX, responses=_FAILURES, dependencies=waits)
    for theirs in routers:
        app.include_router(theirs, prefix=PREFIX, responses=_FAILURES, dependencies=[Depends(none_accepted)])
    app.include_router(health.router)
    registry = registry or CollectorRegistry()
    app.include_router(telemetry.page(registry))
    app.add_middleware(HeadAsGet)
    if guard is not None:
        app.add_middleware(ApiGate, guard=guard)
    errors.install(app)
    app.add_middleware(telemetry.Measured, registry=registry, prefix=PREFIX)
    if settings.cors_origins:
        app.add_middleware(
            Cors,
            allow_origins=list(settings.cors_origins),
            allow_methods=["GET", "POST", "PUT"],
            allow_headers=["Content-Type", "Authorization", "x-api-key", errors.REQUEST_ID_HEADER],
            expose_headers=[errors.REQUEST_ID_HEADER, "Retry-After"],
        )
    return app
