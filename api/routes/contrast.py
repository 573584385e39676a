"""Why one item and not another, and which nearly went otherwise."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from fastapi import APIRouter, Request

from api import schemas_replay as answers
from api.errors import NotFound
from api.replay.asking import one_step
from api.replay.contrast import contrast
from api.replay.gather import Told, gather
from api.replay.near import near_misses
from api.replay.shaping import contrast_answer, evidence
from api.routes.runs import known_text, unknown_run
from store.queries.conditions import shown
from store.queries.errors import InvalidParameter
from store.queries.filters import DEFAULT_LIMIT, MAX_LIMIT, parse_limit, unrepeated
from store.reader import Reader

router = APIRouter(tags=["items"])

DEFAULT_WITHIN = "0.05"
_CONTRAST: dict[str, Any] = {
    "parameters": [
        {"name": name, "in": "query", "required": True, "description": text, "schema": {"type": "string"}}
        for name, text in (("item", "Id of the item."), ("over", "Id of the one it is held against."))
    ]
}
_NEAR: dict[str, Any] = {
    "parameters": [
        {
            "name": "step",
            "in": "query",
            "description": "Id or name of a step; without it, all.",
            "schema": {"type": "string"},
        },
        {
            "name": "within",
            "in": "query",
            "description": "Share of the threshold by which a value may be off.",
            "schema": {"type": "number", "minimum": 0, "maximum": 1, "default": float(DEFAULT_WITHIN)},
        },
        {
            "name": "limit",
            "in": "query",
            "description": "How many items at most.",
            "schema": {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": DEFAULT_LIMIT},
        },
    ]
}


@router.get("/runs/{run_id}/contrast", openapi_extra=_CONTRAST)
def contrast_items(request: Request, run_id: str) -> answers.Contrast:
    """
    The first step where the ways of two items part, what it said of each, by how much, and the smallest
    change that turns it.
    """
    sent = _sent(request, ("item", "over"))
    for name in ("item", "over"):
        if not sent.get(name):
            raise InvalidParameter(name, f"{name} must be the id of an item")
    item, over = known_text(sent["item"], "item"), known_text(sent["over"], "over")
    if item == over:
        raise InvalidParameter("over", "item and over are the same item")
    told = _told(request, run_id)
    found = contrast(told.steps, item, over)
    if not any(found.fates.values()):
        raise NotFound(f"no stored decision of the run names {shown(item)} or {shown(over)}", "item")
    return contrast_answer(told, item, over, found)


@router.get("/runs/{run_id}/near-misses", openapi_extra=_NEAR)
def list_near_misses(request: Request, run_id: str) -> answers.NearMissList:
    """Candidates whose value is within a share of its limit, on either side, nearest first."""
    sent = _sent(request, ("step", "within", "limit"))
    within, limit = (
        _within(sent.get("within", DEFAULT_WITHIN)),
        parse_limit(sent.get("limit", str(DEFAULT_LIMIT))),
    )
    told = _told(request, run_id)
    steps = told.steps if "step" not in sent else [one_step(told, sent["step"], "step")]
    found = near_misses(steps, within)
    return answers.NearMissList(
        run_id=run_id,
        within=float(within),
        count=len(found),
        items=[answers.NearMiss.model_validate(miss) for miss in found[:limit]],
        completeness=evidence(steps),
    )


def _told(request: Request, run_id: str) -> Told:
    reader: Reader = request.app.state.reader
    told = gather(reader, known_text(run_id, "run_id"))
    if told is None:
        raise unknown_run(run_id)
    return told


def _sent(request: Request, accepted: tuple[str, ...]) -> dict[str, str]:
    sent = dict(unrepeated(request.query_params.multi_items()))
    for name in sent:
        if name not in accepted:
            takes = ", ".join(accepted)
            raise InvalidParameter(name, f"{shown(name)} is no parameter of this path, which takes {takes}")
    return sent


def _within(text: str) -> Fraction:
    """The share exactly as it was written: 0.05 is no double."""
    try:
        if len(text) <= 40 and "/" not in text and "_" not in text and "e" not in text.lower():
            share = Fraction(text)
            if 0 <= share <= 1:
                return share
    except ValueError:
        pass
    raise InvalidParameter("within", f"within must be a number from 0 to 1, got {shown(text)}")
