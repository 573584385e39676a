"""How connections to the database are made."""

from __future__ import annotations

import psycopg
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy import text

from store.database import lasting_conninfo
from store.engine import read_engine
from store.writer import PostgresWriter


def test_kept_connections_notice_a_dead_machine(database_url: str) -> None:
    """Writers and readers ask TCP for signs of life; what the URL says itself about it holds."""
    url = f"{database_url}{'&' if '?' in database_url else '?'}keepalives_idle=77"
    writer = PostgresWriter(url)
    engine = read_engine(url, statement_timeout_ms=1000)
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT 1")) == 1
        read = connection.connection.driver_connection
        assert isinstance(read, psycopg.Connection)
        for parameters in (read.info.get_parameters(), writer._connect().info.get_parameters()):
            assert (parameters["keepalives_idle"], parameters["tcp_user_timeout"]) == ("77", "30000")
    engine.dispose()
    writer.close()


def test_nothing_else_of_the_url_changes() -> None:
    """Users, passwords, several hosts and options come through as they are."""
    url = (
        "postgresql+psycopg://u%40x:p%2Fw@one:5433,two:5434/db%20x?options=-csearch_path%3Da&sslmode=require"
    )
    made = conninfo_to_dict(lasting_conninfo(url))
    given = conninfo_to_dict(url.replace("+psycopg", ""))
    assert given["password"] == "p/w"
    assert given.items() <= made.items()
    assert set(made) - set(given) == {
        "keepalives_idle",
        "keepalives_interval",
        "keepalives_count",
        "tcp_user_timeout",
    }
