"""A database of an earlier revision that is in use is, after the upgrade, like one that was never another."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import psycopg
import pytest
from alembic import command
from alembic.script import ScriptDirectory
from psycopg import sql

from store import migrate
from store.errors import Unavailable
from store.writer import PostgresWriter
from tests.fixtures.full_store import answers, everything, fill
from tests.fixtures.reading import Shelf, run_copy, step_copy
from tests.fixtures.waiting import wait_until

_SCRIPTS = ScriptDirectory(str(migrate._SCRIPTS))
_REVISIONS = [script.revision for script in _SCRIPTS.walk_revisions()][::-1]
_MARKS = {"rollup_marks", "step_hours"}
"""Of an upgrade everything is marked to be counted again; the answers are of the steps meanwhile."""


def _downgrade(url: str, revision: str) -> None:
    with migrate._connection(url) as connection:
        command.downgrade(migrate._config(connection), revision)


def _tables(url: str) -> set[str]:
    with psycopg.connect(url) as connection:
        found = connection.execute(
            "SELECT relname FROM pg_class WHERE relkind IN ('r', 'p') AND NOT relispartition"
            " AND relnamespace = 'public'::regnamespace"
        )
        return {name for (name,) in found}


@pytest.mark.parametrize("revision", _REVISIONS[:-1])
def test_rows_and_answers_outlive_an_upgrade(full_database: str, postgres, revision: str) -> None:
    """
    From each earlier revision, with rows in every table that it has.

    Beside it stands a database of the newest revision with the same rows, where the tables that
    came later are empty.
    """
    old = _copied(postgres, full_database, f"{full_database}_{revision}")
    fresh = _copied(postgres, full_database, f"{full_database}_{revision}_fresh")
    try:
        _downgrade(old, revision)
        later = _tables(fresh) - _tables(old)
        migrate.upgrade(old)
        _empty(fresh, later)
        assert migrate.check(old) == []
        kept = {name: rows for name, rows in everything(old).items() if name not in _MARKS}
        assert kept == {name: rows for name, rows in everything(fresh).items() if name not in _MARKS}
        assert sum(map(bool, kept.values())) >= 10
        _empty(old, set())
        assert answers(old) == answers(fresh)
    finally:
        for url in (old, fresh):
            postgres.drop(psycopg.conninfo.conninfo_to_dict(url)["dbname"])


@pytest.fixture(scope="module")
def full_database(new_module_database, postgres) -> str:
    """Name of a database with rows in every table, that others are copied from."""
    url = new_module_database()
    fill(url)
    return str(psycopg.conninfo.conninfo_to_dict(url)["dbname"])


def _empty(url: str, tables: set[str]) -> None:
    """Empty tables and the roll-ups, with every hour marked to be counted."""
    with psycopg.connect(url) as connection:
        for table in tables | {"step_hours"}:
            connection.execute(sql.SQL("TRUNCATE {}").format(sql.Identifier(table)))
        connection.execute(
            "INSERT INTO rollup_marks (week, hour) SELECT DISTINCT"
            " (date_trunc('week', run_day))::date, date_trunc('hour', started_at, 'UTC') FROM steps"
        )


def _copied(postgres, name: str, copy: str) -> str:
    return str(postgres.create(copy, template=name))


def test_two_that_migrate_at_once_take_turns(empty_database_url: str) -> None:
    """While one holds the lock, the other waits for it; then both have ended well, and once is enough."""
    with ThreadPoolExecutor(2) as pool, psycopg.connect(empty_database_url) as holder:
        holder.execute("SELECT pg_advisory_xact_lock(%s)", [migrate._ADVISORY_LOCK])
        both = [pool.submit(migrate.upgrade, empty_database_url) for _ in range(2)]
        with psycopg.connect(empty_database_url, autocommit=True) as watch:
            waiting = (
                "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND database ="
                " (SELECT oid FROM pg_database WHERE datname = current_database())"
            )
            wait_until(lambda: watch.execute(waiting).fetchone() == (2,), timeout_s=60.0, what="both to wait")
        assert _tables(empty_database_url) == set()
        holder.rollback()
        for each in both:
            each.result()
    assert migrate.check(empty_database_url) == []


def test_who_holds_a_table_is_not_queued_behind(database_url: str) -> None:
    """A migration that would have to wait for a long reader gives up, with nothing done, and says so."""
    _downgrade(database_url, _REVISIONS[-2])
    with psycopg.connect(database_url) as reader:
        reader.execute("LOCK TABLE steps IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(Unavailable, match="cannot be migrated now"):
            migrate.upgrade(database_url)
    assert migrate.current(database_url) == _REVISIONS[-2]
    migrate.upgrade(database_url)
    assert migrate.check(database_url) == []


@pytest.mark.parametrize("revision", ["0003", _REVISIONS[-2]])
def test_a_writer_of_the_version_before_goes_on(database_url: str, revision: str) -> None:
    """What it would send, the columns that its tables had, is taken after the upgrade too."""
    with closing(PostgresWriter(database_url)) as writer:
        Shelf(writer).put(run_copy("r"), step_copy("r", "s"))
    _downgrade(database_url, revision)
    with psycopg.connect(database_url) as connection:
        columns = {name: _columns(connection, name) for name in _tables(database_url) - {"alembic_version"}}
    migrate.upgrade(database_url)
    with psycopg.connect(database_url) as connection:
        for name in ("runs", "steps"):
            named = sql.SQL(", ").join(map(sql.Identifier, columns[name]))
            values = sql.SQL(", ").join(
                sql.Literal("0" * 31 + "1") if column == "run_key" else sql.Identifier(column)
                for column in columns[name]
            )
            connection.execute(
                sql.SQL("INSERT INTO {table} ({named}) SELECT {values} FROM {table}").format(
                    table=sql.Identifier(name), named=named, values=values
                )
            )
        # Of the other tables too: whatever it does not name must have a default or may be null.
        needed = connection.execute(
            "SELECT t.relname, a.attname FROM pg_attribute a JOIN pg_class t ON t.oid = a.attrelid"
            " WHERE t.relname = ANY (%s) AND a.attnum > 0 AND a.attnotnull AND NOT a.atthasdef",
            [list(columns)],
        ).fetchall()
    assert [each for each in needed if each[1] not in columns[each[0]]] == []


def _columns(connection: psycopg.Connection, table: str) -> list[str]:
    found = connection.execute(
        "SELECT attname FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped",
        [table],
    )
    return [name for (name,) in found]
