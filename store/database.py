"""
Database URLs, in the two spellings that their users need.
"""

from __future__ import annotations

import re

_SCHEME = re.compile(r"^postgres(?:ql)?(?:\+[a-z0-9_]+)?://")


def libpq_url(url: str) -> str:
    """The URL as libpq and psycopg take it: ``postgresql://…``, any driver suffix removed."""
    return _SCHEME.sub("postgresql://", url, count=1)


def sqlalchemy_url(url: str) -> str:
    """The URL as SQLAlchemy takes it, with the psycopg 3 driver named."""
    return _SCHEME.sub("postgresql+psycopg://", url, count=1)
