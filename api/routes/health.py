"""Alive and ready are different questions: the first needs no database. Beside them, the documentation."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Depends, Request

from api import schemas
from api.parameters import none_accepted
from store.reader import Reader

router = APIRouter(tags=["health"], dependencies=[Depends(none_accepted)])


@router.get("/healthz")
async def healthz() -> schemas.Alive:
    """The process answers."""
    return schemas.Alive()


@router.get("/readyz", responses={503: {"model": schemas.ErrorAnswer}})
def readyz(request: Request) -> schemas.Ready:
    """The database answers, with our tables in it."""
    reader: Reader = request.app.state.reader
    reader.ping()
    return schemas.Ready()


@router.get("/openapi.json", include_in_schema=False)
def openapi(request: Request) -> dict[str, Any]:
    """What can be asked, and how it is answered."""
    described: dict[str, Any] = request.app.openapi()
    return described
