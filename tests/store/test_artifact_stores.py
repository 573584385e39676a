"""Payloads in an object store: put before the commit, never twice, deleted when nothing refers to them."""

from __future__ import annotations

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from hashlib import sha256
from uuid import uuid4

import psycopg
import pytest

from store import wire
from store.adoption import Adopter
from store.artifacts import garbage, locks
from store.artifacts.objects import ObjectKey, ObjectMissing, StoreAway, parse_key
from store.artifacts.open import open_store
from store.artifacts.placing import Breaker, PlacingWriter
from store.artifacts.settings import ArtifactSettings
from store.erase import Eraser
from store.errors import SettingsError, Unavailable
from store.ids import run_key_bytes
from store.queries.filters import PageRequest
from store.rows import Artifact, Batch
from store.settings import load
from store.writer import PostgresWriter
from tests.fixtures.reading import START, ns, run_copy, step_copy
from tests.fixtures.waiting import wait_until

GENEROUS_S = 60.0
NOBODY = "s3://nobody/there"


@pytest.fixture
def folder(tmp_path):
    """A store in a folder."""
    return open_store(f"file://{tmp_path}/payloads", GENEROUS_S)


@pytest.fixture(params=["file", "s3"])
def objects(request, tmp_path):
    """A store of each kind that can be had here, empty."""
    if request.param == "file":
        return open_store(f"file://{tmp_path}/payloads", GENEROUS_S)
    s3 = request.getfixturevalue("s3")
    return open_store(f"{s3.url}/{uuid4().hex}", GENEROUS_S, allow_http=True)


@pytest.fixture
def connection(database_url):
    """A connection as upkeep has it."""
    with upkeep_connection(database_url) as connection:
        yield connection


@contextmanager
def upkeep_connection(url):
    """An autocommit connection that takes bytes."""
    with psycopg.connect(url, autocommit=True) as connection:
        wire.adapt(connection)
        yield connection


def artifact(run_id, data, **values):
    """An artifact of a run with its payload."""
    given = {"step_id": None, "attempt_key": None, "kind": "prompt", "content_type": "text/plain"} | values
    return Artifact(run_id, size_bytes=len(data), sha256=sha256(data).digest(), data=data, **given)


def batch(*artifacts):
    """A request with artifacts alone."""
    return Batch(ns(START), artifacts=artifacts)


def key_of(sent):
    """Name of the object that an artifact becomes."""
    return str(ObjectKey(run_key_bytes(sent.run_id), sent.sha256))


def paths(objects):
    """Names of all objects."""
    return sorted(found.path for page in objects.list() for found in page)


def placing(url, objects, *, timeout_s=GENEROUS_S, breaker=None):
    """A writer of payloads, closed after use, and what it counts."""
    counted: Counter[str] = Counter()

    def count(result, payloads):
        counted[result] += payloads

    return closing(PlacingWriter(url, objects, timeout_s=timeout_s, breaker=breaker, count=count)), counted


def test_an_object_store_keeps_its_promises(objects):
    """Both kinds alike: create-only, ranges, listing by folder, deleting what is there and what is not."""
    assert objects.put_new("aa/one", b"0123456789") is True
    assert objects.put_new("aa/one", b"other") is False
    assert objects.put_new("bb/two", b"") is True
    assert objects.get_range("aa/one", 0, 10) == b"0123456789"
    assert objects.get_range("aa/one", 2, 5) == b"234"
    assert (objects.exists("aa/one"), objects.exists("aa/two")) == (True, False)
    with pytest.raises(ObjectMissing):
        objects.get_range("aa/two", 0, 1)
    assert paths(objects) == ["aa/one", "bb/two"]
    assert [found.size_bytes for page in objects.list("aa") for found in page] == [10]
    objects.delete(["aa/two", "aa/one", "bb/two"])
    assert paths(objects) == []


def test_no_empty_folders_are_left(folder, tmp_path):
    """There is one for each run that ever had a large payload."""
    for name in ("aa/one", "aa/two", "bb/three"):
        folder.put_new(name, b"")
    folder.delete(["aa/one", "bb/three"])
    assert [path.name for path in (tmp_path / "payloads").iterdir()] == ["aa"]
    folder.delete(["aa/two"])
    assert list((tmp_path / "payloads").iterdir()) == []
    assert folder.put_new("aa/one", b"")


