"""Schemas of pipelines: their names, and the versions of one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, func, select
from sqlalchemy.dialects.postgresql import aggregate_order_by

from store.queries.cursor import Cursors, SortKey, after
from store.queries.filters import Filters, PageRequest
from store.queries.types import ListCompleteness, Page
from store.queries.vocabulary import Vocabulary
from store.schema import schemas

SCHEMAS = Vocabulary("schemas", (), ())
MAX_VERSIONS = 1000
"""Of one schema in one answer, the latest; the others are there and not listed."""


@dataclass(frozen=True, slots=True)
class SchemaVersionRecord:
    """One version of a schema."""

    version: str
    definition: Any
    sha256: str
    registered_at: datetime
    conflicting: bool
    """Senders gave the same version other contents too; each is listed."""


@dataclass(frozen=True, slots=True)
class SchemaRecord:
    """A schema with its versions, the latest first."""

    id: str
    versions: Sequence[SchemaVersionRecord]


@dataclass(frozen=True, slots=True)
class SchemaSummary:
    """A schema in a list."""

    id: str
    versions: int
    latest_version: str
    registered_at: datetime


def list_schemas(connection: Connection, cursors: Cursors, page: PageRequest) -> Page[SchemaSummary]:
    """Return the schemas by id; ``latest_version`` is the one that was registered last."""
    question = Filters().identity("schemas")
    latest_first = func.array_agg(aggregate_order_by(schemas.c.version, schemas.c.received_at.desc()))
    wanted = (
        select(
            schemas.c.schema_id,
            func.count(schemas.c.version.distinct()).label("versions"),
            latest_first[1].label("latest_version"),
            func.max(schemas.c.received_at).label("registered_at"),
        )
        .group_by(schemas.c.schema_id)
        .order_by(_BY_ID.ordered())
        .limit(page.limit + 1)
    )
    if page.cursor is not None:
        wanted = wanted.where(after([_BY_ID], cursors.decode(question, page.cursor)))
    rows = connection.execute(wanted).all()
    more, rows = len(rows) > page.limit, rows[: page.limit]
    return Page(
        [SchemaSummary(*row) for row in rows],
        cursors.encode(question, [rows[-1].schema_id]) if more else None,
        ListCompleteness("exact"),
    )


def one_schema(connection: Connection, schema_id: str) -> SchemaRecord | None:
    """Return a schema, or None when no version of it is known."""
    rows = connection.execute(
        select(schemas)
        .where(schemas.c.schema_id == schema_id)
        .order_by(schemas.c.received_at.desc(), schemas.c.version.desc(), schemas.c.sha256)
        .limit(MAX_VERSIONS)
    ).all()
    if not rows:
        return None
    contents = Counter(row.version for row in rows)
    return SchemaRecord(
        schema_id,
        [
            SchemaVersionRecord(
                row.version, row.document, row.sha256.hex(), row.received_at, contents[row.version] > 1
            )
            for row in rows
        ],
    )


_BY_ID = SortKey(schemas.c.schema_id)
