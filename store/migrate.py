"""
Brings a database to the schema that this code needs.

From code only, without an ini file: whoever starts a server calls ``upgrade``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy import Connection, NullPool, create_engine, text
from sqlalchemy.exc import OperationalError

from store import secrets
from store.database import sqlalchemy_url
from store.errors import Unavailable
from store.schema import metadata

_SCRIPTS = Path(__file__).parent / "migrations"

_ADVISORY_LOCK = 0x78726179
"""Held while migrating, so that servers that start together do it one after the other."""


def upgrade(url: str) -> None:
    """
    Migrate to the newest revision and make the servers' keys, in one transaction; what is there stays.

    Safe to call from several processes at once. Raises ``store.errors.Unavailable`` when the
    database cannot be reached or another session holds a lock for too long.
    """
    with _connection(url) as connection:
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ADVISORY_LOCK})
        command.upgrade(_config(connection), "head")
        secrets.make_missing(connection)


def current(url: str) -> str | None:
    """The revision that the database is at, None for an empty one. Raises ``Unavailable``."""
    with _connection(url) as connection:
        return MigrationContext.configure(connection).get_current_revision()


def head() -> str:
    """The revision that this code needs."""
    revision = ScriptDirectory(str(_SCRIPTS)).get_current_head()
    assert revision is not None  # the repository ships at least one
    return revision


def check(url: str) -> list[str]:
    """
    What in the database differs from ``store/schema.py``, one line each; empty when nothing does.

    Weekly partitions are made at run time and left out. Raises ``Unavailable``.
    """
    with _connection(url) as connection:
        children = frozenset(
            connection.scalars(text("SELECT relname FROM pg_class WHERE relispartition AND relkind = 'r'"))
        )
        migrations = MigrationContext.configure(
            connection,
            opts={
                "compare_type": True,
                "compare_server_default": True,
                "include_name": lambda name, kind, _parents: kind != "table" or name not in children,
            },
        )
        return [str(difference) for difference in compare_metadata(migrations, metadata)]


def _config(connection: Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(_SCRIPTS))
    config.attributes["connection"] = connection
    return config


@contextmanager
def _connection(url: str) -> Iterator[Connection]:
    """One transaction on a connection of its own, committed when the block ends well."""
    engine = create_engine(sqlalchemy_url(url), poolclass=NullPool)
    connected = False
    try:
        with engine.begin() as connection:
            connected = True
            yield connection
    except OperationalError as error:
        said = str(error.orig)
        what = f"the database cannot be migrated now: {_line(said)}" if connected else _away(url, said)
        raise Unavailable(what) from error
    finally:
        engine.dispose()


def _away(url: str, said: str) -> str:
    """Why there is no connection, in one line; libpq's own is of several, with advice for its operator."""
    given = conninfo_to_dict(url)
    where = f"{given.get('host') or 'the default socket'}:{given.get('port') or 5432}"
    found = re.search(r".*failed: (.+)", said)
    reason = _line(found[1] if found else said)
    if reason.startswith("FATAL:"):
        return f"the server at {where} refuses the connection ({reason.removeprefix('FATAL:').strip()})"
    return f"no server answers at {where} ({reason[:1].lower()}{reason[1:]})"


def _line(text: str) -> str:
    return " ".join(text.split())
