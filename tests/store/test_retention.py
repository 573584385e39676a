"""Retention: what expires when, what becomes of data that comes too late, and that nobody is held up."""

from __future__ import annotations

import threading
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from functools import partial
from hashlib import sha256

import psycopg
import pytest

from store import wire
from store.errors import SettingsError
from store.floors import Floors, read_floors
from store.partition_care import care
from store.partitions import Partitions, partition_name, week_of
from store.reader import Reader
from store.retention import (
    Expired,
    Policy,
    counted,
    delete_expired,
    detach_at_once,
    detach_behind_readers,
    drop_expired,
    earlier_day,
    expire,
    expired_partitions,
    raise_floors,
)
from store.rows import Artifact, Batch, Loss, Outcome
from store.schema import PARTITIONED_TABLES
from store.settings import load
from store.upkeep_settings import UpkeepSettings
from store.writer import PostgresWriter
from tests.fixtures.reading import chunk, run_copy, step_copy
from tests.fixtures.waiting import wait_until

TODAY = date(2026, 11, 18)
"""A Wednesday."""
WEEK = timedelta(days=7)


def received_ns(day):
    """Noon of a day."""
    return int(datetime(day.year, day.month, day.day, 12, tzinfo=UTC).timestamp()) * 10**9


def payload(run_id):
    """An artifact of a run's own."""
    data = f"payload of {run_id}".encode()
    return Artifact(run_id, None, None, "note", "text/plain", len(data), sha256(data).digest(), data=data)


def store(writer, run_id, day, *steps, at=None):
    """Store a run that was received on a day, with a step, its decisions and an artifact; the result."""
    seconds = ((at or day) - date(2025, 3, 1)).days * 86_400
    steps = steps or ("s",)
    batch = Batch(
        received_ns(day),
        runs=[run_copy(run_id, seconds)],
        steps=[step_copy(run_id, step, seconds, decisions_chunks=1, decisions_recorded=1) for step in steps],
        decisions=[chunk(run_id, step, [f"item-{run_id}"], "K") for step in steps],
        artifacts=[payload(run_id)],
    )
    (result,) = writer.write([batch])
    return result


@pytest.fixture
def writer(database_url):
    """A writer on the test's database."""
    with closing(PostgresWriter(database_url)) as writer:
        yield writer


@pytest.fixture
def connection(database_url):
    """An autocommit connection, as a task of upkeep gets one."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        wire.adapt(connection)
        yield connection


def count(connection, table):
    """Rows of a table."""
    return connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]


def weeks(connection, table):
    """Weeks of which a table has partitions."""
    found = connection.execute(
        "SELECT to_date(right(relname, 8), 'YYYYMMDD') FROM pg_inherits JOIN pg_class c ON c.oid = inhrelid"
        " WHERE inhparent = %s::regclass",
        [table],
    )
    return {week for (week,) in found}


def test_only_whole_weeks_expire():
    """A week goes when its last day is as old as the policy says."""
    for days_ago, gone in ((30, True), (29, False)):
        sunday = TODAY - timedelta(days=days_ago)
        monday = week_of(sunday)
        today = monday + timedelta(days=6 + days_ago + 1) if gone else monday + timedelta(days=6 + days_ago)
        floor = Policy(runs_days=days_ago).floors(today).runs
        assert (monday < floor) is gone
    assert Policy().floors(TODAY) == Floors()
    assert Policy().keeps_all


def test_a_clock_that_is_ahead_drops_nothing(connection):
    """Of the two clocks the earlier one counts: ours, and the database's."""
    assert earlier_day(connection, date.min) == date.min
    assert earlier_day(connection, date.max) < date.max


