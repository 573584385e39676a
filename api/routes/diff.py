"""How two runs differ."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request

from api import schemas_compare
from api.compare.diff import diff
from api.compare.gather import gather
from api.compare.records import Side
from api.routes.runs import known_text, unknown_run
from store.queries.conditions import shown
from store.queries.errors import InvalidParameter
from store.queries.filters import DEFAULT_LIMIT, MAX_LIMIT, parse_limit, unrepeated
from store.reader import Reader

router = APIRouter(tags=["compare"])

_DESCRIBED: dict[str, Any] = {
    "parameters": [
        {
            "name": "limit",
            "in": "query",
            "description": "Changed items that are shown over all steps; all are counted.",
            "schema": {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": DEFAULT_LIMIT},
        }
    ]
}


@router.get("/runs/{run_id}/diff/{other_run_id}", openapi_extra=_DESCRIBED)
def diff_runs(request: Request, run_id: str, other_run_id: str) -> schemas_compare.RunDiff:
    """
    Two runs aligned step by step: the first step that did something else with what it received, the items
    about which steps decided otherwise, and other settings and tags. run_id is a, other_run_id is b.
    """
    reader: Reader = request.app.state.reader
    sent = unrepeated(request.query_params.multi_items())
    for name in sent:
        if name != "limit":
            raise InvalidParameter(name, f"{shown(name)} is no parameter of this path, which takes limit")
    limit = parse_limit(sent.get("limit", str(DEFAULT_LIMIT)))
    a = _side(reader, run_id, "run_id")
    # One reading of one run, or news in between would look like a difference.
    b = a if run_id == other_run_id else _side(reader, other_run_id, "other_run_id")
    return schemas_compare.run_diff(diff(a, b), limit)


def _side(reader: Reader, run_id: str, parameter: str) -> Side:
    found = gather(reader, known_text(run_id, parameter))
    if found is None:
        raise unknown_run(run_id)
    return found
