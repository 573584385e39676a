"""
What the JSON doors take and answer, for OpenAPI.

Requests are described, not validated by it: a field of a wrong type is flagged on the row
that is stored, as on every other way in, and never turns a request away.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

_TIME = {"anyOf": [{"type": "string", "format": "date-time"}, {"type": "integer"}]}
_NUMBERS = {"type": "object", "additionalProperties": {"type": "number"}}


def body(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the ``openapi_extra`` of a request with such a body."""
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


RUN_REQUEST = body(
    {
        "type": "object",
        "required": ["pipeline"],
        "properties": {
            "run_id": {"type": "string", "pattern": "^[A-Za-z0-9_-]{1,128}$"},
            "pipeline": {"type": "string"},
            "pipeline_version": {"type": "string"},
            "entity": {"type": "string"},
            "tags": {"type": "object", "additionalProperties": {"type": "string"}},
            "input": {},
            "started_at": _TIME,
            "timeout_s": {"type": "number", "minimum": 0},
        },
    }
)
"""Of ``POST /runs``."""

_DECISION = {
    "type": "object",
    "required": ["item_id", "verdict"],
    "properties": {
        "item_id": {"type": "string"},
        "verdict": {"type": "string"},
        "reason": {"type": "string"},
        "reason_text": {"type": "string"},
        "score": {"type": "number"},
        "value": {},
        "threshold": {},
        "value_missing": {"type": "boolean"},
        "checks": {"type": "array", "items": {"type": "object"}},
        "probability": {"type": "number"},
    },
}
EVENTS_REQUEST = body(
    {
        "type": "object",
        "required": ["events"],
        "properties": {
            "events": {
                "type": "array",
                "maxItems": 10_000,
                "items": {
                    "type": "object",
                    "required": ["type"],
                    "properties": {
                        "type": {"enum": ["step_start", "step_end", "run_finish"]},
                        "step_id": {"type": "string"},
                        "name": {"type": "string"},
                        "step_type": {"type": "string"},
                        "started_at": _TIME,
                        "ended_at": _TIME,
                        "candidates_in": {"type": "integer", "minimum": 0},
                        "candidates_out": {"type": "integer", "minimum": 0},
                        "counts": _NUMBERS,
                        "reasons": _NUMBERS,
                        "metrics": _NUMBERS,
                        "decisions": {"type": "array", "items": _DECISION},
                    },
                },
            }
        },
    }
)
"""Of ``POST /runs/{run_id}/events``; a step has the fields of the query API's Step."""


class RunCreated(BaseModel):
    """Answer of ``POST /runs``."""

    model_config = ConfigDict(frozen=True)

    run_id: str
    warnings: list[str] = Field(default=[], description="Fields that nobody reads.")


class Refusal(BaseModel):
    """An event, or its decisions, that are not stored."""

    model_config = ConfigDict(frozen=True)

    index: int = Field(description="Position in the request's events, counted from 0.")
    message: str


class EventsStored(BaseModel):
    """Answer of ``POST /runs/{run_id}/events``."""

    model_config = ConfigDict(frozen=True)

    stored: int = Field(description="Events that are stored, the flagged ones too.")
    refused: int
    refusals: list[Refusal]
    warnings: list[str] = Field(default=[], description="Fields that nobody reads.")
