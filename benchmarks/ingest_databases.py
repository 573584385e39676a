"""Fresh databases with X-Ray's tables, and what stands in them afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import psycopg
from psycopg import sql

from store import migrate
from store.embedded import EmbeddedPostgres
from store.partitions import Partitions

_STORED = """
    SELECT (SELECT count(*) FROM runs), (SELECT count(*) FROM runs WHERE ended_at IS NOT NULL),
           (SELECT count(*) FROM steps), (SELECT coalesce(sum(item_count), 0) FROM decisions),
           (SELECT count(DISTINCT xmin::text) FROM steps)
"""


class Stored(NamedTuple):
    """What stands in a database."""

    runs: int
    ended_runs: int
    steps: int
    candidates: int
    transactions: int
    """Those that left steps behind."""


class Databases:
    """Databases of one server, each made anew from a template with the migrated tables."""

    def __init__(self, server: EmbeddedPostgres, name: str) -> None:
        """name: of the template."""
        self._server = server
        self._template = name
        self._made = 0
        self._execute("CREATE DATABASE {}", name)
        url = server.database_url(name)
        migrate.upgrade(url)
        today = datetime.now(UTC).date()
        with psycopg.connect(url, autocommit=True) as connection:
            Partitions().ensure(connection, [today, today + timedelta(days=1)])

    @contextmanager
    def fresh(self) -> Iterator[str]:
        """The URL of an empty database, which is dropped after the block."""
        self._made += 1
        name = f"{self._template}_{self._made}"
        self._execute("CREATE DATABASE {} TEMPLATE {}", name, self._template)
        # So that nobody pays for the pages that the one before has left to be written.
        self._execute("CHECKPOINT")
        try:
            yield self._server.database_url(name)
        finally:
            self._execute("DROP DATABASE {} (FORCE)", name)

    def _execute(self, statement: str, *names: str) -> None:
        with psycopg.connect(self._server.url, autocommit=True) as connection:
            connection.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))


def stored(url: str) -> Stored:
    """Count."""
    with psycopg.connect(url) as connection:
        row = connection.execute(_STORED).fetchone()
        assert row is not None  # scalars
        return Stored(*map(int, row))
