"""The decisions of one step, and figures about them."""

from __future__ import annotations

from fastapi import APIRouter, Request

from api import schemas_decisions
from api.errors import NotFound
from api.parameters import described, described_unpaged
from api.routes.runs import known_text
from store.queries.conditions import shown
from store.queries.errors import InvalidParameter
from store.queries.filters import parse
from store.queries.vocabulary import DECISIONS
from store.reader import Reader

router = APIRouter(tags=["decisions"])


# ":path": a step id may hold slashes, and the server has decoded %2F before it routes.
@router.get("/runs/{run_id}/steps/{step_id:path}/decisions", openapi_extra=described(DECISIONS))
def list_decisions(request: Request, run_id: str, step_id: str) -> schemas_decisions.DecisionList:
    """What the step decided about each candidate, in the order judged."""
    reader: Reader = request.app.state.reader
    filters, page = parse(DECISIONS, request.query_params.multi_items())
    found = reader.decisions(known_text(run_id, "run_id"), known_text(step_id, "step_id"), filters, page)
    if found is None:
        raise NotFound(f"no step of the id {shown(step_id)} in a run {shown(run_id)} is known", "step_id")
    return schemas_decisions.DecisionList.model_validate(found)


@router.get("/runs/{run_id}/steps/{step_id:path}/estimates", openapi_extra=described_unpaged(DECISIONS))
def estimates(request: Request, run_id: str, step_id: str) -> schemas_decisions.StepEstimates:
    """
    How many decisions of the step satisfy all filters, and totals and means of their scores and values.

    Exact when each decision was kept. Of a sample, estimates with 95 % intervals.
    """
    reader: Reader = request.app.state.reader
    sent = request.query_params.multi_items()
    for name, _ in sent:
        if name in ("limit", "cursor"):
            raise InvalidParameter(name, f"{shown(name)} is no parameter of this path, which has no pages")
    filters, _ = parse(DECISIONS, sent)
    found = reader.estimates(known_text(run_id, "run_id"), known_text(step_id, "step_id"), filters)
    if found is None:
        raise NotFound(f"no step of the id {shown(step_id)} in a run {shown(run_id)} is known", "step_id")
    return schemas_decisions.StepEstimates.model_validate(found)
