"""Random keys that all servers on one database share (table ``server_secrets``)."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime

from sqlalchemy import Connection, select
from sqlalchemy.dialects.postgresql import insert

from store.errors import Unavailable
from store.schema import server_secrets

CURSOR_KEY = "cursor"
"""Signs the cursors of pages (``store/queries/cursor.py``)."""
_NAMES = (CURSOR_KEY,)
_KEY_BYTES = 32


def make_missing(connection: Connection) -> None:
    """Make the keys that are not there yet; those that are there stay, and so does what they signed."""
    # Here, when the database is migrated, and not by whoever asks first: readers need not write.
    # Nor does a migration that has nothing to do.
    known = set(connection.scalars(select(server_secrets.c.name)))
    made_at = datetime.now(UTC)
    for name in _NAMES:
        if name not in known:
            row = {"name": name, "value": secrets.token_bytes(_KEY_BYTES), "created_at": made_at}
            connection.execute(insert(server_secrets).values(row).on_conflict_do_nothing())


def shared_secret(connection: Connection, name: str) -> bytes:
    """Return the key of this name. Raises ``Unavailable`` when no migration has made it yet."""
    value = connection.scalar(select(server_secrets.c.value).where(server_secrets.c.name == name))
    if value is None:
        raise Unavailable("the database lacks a key of this version; run xray db upgrade")
    return bytes(value)
