"""
How Alembic runs our migrations; entered only through ``store/migrate.py``.

The caller hands over an open connection in ``config.attributes["connection"]``.
"""

from __future__ import annotations

from alembic import context
from sqlalchemy import Connection, text

from store.schema import metadata


def run(connection: Connection) -> None:
    # A migration that would wait behind long queries gives up instead of queueing everybody
    # else behind its own lock.
    connection.execute(text("SET LOCAL lock_timeout = '10s'"))
    connection.execute(text("SET LOCAL statement_timeout = '10min'"))
    context.configure(connection=connection, target_metadata=metadata)
    context.run_migrations()


run(context.config.attributes["connection"])
