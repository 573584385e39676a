"""The connections that questions are asked through: pooled, read-only, bounded in time, in UTC."""

from __future__ import annotations

from typing import Any

import orjson
import psycopg
from sqlalchemy import Engine, create_engine

from store.database import lasting_conninfo

POOL_SIZE = 8
POOL_OVERFLOW = 8
POOL_TIMEOUT_S = 5.0
"""How long a question waits for a free connection before the store counts as unavailable."""
CONNECT_TIMEOUT_S = 5


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
            "set_config('application_name', 'xray-read', false), set_config('jit', 'off', false)",
            [str(statement_timeout_ms)],
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
        json_deserializer=orjson.loads,
        # A question is several statements (page, steps, evidence): one snapshot, or they disagree.
        isolation_level="REPEATABLE READ",
    )
    return engine.execution_options(postgresql_readonly=True)
