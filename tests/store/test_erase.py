"""Erasing: nothing is left of an id in any row, counts stay, and what comes again does not bring it back."""

from __future__ import annotations

import random
import threading
from contextlib import closing
from functools import partial
from hashlib import sha256

import httpx
import orjson
import psycopg
import pytest

from api.app import create_app
from api.routes import erase as routes
from api.settings import ApiSettings
from store.adoption import Adopter
from store.decisions import unpack
from store.erase import Eraser
from store.erasures import MARKER
from store.ids import run_key
from store.rows import Artifact, Batch, Loss, Outcome
from store.schema import metadata
from store.settings import load
from store.wiping import wipe_item
from store.writer import PostgresWriter
from tests.fixtures.reading import START, RestServer, chunk, ns, run_copy, seconds, step_copy
from tests.fixtures.waiting import wait_until

SECRET = "customer-4711-secret"
ITEM = "sku-0815-secret"


def rows_with(url, token):
    """Tables with a row that holds the bytes of a token, packed decisions opened; as a dump would show."""
    spelled = (token, token.encode().hex())
    found = set()
    with psycopg.connect(url) as connection:
        for name in metadata.tables:
            for (row,) in connection.execute(f"SELECT t::text FROM {name} t"):
                if any(each in row for each in spelled):
                    found.add(name)
        for (data,) in connection.execute("SELECT data FROM decisions WHERE data IS NOT NULL"):
            if token in repr(unpack(data)):
                found.add("decisions")
    return found


def telling(run_id, at=0.0):
    """A batch of a run that names itself wherever it can."""
    payload = f"payload of {run_id}".encode()
    said = {"about": run_id}
    trace = b"\x33" * 16
    return Batch(
        ns(seconds(at)),
        runs=[
            run_copy(run_id, at, entity=run_id, tags={"t": run_id}, input=said, output=said, trace_id=trace),
            run_copy(run_id, at, terminal=False, status=None, entity=run_id, input=said),
        ],
        steps=[
            step_copy(
                run_id, f"{run_id}/derived", at, why=run_id, input=said, output=said, reasoning=said,
                error_message=run_id, selected_id=run_id, parents=(f"{run_id}/before",), candidates_in=10,
                candidates_out=3, decisions_chunks=1, decisions_recorded=2, trace_id=trace,
            ),
            step_copy(run_id, f"{run_id}/derived", at, terminal=False, status=None, input=said),
            step_copy(run_id, "plain", at, metrics={"recall": 0.5}),
        ],
        decisions=[chunk(run_id, f"{run_id}/derived", [f"item of {run_id}", "x"], "KK")],
        artifacts=[
            Artifact(
                run_id, None, None, "note", "text/plain", len(payload), sha256(payload).digest(), data=payload
            )
        ],
        losses=[Loss(run_id, "shed", "decisions", f"{run_id}/derived/1/7", 5, f"{run_id}/derived", "1")],
        outcomes=[Outcome(run_id, "refunded", None, run_id, ns(START), "test")],
    )  # fmt: skip


@pytest.fixture
def writer(database_url):
    """A writer on the test's database."""
    with closing(PostgresWriter(database_url)) as writer:
        yield writer


def numbers(reader):
    """What metrics are made of."""
    return [
        (group.steps, group.candidates_in, group.candidates_out, group.drop_ratio, group.duration_ms)
        for group in reader.step_metrics().items
    ]