def test_each_kind_expires_in_its_time(connection, writer, database_url):
    """Decisions and artifacts go before their runs; what is left answers and says what has expired."""
    ages = {"old": 40, "middle": 20, "fresh": 0}
    for name, days in ages.items():
        assert not store(writer, name, TODAY - timedelta(days=days)).refused
    policy = Policy(runs_days=30, decisions_days=14, artifacts_days=7)
    expire(connection, policy, lambda: TODAY)
    assert [count(connection, table) for table in ("runs", "steps", "decisions", "artifacts")] == [2, 2, 1, 1]
    assert count(connection, "artifact_blobs") == 1
    assert read_floors(connection) == policy.floors(TODAY)
    with closing(Reader.open(database_url)) as reader:
        assert reader.run("old") is None
        assert {run.run_id for run in reader.runs().items} == {"middle", "fresh"}
        middle, fresh = reader.run_detail("middle"), reader.run_detail("fresh")
        assert middle is not None
        assert fresh is not None
        assert [(entry.cause, entry.what) for entry in middle.run.completeness.missing] == [
            ("expired", "chunks")
        ]
        assert (middle.run.completeness.evidence, fresh.run.completeness.evidence) == ("none", "full")
        assert [entry.cause for entry in middle.steps[0].completeness.missing] == ["expired"]
        assert "decisions_missing" not in {flag.code for flag in middle.steps[0].flags}
        assert not fresh.run.completeness.missing
        assert reader.journey("middle", "item-middle") is None
        assert reader.item_history("item-middle").items == []
        assert len([row for batch in reader.every_decision() for row in batch]) == 1
    # Again, there is nothing to do.
    expire(connection, policy, lambda: TODAY)
    assert count(connection, "runs") == 2


def test_a_policy_that_is_relaxed_brings_nothing_back(connection, writer):
    """Floors never go back, and no partition is made below them."""
    store(writer, "old", TODAY - timedelta(days=40))
    expire(connection, Policy(runs_days=30), lambda: TODAY)
    floor = read_floors(connection).runs
    expire(connection, Policy(runs_days=300), lambda: TODAY)
    expire(connection, Policy(), lambda: TODAY)
    assert read_floors(connection).runs == floor
    assert all(week >= floor for week in weeks(connection, "steps"))


def test_what_comes_for_an_expired_run_is_refused_and_counted(connection, writer):
    """By a writer that remembers the run, and by one that has to look; others' rows are stored."""
    day = TODAY - timedelta(days=40)
    store(writer, "old", day)
    store(writer, "fresh", TODAY)
    floors = raise_floors(connection, Policy(runs_days=30).floors(TODAY))
    drop_expired(connection, floors)
    with closing(PostgresWriter(connection.info.dsn)) as other:
        for each in (writer, other):
            late = Batch(
                received_ns(TODAY),
                runs=[run_copy("old", 5, output=f"of {id(each)}")],
                steps=[step_copy("old", f"late {id(each)}"), step_copy("fresh", f"late {id(each)}")],
                decisions=[chunk("old", "s", ["x"], "K", index=3)],
                outcomes=[Outcome("old", "bad", None, True, None), Outcome("fresh", "bad", None, True, None)],
            )
            (result,) = each.write([late])
            assert {(type(refused.row).__name__, refused.cause) for refused in result.refused} == {
                ("RunCopy", "expired"),
                ("StepCopy", "expired"),
                ("DecisionChunk", "expired"),
                ("Outcome", "expired"),
            }
            assert result.stored == 2
    assert count(connection, "steps") == 3
    assert count(connection, "outcomes") == 1
    assert weeks(connection, "steps") >= {week_of(TODAY)}
    assert week_of(day) not in weeks(connection, "steps")


def test_evidence_that_comes_too_late_stands_in_the_ledger(connection, writer, database_url):
    """Of a run that is there: its steps are stored, its decisions are losses with the cause."""
    day = TODAY - timedelta(days=20)
    store(writer, "r", day)
    expire(connection, Policy(runs_days=30, decisions_days=7, artifacts_days=7), lambda: TODAY)
    result = store(writer, "r", TODAY, "late")
    assert sorted(type(refused.row).__name__ for refused in result.refused) == ["Artifact", "DecisionChunk"]
    assert {refused.cause for refused in result.refused} == {"expired"}
    assert count(connection, "steps") == 2
    with closing(Reader.open(database_url)) as reader:
        totals = {(entry.cause, entry.what): entry.count for entry in reader.loss_totals().items}
        assert totals == {("expired", "decisions"): 1, ("expired", "artifacts"): 1}
        detail = reader.run_detail("r")
        assert detail is not None
        assert {entry.cause for entry in detail.run.completeness.missing} == {"expired"}


