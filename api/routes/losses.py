"""What was recorded and is not stored."""

from __future__ import annotations

from fastapi import APIRouter, Request

from api import schemas_losses
from api.parameters import described, described_unpaged
from store.queries.conditions import shown
from store.queries.errors import InvalidParameter
from store.queries.filters import parse
from store.queries.vocabulary import LOSSES
from store.reader import Reader

router = APIRouter(prefix="/losses", tags=["losses"])


@router.get("", openapi_extra=described(LOSSES))
def list_losses(request: Request) -> schemas_losses.LossList:
    """
    The loss ledger. What was stored after all is left out, and a thing is listed for one cause only.
    """
    reader: Reader = request.app.state.reader
    filters, page = parse(LOSSES, request.query_params.multi_items())
    return schemas_losses.LossList.model_validate(reader.losses(filters, page))


@router.get("/totals", openapi_extra=described_unpaged(LOSSES))
def loss_totals(request: Request) -> schemas_losses.LossTotals:
    """
    How much was lost, by cause and kind, of all the losses that satisfy all filters.

    Without run_id or received_after: of the last 7 days; the answer says since when.
    """
    reader: Reader = request.app.state.reader
    sent = request.query_params.multi_items()
    for name, _ in sent:
        if name in ("limit", "cursor"):
            raise InvalidParameter(name, f"{shown(name)} is no parameter of this path, which has no pages")
    filters, _ = parse(LOSSES, sent)
    return schemas_losses.LossTotals.model_validate(reader.loss_totals(filters))
