"""Contracts: checked on request, and stored to be checked again and again."""

from __future__ import annotations

from time import monotonic
from typing import Any

from fastapi import APIRouter, Depends, Request, Response
from starlette.concurrency import run_in_threadpool

from api.bodies import json_body, refused
from api.contracts.checking import CHECK_S, Scope, check
from api.contracts.declared import MAX_FILE_BYTES, Contract, ContractProblem, contract, contracts
from api.errors import NotFound
from api.parameters import none_accepted
from api.routes.runs import known_text
from api.schemas import ErrorAnswer
from api.schemas_contracts import ContractCheck, ContractList, StoredContract, overall, verdict
from store.contract_shelf import ContractShelf
from store.queries.conditions import parse_text, parse_time, shown
from store.queries.errors import InvalidParameter
from store.queries.filters import unrepeated
from store.reader import Reader

router = APIRouter(prefix="/contracts", tags=["contracts"])

_ONE: dict[str, Any] = {
    "share_of_runs": {"where": 'step.step_type = "filter" and step.drop_ratio > 0.9', "at_most": "5 %"},
    "runs": 'pipeline = "shop"',
}
_SEVERAL = {"contracts": [{"id": "no-drastic-filter", **_ONE}]}
_SCOPE = [
    {
        "name": name,
        "in": "query",
        "description": meaning,
        "schema": {"type": "string", **more},
    }
    for name, meaning, more in (
        ("started_after", "Runs that started at this RFC 3339 time or later.", {"format": "date-time"}),
        ("started_before", "Runs that started before this RFC 3339 time.", {"format": "date-time"}),
        ("pipeline", "Runs of this pipeline.", {}),
    )
]


def _body(example: dict[str, Any]) -> dict[str, Any]:
    content = {"application/json": {"schema": {"type": "object"}, "example": example}}
    return {"requestBody": {"required": True, "description": "See docs/contracts.md.", "content": content}}


@router.post("/check", openapi_extra=_body(_SEVERAL) | {"parameters": _SCOPE})
async def check_contracts(request: Request) -> ContractCheck:
    """Hold contracts against the stored runs, without storing anything."""
    scope = _scope(request)
    document = await json_body(request, MAX_FILE_BYTES)
    try:
        declared = contracts(document)
    except ContractProblem as exc:
        raise refused(422, "invalid_body", str(exc)) from None
    return await run_in_threadpool(_checked, request.app.state.reader, declared, scope)


def _checked(reader: Reader, declared: list[Contract], scope: Scope) -> ContractCheck:
    until = monotonic() + CHECK_S
    items = [verdict(check(reader, each, scope, until), scope) for each in declared]
    return ContractCheck(state=overall([item.state for item in items]), items=items)


def _scope(request: Request) -> Scope:
    given = unrepeated(request.query_params.multi_items())
    after, before = given.pop("started_after", None), given.pop("started_before", None)
    pipeline = given.pop("pipeline", None)
    for name in given:
        raise InvalidParameter(
            name,
            f"{shown(name)} is no parameter of a check; accepted are started_after, started_before, pipeline",
        )
    return Scope(
        None if after is None else parse_time("started_after", after),
        None if before is None else parse_time("started_before", before),
        None if pipeline is None else parse_text("pipeline", pipeline),
    )


def storing(shelf: ContractShelf) -> APIRouter:
    """Return the routes of the contracts that are stored."""
    routes = APIRouter(prefix="/contracts", tags=["contracts"])

    @routes.get("")
    def list_contracts() -> ContractList:
        """The contracts by id, each with what the last check found."""
        return ContractList.model_validate({"items": shelf.listed()})

    @routes.get("/{contract_id}", dependencies=[Depends(none_accepted)])
    def get_contract(contract_id: str) -> StoredContract:
        """A contract with what its last 100 checks found, the latest first."""
        found = shelf.one(known_text(contract_id, "contract_id"))
        if found is None:
            raise _unknown(contract_id)
        return StoredContract.model_validate(found)

    @routes.put(
        "/{contract_id}",
        status_code=201,
        openapi_extra=_body(_ONE),
        responses={
            200: {"model": StoredContract, "description": "It replaced what was there."},
            413: {"model": ErrorAnswer, "description": "The request is larger than a contract may be."},
        },
    )
    async def put_contract(request: Request, response: Response, contract_id: str) -> StoredContract:
        """Store a contract, or replace it; it is checked within a minute and then every five."""
        document = await json_body(request, MAX_FILE_BYTES)
        try:
            contract(document, contract_id)
        except ContractProblem as exc:
            raise refused(422, "invalid_body", str(exc)) from None
        created = await run_in_threadpool(shelf.put, contract_id, document)
        response.status_code = 201 if created else 200
        return StoredContract.model_validate(await run_in_threadpool(shelf.one, contract_id))

    @routes.delete("/{contract_id}", status_code=204)
    def delete_contract(contract_id: str) -> None:
        """Forget a contract and what its checks found. Needs the scope admin where keys are asked for."""
        if not shelf.delete(known_text(contract_id, "contract_id")):
            raise _unknown(contract_id)

    return routes


def _unknown(contract_id: str) -> NotFound:
    return NotFound(f"no contract {shown(contract_id)} is known", "contract_id")
