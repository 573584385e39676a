"""The writer when the server goes away, comes back, or is slow to give a lock."""

from __future__ import annotations

import threading

import psycopg
import pytest

from store import migrate
from store.embedded import EmbeddedPostgres
from store.errors import Unavailable
from store.ids import run_key_bytes
from store.rows import Batch, RunCopy, StepCopy
from store.writer import PostgresWriter
from tests.fixtures.waiting import wait_until

NS = 1_795_000_000_000_000_000
WAITING = (
    "SELECT pid FROM pg_stat_activity WHERE application_name = 'xray-writer'"
    " AND wait_event_type = 'Lock' AND datname = current_database()"
)


def batch(*step_ids: str) -> Batch:
    return Batch(
        NS, steps=[StepCopy("run-1", step_id, "1", True, "filter", status="ok") for step_id in step_ids]
    )


def stored(url: str) -> list[str]:
    with psycopg.connect(url) as connection:
        return [step_id for (step_id,) in connection.execute("SELECT step_id FROM steps ORDER BY step_id")]


@pytest.fixture
def own_server(tmp_path):
    """A server that the test may stop and start."""
    with EmbeddedPostgres(tmp_path, settings={"shared_buffers": "16MB"}) as server:
        migrate.upgrade(server.url)
        yield server


def test_a_restarted_server_is_not_noticed(own_server):
    """A connection that died between two calls is replaced within the next call."""
    writer = PostgresWriter(own_server.url)
    writer.write([batch("s1")])
    own_server.stop()
    own_server.start()
    writer.write([batch("s2")])
    writer.close()
    assert stored(own_server.url) == ["s1", "s2"]


def test_an_absent_server_is_unavailable_until_it_is_back(own_server):
    """While the server is away each call raises Unavailable; the first after its return stores."""
    writer = PostgresWriter(own_server.url)
    writer.write([batch("s1")])
    own_server.stop()
    for _ in range(3):
        with pytest.raises(Unavailable):
            writer.write([batch("s2")])
    own_server.start()
    writer.write([batch("s2")])
    writer.close()
    assert stored(own_server.url) == ["s1", "s2"]


def test_a_session_that_is_ended_in_the_middle_is_replaced(database_url):
    """When the server ends our session while we wait for a lock, the batch is stored by a new one."""
    writer = PostgresWriter(database_url)
    writer.write([batch("s1")])
    with psycopg.connect(database_url) as rival, psycopg.connect(database_url, autocommit=True) as admin:
        rival.execute("LOCK TABLE steps IN ACCESS EXCLUSIVE MODE")
        thread = threading.Thread(target=writer.write, args=([batch("s2")],))
        thread.start()
        wait_until(lambda: admin.execute(WAITING).fetchone(), timeout_s=60, what="the writer waits")
        pid = admin.execute(WAITING).fetchone()
        admin.execute("SELECT pg_terminate_backend(%s)", pid)
        rival.rollback()
        thread.join(60)
    writer.close()
    assert stored(database_url) == ["s1", "s2"]


def test_a_deadlock_is_run_again(database_url):
    """A transaction that the server sacrifices to another session is repeated, unseen by the caller."""
    first, second = sorted(("run-1", "run-2"), key=run_key_bytes)
    copies = [RunCopy(run_id, False, start_ns=NS, start_sent_ns=NS) for run_id in (first, second)]
    later = [copy._replace(pipeline="shop", terminal=True, end_sent_ns=NS) for copy in copies]
    writer = PostgresWriter(database_url)
    writer.write([Batch(NS, runs=copies)])
    lock = "SELECT 1 FROM runs WHERE run_id = %s FOR UPDATE"
    with psycopg.connect(database_url) as rival, psycopg.connect(database_url, autocommit=True) as admin:
        rival.execute("SET deadlock_timeout = '1min'")  # so that the writer is the one to be sacrificed
        rival.execute(lock, [second])
        thread = threading.Thread(target=writer.write, args=([Batch(NS, runs=later)],))
        thread.start()
        wait_until(lambda: admin.execute(WAITING).fetchone(), timeout_s=60, what="the writer waits")
        rival.execute(lock, [first])
        rival.rollback()
        thread.join(60)
        deadlocks = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
        found = "SELECT count(*) FROM runs WHERE pipeline = 'shop'"
        assert admin.execute(found).fetchone() == (2,)
        wait_until(lambda: admin.execute(deadlocks).fetchone() == (1,), timeout_s=60, what="one deadlock")
    writer.close()


def test_a_database_without_tables_is_unavailable(empty_database_url):
    """Before the migration ran, writing asks to be tried again instead of losing data."""
    writer = PostgresWriter(empty_database_url)
    with pytest.raises(Unavailable, match="cannot store now"):
        writer.write([batch("s1")])
    migrate.upgrade(empty_database_url)
    writer.write([batch("s1")])
    writer.close()
    assert stored(empty_database_url) == ["s1"]


def test_a_closed_writer_may_be_closed_again(database_url):
    """close is safe before the first use and twice."""
    writer = PostgresWriter(database_url)
    writer.close()
    writer.write([batch("s1")])
    writer.close()
    writer.close()


def test_the_message_holds_no_password():
    """What is told about an unreachable server names no secret of its URL."""
    writer = PostgresWriter("postgresql://user:hunter2@127.0.0.1:1/xray")
    with pytest.raises(Unavailable) as caught:
        writer.write([batch("s1")])
    assert "hunter2" not in str(caught.value)
