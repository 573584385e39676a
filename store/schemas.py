"""
Schemas of pipelines as they are written: what the steps of a run promise to record.

Keyed by their content as well as by id and version: two senders that mean different things by one
version are both kept, whatever came first, and the answer says so. By REST alone, where somebody
waits for the answer, the second one is refused. Decision 0026.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from enum import Enum
from hashlib import sha256
from typing import Any, NamedTuple

from psycopg import sql
from psycopg.types.json import Jsonb

from store import schema
from store.database import transaction
from store.records import SchemaRow
from store.rows import SchemaVersion
from store.statements import Item, Statements

MAX_DOCUMENT_BYTES = 64 * 1024
NAME_FORM = "1 to 128 characters of A-Z, a-z, 0-9, ., _ and -"
_NAME = re.compile(r"[A-Za-z0-9._-]{1,128}", re.ASCII)
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")
_OF_ALL = ("steps", "step_types")
_SECTIONS = ("input", "output", "reasoning", "metrics")


class SchemaProblem(ValueError):
    """A document that is no schema; the text says why."""


class SchemaState(NamedTuple):
    """One version; its key holds all of it, so copies never differ."""

    deliveries: int
    received_us: int
    version: SchemaVersion


def merge_schemas(one: SchemaState, other: SchemaState) -> SchemaState:
    """Join two copies of the same version."""
    return one._replace(
        deliveries=one.deliveries + other.deliveries, received_us=min(one.received_us, other.received_us)
    )


class Schemas:
    """``schemas``."""

    statements = Statements(schema.schemas, peek=sql.SQL("t.deliveries"))
    optimistic = True

    def row(self, item: Item[SchemaState]) -> SchemaRow:
        schema_id, version, digest = item.key
        deliveries, received_us, copy = item.state
        return SchemaRow(schema_id, version, digest, copy.document, deliveries, received_us)

    def settled(self, _peeked: Sequence[Any], _item: Item[SchemaState]) -> bool:
        return True

    def combine(self, _stored: Sequence[Any], _item: Item[SchemaState]) -> None:
        return None

    def parts(self, item: Item[SchemaState]) -> list[Item[SchemaState]]:
        return [item._replace(sources=[source]) for source in item.sources[:1]]


def schema_version(schema_id: Any, version: Any, document: Any) -> SchemaVersion:
    """
    One version of a schema in its canonical form: equal schemas are equal, however they were written.

    document: a parsed JSON object. Raises ``SchemaProblem``.
    """
    for name, value in (("id", schema_id), ("version", version)):
        if not isinstance(value, str) or not _NAME.fullmatch(value):
            raise SchemaProblem(f"the {name} of a schema must be {NAME_FORM}")
        if isinstance(document, Mapping) and document.get(name, value) != value:
            raise SchemaProblem(f"the schema says another {name}")
    if not isinstance(document, Mapping):
        raise SchemaProblem("a schema must be a JSON object")
    try:
        canonical = _canonical({**document, "id": schema_id, "version": version})
        text = json.dumps(canonical, sort_keys=True, ensure_ascii=False, allow_nan=False)
        data = text.encode()
    except SchemaProblem:
        raise
    except (ValueError, RecursionError) as exc:  # lone surrogates, infinite numbers, or too deep
        raise SchemaProblem("a schema must be JSON that can be stored") from exc
    if len(data) > MAX_DOCUMENT_BYTES:
        raise SchemaProblem(f"a schema has at most {MAX_DOCUMENT_BYTES} bytes, got {len(data)}")
    if _UNSTORABLE.search(text) or "\\u0000" in text:
        raise SchemaProblem("a schema must not contain NUL characters")
    return SchemaVersion(schema_id, version, sha256(data).digest(), canonical)


def _canonical(document: dict[str, Any]) -> dict[str, Any]:
    steps = document.get("steps")
    if isinstance(steps, Mapping):
        document["steps"] = {name: _of_step(step) for name, step in steps.items()}
    if isinstance(document.get("step_types"), list):
        document["step_types"] = sorted(document["step_types"], key=str)
    return _of_step(document) | {key: document[key] for key in _OF_ALL if document.get(key)}


def _of_step(step: Any) -> dict[str, Any]:
    if not isinstance(step, Mapping):
        raise SchemaProblem("each step of a schema must be an object")
    known = {name: value for name, value in step.items() if value is not None and name not in _OF_ALL}
    return known | {
        section: {name: _key(section, name, said) for name, said in known[section].items()}
        for section in _SECTIONS
        if isinstance(known.get(section), Mapping)
    }


def _key(section: str, name: str, said: Any) -> dict[str, Any]:
    if isinstance(said, str):
        return {"required": said.endswith("!"), "type": said.rstrip("!")}
    if not isinstance(said, Mapping):
        raise SchemaProblem(
            f"{section}.{name[:128]} must be a type such as string, or string! when it is required"
        )
    return {"required": False, **said}


class Put(Enum):
    """What became of a version that was put."""

    CREATED = "created"
    SAME = "same"
    CONFLICT = "conflict"


class SchemaShelf:
    """Where versions are put one by one. Connects for each: it happens once per version."""

    def __init__(self, url: str) -> None:
        """url: ``postgresql://…`` as libpq takes it."""
        self._url = url

    def put(self, version: SchemaVersion) -> Put:
        """
        Store the version unless another content is known for it. Raises ``Unavailable``.

        Of several at once the first to come is stored, and the others compared with it.
        """
        name = (version.schema_id, version.version)
        with transaction(self._url) as connection:
            connection.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", ["/".join(name)])
            found = connection.execute(
                "SELECT sha256 FROM schemas WHERE schema_id = %s AND version = %s", name
            ).fetchall()
            if found:
                same = any(bytes(digest) == version.sha256 for (digest,) in found)
                return Put.SAME if same and len(found) == 1 else Put.CONFLICT
            connection.execute(
                "INSERT INTO schemas (schema_id, version, sha256, document, deliveries, received_at)"
                " VALUES (%s, %s, %s, %s, 1, %s) ON CONFLICT DO NOTHING",
                [*name, version.sha256, Jsonb(version.document), datetime.now(UTC)],
            )
        return Put.CREATED
