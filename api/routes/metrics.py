"""Steps and reasons in numbers."""

from __future__ import annotations

from fastapi import APIRouter, Request

from api import schemas_metrics, shaping
from api.parameters import described_metrics
from store.queries.metrics import parse_grouped
from store.queries.vocabulary import STEPS
from store.reader import Reader

router = APIRouter(prefix="/metrics", tags=["metrics"])


# Unset fields are left out: an item holds the columns it was grouped by, and no others.
@router.get("/steps", openapi_extra=described_metrics(STEPS), response_model_exclude_unset=True)
def step_metrics(request: Request) -> schemas_metrics.StepMetricsList:
    """Counts and percentiles of the steps that satisfy all filters, grouped; `resolution` says how exact."""
    reader: Reader = request.app.state.reader
    filters, grouping, page = parse_grouped(request.query_params.multi_items())
    return shaping.step_metrics(reader.step_metrics(filters, grouping, page))


@router.get("/reasons", openapi_extra=described_metrics(STEPS), response_model_exclude_unset=True)
def reason_metrics(request: Request) -> schemas_metrics.ReasonMetricsList:
    """How often each reason was given in the steps that satisfy all filters, grouped."""
    reader: Reader = request.app.state.reader
    filters, grouping, page = parse_grouped(request.query_params.multi_items())
    return shaping.reason_metrics(reader.reason_metrics(filters, grouping, page))
