"""What a run would have decided with other thresholds."""

from __future__ import annotations

from typing import Any

import orjson
from fastapi import APIRouter, Depends, HTTPException, Request
from starlette.concurrency import run_in_threadpool

from api import schemas_replay as answers
from api.parameters import none_accepted
from api.replay.asking import understood
from api.replay.gather import gather
from api.replay.result import replay
from api.replay.shaping import replay_answer
from api.routes.runs import known_text, unknown_run
from store.reader import Reader

router = APIRouter(tags=["runs"])

_MAX_BODY_BYTES = 1 << 20
_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "changes: 1 to 20, each of a step by id or name. items: ids to answer for; without "
        "them, those that change. limit: items in the answer, 1 to 1000.",
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["changes"],
                    "additionalProperties": False,
                    "properties": {
                        "changes": {
                            "type": "array",
                            "minItems": 1,
                            "maxItems": 20,
                            "items": {
                                "type": "object",
                                "required": ["step"],
                                "additionalProperties": False,
                                "properties": {
                                    "step": {"type": "string", "description": "Id or name."},
                                    "reason": {"type": "string"},
                                    "check": {"type": "string"},
                                    "threshold": {"type": "number"},
                                    "scale": {"type": "number", "description": "Of each candidate's own."},
                                    "remove_check": {"type": "boolean", "const": True},
                                    "top_k": {"type": "integer", "minimum": 0},
                                },
                            },
                        },
                        "items": {"type": "array", "items": {"type": "string"}, "maxItems": 1000},
                        "limit": {"type": "integer", "minimum": 1, "maximum": 1000, "default": 50},
                    },
                },
                "example": {"changes": [{"step": "price", "reason": "price_too_high", "threshold": 60}]},
            }
        },
    }
}


@router.post("/runs/{run_id}/replay", dependencies=[Depends(none_accepted)], openapi_extra=_BODY)
async def replay_run(request: Request, run_id: str) -> answers.Replay:
    """
    What the run would have decided with other thresholds, rules left out or other numbers to keep.

    Computed from the recorded decisions; where they do not tell, the answer is unknown. Stores nothing.
    """
    body = await _body(request)
    return await run_in_threadpool(_answer, request.app.state.reader, known_text(run_id, "run_id"), body)


def _answer(reader: Reader, run_id: str, body: Any) -> answers.Replay:
    told = gather(reader, run_id)
    if told is None:
        raise unknown_run(run_id)
    question = understood(body, told)
    return replay_answer(told, question, replay(told.steps, question.changes))


async def _body(request: Request) -> Any:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > _MAX_BODY_BYTES:
            message = f"the body has at most {_MAX_BODY_BYTES} bytes"
            raise HTTPException(413, {"code": "too_large", "message": message})
    try:
        return orjson.loads(bytes(body))
    except orjson.JSONDecodeError as exc:
        message = f"the body must be a JSON object: {exc}"
        raise HTTPException(422, {"code": "invalid_body", "message": message}) from None
