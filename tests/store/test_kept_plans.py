"""Statements whose plans are kept, over what happens to their connections and tables."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from sqlalchemy import Date, bindparam, select, text

from store.engine import read_engine
from store.errors import Unavailable
from store.kept import Kept
from store.queries import runs
from store.queries.errors import QueryTimeout
from store.queries.filters import PageRequest, parse
from store.queries.outcomes import of_item
from store.queries.vocabulary import STEPS
from store.reader import Reader
from tests.fixtures.reading import START, Shelf, run_copy, step_copy
from tests.fixtures.waiting import wait_until


def test_a_migration_under_kept_plans(shelf: Shelf, reader: Reader, database_url: str) -> None:
    """A column of another type is no defect of ours: who asks is told to ask again, once."""
    shelf.put(run_copy("r", entity="P1"))
    assert reader.run("r") is not None
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("DROP SCHEMA xray_public CASCADE")
        connection.execute("ALTER TABLE runs ALTER COLUMN entity TYPE varchar(100)")
    with pytest.raises(Unavailable, match="ask again"):
        reader.run("r")
    run = reader.run("r")
    assert run is not None
    assert run.entity == "P1"


def test_what_shows_a_run_is_planned_once(shelf: Shelf, database_url: str) -> None:
    """Although a plan for its day would look cheaper; and what follows is planned for its values."""
    shelf.put(run_copy("r"), step_copy("r", "s"))
    engine = read_engine(database_url, statement_timeout_ms=60_000)
    with engine.begin() as connection:
        for _ in range(7):
            found = runs.run_detail(connection, "r", now=START, default_timeout_s=900.0)
            assert found is not None
            assert [step.step_id for step in found.steps] == ["s"]
        plans = connection.execute(
            text(
                "SELECT generic_plans, custom_plans FROM pg_prepared_statements"
                " WHERE statement LIKE '%sort_index%' OR statement LIKE '%terminal_status%'"
            )
        )
        assert [tuple(row) for row in plans] == [(7, 0), (7, 0)]
        assert connection.scalar(text("SELECT current_setting('plan_cache_mode')")) == "auto"
    engine.dispose()


def test_questions_of_one_form_have_values_of_their_own(shelf: Shelf, reader: Reader) -> None:
    """The text is made for the first of them; thresholds, days, limits and starts are those of each."""
    shelf.put(*(step_copy("r", f"s{n}", n, candidates_in=10, candidates_out=10 - n) for n in range(10)))

    def asked(*sent: tuple[str, str]) -> list[str]:
        filters, page = parse(STEPS, sent)
        named: list[str] = []
        while True:
            found = reader.steps(filters, page)
            named += [step.step_id for step in found.items]
            if found.next_cursor is None:
                return named
            page = PageRequest(page.limit, found.next_cursor)

    for threshold in range(9, -1, -1):
        for limit in ("3", "2", "10"):
            for before in (10, 8):
                until = (START + timedelta(seconds=before)).isoformat()
                found = asked(
                    ("drop_ratio_gte", f"0.{threshold}"), ("limit", limit), ("started_before", until)
                )
                assert found == [f"s{n}" for n in range(before - 1, threshold - 1, -1)]


def test_a_connection_that_was_closed_meanwhile(shelf: Shelf, reader: Reader, database_url: str) -> None:
    """Who asks next gets an answer, by another connection."""
    shelf.put(run_copy("r"))
    assert reader.run("r") is not None
    with psycopg.connect(database_url, autocommit=True) as connection:
        ended = connection.execute(
            "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity"
            " WHERE application_name = 'xray-read' AND datname = current_database()"
        ).fetchall()
    assert ended == [(True,)]
    assert reader.run("r") is not None


def test_keys_of_any_text(shelf: Shelf, reader: Reader) -> None:
    """Keys go to the server as arrays written by us: nothing in a step id ends one."""
    names = ['a"b', "a\\b", "{a,b}", "NULL", " a ", "'", "ä\n", "$1"]
    shelf.put(run_copy("r"), *(step_copy("r", name) for name in names))
    assert sorted(step.step_id for step in reader.steps().items) == sorted(names)


def test_integers_of_any_size_in_json(shelf: Shelf, reader: Reader) -> None:
    """They come back as they went in, not as the nearest float."""
    sent = {"id": 2**70 + 1, "small": -1, "share": 0.5, "text": "ä"}
    shelf.put(run_copy("r", input=sent), step_copy("r", "s", reasoning=sent))
    found = reader.run_detail("r")
    assert found is not None
    assert found.run.input == sent
    assert found.steps[0].reasoning == sent


def test_a_parameter_that_was_forgotten_is_not_null(database_url: str) -> None:
    """Nothing would be found, in silence."""
    asked = Kept(select(bindparam("day", type_=Date()).label("found")))
    with psycopg.connect(database_url) as connection:
        assert asked.send(connection, {"day": None}).fetchall() == [{"found": None}]
        with pytest.raises(KeyError):
            asked.send(connection, {})


def test_no_run_that_is_known_has_no_outcomes(shelf: Shelf, database_url: str) -> None:
    """No keys, no days: nothing is asked."""
    engine = read_engine(database_url, statement_timeout_ms=60_000)
    with engine.begin() as connection:
        assert of_item(connection, ["nowhere"], "a") == {}
    engine.dispose()


def test_citus_plans_for_the_values_it_gets(
    shelf: Shelf, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has no plan for any values of these statements, and refuses them where it is told to use one."""
    shelf.put(run_copy("r"), step_copy("r", "s"))
    monkeypatch.setattr("store.kept.plans_by_value", lambda _connection: True)
    engine = read_engine(database_url, statement_timeout_ms=60_000)
    with engine.begin() as connection:
        found = runs.run_detail(connection, "r", now=START, default_timeout_s=900.0)
        assert found is not None
        assert [step.step_id for step in found.steps] == ["s"]
        plans = connection.execute(
            text("SELECT sum(generic_plans), sum(custom_plans) > 3 FROM pg_prepared_statements")
        )
        assert [tuple(row) for row in plans] == [(0, True)]
    engine.dispose()


