"""Versions of schemas: ``xray.schema``."""

from __future__ import annotations

import orjson

from collector.extract.extraction import Extraction
from collector.extract.readings import NamedValues
from store.schemas import SchemaProblem, schema_version
from xray_otel import semconv


def extract_schema(attributes: NamedValues, extraction: Extraction) -> None:
    """Add the version of one event ``xray.schema``; one that is no schema is refused."""
    document = attributes.get(semconv.SCHEMA_DOCUMENT)
    try:
        parsed = orjson.loads(document) if isinstance(document, str | bytes) else document
        version = schema_version(
            attributes.get(semconv.SCHEMA_ID), attributes.get(semconv.SCHEMA_VERSION), parsed
        )
    except orjson.JSONDecodeError:
        extraction.refuse("schema", f"event {semconv.EVENT_SCHEMA!r}: the document is no JSON")
    except SchemaProblem as exc:
        extraction.refuse("schema", f"event {semconv.EVENT_SCHEMA!r}: {exc}")
    else:
        extraction.schemas.append(version)