def test_nothing_is_left_of_an_erased_run(database_url, writer, reader):
    """No table holds its id nor anything it said; the numbers of its steps stay, and other runs."""
    (result,) = writer.write([telling(SECRET)])
    assert not result.refused
    writer.write([telling("another")])
    assert rows_with(database_url, SECRET) >= {"runs", "steps", "decisions", "artifact_blobs", "losses"}
    before = numbers(reader)
    erased = Eraser(database_url).run(SECRET)
    assert erased is not None
    assert (erased.steps, erased.decisions, erased.artifacts, erased.outcomes) == (2, 1, 1, 1)
    assert rows_with(database_url, SECRET) == set()
    assert numbers(reader) == before
    assert reader.run(SECRET) is None
    nameless = f"erased-{run_key(SECRET).hex}"
    detail = reader.run_detail(nameless)
    assert [step.candidates_in for step in detail.steps] == [10, None]
    assert {run.run_id for run in reader.runs().items} == {"another", nameless}
    assert reader.run_detail("another").steps[0].why == "another"
    assert rows_with(database_url, "another") >= {"runs", "steps", "decisions", "artifact_blobs", "losses"}


def test_what_comes_again_for_an_erased_run_stays_out(database_url, writer):
    """By the writer that stored it, which remembers the run, and by another; nothing else is held up."""
    writer.write([telling(SECRET)])
    Eraser(database_url).run(SECRET)
    with closing(PostgresWriter(database_url)) as other:
        for each in (writer, other):
            both = telling(SECRET, 5.0)
            fresh = run_copy("fresh", 6.0)
            (result,) = each.write([Batch(both.received_ns, runs=[*both.runs, fresh], steps=both.steps)])
            assert {refused.cause for refused in result.refused} == {"erased"}
            assert len(result.refused) == 5
            assert result.stored == 1
    assert rows_with(database_url, SECRET) == set()


def test_asking_again_ends_what_was_interrupted(database_url, writer):
    """Erasing is repeatable; what is not known is said."""
    writer.write([telling(SECRET)])
    eraser = Eraser(database_url)
    eraser.run(SECRET)
    again = eraser.run(SECRET)
    assert again is not None
    assert again.steps == 2
    assert eraser.run("nobody") is None
    assert eraser.run("no\x00body") is None


def test_nothing_is_left_of_an_erased_item(database_url, writer, reader):
    """In chunks with and without a filter, as the selected one, in outcomes; other items stay."""
    items = [f"other-{number}" for number in range(20)]
    named = chunk("r", "s", [*items, ITEM], "K" * 20 + "W")
    unfiltered = chunk("r", "t", [ITEM, "x"], "WK")._replace(item_filter=None)
    batch = Batch(
        ns(START),
        runs=[run_copy("r")],
        steps=[
            step_copy("r", "s", selected_id=ITEM, candidates_in=21, candidates_out=1),
            step_copy("r", "t"),
            step_copy("r", "u", terminal=False, status=None, selected_id=ITEM),
            step_copy("r", "u"),
        ],
        decisions=[named, unfiltered, chunk("r", "u", ["y"], "K")],
        outcomes=[Outcome("r", "returned", ITEM, True, ns(START), "test")],
    )  # fmt: skip
    writer.write([batch])
    assert rows_with(database_url, ITEM) == {"steps", "decisions", "outcomes"}
    before = numbers(reader)
    erased = Eraser(database_url).item(ITEM)
    assert (erased.chunks, erased.steps, erased.outcomes) == (2, 2, 1)
    assert rows_with(database_url, ITEM) == set()
    assert numbers(reader) == before
    assert reader.item_history(ITEM).items == []
    assert reader.journey("r", ITEM) is None
    decisions = reader.decisions("r", "s").items
    assert [decision.item_id for decision in decisions] == [*items, MARKER]
    assert decisions[-1].verdict == "selected"
    assert {step.selected_id for step in reader.run_detail("r").steps} == {MARKER, None}
    # Again, and from another sender, with other news beside it.
    for each in (batch, Batch(ns(seconds(9)), decisions=[chunk("q", "s", [ITEM], "K")])):
        (result,) = writer.write([each])
        assert {refused.cause for refused in result.refused} <= {"erased"}
    with closing(PostgresWriter(database_url)) as other:
        other.write([batch, Batch(ns(seconds(9)), steps=[step_copy("q", "s", selected_id=ITEM)])])
    assert rows_with(database_url, ITEM) == set()
    assert len(reader.decisions("r", "s").items) == 21
    assert len(reader.decisions("q", "s").items) == 1


