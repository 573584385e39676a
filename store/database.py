"""
Database URLs, in the two spellings that their users need, and the connections that several of them open.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg import errors
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from store import wire
from store.errors import Unavailable

_CONNECT_TIMEOUT_S = 5
_SCHEME = re.compile(r"^postgres(?:ql)?(?:\+[a-z0-9_]+)?://")


def libpq_url(url: str) -> str:
    """The URL as libpq and psycopg take it: ``postgresql://…``, any driver suffix removed."""
    return _SCHEME.sub("postgresql://", url, count=1)


def sqlalchemy_url(url: str) -> str:
    """The URL as SQLAlchemy takes it, with the psycopg 3 driver named."""
    return _SCHEME.sub("postgresql+psycopg://", url, count=1)


_SIGNS_OF_LIFE = {
    "keepalives_idle": 15,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}
"""Seconds, and milliseconds. Of TCP only; libpq leaves them out for Unix sockets."""


def lasting_conninfo(url: str) -> str:
    """
    What lasting connections are made with: half a minute after its machine fell silent, a server is lost.

    By the system's own settings whoever waits for an answer then waits for two hours. What the
    URL says itself about this holds. Raises ``psycopg.ProgrammingError`` for what is no URL.
    """
    given: dict[str, Any] = conninfo_to_dict(libpq_url(url))
    return make_conninfo(**{**_SIGNS_OF_LIFE, **given})


def connect_to_write(url: str, application_name: str) -> psycopg.Connection[Any]:
    """A lasting connection, in autocommit, for who merges rows with those of rivals."""
    connection = psycopg.connect(
        lasting_conninfo(url),
        autocommit=True,
        connect_timeout=_CONNECT_TIMEOUT_S,
        application_name=application_name,
    )
    # The merge re-reads what a rival has committed meanwhile; a snapshot would hide it.
    connection.isolation_level = psycopg.IsolationLevel.READ_COMMITTED
    wire.adapt(connection)
    return connection


@contextmanager
def transaction(url: str) -> Iterator[psycopg.Connection[Any]]:
    """A connection for one transaction on a small table; raises ``Unavailable``."""
    try:
        with psycopg.connect(lasting_conninfo(url), connect_timeout=_CONNECT_TIMEOUT_S) as connection:
            connection.execute("SET LOCAL statement_timeout = '10s'")
            yield connection
    except errors.UndefinedTable as exc:
        raise Unavailable("the database lacks tables of this version; run xray db upgrade") from exc
    except psycopg.OperationalError as exc:
        raise Unavailable("the database cannot be reached") from exc
