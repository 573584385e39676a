"""Runs: the filtered list, one run, its steps page by page."""

from __future__ import annotations

from fastapi import APIRouter, Depends, Request

from api import schemas, shaping
from api.errors import NotFound
from api.parameters import described, described_page, none_accepted
from store.queries.conditions import shown
from store.queries.errors import InvalidParameter
from store.queries.filters import parse, take_page
from store.queries.vocabulary import RUNS
from store.reader import Reader

router = APIRouter(tags=["runs"])


@router.get("/runs", openapi_extra=described(RUNS))
def list_runs(request: Request) -> schemas.RunList:
    """Runs that satisfy all filters, newest first. All step. filters hold of one and the same step."""
    reader: Reader = request.app.state.reader
    filters, page = parse(RUNS, request.query_params.multi_items())
    found = reader.runs(filters, page)
    return schemas.RunList.model_validate(
        {
            "items": [shaping.run(record) for record in found.items],
            "next_cursor": found.next_cursor,
            "completeness": found.completeness,
        }
    )


@router.get("/runs/{run_id}", dependencies=[Depends(none_accepted)])
def get_run(request: Request, run_id: str) -> schemas.RunWithSteps:
    """One run with its steps in order."""
    reader: Reader = request.app.state.reader
    detail = reader.run_detail(known_text(run_id, "run_id"))
    if detail is None:
        raise unknown_run(run_id)
    return shaping.run_with_steps(detail)


@router.get("/runs/{run_id}/steps", openapi_extra=described_page())
def list_run_steps(request: Request, run_id: str) -> schemas.StepList:
    """The steps of one run in order."""
    reader: Reader = request.app.state.reader
    page, rest = take_page(request.query_params.multi_items())
    for name, _ in rest:
        raise InvalidParameter(
            name,
            f"{shown(name)} is no parameter of this path, which takes limit and cursor; see /steps?run_id=",
        )
    found = reader.run_steps(known_text(run_id, "run_id"), page)
    if found is None:
        raise unknown_run(run_id)
    return schemas.StepList.model_validate(found)


def unknown_run(run_id: str) -> NotFound:
    """Return the failure for a run that nothing has arrived of."""
    return NotFound(f"no run {shown(run_id)} is known", "run_id")


def known_text(value: str, parameter: str) -> str:
    """Return an id from the path; one that no stored text can equal is unknown without being asked for."""
    if "\x00" in value:
        raise NotFound(f"no {parameter} {shown(value)} is known", parameter)
    return value
