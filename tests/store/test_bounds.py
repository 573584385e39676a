"""Windows of time open the partitions that can answer them, and never leave out a row."""

from __future__ import annotations

import random
import re
from contextlib import closing
from datetime import date, timedelta

import psycopg
import pytest
from sqlalchemy import text
from sqlalchemy.dialects import postgresql

from store.adoption import Adopter
from store.queries import runs as run_queries
from store.queries import steps as step_queries
from store.queries.filters import PageRequest, parse
from store.queries.vocabulary import RUNS, STEPS
from store.rows import Batch
from store.writer import PostgresWriter
from tests.fixtures.reading import START, ns, run_copy, seconds, step_copy

DAY_S = 86_400.0
WEEK_S = 7 * DAY_S
WEEKS = 6


def instant(after_start_s):
    """A time of the story, as a parameter."""
    return seconds(after_start_s).isoformat().replace("+00:00", "Z")


def bounds(url):
    """Week, first and last day of runs and of steps."""
    with psycopg.connect(url) as connection:
        return {
            week: tuple(days)
            for week, *days in connection.execute("SELECT * FROM partition_bounds ORDER BY week")
        }


def opened(reader, statement, names=()):
    """Weeks of the partitions of steps that a statement may open."""
    with reader._connection() as connection:
        built = statement(connection)
        asked = str(built.compile(dialect=postgresql.dialect(), compile_kwargs={"literal_binds": True}))
        plan = "\n".join(row[0] for row in connection.execute(text(("EXPLAIN " + asked).replace(":", "\\:"))))
    return {date.fromisoformat(found) for found in re.findall(r"steps_p(\d{8})", plan)}


@pytest.fixture
def weekly(shelf):
    """A run a week, each with a step, received when they happened."""
    for week in range(WEEKS):
        at = week * WEEK_S
        shelf.put(run_copy(f"r{week}", at), step_copy(f"r{week}", "s", at), received=seconds(at))


def steps_within(after=None, before=None):
    """The statement of a list of steps in a window."""
    sent = [("started_after", after)] * (after is not None) + [("started_before", before)] * (
        before is not None
    )
    filters, _ = parse(STEPS, sent)
    return lambda connection: step_queries.matching(filters).where(
        *step_queries.in_window(connection, filters)
    )


def test_a_window_opens_the_partitions_that_can_answer_it(weekly, reader):
    """Both ends count; no window opens all; what lies in no partition's time opens none but the unknown."""
    first = date(2025, 2, 24)
    mondays = [first + timedelta(weeks=week) for week in range(WEEKS + 1)]
    assert opened(reader, steps_within()) == set(mondays)
    last_two = opened(reader, steps_within(after=instant((WEEKS - 2) * WEEK_S)))
    assert last_two == set(mondays[WEEKS - 2 : WEEKS])
    assert opened(reader, steps_within(before=instant(0.5 * WEEK_S))) == {mondays[0]}
    middle = opened(reader, steps_within(instant(2 * WEEK_S), instant(2 * WEEK_S + 1)))
    assert middle == {mondays[2]}
    assert not opened(reader, steps_within(after=instant(100 * WEEK_S)))


def test_runs_with_a_step_filter_open_fewer_partitions_too(weekly, reader):
    """By when the runs of a week started."""
    sent = [("started_after", instant(4 * WEEK_S)), ("step.step_type", "filter")]
    filters, _ = parse(RUNS, sent)

    def statement(connection):
        wanted = run_queries.matching(connection, filters)
        # Without what SHOWN asks of each run found, which has the run's own day.
        return wanted.with_only_columns(wanted.selected_columns[0])

    named = [row.run_id for row in reader.runs(filters).items]
    assert named == ["r5", "r4"]
    with reader._connection() as connection:
        built = str(statement(connection).compile(dialect=postgresql.dialect()))
    assert "steps.run_day >=" in built


def test_a_step_that_lies_weeks_from_its_run_is_found(weekly, shelf, reader):
    """A run that lasts for weeks, and a step that came late or by a clock that is off."""
    shelf.put(step_copy("r0", "weeks later", 5.5 * WEEK_S), received=seconds(5.5 * WEEK_S))
    shelf.put(step_copy("r5", "years before", -100 * WEEK_S), received=seconds(5 * WEEK_S))
    found = reader.steps(parse(STEPS, [("started_after", instant(5.2 * WEEK_S))])[0]).items
    assert [(step.run_id, step.step_id) for step in found] == [("r0", "weeks later")]
    found = reader.steps(parse(STEPS, [("started_before", instant(-1 * WEEK_S))])[0]).items
    assert [(step.run_id, step.step_id) for step in found] == [("r5", "years before")]