def test_names_of_objects():
    """A key and its text are the same; what others have put beside is not taken for ours."""
    key = ObjectKey(b"\x01" * 16, b"\x02" * 32)
    assert parse_key(str(key)) == key
    assert [parse_key(path) for path in ("x", f"{key}/y", str(key).upper().replace("0", "A"), "a/b")] == [
        None,
        None,
        None,
        None,
    ]


def test_a_payload_is_put_once_and_referred_to(objects, database_url, tables):
    """A delivery that comes again puts nothing; the same bytes of another run are another object."""
    sent = artifact("r", b"payload" * 100)
    other = artifact("q", b"payload" * 100, step_id="s", attempt_key="1")
    opened, counted = placing(database_url, objects)
    with opened as writer:
        (result,) = writer.write([batch(sent, other)])
        assert (result.stored, result.refused, result.created_runs) == (2, [], {"r", "q"})
        writer.write([batch(sent), batch(sent)])
    assert counted == {"put": 2, "known": 1}
    assert paths(objects) == sorted([key_of(sent), key_of(other)])
    rows = tables.rows("artifact_blobs")
    assert [(row["data"], row["run_key"] == row["object_run_key"]) for row in rows] == [(None, True)] * 2
    assert {row["deliveries"] for row in tables.rows("artifacts")} == {1, 3}


def test_a_refused_artifact_is_named_as_it_came(folder, database_url):
    """The receiver finds the very object in the result that it had sent."""
    good, bad = artifact("r", b"good"), artifact("r", b"bad", name="nul \0")
    opened, _ = placing(database_url, folder)
    with opened as writer:
        (result,) = writer.write([batch(good, bad)])
    assert [refused.row is bad for refused in result.refused] == [True]


def test_a_store_that_is_away_costs_payloads_and_nothing_else(database_url, s3, reader, monkeypatch, shelf):
    """What cannot be put is in the ledger with its cause; nothing is tried while the store is known away."""
    monkeypatch.setenv("AWS_ENDPOINT", "http://127.0.0.1:1")
    away = open_store(NOBODY, 1.0, allow_http=True)
    with pytest.raises(StoreAway):
        away.put_new("a", b"")
    opened, counted = placing(database_url, away, breaker=(breaker := Breaker()), timeout_s=1.0)
    shelf.put(run_copy("r"))
    with opened as writer:
        for data in (b"one", b"two"):
            (result,) = writer.write([batch(artifact("r", data))])
            assert not result.refused
            assert breaker.open
        breaker.note(away=False)
        assert not breaker.open
    assert counted == {"store_away": 2}
    (missing,) = reader.run_detail("r").run.completeness.missing
    assert (missing.cause, missing.what, missing.count) == ("store_away", "artifacts", 2)
    assert reader.losses(page=PageRequest()).items[0].cause == "store_away"


def test_garbage_is_what_nothing_refers_to(objects, database_url, connection):
    """Only that is deleted, only when it is old enough, and nothing that is not ours."""
    sent, trimmed, orphan = artifact("r", b"kept"), artifact("r", b"trimmed"), artifact("gone", b"orphan")
    opened, _ = placing(database_url, objects)
    with opened as writer:
        writer.write([batch(sent, trimmed)])
    objects.put_new(key_of(orphan), b"orphan")
    objects.put_new("somebody/elses", b"")
    connection.execute("DELETE FROM artifact_blobs WHERE sha256 = %s", [trimmed.sha256])
    assert garbage.collect(connection, objects, 3600.0).deleted == 0
    done = garbage.collect(connection, objects, 0.0)
    assert (done.seen, done.deleted, done.deleted_bytes, done.busy) == (4, 2, len(b"orphan" + b"trimmed"), 0)
    assert paths(objects) == sorted([key_of(sent), "somebody/elses"])


def test_a_reference_that_was_moved_still_counts(folder, database_url, connection):
    """Steps that were taken in by another run bring their payloads' rows, and the objects stay."""
    sent = artifact("r", b"moved")
    opened, _ = placing(database_url, folder)
    with opened as writer:
        writer.write([batch(sent)])
    connection.execute("UPDATE artifact_blobs SET run_key = %s", [run_key_bytes("other").hex()])
    assert garbage.collect(connection, folder, 0.0).deleted == 0
    connection.execute("DELETE FROM artifact_blobs")
    assert garbage.collect(connection, folder, 0.0).deleted == 1


