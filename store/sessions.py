"""The sessions in which questions are asked, and the boundary where errors of the driver end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import BoundedSemaphore
from time import monotonic
from typing import TypeVar

import psycopg
from psycopg.errors import QueryCanceled, UndefinedColumn, UndefinedTable
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from store.errors import Unavailable
from store.queries.errors import ExportTimeout, QueryTimeout, TooManyExports

MAX_EXPORTS = 2
"""At once; the other connections are for questions, and old snapshots keep rows from being vacuumed."""
_PLAN_IS_OLD = "RevalidateCachedQuery"
"""Where Postgres says that a kept plan (``store.kept``) would give another type than before."""

Batch = TypeVar("Batch")


class Sessions:
    """Gives each question a connection, and an export one for longer; any number of threads may ask."""

    def __init__(self, engine: Engine, *, statement_timeout_ms: int, export_timeout_s: float) -> None:
        self._engine = engine
        self._statement_timeout_ms = statement_timeout_ms
        self._export_timeout_s = export_timeout_s
        self._exports = BoundedSemaphore(MAX_EXPORTS)

    def close(self) -> None:
        """Release the connections; safe to call twice."""
        self._engine.dispose()

    def _in_time(self, batches: Iterator[list[Batch]]) -> Iterator[list[Batch]]:
        """The batches until their time is over: a snapshot of hours keeps rows from being vacuumed."""
        until = monotonic() + self._export_timeout_s
        for batch in batches:
            if monotonic() > until:
                raise ExportTimeout(self._export_timeout_s)
            yield batch

    @contextmanager
    def _export(self) -> Iterator[Connection]:
        """A connection for as long as an export takes; raises ``TooManyExports``."""
        if not self._exports.acquire(blocking=False):
            raise TooManyExports(MAX_EXPORTS)
        try:
            with self._connection() as connection:
                yield connection
        finally:
            self._exports.release()

    @contextmanager
    def _connection(self) -> Iterator[Connection]:
        """The boundary where errors of the driver become errors of the store."""
        try:
            # To its commit. Nothing was changed; but psycopg drops all prepared statements with a rollback.
            with self._engine.begin() as connection:
                yield connection
        except PoolTimeout as exc:
            raise Unavailable("all connections to the database are in use") from exc
        except (OperationalError, InterfaceError, psycopg.OperationalError) as exc:
            if isinstance(getattr(exc, "orig", exc), QueryCanceled):
                raise QueryTimeout(self._statement_timeout_ms) from exc
            raise Unavailable("the database cannot be reached") from exc
        except (DBAPIError, psycopg.Error) as exc:
            cause = getattr(exc, "orig", exc)
            if isinstance(cause, UndefinedTable | UndefinedColumn):
                raise Unavailable("the database lacks tables of this version; run xray db upgrade") from exc
            if isinstance(cause, psycopg.Error) and cause.diag.source_function == _PLAN_IS_OLD:
                self._engine.dispose()  # the other connections have such plans, too
                raise Unavailable("the tables have just been changed; ask again") from exc
            if getattr(exc, "connection_invalidated", False):
                raise Unavailable("the connection to the database was lost") from exc
            raise
