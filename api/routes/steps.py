"""Steps across runs and pipelines."""

from __future__ import annotations

from fastapi import APIRouter, Request

from api import schemas
from api.parameters import described
from store.queries.filters import parse
from store.queries.vocabulary import STEPS
from store.reader import Reader

router = APIRouter(tags=["steps"])


@router.get("/steps", openapi_extra=described(STEPS))
def list_steps(request: Request) -> schemas.StepList:
    """Steps of all runs that satisfy all filters, newest first."""
    reader: Reader = request.app.state.reader
    filters, page = parse(STEPS, request.query_params.multi_items())
    return schemas.StepList.model_validate(reader.steps(filters, page))
