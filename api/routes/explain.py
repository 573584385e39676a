"""Why a run decided as it did."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import PlainTextResponse

from api.explain.analysis import explain
from api.explain.answer import Explanation, answer
from api.explain.gather import gather
from api.explain.usuals import Usuals
from api.routes.runs import known_text, unknown_run
from store.queries.conditions import shown
from store.queries.errors import InvalidParameter
from store.queries.filters import unrepeated
from store.reader import Reader

router = APIRouter(tags=["runs"])

FORMATS = ("json", "text")
_DESCRIBED: dict[str, Any] = {
    "parameters": [
        {
            "name": "format",
            "in": "query",
            "description": "text: only the summary, one sentence per line.",
            "schema": {"type": "string", "enum": list(FORMATS), "default": "json"},
        }
    ]
}
_TEXT: dict[int | str, dict[str, Any]] = {200: {"content": {"text/plain": {"schema": {"type": "string"}}}}}


@router.get("/runs/{run_id}/explain", response_model=Explanation, responses=_TEXT, openapi_extra=_DESCRIBED)
def explain_run(request: Request, run_id: str) -> Explanation | PlainTextResponse:
    """
    The run as a funnel beside its pipeline's other runs, the step at fault if the record shows one, and
    the way of the selected item and of the next. Computed from what was recorded, never generated.
    """
    reader: Reader = request.app.state.reader
    chosen = _format(request)
    material = gather(reader, known_text(run_id, "run_id"))
    if material is None:
        raise unknown_run(run_id)
    usuals: Usuals = request.app.state.usuals
    explained = explain(material, usuals.of(material.habits.baseline))
    usuals.bound()
    if chosen == "text":
        return PlainTextResponse("\n".join(explained.summary) + "\n")
    return answer(explained)


def _format(request: Request) -> str:
    sent = unrepeated(request.query_params.multi_items())
    for name in sent:
        if name != "format":
            raise InvalidParameter(name, f"{shown(name)} is no parameter of this path, which takes format")
    chosen = sent.get("format", FORMATS[0])
    if chosen not in FORMATS:
        raise InvalidParameter("format", f"format must be json or text, got {shown(chosen)}")
    return chosen