def test_nothing_is_deleted_while_somebody_is_about_to_refer_to_it(folder, database_url, connection):
    """Between its put and its commit an object is nobody's garbage, however old it is."""
    sent = artifact("r", b"about to be")
    opened, _ = placing(database_url, folder)
    with opened as writer, psycopg.connect(database_url) as blocker:
        blocker.execute("LOCK TABLE artifact_blobs IN EXCLUSIVE MODE")
        thread = threading.Thread(target=writer.write, args=[[batch(sent)]])
        thread.start()
        wait_until(lambda: paths(folder), timeout_s=GENEROUS_S, what="the object to be put")
        done = garbage.collect(connection, folder, 0.0)
        assert (done.deleted, done.busy) == (0, 1)
        blocker.rollback()
        thread.join()
        assert garbage.collect(connection, folder, 0.0).deleted == 0
    assert paths(folder) == [key_of(sent)]


def test_collecting_beside_writers_never_leaves_a_row_without_its_object(folder, database_url):
    """Writers put the same few payloads again while their rows and objects are deleted all the time."""
    payloads = [artifact("r", bytes([number])) for number in range(4)]
    stop_forgetting, stop_collecting = threading.Event(), threading.Event()
    deleted: Counter[str] = Counter()

    def collect():
        with upkeep_connection(database_url) as connection:
            while not stop_collecting.is_set():
                deleted["objects"] += garbage.collect(connection, folder, 0.0).deleted

    def forget():
        with upkeep_connection(database_url) as connection:
            while not stop_forgetting.is_set():
                connection.execute("DELETE FROM artifact_blobs")

    def write(rounds):
        opened, _ = placing(database_url, folder)
        with opened as writer:
            for round_ in range(rounds):
                writer.write([batch(*payloads[round_ % 2 :])])

    with ThreadPoolExecutor(4) as pool, upkeep_connection(database_url) as connection:
        collecting = pool.submit(collect)
        try:
            for _ in range(10):
                forgetting = pool.submit(forget)
                for writing in [pool.submit(write, 5) for _ in range(2)]:
                    writing.result()
                stop_forgetting.set()
                forgetting.result()
                stop_forgetting.clear()
                # Rows that are committed from here on stay, and so must what they refer to.
                write(1)
                for each in payloads:
                    assert folder.exists(key_of(each)), "a committed row refers to an object that is gone"
                assert connection.execute("SELECT count(*) FROM artifact_blobs").fetchone() == (4,)
        finally:
            stop_forgetting.set()
            stop_collecting.set()
        collecting.result()
    assert deleted["objects"] > 0, "nothing was ever collected: the test shows nothing"


def test_a_lost_connection_takes_no_promise_with_it(folder, database_url, connection):
    """The locks went with it, so nothing is committed on another one; the next call looks again."""
    opened, counted = placing(database_url, folder)
    with opened as writer:
        writer.write([batch(artifact("r", b"first"))])
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE application_name = 'xray-writer' AND datname = current_database()"
        )
        writer.write([batch(artifact("r", b"second"))])
        held = connection.execute(
            "SELECT count(*) FROM pg_locks l JOIN pg_database d ON d.oid = l.database"
            " WHERE locktype = 'advisory' AND datname = current_database()"
        ).fetchone()
    assert counted == {"put": 2}
    assert held == (0,)


def test_erasing_a_run_erases_its_objects(objects, database_url):
    """At once and without a grace period; those of others stay, and what comes again is not put."""
    sent, other = artifact("secret", b"of the run"), artifact("other", b"of the run")
    opened, _ = placing(database_url, objects)
    with opened as writer:
        writer.write([batch(sent, other)])
        erased = Eraser(database_url, objects).run("secret")
        assert erased is not None
        assert erased.artifacts == 1
        assert paths(objects) == [key_of(other)]
        (result,) = writer.write([batch(sent)])
    assert {refused.cause for refused in result.refused} == {"erased"}
    assert paths(objects) == [key_of(other)]


def test_erasing_waits_for_a_put_that_has_begun(folder, database_url, connection):
    """Whoever did not know of the erasure may still put; what comes of it goes as well."""
    sent, late = artifact("secret", b"before"), artifact("secret", b"late")
    opened, _ = placing(database_url, folder)
    with opened as writer:
        writer.write([batch(sent)])
    slot = ObjectKey(run_key_bytes("secret"), late.sha256).slot
    assert locks.hold(connection, {slot}, 0.0) == {slot}
    with ThreadPoolExecutor(1) as pool:
        erasing = pool.submit(Eraser(database_url, folder).run, "secret")
        wait_until(
            lambda: connection.execute("SELECT count(*) FROM artifact_blobs").fetchone() == (0,),
            timeout_s=GENEROUS_S,
            what="the rows to be wiped",
        )
        folder.put_new(key_of(late), b"late")
        assert not erasing.done()
        locks.release(connection)
        assert erasing.result() is not None
    assert paths(folder) == []


