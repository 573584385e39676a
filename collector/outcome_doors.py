"""
What the JSON doors for late outcomes take and answer (``collector/doors.py`` has the routes).

Unlike the other doors they refuse what they cannot use, entry by entry: an outcome is a name, a value
and a time, and without one of them nothing is left of it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from pydantic import BaseModel, Field

from collector.door_schemas import Refusal, body
from collector.extract.doors import unknown_fields
from collector.extract.extraction import Extraction
from collector.extract.outcomes import FIELDS, Unusable, outcome_of_door
from store.rows import Row
from xray_otel import semconv

_MAX_NAMED = 100
_RUN_ID = {"run_id": {"type": "string", "pattern": "^[A-Za-z0-9_-]{1,128}$"}}
_OUTCOME: dict[str, Any] = {
    "name": {"type": "string", "maxLength": 512},
    "value": {"type": ["boolean", "number", "string"]},
    "item_id": {"type": "string"},
    "source": {"type": "string"},
    "observed_at": {"anyOf": [{"type": "string", "format": "date-time"}, {"type": "integer"}]},
    "withdrawn": {"type": "boolean"},
}


def _request(*required: str, **more: Any) -> dict[str, Any]:
    names = [*required, "name", "observed_at"]
    outcome = {"type": "object", "required": names, "properties": more | _OUTCOME}
    array = {"type": "array", "maxItems": 10_000, "items": outcome}
    return body({"type": "object", "required": ["outcomes"], "properties": {"outcomes": array}})


OUTCOMES_REQUEST = _request()
"""Of ``POST /runs/{run_id}/outcomes``."""
OUTCOMES_OF_RUNS_REQUEST = _request("run_id", **_RUN_ID)
"""Of ``POST /outcomes``."""


class OutcomesStored(BaseModel):
    """Answer of the doors for outcomes."""

    stored: int = Field(description="Outcomes taken in; those that an observation of later overrules too.")
    refused: int = Field(description="Outcomes that were not stored.")
    refusals: list[Refusal]
    warnings: list[str] = Field(description=f"What was not read or changed, at most {_MAX_NAMED}.")
    new_runs: list[str] = Field(
        description=f"Runs of which this is the first sign, at most {_MAX_NAMED}; it is kept for when the "
        "rest arrives."
    )


@dataclass(slots=True)
class OutcomeReading:
    """The outcomes of one request, on their way to rows."""

    given: int
    refusals: list[Refusal] = field(default_factory=list)
    reasons: Counter[str] = field(default_factory=Counter)
    warnings: list[str] = field(default_factory=list)
    created_runs: frozenset[str] = frozenset()
    origins: dict[int, int] = field(default_factory=dict)
    """``id`` of a row → index of its object; the rows live in the extraction."""

    def refuse(self, index: int, reason: str, message: str) -> None:
        """Note that an outcome is not stored."""
        self.refusals.append(Refusal(index=index, message=message))
        self.reasons[reason] += 1

    def index_of(self, refused: Row) -> int:
        """Return the object that a refused row came from."""
        return self.origins[id(refused)]

    def warn(self, index: int, warnings: Iterable[str]) -> None:
        """Note what is said of an outcome, of the first that there is something to say of."""
        for warning in islice(warnings, max(0, _MAX_NAMED - len(self.warnings))):
            self.warnings.append(f"outcomes[{index}].{warning}")

    def answer(self) -> OutcomesStored:
        """Return what became of the request."""
        return OutcomesStored(
            stored=self.given - len(self.refusals),
            refused=len(self.refusals),
            refusals=sorted(self.refusals, key=lambda refusal: refusal.index),
            warnings=self.warnings,
            new_runs=sorted(self.created_runs)[:_MAX_NAMED],
        )


def read_outcomes(
    run_id: str | None, objects: Sequence[Mapping[str, Any]], extraction: Extraction
) -> OutcomeReading:
    """Add the outcomes that the objects stand for; run_id None: each names its own."""
    reading = OutcomeReading(len(objects))
    known = FIELDS if run_id is not None else FIELDS | {"run_id"}
    for index, sent in enumerate(objects):
        extraction.records[semconv.EVENT_OUTCOME] += 1
        reading.warn(index, (f"{name} is not read" for name in unknown_fields(sent, known)))
        try:
            outcome, warnings = outcome_of_door(
                sent.get("run_id") if run_id is None else run_id, sent, extraction.received_ns
            )
        except Unusable as exc:
            reading.refuse(index, "outcome", str(exc))
            continue
        reading.warn(index, warnings)
        reading.origins[id(outcome)] = index
        extraction.outcomes.append(outcome)
    return reading
