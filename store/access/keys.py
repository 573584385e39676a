"""
API keys as rows of ``api_keys``: made, listed, revoked.

A key reads ``xray_<id>_<secret>``. The id (12 hex digits) finds its row and may be shown and logged.
The secret (160 random bits, in hex) is shown once and stored as its SHA-256. A plain hash
is enough for it: slow, salted ones make *guessable* passwords dear to try, and nobody tries
2**160; but they would cost every request what they cost an attacker.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from enum import StrEnum
from typing import Any, NamedTuple

import psycopg
from psycopg import errors

from store.database import libpq_url
from store.errors import Unavailable

CHANNEL = "xray_api_keys"
"""Notified in the transaction that makes or revokes a key, so that running servers look at once."""
CONNECT_TIMEOUT_S = 5
_ID_BYTES = 6
_SECRET_BYTES = 20
_FORM = re.compile(rf"xray_([0-9a-f]{{{2 * _ID_BYTES}}})_([0-9a-f]{{{2 * _SECRET_BYTES}}})")

_COLUMNS = "key_id, name, secret_hash, scopes, rate_per_s, created_at, expires_at, revoked_at, last_used_at"
ACTIVE = f"SELECT {_COLUMNS} FROM api_keys WHERE revoked_at IS NULL"  # noqa: S608 - a constant
_ALL = f"SELECT {_COLUMNS} FROM api_keys ORDER BY created_at, key_id"  # noqa: S608 - a constant
_INSERT = f"INSERT INTO api_keys ({_COLUMNS}) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)"  # noqa: S608
_REVOKE = "UPDATE api_keys SET revoked_at = coalesce(revoked_at, %s) WHERE key_id = %s RETURNING revoked_at"
USED = (
    "UPDATE api_keys SET last_used_at = used.at"
    " FROM unnest(%s::text[], %s::timestamptz[]) AS used (key_id, at)"
    " WHERE api_keys.key_id = used.key_id AND coalesce(api_keys.last_used_at < used.at, true)"
)
"""Parameters: ids and times. Several servers may write; the latest time stays."""


class Scope(StrEnum):
    """What a key is good for; ``admin`` includes the others."""

    INGEST = "ingest"
    READ = "read"
    ADMIN = "admin"


class ApiKey(NamedTuple):
    """One row of ``api_keys``, in the order of its columns."""

    key_id: str
    name: str
    secret_hash: bytes
    scopes: frozenset[str]
    """Words that this version does not know allow nothing."""
    rate_per_s: float | None
    """Requests per second and server process; None = ``XRAY_RATE_LIMIT``."""
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None
    """To about a minute."""

    def has(self, secret: str) -> bool:
        """Tell whether this is the key's secret, in a time that does not say how much of it is right."""
        return hmac.compare_digest(self.secret_hash, _hash(secret))

    def allows(self, scope: Scope) -> bool:
        """Tell whether the key is good for something."""
        return scope in self.scopes or Scope.ADMIN in self.scopes

    def is_over(self, now: datetime) -> bool:
        """Tell whether the key is revoked or expired."""
        return self.revoked_at is not None or (self.expires_at is not None and self.expires_at <= now)


def key_of(row: tuple[Any, ...]) -> ApiKey:
    """Return a row of ``ACTIVE`` as a key."""
    found = ApiKey(*row)
    return found._replace(secret_hash=bytes(found.secret_hash), scopes=frozenset(found.scopes))


def split(key: str) -> tuple[str, str] | None:
    """Return id and secret of a key as it was sent; None when it has not the form of one."""
    found = _FORM.fullmatch(key)
    return (found[1], found[2]) if found else None


class KeyTable:
    """The keys of one database, for those who look after them; each call opens a connection."""

    def __init__(self, url: str) -> None:
        self._url = libpq_url(url)

    def create(
        self,
        name: str,
        scopes: Collection[Scope],
        *,
        rate_per_s: float | None = None,
        expires_at: datetime | None = None,
        now: datetime,
    ) -> tuple[ApiKey, str]:
        """Make a key; return its row and the key itself, which nobody can read again."""
        secret = secrets.token_hex(_SECRET_BYTES)
        key = ApiKey(
            key_id=secrets.token_hex(_ID_BYTES),
            name=name,
            secret_hash=_hash(secret),
            scopes=frozenset(scopes),
            rate_per_s=rate_per_s,
            created_at=now,
            expires_at=expires_at,
            revoked_at=None,
            last_used_at=None,
        )
        with self._transaction() as connection:
            connection.execute(_INSERT, (*key[:3], sorted(scope.value for scope in scopes), *key[4:]))
            _notify(connection)
        return key, f"xray_{key.key_id}_{secret}"

    def list(self) -> list[ApiKey]:
        """Every key, revoked ones too, oldest first."""
        with self._transaction() as connection:
            return [key_of(row) for row in connection.execute(_ALL)]

    def revoke(self, key_id: str, *, now: datetime) -> datetime | None:
        """Revoke a key for good; return since when it is, None for an id that nobody has."""
        with self._transaction() as connection:
            row = connection.execute(_REVOKE, (now, key_id)).fetchone()
            _notify(connection)
        return row[0] if row else None

    @contextmanager
    def _transaction(self) -> Iterator[psycopg.Connection[Any]]:
        try:
            with psycopg.connect(self._url, connect_timeout=CONNECT_TIMEOUT_S) as connection:
                yield connection
        except errors.UndefinedTable as exc:
            raise Unavailable("the database lacks tables of this version; run xray db upgrade") from exc
        except psycopg.OperationalError as exc:
            raise Unavailable("the database cannot be reached") from exc


def used(at: Mapping[str, datetime]) -> tuple[list[str], list[datetime]]:
    """Return the parameters of ``USED``."""
    # One look: another thread may still add to it.
    pairs = list(at.items())
    return [key_id for key_id, _ in pairs], [time for _, time in pairs]


def _notify(connection: psycopg.Connection[Any]) -> None:
    connection.execute("SELECT pg_notify(%s, '')", (CHANNEL,))


def _hash(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()