def test_any_items_are_erased_and_all_others_stay(database_url, writer, reader):
    """Random chunks of few names, so that they meet often."""
    dice = random.Random(5)
    names = [f"item-{number:03}" for number in range(40)]
    for number in range(30):
        chosen = dice.sample(names, dice.randrange(1, 12))
        run_id, step_id = f"r{number % 7}", f"s{number}"
        evidence = chunk(run_id, step_id, chosen, "K" * len(chosen))
        writer.write(
            [Batch(ns(seconds(number)), steps=[step_copy(run_id, step_id, number)], decisions=[evidence])]
        )
    before = {name: len(reader.item_history(name).items) for name in names}
    gone = dice.sample(names, 3)
    for name in gone:
        Eraser(database_url).item(name)
    assert {name: len(reader.item_history(name).items) for name in names} == before | dict.fromkeys(gone, 0)
    for name in gone:
        assert rows_with(database_url, name) == set()
    assert len(reader.item_history(MARKER).items) == sum(before[name] for name in gone)


def test_writers_in_the_midst_bring_nothing_back(database_url):
    """Others go on sending about the run and the item while both are erased."""
    done, failed, rounds = threading.Event(), [], []

    def send(name):
        with closing(PostgresWriter(database_url)) as writer:
            number = 0
            while not done.is_set():
                number += 1
                sent = telling(SECRET, number)
                chunks = [chunk("r", f"{name}-{number}", [ITEM, "x"], "KK")]
                try:
                    writer.write([sent, Batch(sent.received_ns, decisions=chunks)])
                except Exception as error:  # noqa: BLE001  # shown by the test
                    failed.append(error)
                    return
                rounds.append(name)

    threads = [threading.Thread(target=send, args=[name]) for name in ("a", "b")]
    for thread in threads:
        thread.start()
    try:
        wait_until(lambda: len(rounds) > 6, timeout_s=120, what="writes")
        assert Eraser(database_url).run(SECRET) is not None
        Eraser(database_url).item(ITEM)
        sent = len(rounds)
        wait_until(lambda: len(rounds) > sent + 6 or failed, timeout_s=120, what="more writes")
    finally:
        done.set()
        for thread in threads:
            thread.join(60)
    assert not failed
    assert rows_with(database_url, SECRET) == set()
    assert rows_with(database_url, ITEM) == set()


def test_a_writer_that_was_held_up_brings_nothing_back(database_url, writer, reader):
    """It looked before the erasure, and had not written anything yet when the rows were wiped."""
    writer.write([Batch(ns(START), runs=[run_copy("r")])])
    late = Batch(ns(START), decisions=[chunk("q", "s", [ITEM], "K")])
    with psycopg.connect(database_url) as holding, psycopg.connect(database_url, autocommit=True) as seeing:
        holding.execute("LOCK TABLE runs")
        thread = threading.Thread(target=writer.write, args=[[late]])
        thread.start()
        waiting = "SELECT 1 FROM pg_locks WHERE relation = 'runs'::regclass AND NOT granted"
        wait_until(lambda: seeing.execute(waiting).fetchone(), timeout_s=60, what="the writer")
        Eraser(database_url).item(ITEM)
        holding.rollback()
        thread.join(60)
    assert rows_with(database_url, ITEM) == set()
    assert len(reader.decisions("q", "s").items) == 1


@pytest.mark.parametrize("table", ["decisions", "steps"])
def test_a_row_that_is_replaced_at_that_moment_is_found(database_url, writer, table):
    """A writer that merges a row deletes it and stores another: one that waits for the first sees neither."""
    step = step_copy("r", "s", selected_id=ITEM)
    writer.write([Batch(ns(START), steps=[step], decisions=[chunk("r", "s", [ITEM], "W")])])
    with psycopg.connect(database_url) as replacing, psycopg.connect(database_url) as own:
        own.autocommit = True
        replacing.execute(f"CREATE TEMP TABLE same ON COMMIT DROP AS SELECT * FROM {table}")
        replacing.execute(f"DELETE FROM {table}")
        thread = threading.Thread(target=wipe_item, args=[own, ITEM])
        thread.start()
        wait_until(partial(waits_for, replacing, own), timeout_s=60, what="the erasure to wait")
        replacing.execute(f"INSERT INTO {table} SELECT * FROM same")
        replacing.commit()
        thread.join(60)
        assert not thread.is_alive()
    assert rows_with(database_url, ITEM) == set()


