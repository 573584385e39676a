"""The connections that questions are asked through: pooled, read-only, bounded in time, in UTC."""

from __future__ import annotations

import select
from collections.abc import Mapping
from typing import Any

import psycopg
from sqlalchemy import Engine, create_engine, event
from sqlalchemy.exc import DisconnectionError

from store import distribution
from store.database import lasting_conninfo
from store.kept import read_jsonb

POOL_SIZE = 8
POOL_OVERFLOW = 8
POOL_TIMEOUT_S = 5.0
"""How long a question waits for a free connection before the store counts as unavailable."""
CONNECT_TIMEOUT_S = 5
IDLE_TIMEOUT_S = 600
"""How long whoever fetches an export may pause: its snapshot holds back vacuum and retention."""


def read_engine(url: str, *, statement_timeout_ms: int) -> Engine:
    """
    Return an engine whose transactions read one snapshot and can change nothing.

    url: ``postgresql://…`` as libpq takes it, unix sockets included. Connects on first use.
    """

    def connect() -> psycopg.Connection[Any]:
        connection = psycopg.connect(
            lasting_conninfo(url), connect_timeout=CONNECT_TIMEOUT_S, autocommit=True
        )
        # set_config in place of the start-up option "options": a pooler in between, or a URL that has
        # options of its own, keeps working. jit: these statements have many expressions and few rows;
        # compiling them takes longer than running them.
        connection.execute(
            "SELECT set_config('statement_timeout', %s, false), set_config('TimeZone', 'UTC', false), "
            "set_config('application_name', 'xray-read', false), set_config('jit', 'off', false), "
            "set_config('idle_in_transaction_session_timeout', %s, false)",
            [str(statement_timeout_ms), f"{IDLE_TIMEOUT_S}s"],
        )
        distribution.prepare(connection)
        connection.autocommit = False
        read_jsonb(connection)
        return connection

    engine = create_engine(
        "postgresql+psycopg://",
        creator=connect,
        pool_size=POOL_SIZE,
        max_overflow=POOL_OVERFLOW,
        pool_timeout=POOL_TIMEOUT_S,
        # A question is several statements (page, steps, evidence): one snapshot, or they disagree.
        isolation_level="REPEATABLE READ",
    )
    event.listen(engine, "do_execute", _execute)
    event.listen(engine, "checkout", _must_be_open)
    return engine.execution_options(postgresql_readonly=True)


def _must_be_open(connection: psycopg.Connection[Any], *_: Any) -> None:
    """
    Have the pool replace a connection that the server closed while nobody used it.

    Then something is to be read. A question in place of this look would be one more round trip for each.
    """
    if not connection.closed:
        waiting = select.poll()
        waiting.register(connection.fileno(), select.POLLIN)
        if not waiting.poll(0):
            return
    raise DisconnectionError


def _execute(cursor: Any, statement: str, parameters: Any, context: Any) -> bool:
    """
    Execute unprepared what is not kept (``store.kept``); true when it was executed here.

    For a prepared statement Postgres makes one plan for any values, after five executions, when that
    looks as cheap. It does where it should not: it takes a third of the rows to pass a threshold that
    hardly any passes.
    """
    if isinstance(cursor, psycopg.ServerCursor):
        return False
    cursor.execute(statement, parameters, prepare=False, binary=context.execution_options.get("as_binary"))
    return True


BINARY: Mapping[str, Any] = {"as_binary": True}
"""Execution options of a statement with large or many values: as text, bytes come twice as long."""
