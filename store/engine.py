"""The connections that questions are asked through: pooled, read-only, bounded in time, in UTC."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import psycopg
from sqlalchemy import Engine, create_engine, event

from store.database import lasting_conninfo

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
        connection.autocommit = False
        return connection

    engine = create_engine(
        "postgresql+psycopg://",
        creator=connect,
        pool_size=POOL_SIZE,
        max_overflow=POOL_OVERFLOW,
        pool_timeout=POOL_TIMEOUT_S,
        pool_pre_ping=True,
        # A question is several statements (page, steps, evidence): one snapshot, or they disagree.
        isolation_level="REPEATABLE READ",
    )
    event.listen(engine, "do_execute", _execute)
    return engine.execution_options(postgresql_readonly=True)


def _execute(cursor: Any, statement: str, parameters: Any, context: Any) -> bool:
    """
    Execute what is not asked to be ``KEPT`` unprepared; true when it was executed here.

    For a prepared statement Postgres makes one plan for any values, after five executions, when that
    looks as cheap. It does where it should not: it takes a third of the rows to pass a threshold that
    hardly any passes.
    """
    if isinstance(cursor, psycopg.ServerCursor):
        return False
    cursor.execute(statement, parameters, prepare=context.execution_options.get("plan_kept", False))
    return True


KEPT: Mapping[str, Any] = {"plan_kept": True}
"""
Execution options of a statement that is always the same, of which any plan is good: it is parsed and
planned once per connection. Planning what shows a step takes longer than running it.
"""