def test_a_writer_whose_clock_is_far_behind_makes_no_old_partition(connection, writer):
    """Its rows are refused; a crash or a new week of long ago would be worse."""
    expire(connection, Policy(runs_days=30), lambda: TODAY)
    result = store(writer, "behind", TODAY - timedelta(days=400))
    assert {refused.cause for refused in result.refused} == {"expired"}
    assert not weeks(connection, "steps")
    expire(connection, Policy(runs_days=30), lambda: TODAY)
    assert count(connection, "runs") == 0


def test_rows_of_other_tables_go_as_well(connection, writer):
    """Traces and losses that name no run leave nothing of old times."""
    for name, day, trace in (("old", TODAY - timedelta(days=40), b"\xa1"), ("fresh", TODAY, b"\xa2")):
        loss = Loss(None, "client_queue", "steps", f"report-{name}", 3)
        copy = run_copy(name, trace_id=trace * 16)
        writer.write([Batch(received_ns(day), runs=[copy], losses=[loss])])
    tables = ("runs", "traces", "sender_losses")
    assert [count(connection, table) for table in tables] == [2, 2, 2]
    expire(connection, Policy(runs_days=30), lambda: TODAY)
    assert [count(connection, table) for table in tables] == [1, 1, 1]


def test_runs_wait_for_the_roll_ups_with_their_steps(connection, writer):
    """A step may be counted under a name that its run gives, so both go in one turn; for a week at most."""
    for days in (31, 40):
        store(writer, f"old-{days}", TODAY - timedelta(days=days))
    floors = raise_floors(connection, Policy(runs_days=30).floors(TODAY))
    ready = counted(connection, floors)
    assert ready == floors._replace(runs=floors.runs - WEEK)
    drop_expired(connection, ready)
    delete_expired(connection, ready)
    assert connection.execute("SELECT run_id FROM runs").fetchall() == [("old-31",)]
    assert count(connection, "steps") == 1
    expire(connection, Policy(runs_days=30), lambda: TODAY)
    assert (count(connection, "runs"), count(connection, "steps")) == (0, 0)
    assert connection.execute("SELECT sum(steps) FROM step_hours").fetchone() == (1,)


def test_a_partition_is_detached_while_others_are_written(connection, writer, database_url):
    """Writers go on while a reader that takes long keeps the partitions from going."""
    store(writer, "old", TODAY - timedelta(days=40))
    store(writer, "fresh", TODAY)
    floors = raise_floors(connection, Policy(runs_days=30).floors(TODAY))
    steps, *_ = (each for each in expired_partitions(connection, floors) if each.parent == "steps")
    with psycopg.connect(database_url) as reading:
        reading.execute("SELECT count(*) FROM steps")
        assert not detach_at_once(connection, [steps])
        thread = threading.Thread(target=drop_expired, args=[connection, floors])
        thread.start()
        for number in range(20):
            assert not store(writer, f"meanwhile-{number}", TODAY).refused
        assert thread.is_alive()
        reading.rollback()
        thread.join(60)
        assert not thread.is_alive()
    assert min(weeks(connection, "steps")) >= floors.runs
    assert count(connection, "steps") == 21


def test_partitions_go_all_at_once_where_nobody_reads(connection, writer):
    """With a writer at work, in the gaps between its transactions."""
    for days in (40, 47, 54):
        store(writer, f"old-{days}", TODAY - timedelta(days=days))
    floors = raise_floors(connection, Policy(runs_days=30).floors(TODAY))
    steps = [each for each in expired_partitions(connection, floors) if each.parent == "steps"]
    assert detach_at_once(connection, steps)
    found = expired_partitions(connection, floors)
    assert {each.parent for each in found if not each.attached} == {"steps"}
    drop_expired(connection, floors)
    assert not expired_partitions(connection, floors)