@pytest.fixture
def held(shelf: Shelf, database_url: str) -> Iterator[psycopg.Connection[Any]]:
    """A lock on the table that the third of four statements of one round trip reads."""
    shelf.put(run_copy("r"), step_copy("r", "s"))
    with psycopg.connect(database_url) as connection:
        connection.execute("LOCK TABLE outcomes IN ACCESS EXCLUSIVE MODE")
        yield connection


def test_a_statement_in_the_middle_that_takes_too_long(
    held: psycopg.Connection[Any], database_url: str
) -> None:
    """It is told as any other is, and the connection answers what comes next."""
    with closing(Reader.open(database_url, statement_timeout_ms=2_000)) as reader:
        for _ in range(2):
            with pytest.raises(QueryTimeout):
                reader.run_detail("r")
        held.rollback()
        found = reader.run_detail("r")
        assert found is not None
        assert [step.step_id for step in found.steps] == ["s"]


def test_a_connection_that_ends_in_the_middle(
    held: psycopg.Connection[Any], reader: Reader, database_url: str
) -> None:
    """Who asked is told to ask again, and the next one gets an answer by another connection."""
    waiting = "FROM pg_stat_activity WHERE application_name = 'xray-read' AND wait_event_type = 'Lock'"
    with ThreadPoolExecutor(1) as pool, psycopg.connect(database_url, autocommit=True) as other:
        asked = pool.submit(reader.run_detail, "r")
        wait_until(
            lambda: other.execute(f"SELECT 1 {waiting}").fetchone(), timeout_s=60, what="a reader waits"
        )
        other.execute(f"SELECT pg_terminate_backend(pid, 10000) {waiting}")
        with pytest.raises(Unavailable):
            asked.result()
    held.rollback()
    assert reader.run_detail("r") is not None
