"""Upkeep: whose turn it is, what becomes of failures, and that a stop does not wait."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager

import psycopg
import pytest

from store.upkeep import Task, Upkeep
from tests.fixtures.waiting import wait_until


@contextmanager
def running(url, *tasks):
    """Upkeep that is stopped at the end."""
    upkeep = Upkeep(tasks, url)
    upkeep.start()
    try:
        yield upkeep
    finally:
        upkeep.stop(20.0)


def turns(url, task):
    """What is noted of a task's last turn."""
    with psycopg.connect(url) as connection:
        return connection.execute(
            "SELECT error, failures, succeeded_at IS NOT NULL FROM upkeep_turns WHERE task = %s", [task]
        ).fetchone()


def test_a_task_runs_in_one_process_at_a_time(database_url):
    """Of several that look after one database, none begins a turn while another has one."""
    under_way, met, done = threading.Semaphore(1), [], []

    def work(connection):
        if not under_way.acquire(blocking=False):
            met.append(1)
            return
        try:
            connection.execute("SELECT pg_sleep(0.05)")
        finally:  # a stop cancels it
            under_way.release()
        done.append(connection.info.backend_pid)

    task = Task("work", 0.01, work)
    with running(database_url, task), running(database_url, task), running(database_url, task):
        wait_until(lambda: len(done) > 10, timeout_s=60, what="ten turns")
    assert not met


def test_a_turn_is_taken_once_per_interval(database_url):
    """Another process, or the same one started again, does not repeat what was just done."""
    done = []
    task = Task("work", 3600.0, lambda _connection: done.append(1))
    assert Upkeep([task], database_url).turn(task)
    assert not Upkeep([task], database_url).turn(task)
    assert done == [1]
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("UPDATE upkeep_turns SET started_at = started_at - interval '1 hour'")
    assert Upkeep([task], database_url).turn(task)
    assert done == [1, 1]


def test_a_clock_that_was_set_back_stops_no_task(database_url):
    """A turn noted in the future does not count."""
    task = Task("work", 3600.0, lambda _connection: None)
    assert Upkeep([task], database_url).turn(task)
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("UPDATE upkeep_turns SET started_at = started_at + interval '1 year'")
    assert Upkeep([task], database_url).turn(task)


def test_a_failure_is_noted_and_tried_again(database_url):
    """It ends neither its own task nor others, and the note holds no value of a row."""
    tried, done = [], []

    def fail(connection):
        tried.append(1)
        connection.execute("SELECT 'secret'::int")

    with running(
        database_url, Task("bad", 0.02, fail), Task("good", 0.02, lambda _connection: done.append(1))
    ) as upkeep:
        wait_until(lambda: len(tried) > 2 and len(done) > 2, timeout_s=60, what="turns of both")
        wait_until(lambda: turns(database_url, "bad")[1] > 1, timeout_s=60, what="two failures noted")
        page = {
            (sample.name, *sample.labels.values()): sample.value
            for family in upkeep.registry.collect()
            for sample in family.samples
        }
    error, _, succeeded = turns(database_url, "bad")
    assert (error[:6], "secret" in error, succeeded) == ("22P02 ", False, False)
    assert turns(database_url, "good") == (None, 0, True)
    assert page["xray_upkeep_turns_total", "bad", "failed"] >= 2
    assert page["xray_upkeep_turns_total", "bad", "succeeded"] == 0
    assert page["xray_upkeep_turns_total", "good", "succeeded"] > 0


def test_a_task_that_failed_and_does_well_again_is_noted_as_well(database_url):
    """The failures are counted in a row."""
    fails = [True]

    def work(connection):
        if fails:
            connection.execute("SELECT 1/0")

    task = Task("work", 0.001, work)
    upkeep = Upkeep([task], database_url)
    for expected in (1, 2):
        with pytest.raises(psycopg.errors.DivisionByZero):
            upkeep.turn(task)
        assert turns(database_url, "work")[1] == expected
    fails.clear()
    wait_until(lambda: upkeep.turn(task), timeout_s=20, what="due again")
    assert turns(database_url, "work") == (None, 0, True)


def test_a_stop_interrupts_what_is_under_way(database_url):
    """A statement that takes long is cancelled, and that is no failure."""
    began = threading.Event()

    def work(connection):
        began.set()
        connection.execute("SELECT pg_sleep(600)")

    with running(database_url, Task("work", 1.0, work)):
        assert began.wait(60)
        asked = time.monotonic()
    assert time.monotonic() - asked < 20
    assert not [thread for thread in threading.enumerate() if thread.name == "xray-upkeep-work"]
    assert turns(database_url, "work") == (None, 0, False)


def test_a_database_that_is_away_is_waited_for(tmp_path):
    """Threads go on, and the stop is not held up."""
    with running(f"postgresql:///xray?host={tmp_path}&user=xray", Task("work", 0.01, lambda _: None)):
        wait_until(
            lambda: any(thread.name == "xray-upkeep-work" for thread in threading.enumerate()),
            timeout_s=20,
            what="a thread",
        )


def test_two_tasks_of_one_name_are_a_mistake():
    """They would take each other's turns."""
    task = Task("work", 1.0, lambda _connection: None)
    with pytest.raises(ValueError, match="one name"):
        Upkeep([task, task], "postgresql:///")
