"""Whether every candidate of a run is accounted for, and which are not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Literal

from fastapi import APIRouter, Request
from pydantic import Field

from api import schemas
from api.explain.analysis import cut
from api.explain.gather import gather_audit
from api.explain.records import AuditLine
from api.parameters import described_page
from api.routes.runs import known_text, unknown_run
from store.queries.conditions import shown
from store.queries.errors import InvalidParameter
from store.queries.filters import take_page
from store.reader import Reader

router = APIRouter(tags=["runs"])


class AuditedItem(schemas.Answer):
    """One candidate that is not accounted for."""

    item_id: str
    what: Literal["vanished", "ghost"] = Field(
        description="vanished: handed to the step and not recorded by it. "
        "ghost: taken in by the step though no step before let it pass."
    )
    step_id: str
    step: str = Field(description="Name of the step.")


class Audit(schemas.Answer):
    """The conservation of candidates in one run."""

    run_id: str
    steps: Sequence[AuditLine] = Field(description="One line per step in order; last attempts.")
    items: Sequence[AuditedItem] = Field(description="Every candidate that is not accounted for, by step.")
    items_total: int
    next_cursor: str | None
    completeness: schemas.RunCompleteness


@router.get("/runs/{run_id}/audit", openapi_extra=described_page())
def audit_run(request: Request, run_id: str) -> Audit:
    """
    Candidates that vanished in a step or between two, or appeared, by name; and where it cannot be told.

    Counts are exact always; names need the recorded decisions.
    """
    reader: Reader = request.app.state.reader
    page, rest = take_page(request.query_params.multi_items())
    for name, _ in rest:
        raise InvalidParameter(
            name, f"{shown(name)} is no parameter of this path, which takes limit and cursor"
        )
    question = repr(("audit", run_id))
    start = 0 if page.cursor is None else int(reader.position(question, page.cursor)[0])
    found = gather_audit(reader, known_text(run_id, "run_id"))
    if found is None:
        raise unknown_run(run_id)
    total = sum(line.vanished.total + line.ghosts.total for line in found.lines)
    end = min(total, start + page.limit)
    return Audit(
        run_id=run_id,
        steps=[cut(line) for line in found.lines],
        items=list(islice(_items(found.lines), start, end)),
        items_total=total,
        next_cursor=reader.cursor(question, [end]) if end < total else None,
        completeness=schemas.RunCompleteness.model_validate(found.run.completeness),
    )


def _items(lines: Sequence[AuditLine]) -> Iterator[AuditedItem]:
    for line in lines:
        for item in line.vanished.items:
            yield AuditedItem(item_id=item, what="vanished", step_id=line.step_id, step=line.step)
        for item in line.ghosts.items:
            yield AuditedItem(item_id=item, what="ghost", step_id=line.step_id, step=line.step)