def waits_for(one, other):
    """Whether a session holds up another."""
    blocking = one.execute("SELECT pg_blocking_pids(%s)", [other.info.backend_pid]).fetchone()[0]
    return one.info.backend_pid in blocking


@pytest.mark.parametrize("run_id", ["ok", "5", "sent", 'quo"te', "{a,b}", "recall", "filter"])
def test_any_id_can_be_erased(database_url, writer, reader, run_id):
    """Also one that is a word of ours, a number, or has signs that JSON and arrays write in another way."""
    writer.write([telling(run_id)])
    before = numbers(reader)
    erased = Eraser(database_url).run(run_id)
    assert erased is not None
    detail = reader.run_detail(f"erased-{run_key(run_id).hex}")
    assert [(step.status, step.step_type) for step in detail.steps] == [("ok", "filter")] * 2
    assert reader.run(run_id) is None
    assert numbers(reader) == before


def test_an_erased_run_takes_no_steps_in(database_url, writer, reader):
    """Of a trace that it was seen in, be it one of so many that its row does not name it."""
    traces = [bytes([number]) * 16 for number in range(17, 0, -1)]
    for trace in traces:
        writer.write([Batch(ns(START), runs=[run_copy("home", trace_id=trace)])])
    Eraser(database_url).run("home")
    first = traces[0]
    writer.write([Batch(ns(START), steps=[step_copy(first.hex(), "s", trace_id=first, inferred=True)])])
    with closing(Adopter(database_url)) as adopter:
        while adopter.turn():
            pass
    assert reader.run_detail(f"erased-{run_key('home').hex}").steps == []
    assert len(reader.run_detail(first.hex()).steps) == 1


def test_what_contracts_found_names_no_erased_run(database_url, writer):
    """The evidence of a verdict is run ids."""
    writer.write([telling(SECRET)])
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO contract_results (contract_id, checked_at, state, result)"
            " VALUES ('c', now(), 'violated', %s)",
            [orjson.dumps({"evidence": [{"run_id": SECRET, "value": 4711}]}).decode()],
        )
    Eraser(database_url).run(SECRET)
    assert rows_with(database_url, SECRET) == set()


def test_the_routes_ask_for_admin(database_url, writer, reader, guard, keys):
    """DELETE erases; without the scope nothing happens."""
    writer.write([telling(SECRET)])
    routers = (routes.router(Eraser(database_url)),)
    server = RestServer(create_app(load(ApiSettings, {}), reader, routers=routers, guard=guard))
    try:
        with httpx.Client(base_url=f"{server.url}/api/v1", timeout=60.0, trust_env=False) as client:

            def ask(path, key):
                return client.delete(path, headers={"Authorization": f"Bearer {key}"})

            for key, status in ((keys.read, 403), (keys.ingest, 403), (keys.unknown, 401)):
                assert ask(f"/runs/{SECRET}", key).status_code == status
                assert ask(f"/items/{ITEM}", key).status_code == status
            assert reader.run(SECRET) is not None
            answer = ask(f"/runs/{SECRET}", keys.admin)
            assert (answer.status_code, answer.json()["steps"]) == (200, 2)
            assert ask("/runs/nobody", keys.admin).status_code == 404
            assert ask("/items/a%2Fb", keys.admin).json() == {"chunks": 0, "steps": 0, "outcomes": 0}
    finally:
        server.stop()
    assert rows_with(database_url, SECRET) == set()
