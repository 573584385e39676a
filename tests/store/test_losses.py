"""The loss ledger as it is written: once per key, whatever comes when, in the commit of everything else."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest

from store.ids import artifact_key
from store.losses import artifact_subject, chunk_subject, loss_of
from store.rows import (
    Artifact,
    Batch,
    DecisionChunk,
    Loss,
    Outcome,
    RunCopy,
    RunHeartbeat,
    RunWait,
    StepCopy,
)
from store.writer import PostgresWriter
from tests.fixtures.tables import dump_tables

NOW_NS = 1_790_000_000_000_000_000
CHUNK = DecisionChunk("run-1", "s1", "1", 3, 4, 5000, b"\x01x")
ARTIFACT = Artifact("run-1", "s1", "1", "prompt", "text/plain", 3, b"\x02" * 32, b"abc")
BAD_ARTIFACT = ARTIFACT._replace(kind="a\0b")


@pytest.fixture
def writer(database_url):
    """A writer on a fresh database."""
    writer = PostgresWriter(database_url)
    yield writer
    writer.close()


def fetch(url: str, query: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(url) as connection:
        return connection.execute(query).fetchall()


LEDGER = "SELECT cause, what, subject, lost, step_id, attempt_key FROM losses ORDER BY cause, what, subject"


def test_what_is_lost_of_each_row():
    """A loss names what it is about in the words of the ledger; a heartbeat holds nothing to lose."""
    step = StepCopy("run-1", "s1", "1", terminal=True)
    assert [
        loss_of(row, "shed")
        for row in (CHUNK, ARTIFACT, step, RunCopy("run-1", terminal=False), RunWait("run-1", NOW_NS))
    ] == [
        Loss("run-1", "shed", "decisions", "s1/1/3", 5000, "s1", "1"),
        Loss("run-1", "shed", "artifacts", f"s1/1/{artifact_key(ARTIFACT).hex}", 1, "s1", "1"),
        Loss("run-1", "shed", "steps", "s1/1/end", 1, "s1", "1"),
        Loss("run-1", "shed", "runs", "/start", 1),
        Loss("run-1", "shed", "runs", "/wait", 1),
    ]
    assert chunk_subject("s1", "1", 3) == "s1/1/3"
    of_run = ARTIFACT._replace(step_id=None, attempt_key=None)
    assert artifact_subject(of_run) == f"//{artifact_key(of_run).hex}"
    assert loss_of(RunHeartbeat("run-1"), "shed") is None


def test_a_refused_outcome_is_in_the_ledger(writer, database_url):
    """Each by a hash, as the ledger outlives the ids of erased items; what was erased is no loss."""
    fine, bad = (Outcome("run-1", "refund", item, True, NOW_NS, None) for item in ("item-1", "a\0b"))
    (result,) = writer.write([Batch(NOW_NS, outcomes=[fine, bad])])
    assert [refused.row for refused in result.refused] == [bad]
    [(cause, what, subject, lost, step_id, attempt_key)] = fetch(database_url, LEDGER)
    assert (cause, what, lost, step_id, attempt_key) == ("refused", "outcomes", 1, None, None)
    assert subject.startswith("/")
    assert loss_of(bad, "refused") != loss_of(bad._replace(name="click"), "refused")
    assert loss_of(fine, "erased") is None


def test_a_loss_makes_its_run(writer, database_url):
    """A run of which everything was lost is there, as evidence alone would have made it."""
    loss = loss_of(CHUNK, "shed")
    assert loss is not None
    (result,) = writer.write([Batch(NOW_NS, losses=[loss])])
    assert (result.stored, result.created_runs) == (1, {"run-1"})
    assert fetch(database_url, "SELECT run_id, terminal_status FROM runs") == [("run-1", None)]
    assert fetch(database_url, LEDGER) == [("shed", "decisions", "s1/1/3", 5000, "s1", "1")]


def test_a_loss_that_comes_again_counts_once(writer, database_url):
    """The larger of two different numbers stays, in whatever order and number they come."""
    loss = Loss("run-1", "client_queue", "steps", "report-1", 2)
    for lost in (2, 7, 2, 7, 5):
        writer.write([Batch(NOW_NS, losses=[loss._replace(lost=lost)])])
    writer.write([Batch(NOW_NS, losses=[loss, loss]), Batch(NOW_NS, losses=[loss])])
    assert fetch(database_url, "SELECT lost, deliveries FROM losses") == [(7, 8)]


def test_losses_of_no_run_are_kept(writer, database_url):
    """What a sender cannot tell the run of makes no run, and counts once as well."""
    loss = Loss(None, "client_queue", "steps", "report-1", 2, pipeline="shop", service_name="svc")
    other = loss._replace(what="decisions", lost=10)
    for _ in range(2):
        (result,) = writer.write([Batch(NOW_NS, losses=[loss, other])])
        assert (result.stored, result.refused) == (2, ())
    found = fetch(database_url, "SELECT what, lost, pipeline, service_name, deliveries FROM sender_losses")
    assert sorted(found) == [("decisions", 10, "shop", "svc", 2), ("steps", 2, "shop", "svc", 2)]
    assert fetch(database_url, "SELECT count(*) FROM runs") == [(0,)]


def some_losses() -> list[Loss]:
    """Losses that meet in some keys with other numbers and names."""
    chosen = random.Random(1)
    return [
        Loss(
            chosen.choice([None, "run-1", "run-2", "run-3"]),
            chosen.choice(["shed", "client_queue"]),
            chosen.choice(["decisions", "artifacts"]),
            chosen.choice(["s1/1/0", "s1/1/1", "report"]),
            chosen.randrange(4),
            step_id=chosen.choice([None, "s1"]),
            attempt_key=chosen.choice([None, "1"]),
            pipeline=chosen.choice([None, "shop", "mail"]),
            service_name=chosen.choice([None, "svc"]),
        )
        for _ in range(300)
    ]


def test_any_order_and_any_number_of_writers_leave_equal_tables(postgres, template_database):
    """Shuffled, doubled, split and delivered by three writers at once: the tables of one call."""
    losses = some_losses()
    names = [f"xray_losses_{n}_{random.randrange(10**9)}" for n in (0, 1)]
    urls = [postgres.create(name, template_database) for name in names]
    single = PostgresWriter(urls[0])
    single.write([Batch(NOW_NS, losses=losses)])
    single.close()

    def deliver(seed: int) -> None:
        shuffled = losses * 2
        random.Random(seed).shuffle(shuffled)
        writer = PostgresWriter(urls[1])
        for start in range(0, len(shuffled), 23):
            results = writer.write([Batch(NOW_NS, losses=shuffled[start : start + 23])])
            assert not any(result.refused for result in results)
        writer.close()

    with ThreadPoolExecutor(3) as threads:
        list(threads.map(deliver, (1, 2, 3)))
    assert dump_tables(urls[1]) == dump_tables(urls[0])
    assert fetch(urls[1], "SELECT sum(deliveries) FROM losses")[0][0] > len(losses)
    for name in names:
        postgres.drop(name)


@pytest.mark.parametrize(
    ("poison", "entry"),
    [
        (StepCopy("run-1", "s1", "1", terminal=True, name="a\0b"), ("steps", "s1/1/end", 1, "s1", "1")),
        (StepCopy("run-1", "s1", "1", terminal=True, why="\ud800"), ("steps", "s1/1/end", 1, "s1", "1")),
        (
            DecisionChunk("run-1", "s1", "1", 2**31, 1, 9, b"\x01"),
            ("decisions", "s1/1/2147483648", 9, "s1", "1"),
        ),
        (
            DecisionChunk("run-1", "s1", "1", 0, 1, 2**70, b"\x01"),
            ("decisions", "s1/1/0", 2**63 - 1, "s1", "1"),
        ),
        (BAD_ARTIFACT, ("artifacts", artifact_subject(BAD_ARTIFACT), 1, "s1", "1")),
        (RunCopy("run-1", terminal=True, entity="a\0b"), ("runs", "/end", 1, None, None)),
        (RunWait("run-1", NOW_NS, 2**80), ("runs", "/wait", 1, None, None)),
    ],
)
def test_what_the_database_refuses_is_in_the_ledger(writer, database_url, poison, entry):
    """A refused row is named in the result and counted under its run, which is made if need be."""
    fields = {"RunCopy": "runs", "RunWait": "waits", "StepCopy": "steps", "DecisionChunk": "decisions"}
    field = fields.get(type(poison).__name__, "artifacts")
    for _ in range(2):
        (result,) = writer.write([Batch(received_ns=NOW_NS, **dict[str, Any]({field: [poison]}))])
        assert [refused.row for refused in result.refused] == [poison]
        assert result.stored == 0
    assert fetch(database_url, LEDGER) == [("refused", *entry)]
    assert fetch(database_url, "SELECT run_id FROM runs") == [("run-1",)]


def test_a_row_that_is_refused_for_its_name_is_counted_all_the_same(writer, database_url):
    """Where the step's id itself is at fault a hash of it stands in the ledger."""
    long = "".join(random.Random(2).choices("abcdefghijklmnopqrstuvwxyz0123456789", k=20_000))
    steps = [StepCopy("run-1", step_id, "1", terminal=True) for step_id in (long, "a\0b", "a\0c")]
    (result,) = writer.write([Batch(NOW_NS, steps=steps)])
    assert len(result.refused) == 3
    found = fetch(database_url, LEDGER)
    assert [(cause, what, lost, step_id) for cause, what, _, lost, step_id, _ in found] == [
        ("refused", "steps", 1, None)
    ] * 3


def test_a_refused_run_leaves_no_loss(writer, database_url):
    """Nothing can be said about a run that has no row; its losses are refused as its steps are."""
    bad = "bad\0run"
    losses = [Loss(bad, "shed", "decisions", "s1/1/0", 1), Loss("run-1", "shed", "decisions", "a\0b", 1)]
    (result,) = writer.write([Batch(NOW_NS, losses=losses)])
    assert [refused.row for refused in result.refused] == losses
    assert fetch(database_url, LEDGER) == []
    assert fetch(database_url, "SELECT run_id FROM runs") == [("run-1",)]