def test_what_was_interrupted_is_ended_by_the_next_turn(connection, writer, database_url):
    """Between detaching and dropping, and within detaching."""
    for days in (40, 47):
        store(writer, f"old-{days}", TODAY - timedelta(days=days))
    policy = Policy(runs_days=30)
    older, old = (week_of(TODAY - timedelta(days=days)) for days in (47, 40))
    detach_behind_readers(connection, Expired("steps", partition_name("steps", older), True, False))
    with psycopg.connect(database_url) as reading, psycopg.connect(database_url, autocommit=True) as hasty:
        reading.execute("SELECT count(*) FROM steps")
        hasty.execute("SET statement_timeout = '500ms'")
        with pytest.raises(psycopg.errors.QueryCanceled):
            detach_behind_readers(hasty, Expired("steps", partition_name("steps", old), True, False))
    pending = {
        (each.name, each.attached, each.pending)
        for each in expired_partitions(connection, policy.floors(TODAY))
        if each.parent == "steps"
    }
    assert pending >= {
        (partition_name("steps", older), False, False),
        (partition_name("steps", old), True, True),
    }
    expire(connection, policy, lambda: TODAY)
    assert not expired_partitions(connection, policy.floors(TODAY))
    assert count(connection, "runs") == 0


def test_what_is_half_detached_does_not_keep_others_from_going_behind_a_reader(
    connection, writer, database_url
):
    """A table detaches one partition at a time: that which was begun comes first."""
    for days in (40, 54):
        store(writer, f"old-{days}", TODAY - timedelta(days=days))
    floors = raise_floors(connection, Policy(runs_days=30).floors(TODAY))
    steps = [each for each in expired_partitions(connection, floors) if each.parent == "steps"]
    with psycopg.connect(database_url) as reading, psycopg.connect(database_url, autocommit=True) as hasty:
        reading.execute("SELECT count(*) FROM steps")
        hasty.execute("SET statement_timeout = '500ms'")
        with pytest.raises(psycopg.errors.QueryCanceled):
            detach_behind_readers(hasty, steps[-1])
        reading.rollback()
        reading.execute("SELECT count(*) FROM steps")
        thread = threading.Thread(target=drop_expired, args=[connection, floors])
        thread.start()
        pending = "SELECT 1 FROM pg_inherits WHERE inhdetachpending AND inhrelid = %s::regclass"
        wait_until(
            lambda: hasty.execute(pending, [steps[0].name]).fetchone(), timeout_s=60, what="the next one"
        )
        reading.rollback()
        thread.join(60)
        assert not thread.is_alive()
    assert not expired_partitions(connection, floors)


def test_writers_store_all_the_while_weeks_are_dropped(connection, database_url):
    """Several of them, into fresh and expired runs, while partitions come and go: nothing fails."""
    days = [TODAY - WEEK * number for number in range(8)]
    with closing(PostgresWriter(database_url)) as first:
        for number, day in enumerate(days):
            store(first, f"run-{number}", day)
    done, failed, stored = threading.Event(), [], []

    def write(name):
        with closing(PostgresWriter(database_url)) as writer:
            turn = 0
            while not done.is_set():
                turn += 1
                for number in range(len(days)):
                    try:
                        result = store(writer, f"run-{number}", TODAY, f"{name}-{turn}")
                        stored.append((number, not result.refused))
                    except Exception as error:  # noqa: BLE001  # shown by the test
                        failed.append(error)
                        return

    def met(enough):
        return len(stored) > enough or failed

    threads = [threading.Thread(target=write, args=[name]) for name in ("a", "b")]
    for thread in threads:
        thread.start()
    try:
        for keep in (42, 28, 14, 7):
            enough = len(stored) + 16
            expire(connection, Policy(runs_days=keep), lambda: TODAY)
            wait_until(partial(met, enough), timeout_s=120, what="writes")
    finally:
        done.set()
        for thread in threads:
            thread.join(60)
    assert not failed
    assert all(whole for number, whole in stored if number < 2)
    # What was stored between counting and dropping was left for a turn like this one.
    expire(connection, Policy(runs_days=7), lambda: TODAY)
    floor = read_floors(connection).runs
    assert min(weeks(connection, "steps")) >= floor
    orphans = connection.execute(
        "SELECT count(*) FROM steps s LEFT JOIN runs r ON r.run_key = s.run_key AND r.run_day = s.run_day"
        " WHERE r.run_key IS NULL"
    )
    assert orphans.fetchone() == (0,)


