"""How two groups of runs differ."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request

from api.compare.groups import LEVEL
from api.compare.groups_gather import answer_groups
from api.parameters import PAGE, described_unpaged
from api.schemas_groups import GroupComparison, group_comparison
from store.queries.group_questions import parse_groups
from store.queries.language import MAX_CHARS
from store.queries.vocabulary import RUNS
from store.reader import Reader

router = APIRouter(tags=["compare"])

_EXPRESSION = {"type": "string", "minLength": 1, "maxLength": MAX_CHARS}
_DESCRIBED: dict[str, Any] = {
    "parameters": [
        {
            "name": "bad",
            "in": "query",
            "required": True,
            "description": 'The runs that are asked about, as q of /runs: outcome = "no_match".',
            "schema": _EXPRESSION,
        },
        {
            "name": "good",
            "in": "query",
            "description": "The runs beside them; without it, those that are not bad.",
            "schema": _EXPRESSION,
        },
        {
            "name": "level",
            "in": "query",
            "description": "Share of the significant differences that may be chance.",
            "schema": {"type": "number", "exclusiveMinimum": 0, "maximum": 0.5, "default": LEVEL},
        },
        PAGE[0],
        *described_unpaged(RUNS)["parameters"],
    ]
}


@router.get("/compare", openapi_extra=_DESCRIBED)
def compare_runs(request: Request) -> GroupComparison:
    """
    Where two groups of runs differ, over steps, reasons, verdicts, versions, models, tags and numbers,
    corrected for the number of tests. The filters hold of both groups; a run is the unit.
    """
    reader: Reader = request.app.state.reader
    question = parse_groups(request.query_params.multi_items(), LEVEL)
    return group_comparison(answer_groups(reader, question), question.level, question.limit)
