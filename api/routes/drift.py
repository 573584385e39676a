"""Reasons over time, and reasons behind others."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Depends, Request

from api.drift.detect import detect
from api.drift.masked import masked_reasons
from api.errors import NotFound
from api.parameters import PAGE, none_accepted
from api.routes.runs import known_text
from api.schemas_drift import DriftAnswer, MaskedReasons, drift_answer, masked_answer
from store.queries.conditions import shown
from store.queries.drift import DEFAULT_AGAINST, DEFAULT_ALARMS, DEFAULT_WINDOW, parse_drift
from store.queries.errors import QueryTimeout
from store.queries.filters import Filters, PageRequest
from store.reader import Reader

router = APIRouter(tags=["compare"])

MAX_CHECKED = 200_000
"""Decisions of one step whose checks are counted; 100,000 with five checks take a second."""
_SPAN = {"type": "string", "pattern": "^[1-9][0-9]{0,4}[mhd]$"}
_DESCRIBED: dict[str, Any] = {
    "parameters": [
        {
            "name": "pipeline",
            "in": "query",
            "description": "Only of this pipeline; without it, of all, each by itself.",
            "schema": {"type": "string", "minLength": 1},
        },
        {
            "name": "window",
            "in": "query",
            "description": "The latest time, which is looked at: 90m, 6h, 1d.",
            "schema": _SPAN | {"default": DEFAULT_WINDOW},
        },
        {
            "name": "against",
            "in": "query",
            "description": "The time before it, which it is held against; twice window at least.",
            "schema": _SPAN | {"default": DEFAULT_AGAINST},
        },
        {
            "name": "until",
            "in": "query",
            "description": "End of the window, an RFC 3339 time; without it, now.",
            "schema": {"type": "string", "format": "date-time"},
        },
        {
            "name": "alarms_per_1000",
            "in": "query",
            "description": "Of windows in which nothing changed, how many may show a drift.",
            "schema": {
                "type": "number",
                "exclusiveMinimum": 0,
                "maximum": 500,
                "default": DEFAULT_ALARMS,
            },
        },
        PAGE[0],
    ]
}


@router.get("/drift", openapi_extra=_DESCRIBED)
def reason_drift(request: Request) -> DriftAnswer:
    """
    Reasons that steps give more or less often than before, new and vanished ones, and which version,
    configuration or model came with it. Corrected for the number of reasons; how much runs and hours
    vary anyway is estimated from the time before the window.
    """
    reader: Reader = request.app.state.reader
    question = parse_drift(request.query_params.multi_items())
    try:
        history = reader.reason_history(question)
    except QueryTimeout as exc:
        advice = "ask about one pipeline, or with a shorter window and against"
        raise QueryTimeout(exc.timeout_ms, advice) from exc
    return drift_answer(question, history, detect(history, question.alarms_per_1000))


# ":path": a step id may hold slashes, and the server has decoded %2F before it routes.
@router.get("/runs/{run_id}/steps/{step_id:path}/masked-reasons", dependencies=[Depends(none_accepted)])
def list_masked_reasons(request: Request, run_id: str, step_id: str) -> MaskedReasons:
    """
    Which checks hide others: how many candidates each eliminated first, how many it alone would have, and
    which fail together. From candidates all of whose checks were recorded, over all attempts.
    """
    reader: Reader = request.app.state.reader
    run, step = known_text(run_id, "run_id"), known_text(step_id, "step_id")
    found = reader.decisions(run, step, Filters(), PageRequest(MAX_CHECKED))
    if found is None:
        raise NotFound(f"no step of the id {shown(step_id)} in a run {shown(run_id)} is known", "step_id")
    whole = found.next_cursor is None
    return masked_answer(run, step, masked_reasons(found.items), found.completeness, whole=whole)
