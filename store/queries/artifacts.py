"""Artifacts: their description beside a step, their bytes by id."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, FromClause, Text, and_, cast, func, select
from sqlalchemy.dialects.postgresql import aggregate_order_by

from store.artifacts.objects import ObjectKey
from store.queries.derived import Condition, of_run
from store.queries.records import artifact_record
from store.queries.types import ArtifactContent
from store.schema import artifact_blobs, artifacts

MAX_PER_STEP = 100
"""How many artifacts are described beside a step."""


def described(artifact: FromClause) -> dict[str, ColumnElement[Any]]:
    """Return what an ``ArtifactRecord`` holds, by field name."""
    return {
        "artifact_id": func.replace(
            func.concat(cast(artifact.c.run_key, Text), cast(artifact.c.artifact_key, Text)), "-", ""
        ),
        "step_id": artifact.c.step_id,
        "kind": artifact.c.kind,
        "name": artifact.c.name,
        "content_type": artifact.c.content_type,
        "size_bytes": artifact.c.size_bytes,
        "sha256": func.encode(artifact.c.sha256, "hex"),
        "url": artifact.c.url,
    }


def of_one_step(step: FromClause, within: Condition) -> FromClause:
    """Return a lateral with one row and one column, ``artifacts``: a JSON list, by kind and name, or null."""
    row = artifacts.alias()
    some = (
        select(row)
        # What a step sent without naming its attempt belongs to all of them.
        .where(of_run(row, step), within(row), row.c.step_id == step.c.step_id)
        .where(func.coalesce(row.c.attempt_key, step.c.attempt_key) == step.c.attempt_key)
        .order_by(row.c.kind, row.c.name, row.c.artifact_key)
        .limit(MAX_PER_STEP)
        .correlate(step)
        .subquery()
    )
    pairs = [part for name, value in described(some).items() for part in (name, value)]
    element = func.jsonb_build_object(*pairs)
    ordered = aggregate_order_by(element, some.c.kind, some.c.name, some.c.artifact_key)
    return select(func.jsonb_agg(ordered).label("artifacts")).correlate(step).lateral()


def content(connection: Connection, artifact_id: str) -> ArtifactContent | None:
    """Return an artifact with its bytes, or None for an unknown id."""
    try:
        keys = bytes.fromhex(artifact_id) if artifact_id.isascii() and len(artifact_id) == 64 else b""
        run_key, artifact_key = UUID(bytes=keys[:16]), UUID(bytes=keys[16:])
    except ValueError:
        return None
    blob = artifact_blobs.alias()
    columns = {name: value.label(name) for name, value in described(artifacts).items()}
    row = (
        connection.execute(
            select(*columns.values(), blob.c.data, blob.c.object_run_key)
            .select_from(
                artifacts.outerjoin(blob, and_(of_run(blob, artifacts), blob.c.sha256 == artifacts.c.sha256))
            )
            .where(artifacts.c.run_key == run_key, artifacts.c.artifact_key == artifact_key)
            .limit(1)
        )
        .mappings()
        .first()
    )
    if row is None:
        return None
    record = artifact_record({name: row[name] for name in columns})
    placed = row["object_run_key"]
    path = None if placed is None else str(ObjectKey(placed.bytes, bytes.fromhex(record.sha256)))
    return ArtifactContent(record, row["data"], path)
