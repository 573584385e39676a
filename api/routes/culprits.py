"""The step at fault since a change, from all runs since together."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request

from api.explain.pool_answer import PoolAnswer, pool_answer
from store.queries.pools import MAX_RUNS, parse_pool
from store.reader import Reader

router = APIRouter(tags=["compare"])

_TIME = {"type": "string", "format": "date-time"}
_DESCRIBED: dict[str, Any] = {
    "parameters": [
        {
            "name": "since",
            "in": "query",
            "required": True,
            "description": "RFC 3339 time of the change: runs that started then or later are looked at, the "
            f"latest {MAX_RUNS}, and as many before it say what is usual.",
            "schema": _TIME,
        },
        {
            "name": "until",
            "in": "query",
            "description": "End of the runs that are looked at, an RFC 3339 time; without it, none.",
            "schema": _TIME,
        },
        {
            "name": "version",
            "in": "query",
            "description": "Only runs of this version of the pipeline, on both sides; without it, all.",
            "schema": {"type": "string", "minLength": 1},
        },
    ]
}


# ":path": the name of a pipeline may hold slashes, and the server has decoded %2F before it routes.
@router.get("/pipelines/{pipeline:path}/culprits", openapi_extra=_DESCRIBED)
def culprits_since(request: Request, pipeline: str) -> PoolAnswer:
    """
    The step that the completed runs since a time are unlike those before in: their means, held against
    those of groups of runs before, by the ranking of explain. Shows what is too faint for one run. Gaps in
    the counts are not looked for: the audit finds them in each run.
    """
    reader: Reader = request.app.state.reader
    question = parse_pool(pipeline, request.query_params.multi_items())
    return pool_answer(question, reader.pool(question))
