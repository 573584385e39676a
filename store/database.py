"""
Database URLs, in the two spellings that their users need.
"""

from __future__ import annotations

import re
from typing import Any

from psycopg.conninfo import conninfo_to_dict, make_conninfo

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
