"""The answers about schemas, as ``api/schemas.py`` holds all others."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import Field

from api.schemas import Answer, ListCompleteness


class SchemaVersion(Answer):
    """One version of a schema."""

    version: str
    definition: Any = Field(description="The schema in its canonical form.")
    sha256: str = Field(description="Of the canonical form, in hex.")
    registered_at: datetime
    conflicting: bool = Field(
        description="true: senders gave this version other contents too, each is listed."
    )


class SchemaVersions(Answer):
    """A schema with its versions, the latest first, at most 1,000."""

    id: str
    versions: list[SchemaVersion]


class SchemaSummary(Answer):
    """A schema in a list."""

    id: str
    versions: int
    latest_version: str = Field(description="The one registered last.")
    registered_at: datetime = Field(description="When that was.")


class SchemaList(Answer):
    """Schemas by id."""

    items: list[SchemaSummary]
    next_cursor: str | None = Field(description="null on the last page.")
    completeness: ListCompleteness


class SchemaStored(Answer):
    """A version that is registered."""

    id: str
    version: str
    sha256: str = Field(description="Of the canonical form, in hex.")