def test_partitions_are_made_ahead_even_when_nothing_is_written(connection):
    """This week's and the next's, of every table, and what a migration has added to weeks that are there."""
    care(connection, lambda: TODAY)
    this, following = week_of(TODAY), week_of(TODAY) + WEEK
    for table in PARTITIONED_TABLES:
        assert weeks(connection, table.name) == {this, following}
    old = this - WEEK
    Partitions().ensure(connection, [old])
    connection.execute(f"DROP TABLE {partition_name('losses', old)}")
    care(connection, lambda: TODAY)
    assert weeks(connection, "losses") == {old, this, following}


def test_tables_are_analysed_as_a_whole_when_they_have_grown(connection, writer):
    """Autovacuum looks at partitions alone."""
    for number in range(3):
        batch = Batch(
            received_ns(TODAY),
            runs=[run_copy(f"r-{number}")],
            steps=[step_copy(f"r-{number}", f"s-{step}") for step in range(500)],
        )
        writer.write([batch])
    connection.execute("ANALYZE " + partition_name("steps", week_of(TODAY)))
    # By oid: a view is called steps, too.
    rows = "SELECT reltuples FROM pg_class WHERE oid = 'steps'::regclass"
    assert connection.execute(rows).fetchone() == (-1,)
    care(connection, lambda: TODAY)
    assert connection.execute(rows).fetchone() == (1500,)


@pytest.mark.parametrize(
    ("variable", "given"),
    [
        ("XRAY_RETENTION_DECISIONS_DAYS", {"RUNS": "30", "DECISIONS": "31"}),
        ("XRAY_RETENTION_ARTIFACTS_DAYS", {"RUNS": "30", "ARTIFACTS": "31"}),
        ("XRAY_RETENTION_ROLLUPS_DAYS", {"RUNS": "30", "ROLLUPS": "29"}),
        ("XRAY_RETENTION_ROLLUPS_DAYS", {"ROLLUPS": "30"}),
        ("XRAY_RETENTION_RUNS_DAYS", {"RUNS": "-1", "DECISIONS": "5"}),
        ("XRAY_RETENTION_RUNS_DAYS", {"RUNS": "a month"}),
    ],
)
def test_policies_that_make_no_sense_stop_the_start(variable, given):
    """With the setting at fault."""
    with pytest.raises(SettingsError) as refused:
        load(UpkeepSettings, {f"XRAY_RETENTION_{kind}_DAYS": value for kind, value in given.items()})
    assert refused.value.variable == variable


def test_policies_may_leave_out_what_follows():
    """Evidence that says nothing lives as long as its run, roll-ups for ever."""
    policy = load(UpkeepSettings, {"XRAY_RETENTION_RUNS_DAYS": "30"}).policy
    assert policy == Policy(runs_days=30)
    floors = policy.floors(TODAY)
    assert floors.of("decisions") == floors.of("steps") == floors.runs
    assert floors.rollups == date.min
    only_evidence = load(UpkeepSettings, {"XRAY_RETENTION_DECISIONS_DAYS": "7"}).policy
    assert only_evidence.floors(TODAY).of("steps") == date.min
    assert only_evidence.floors(TODAY).of("decisions") > date.min
