"""What breaks a schema, as the sender says: ``xray.schema.violations``."""

from __future__ import annotations

from typing import Any

from collector.extract.fields import items
from collector.extract.flags import SCHEMA_VIOLATION, flag
from store.rows import Flag


def violations(value: Any, field: str, flags: list[Flag]) -> None:
    """Read what breaks the schema, as flags: ``input.title: string is expected`` is one of that field."""
    for entry in items(value, field, flags) or []:
        where, _, how = str(entry).partition(": ")
        flags.append(flag(SCHEMA_VIOLATION, where, how or None))