def test_a_week_that_nobody_measured_is_never_left_out(weekly, reader, database_url):
    """As those of a server of the version before."""
    first = date(2025, 2, 24)
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("DELETE FROM partition_bounds WHERE week = %s", [first])
    window = steps_within(after=instant(4 * WEEK_S))
    assert first in opened(reader, window)
    assert first + timedelta(weeks=1) not in opened(reader, window)


def test_a_step_is_within_the_bounds_whatever_copies_it_is_made_of(shelf, reader, database_url):
    """A start copy that first lay hidden under a later end, copies without times, another order."""
    shelf.put(step_copy("r", "s", 3 * WEEK_S, start_ns=None, end_ns=None), received=START)
    shelf.put(
        step_copy("r", "s", -3 * WEEK_S, terminal=False, status=None, end_ns=None), received=seconds(DAY_S)
    )
    (step,) = reader.steps().items
    (bounded,) = [days for days in bounds(database_url).values() if days[2] is not None]
    assert bounded[2] <= step.started_at.date() <= bounded[3]


def test_steps_that_are_moved_to_another_run_widen_its_week(shelf, reader, database_url):
    """Inferred steps that name no run lie in the week of their trace first."""
    trace = b"\x11" * 16
    shelf.put(
        step_copy(trace.hex(), "s", 6 * WEEK_S, trace_id=trace, inferred=True), received=seconds(6 * WEEK_S)
    )
    shelf.put(run_copy("home", 0, trace_id=trace), received=seconds(2 * WEEK_S))
    adopter = Adopter(database_url)
    while adopter.turn():
        pass
    adopter.close()
    found = reader.steps(parse(STEPS, [("started_after", instant(5 * WEEK_S))])[0]).items
    assert [step.run_id for step in found] == ["home"]


def test_any_window_gives_what_brute_force_gives(shelf, reader):
    """Random runs, steps and windows."""
    dice = random.Random(11)
    stored = []
    for number in range(60):
        received = dice.uniform(0, WEEKS * WEEK_S)
        run_id = f"r{dice.randrange(30)}"
        started = received + dice.choice([0, 0, 0, -1, 1]) * dice.uniform(0, 3 * WEEK_S)
        shelf.put(step_copy(run_id, f"s{number}", started), received=seconds(received))
        stored.append((f"s{number}", seconds(started)))
    for _ in range(40):
        after, before = sorted(seconds(dice.uniform(-2 * WEEK_S, (WEEKS + 2) * WEEK_S)) for _ in range(2))
        sent = {"started_after": after, "started_before": before}
        if dice.random() < 0.3:
            del sent[dice.choice(list(sent))]
        expected = {
            name
            for name, at in stored
            if at >= sent.get("started_after", at) and ("started_before" not in sent or at < before)
        }
        filters, _ = parse(STEPS, [(name, at.isoformat()) for name, at in sent.items()])
        found = {step.step_id for step in reader.steps(filters, PageRequest(limit=1000)).items}
        assert found == expected


def test_a_writer_notes_bounds_once_a_day(shelf, database_url):
    """Not with each batch: the row of the week would be what all writers wait for."""

    def version():
        with psycopg.connect(database_url) as connection:
            return connection.execute(
                "SELECT xmin::text FROM partition_bounds WHERE steps_first IS NOT NULL"
            ).fetchall()

    shelf.put(step_copy("r", "a", 0), received=START)
    noted = version()
    for number in range(5):
        shelf.put(step_copy("r", f"s{number}", 60 * number), received=seconds(60 * number))
    assert version() == noted
    shelf.put(step_copy("r", "next day", DAY_S), received=seconds(DAY_S))
    assert version() != noted


def test_times_that_no_day_has_are_refused_alone(database_url, reader):
    """They neither stop the writer nor hide the other rows."""
    absurd = {
        f"absurd-{number}": at for number, at in enumerate((10**30, -(10**30), 253_402_300_800 * 10**9))
    }
    steps = [step_copy("r", name, start_ns=start_ns) for name, start_ns in absurd.items()]
    with closing(PostgresWriter(database_url)) as writer:
        (result,) = writer.write([Batch(ns(START), steps=[*steps, step_copy("r", "s", 0)])])
    assert {getattr(refused.row, "step_id", None) for refused in result.refused} == absurd.keys()
    found = reader.steps(parse(STEPS, [("started_after", instant(-DAY_S))])[0]).items
    assert [step.step_id for step in found] == ["s"]
