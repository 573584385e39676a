"""One item: its journey through a run, and what all runs decided about it."""

from __future__ import annotations

from fastapi import APIRouter, Depends, Request

from api import schemas_decisions
from api.errors import NotFound
from api.parameters import described, none_accepted
from api.routes.runs import known_text, unknown_run
from store.queries.conditions import shown
from store.queries.filters import parse
from store.queries.vocabulary import ITEM_HISTORY
from store.reader import Reader

router = APIRouter(tags=["items"])

_CONSEQUENCE = {
    "full": "no step that recorded its decisions saw it",
    "sampled": "only a sample was recorded, so it may have passed unseen",
    "partial": "not every candidate was recorded, so it may have passed unseen",
    "none": "no candidates were recorded, so it may have passed unseen",
}
"""Evidence of a run → what it means that no decision names an item."""


# ":path": an item id may be a URL.
@router.get("/items/{item_id:path}", openapi_extra=described(ITEM_HISTORY))
def get_item_history(request: Request, item_id: str) -> schemas_decisions.ItemHistory:
    """What steps of all runs decided about the item, newest first."""
    reader: Reader = request.app.state.reader
    filters, page = parse(ITEM_HISTORY, request.query_params.multi_items())
    return schemas_decisions.ItemHistory.model_validate(
        reader.item_history(known_text(item_id, "item_id"), filters, page)
    )


@router.get("/runs/{run_id}/items/{item_id:path}", dependencies=[Depends(none_accepted)])
def get_journey(request: Request, run_id: str, item_id: str) -> schemas_decisions.Journey:
    """What each step of the run decided about the item, in order."""
    reader: Reader = request.app.state.reader
    journey = reader.journey(known_text(run_id, "run_id"), known_text(item_id, "item_id"))
    if journey is not None:
        return schemas_decisions.Journey.model_validate(journey)
    run = reader.run(run_id)
    if run is None:
        raise unknown_run(run_id)
    evidence = run.completeness.evidence
    raise NotFound(
        f"no stored decision of a known step of the run names the item {shown(item_id)} "
        f"(evidence of the run: {evidence}): {_CONSEQUENCE[evidence]}",
        "item_id",
    )