@pytest.mark.parametrize("kind", ["busy", "away"])
def test_payloads_that_could_not_be_erased_are_said_and_go_when_asked_again(
    folder, database_url, connection, tables, monkeypatch, kind
):
    """Also those that came for the trace's own run, which only the erased row leads to."""
    monkeypatch.setattr("store.erase._OBJECTS_S", 0.1)
    trace = bytes([0xA2]) * 16
    with closing(PostgresWriter(database_url)) as plain:
        plain.write([Batch(ns(START), runs=[run_copy("home", trace_id=trace)])])
    sent = artifact(trace.hex(), b"of the trace")
    folder.put_new(key_of(sent), sent.data)
    eraser = Eraser(database_url, folder)
    if kind == "busy":
        slot = ObjectKey(run_key_bytes(trace.hex()), b"").slot
        assert locks.hold(connection, {slot}, 0.0) == {slot}
    else:
        monkeypatch.setattr(folder, "delete", _away)
    with pytest.raises(Unavailable, match="erased from the database"):
        eraser.run("home")
    assert paths(folder) == [key_of(sent)]
    locks.release(connection)
    monkeypatch.undo()
    assert eraser.run("home") is not None
    assert paths(folder) == []
    assert tables.one("runs")["trace_ids"] is None


def _away(_paths):
    raise StoreAway("as of a store that is away")


def test_a_payload_that_is_moved_stays_one_object(folder, database_url, connection, reader):
    """A step that another run takes in brings the row; the object keeps its name and is no garbage."""
    trace = bytes([0xA1]) * 16
    step = (bytes([1]) * 8).hex()
    took = step_copy(
        trace.hex(),
        step,
        attempt_key=step,
        attempt=None,
        inferred=True,
        trace_id=trace,
        span_id=bytes([1]) * 8,
    )
    sent = artifact(trace.hex(), b"of the step", step_id=step, attempt_key=step)
    opened, _ = placing(database_url, folder)
    with opened as writer, closing(Adopter(database_url)) as adopter:
        writer.write([Batch(ns(START), steps=[took]), batch(sent)])
        writer.write([Batch(ns(START), runs=[run_copy("home", trace_id=trace)])])
        while adopter.turn():
            pass
    (found,) = reader.run_detail("home").steps[0].artifacts
    content = reader.artifact(found.artifact_id)
    assert (content.data, content.object_path) == (None, key_of(sent))
    assert garbage.collect(connection, folder, 0.0).deleted == 0
    assert Eraser(database_url, folder).run("home") is not None
    assert paths(folder) == []


def test_payloads_stay_where_they_are_when_the_limit_moves(folder, database_url, tables):
    """A payload that lies in the database is not lost when it comes again and would be an object now."""
    sent = artifact("r", b"inline before")
    with closing(PostgresWriter(database_url)) as before:
        before.write([batch(sent)])
    opened, _ = placing(database_url, folder)
    with opened as writer:
        writer.write([batch(sent)])
    assert tables.one("artifact_blobs")["data"] == b"inline before"


@pytest.mark.parametrize(
    "url",
    [
        "memory:///",
        "http://host/bucket",
        "bucket/prefix",
        "file://relative",
        "file:///",
        "s3://",
        "ftp://h/x",
    ],
)
def test_a_url_that_names_no_lasting_store_stops_the_start(url):
    """With the variable, what it held and what is accepted."""
    with pytest.raises(SettingsError) as refused:
        load(ArtifactSettings, {"XRAY_ARTIFACT_URL": url})
    assert refused.value.variable == "XRAY_ARTIFACT_URL"
    assert "s3://bucket/prefix" in str(refused.value)
    assert "pip install" in str(refused.value)


def test_settings_open_a_store(tmp_path):
    """Unset there is none; a folder is made with what it stands in."""
    assert load(ArtifactSettings, {}).open() is None
    objects = load(ArtifactSettings, {"XRAY_ARTIFACT_URL": f"file://{tmp_path}/a/b"}).open()
    assert objects is not None
    assert objects.put_new("c", b"d")
    assert (tmp_path / "a/b/c").read_bytes() == b"d"
