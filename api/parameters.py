"""Query parameters as OpenAPI describes them, made from the vocabulary that the parser reads."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from fastapi import Request

from api.exports.formats import MEDIA_TYPES
from store.queries.conditions import shown
from store.queries.errors import InvalidParameter
from store.queries.filters import DEFAULT_LIMIT, MAX_LIMIT
from store.queries.language import MAX_CHARS
from store.queries.language import PARAMETER as QUESTION
from store.queries.metrics import BUCKETS, GROUP_BY
from store.queries.vocabulary import SUFFIXES, Family, Field, Vocabulary

_SCHEMAS: Mapping[str, Mapping[str, Any]] = {
    "text": {"type": "string", "minLength": 1},
    "number": {"type": "number"},
    "integer": {"type": "integer", "minimum": 0},
    "time": {"type": "string", "format": "date-time"},
    "outcome": {"type": ["boolean", "number", "string"]},
}
_OPERATORS = {
    "": "equal to this",
    "_gt": "above this",
    "_gte": "this or above",
    "_lt": "below this",
    "_lte": "this or below",
    "_after": "at this RFC 3339 time or later",
    "_before": "before this RFC 3339 time",
}

PAGE: list[dict[str, Any]] = [
    {
        "name": "limit",
        "in": "query",
        "description": "How many items at most.",
        "schema": {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": DEFAULT_LIMIT},
    },
    {
        "name": "cursor",
        "in": "query",
        "description": "next_cursor of the page before, with the same filters.",
        "schema": {"type": "string"},
    },
]
GROUPING: list[dict[str, Any]] = [
    {
        "name": "group_by",
        "in": "query",
        "description": "What the steps are grouped by, separated by commas; without it, one group.",
        "style": "form",
        "explode": False,
        "schema": {"type": "array", "items": {"type": "string", "enum": list(GROUP_BY)}, "uniqueItems": True},
    },
    {
        "name": "bucket",
        "in": "query",
        "description": "Width of the time buckets, which begin at whole multiples in UTC; without it, none. "
        "Those of less than an hour, like filters beyond the words of group_by and started, are counted from "
        "the steps one by one: exact percentiles, and a narrow time is wanted.",
        "schema": {"type": "string", "enum": list(BUCKETS)},
    },
]
FORMAT: dict[str, Any] = {
    "name": "format",
    "in": "query",
    "description": "What the file is; parquet where pyarrow is installed.",
    "schema": {"type": "string", "enum": list(MEDIA_TYPES), "default": "ndjson"},
}
LANGUAGE: dict[str, Any] = {
    "name": QUESTION,
    "in": "query",
    "description": "Rows of which this expression of the filter language is true, beside all other filters: "
    'status = "error" and (duration_ms > 1000 or tag.market in ("US", "CA")). See docs/filters.md.',
    "schema": {"type": "string", "minLength": 1, "maxLength": MAX_CHARS, "examples": ["duration_ms > 1000"]},
}


def described(vocabulary: Vocabulary) -> dict[str, Any]:
    """Return the ``openapi_extra`` of a list that is filtered by the vocabulary and paged."""
    return {"parameters": [*_filters(vocabulary, ""), *PAGE]}


def described_unpaged(vocabulary: Vocabulary) -> dict[str, Any]:
    """Return the ``openapi_extra`` of an answer that is filtered by the vocabulary and has no pages."""
    return {"parameters": list(_filters(vocabulary, ""))}


def described_metrics(vocabulary: Vocabulary) -> dict[str, Any]:
    """Return the ``openapi_extra`` of a metrics list."""
    return {"parameters": [*GROUPING, *_filters(vocabulary, ""), *PAGE]}


def described_export(vocabulary: Vocabulary) -> dict[str, Any]:
    """Return the ``openapi_extra`` of an export: its filters, its formats, and what it answers with."""
    content = {media_type: {"schema": {"type": "string"}} for media_type in MEDIA_TYPES.values()}
    return {
        "parameters": [*_filters(vocabulary, ""), FORMAT],
        "responses": {"200": {"description": "The file, sent while it is read.", "content": content}},
    }


def described_page() -> dict[str, Any]:
    """Return the ``openapi_extra`` of a list that is paged and not filtered."""
    return {"parameters": PAGE}


def none_accepted(request: Request) -> None:
    """Refuse any query parameter: nothing is ignored in silence."""
    for name in request.query_params:
        raise InvalidParameter(name, f"{shown(name)} is no parameter of this path, which takes none")


def _filters(vocabulary: Vocabulary, prefix: str) -> Iterator[dict[str, Any]]:
    for field in vocabulary.fields:
        for suffix in SUFFIXES[field.kind]:
            yield _parameter(field, prefix, suffix)
    for family in vocabulary.families:
        yield _family(family, prefix)
    if vocabulary.step is not None:
        yield from _filters(vocabulary.step, "step.")
    if vocabulary.language:
        yield LANGUAGE


def _parameter(field: Field, prefix: str, suffix: str) -> dict[str, Any]:
    schema = {"type": "string", "enum": list(field.words)} if field.words else dict(_SCHEMAS[field.kind])
    one_step = " One step of the run satisfies all step. parameters." if prefix else ""
    return {
        "name": f"{prefix}{field.name}{suffix}",
        "in": "query",
        "description": f"{field.meaning} Rows where it is {_OPERATORS[suffix]}.{one_step}",
        "schema": schema,
    }


def _family(family: Family, prefix: str) -> dict[str, Any]:
    # An exploded object: each of its properties is a query parameter (OpenAPI 3.1, Style Values),
    # which says exactly what names that the sender chose look like.
    suffixes = SUFFIXES[family.kind]
    ending = "$" if "" in suffixes else f"({'|'.join(suffixes)})$"
    names = f"^{re.escape(prefix + family.prefix)}\\..+{ending}"
    example = f"{prefix}{family.prefix}.{family.example}{next(iter(SUFFIXES[family.kind]))}"
    return {
        # Only of the object: none of its properties. A field may have the name of the prefix.
        "name": f"{prefix}{family.prefix}.<name>",
        "in": "query",
        "description": f"{family.meaning} Written as {example}=….",
        "style": "form",
        "explode": True,
        "schema": {
            "type": "object",
            "patternProperties": {names: dict(_SCHEMAS[family.kind])},
            "additionalProperties": False,
        },
    }
