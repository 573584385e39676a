"""Schemas: what the steps of runs promise to record, version by version."""

from __future__ import annotations

from typing import Any

import orjson
from fastapi import APIRouter, Depends, HTTPException, Request, Response
from starlette.concurrency import run_in_threadpool

from api import schema_answers as answers
from api.errors import NotFound
from api.parameters import described, none_accepted
from api.routes.runs import known_text
from api.schemas import ErrorAnswer
from store.queries.conditions import shown
from store.queries.filters import parse
from store.queries.schemas import SCHEMAS
from store.reader import Reader
from store.schemas import MAX_DOCUMENT_BYTES, Put, SchemaProblem, SchemaShelf, schema_version

router = APIRouter(prefix="/schemas", tags=["schemas"])

_MAX_BODY_BYTES = 4 * MAX_DOCUMENT_BYTES
"""With room for spaces and escapes; what counts is the canonical form."""
_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "What the steps may record. Types: string number integer boolean array object any,"
        " with ! when the key is required.",
        "content": {
            "application/json": {
                "schema": {"type": "object"},
                "example": {
                    "step_types": ["search", "filter"],
                    "steps": {"price": {"type": "filter", "reasoning": {"max_price": "number!"}}},
                },
            }
        },
    }
}


@router.get("", openapi_extra=described(SCHEMAS))
def list_schemas(request: Request) -> answers.SchemaList:
    """The schemas by id."""
    reader: Reader = request.app.state.reader
    _, page = parse(SCHEMAS, request.query_params.multi_items())
    return answers.SchemaList.model_validate(reader.schemas(page))


@router.get("/{schema_id}", dependencies=[Depends(none_accepted)])
def get_schema(request: Request, schema_id: str) -> answers.SchemaVersions:
    """A schema with its versions, the latest first."""
    reader: Reader = request.app.state.reader
    found = reader.schema(known_text(schema_id, "schema_id"))
    if found is None:
        raise NotFound(f"no schema {shown(schema_id)} is known", "schema_id")
    return answers.SchemaVersions.model_validate(found)


def writing(shelf: SchemaShelf) -> APIRouter:
    """Return the route that registers versions."""
    routes = APIRouter(prefix="/schemas", tags=["schemas"])

    @routes.put(
        "/{schema_id}/versions/{version}",
        status_code=201,
        openapi_extra=_BODY,
        responses={
            200: {"model": answers.SchemaStored, "description": "This content was registered before."},
            409: {"model": ErrorAnswer, "description": "The version has another content."},
            413: {"model": ErrorAnswer, "description": "The request is larger than a schema may be."},
        },
    )
    async def put_version(
        request: Request, response: Response, schema_id: str, version: str
    ) -> answers.SchemaStored:
        """Register a version; the same content again answers 200, another one 409."""
        document = await _document(request)
        try:
            wanted = schema_version(schema_id, version, document)
        except SchemaProblem as exc:
            raise _refused(422, "invalid_body", str(exc)) from None
        done = await run_in_threadpool(shelf.put, wanted)
        if done is Put.CONFLICT:
            message = f"version {version} of schema {schema_id} is registered with another content"
            raise _refused(409, "conflict", f"{message}; register a new version")
        response.status_code = 201 if done is Put.CREATED else 200
        return answers.SchemaStored(id=schema_id, version=version, sha256=wanted.sha256.hex())

    return routes


async def _document(request: Request) -> Any:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > _MAX_BODY_BYTES:
            raise _refused(413, "too_large", f"a schema has at most {MAX_DOCUMENT_BYTES} bytes")
    try:
        return orjson.loads(bytes(body))
    except orjson.JSONDecodeError as exc:
        raise _refused(422, "invalid_body", f"the body must be a JSON object: {exc}") from None


def _refused(status: int, code: str, message: str) -> HTTPException:
    return HTTPException(status, {"code": code, "message": message})
