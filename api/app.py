"""Puts the API together: routes, the error object, CORS."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastapi import APIRouter, Depends, FastAPI

from api import errors
from api.middleware import Cors, HeadAsGet
from api.parameters import none_accepted
from api.routes import artifacts, decisions, explain, health, items, metrics, runs, steps
from api.schemas import ErrorAnswer
from api.settings import ApiSettings
from store.reader import Reader

PREFIX = "/api/v1"
_VERSION = "1"
_FAILURES: dict[int | str, dict[str, Any]] = {
    404: {"model": ErrorAnswer, "description": "Nothing is known under this id."},
    422: {"model": ErrorAnswer, "description": "A parameter is not accepted; the error names it."},
    500: {"model": ErrorAnswer, "description": "The server failed."},
    503: {"model": ErrorAnswer, "description": "The database is away or too slow; try again."},
}


def create_app(settings: ApiSettings, reader: Reader, routers: Sequence[APIRouter] = ()) -> FastAPI:
    """
    Return the API. The reader stays the caller's to close.

    routers: what else is served under ``/api/v1`` (the JSON doors of the collector); they take no query
    parameters. Their failures are given the same shape:
    ``HTTPException(status, {"code": …, "message": …, "parameter": …})``.
    """
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
    for ours in (runs, explain, steps, decisions, items, metrics, artifacts):
        app.include_router(ours.router, prefix=PREFIX, responses=_FAILURES)
    for theirs in routers:
        app.include_router(theirs, prefix=PREFIX, responses=_FAILURES, dependencies=[Depends(none_accepted)])
    app.include_router(health.router)
    app.add_middleware(HeadAsGet)
    errors.install(app)
    if settings.cors_origins:
        app.add_middleware(
            Cors,
            allow_origins=list(settings.cors_origins),
            allow_methods=["GET", "POST"],
            allow_headers=["Content-Type"],
            expose_headers=[errors.REQUEST_ID_HEADER, "Retry-After"],
        )
    return app
