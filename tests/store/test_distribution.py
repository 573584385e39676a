"""
What distributing needs of us; what Citus does with it, only a server that has it can say.

``XRAY_TEST_CITUS_URL`` names one (a role that may create databases, ``CREATE EXTENSION citus`` possible).
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import closing

import psycopg
import pytest

from store import distribution, migrate
from store.distribution import NotDistributable, distribute, placings
from store.schema import DISTRIBUTED_TABLES, REFERENCE_TABLES
from store.writer import PostgresWriter
from tests.fixtures.full_store import answers, fill
from tests.fixtures.postgres import TestServer
from tests.fixtures.reading import Shelf, chunk, run_copy, step_copy
from tests.fixtures.statements import Recorder
from tests.fixtures.tables import dump_tables
from tests.lints.queries import look_at


def test_what_others_are_read_with_is_placed_first() -> None:
    """Reference tables, then runs, then the rest beside runs; each table once, and nothing that is done."""
    todo = placings(())
    names = [each.table for each in todo]
    assert names[: len(REFERENCE_TABLES)] == [table.name for table in REFERENCE_TABLES]
    assert names[len(REFERENCE_TABLES)] == "runs"
    assert sorted(names) == sorted(table.name for table in (*REFERENCE_TABLES, *DISTRIBUTED_TABLES))
    assert {each.arguments[1:] for each in todo if each.table in ("steps", "traces")} == {("runs",)}
    assert [each.table for each in placings(names[:4])] == names[4:]
    assert placings(names) == []


def test_a_server_without_citus_is_refused_in_one_line(database_url: str) -> None:
    """And nothing is changed."""
    with pytest.raises(NotDistributable, match="has no Citus") as refused:
        distribute(database_url)
    assert "\n" not in str(refused.value)
    assert migrate.check(database_url) == []


def test_sessions_on_plain_postgres_stay_as_they_are(database_url: str) -> None:
    """No setting of Citus is made where it is not."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        distribution.prepare(connection)
        found = connection.execute("SELECT current_setting('citus.multi_shard_modify_mode', true)")
        assert found.fetchone() == (None,)
        assert not distribution.run_by_run(connection)


def test_rows_locked_run_by_run_are_merged_alike(
    new_database, sent_statements: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What comes twice and late leaves the same tables; each statement that locks names its one run."""
    left = []
    for by_run in (False, True):
        url = new_database()
        with closing(PostgresWriter(url)) as writer, monkeypatch.context() as patch:
            if by_run:
                patch.setattr("store.landing.run_by_run", lambda _connection: True)
            shelf = Shelf(writer)
            for run_id in ("r1", "r2", "r3"):
                shelf.put(step_copy(run_id, "s", 1, terminal=False, status=None, end_ns=None))
            for _ in range(2):
                shelf.put(
                    *(run_copy(run_id, pipeline="p") for run_id in ("r3", "r1", "r2")),
                    *(step_copy(run_id, "s") for run_id in ("r3", "r1", "r2")),
                    *(chunk(run_id, "s", ["a"], "K") for run_id in ("r3", "r1", "r2")),
                )
        left.append(dump_tables(url))
    assert {name: rows for name, rows in left[0].items() if name != "server_secrets"} == {
        name: rows for name, rows in left[1].items() if name != "server_secrets"
    }
    assert [row["run_id"] for row in left[1]["runs"]] != []
    locking = [each for each in sent_statements.sent if each.sender == "store/landing.py:_read_run_by_run"]
    assert len(locking) >= 3
    assert {look_at(each.text).kind for each in locking} == {"run"}


@pytest.fixture
def citus_url() -> Iterator[str]:
    """A fresh migrated database on a server with Citus."""
    given = os.environ.get("XRAY_TEST_CITUS_URL")
    if not given:
        pytest.skip("XRAY_TEST_CITUS_URL names no server with Citus")
    server = TestServer(given)
    name = f"xray_{uuid.uuid4().hex[:12]}"
    url = server.create(name)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE EXTENSION citus")
    migrate.upgrade(url)
    yield url
    server.drop(name)


@pytest.mark.citus
def test_a_distributed_store_answers_as_a_plain_one(citus_url: str, database_url: str) -> None:
    """Placing is repeatable, rows that were there stay, and writer and reader go on."""
    distributed = distribute(citus_url)
    assert distributed.before == ()
    again = distribute(citus_url)
    assert (again.placed, again.before) == ((), tuple(sorted(distributed.placed)))
    for url in (citus_url, database_url):
        fill(url)
    assert dump_tables(citus_url).keys() == dump_tables(database_url).keys()
    assert answers(citus_url) == answers(database_url)
