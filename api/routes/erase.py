"""Erasing a run or an item everywhere, on request (decision 0035). Asks for the scope admin."""

from __future__ import annotations

from fastapi import APIRouter, Depends

from api.parameters import none_accepted
from api.routes.runs import known_text, unknown_run
from api.schemas_erase import ErasedItem, ErasedRun
from store.erase import Eraser


def router(eraser: Eraser) -> APIRouter:
    """Return the routes."""
    routes = APIRouter(tags=["erase"], dependencies=[Depends(none_accepted)])

    @routes.delete("/runs/{run_id}")
    def erase_run(run_id: str) -> ErasedRun:
        """
        Wipe a run's identity, texts and evidence; the numbers of its steps stay.

        Takes some seconds. What comes for it later is refused. It is listed on by a name that tells nothing.
        """
        erased = eraser.run(known_text(run_id, "run_id"))
        if erased is None:
            raise unknown_run(run_id)
        return ErasedRun.model_validate(erased)

    @routes.delete("/items/{item_id:path}")
    def erase_item(item_id: str) -> ErasedItem:
        """
        Take an item's id out of all decisions, selections and outcomes; the counts stay.

        Takes as long as reading all decisions that may name it, known or not. What comes later is stored
        without the id. Free JSON and texts (input, output, reasoning, why, tags, artifacts) are not searched.
        """
        return ErasedItem.model_validate(eraser.item(known_text(item_id, "item_id")))

    return routes
