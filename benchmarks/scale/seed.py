"""
Fills the product's own tables with millions of steps: templates are multiplied inside the server.

The rows differ from what a collector would have written in nothing that a question reads: keys are
the hashes of run ids, every row has times, counts, ids and hashes of its own, and they went in while
all indexes were there, in the order of their times, so that pages are as full as in use.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple
from uuid import UUID

import psycopg

from benchmarks.scale import templates
from store import migrate, wire
from store.bounds import Reach, widen
from store.database import libpq_url
from store.ids import run_key
from store.partitions import Partitions
from store.rollup_marks import leave, slot_of
from store.rollups import Rollups
from store.schema import metadata
from store.writer import PostgresWriter

_FORM = "3"
"""Changes when the rows would: a kept folder of another form is refused."""
_DAY_US = 86_400_000_000
CHUNKS_A_DAY = 300
"""Distinct chunks; a day's steps share them."""

Say = Callable[[str], None]


class Plan(NamedTuple):
    """How much to seed."""

    steps: int
    runs: int
    days: int
    decided: float
    """Share of the runs of which one step has decisions."""


class Seeded(NamedTuple):
    """What stands in the tables."""

    steps: int
    runs: int
    chunks: int
    candidates: int
    first_day: date
    days: int
    seconds: float

    @property
    def end(self) -> datetime:
        """The instant behind the last run."""
        return datetime(*self.first_day.timetuple()[:3], tzinfo=UTC) + timedelta(days=self.days)


def seeded(url: str) -> Seeded | None:
    """What an earlier run seeded; None for a database without it."""
    with psycopg.connect(libpq_url(url)) as connection:
        if connection.execute("SELECT to_regclass('scale_seed')").fetchone() == (None,):
            return None
        row = connection.execute("SELECT form, * FROM scale_seed").fetchone()
    if row is None or row[0] != _FORM:
        raise SystemExit("this database was seeded by another version, or not to the end: use a fresh one")
    return Seeded(*row[2:])


def seed(url: str, plan: Plan, last_day: date, say: Say) -> Seeded:
    """Fill an empty database, migrated or not; the runs end with ``last_day``."""
    began = time.monotonic()
    migrate.upgrade(url)
    per_run = plan.steps // plan.runs
    if not 1 <= per_run <= templates.STEPS_PER_RUN:
        raise SystemExit(f"a run has 1 to {templates.STEPS_PER_RUN} steps")
    first_day = last_day - timedelta(days=plan.days - 1)
    with psycopg.connect(libpq_url(url), autocommit=True) as connection:
        wire.adapt(connection)
        if connection.execute("SELECT 1 FROM runs LIMIT 1").fetchone():
            raise SystemExit("the database holds runs already: use a fresh one")
        Partitions().ensure(connection, [first_day + timedelta(days=day) for day in range(plan.days)])
        _templates(url, connection, first_day, per_run)
        for day in range(plan.days):
            runs = plan.runs * (day + 1) // plan.days - plan.runs * day // plan.days
            with connection.transaction():
                _day(connection, first_day + timedelta(days=day), day, runs, plan.decided)
            say(f"  day {day + 1} of {plan.days}: {time.monotonic() - began:.0f} s")
        connection.execute("DROP TABLE scale_steps, scale_runs, scale_chunks, scale_new")
        say("  vacuum, analyze")
        connection.execute("VACUUM (ANALYZE) runs, steps, decisions")
        before = time.monotonic()
        rollups = Rollups()
        while connection.execute("SELECT 1 FROM rollup_marks LIMIT 1").fetchone():
            rollups.turn(connection)
        connection.execute("VACUUM (ANALYZE) step_hours")
        say(f"  roll-ups: {time.monotonic() - before:.0f} s")
        connection.execute("CHECKPOINT")
        return _remember(connection, first_day, plan.days, time.monotonic() - began)


def _templates(url: str, connection: psycopg.Connection, day: date, per_run: int) -> None:
    """Have the real writer store them, and put them aside."""
    midnight_ns = int(datetime(*day.timetuple()[:3], tzinfo=UTC).timestamp()) * 10**9
    writer = PostgresWriter(url)
    results = writer.write([templates.batch(midnight_ns, seed=7)])
    writer.close()
    assert not any(result.refused for result in results), results
    connection.execute("CREATE UNLOGGED TABLE scale_runs AS SELECT run_id::int AS number, r.* FROM runs r")
    connection.execute(
        "CREATE UNLOGGED TABLE scale_steps AS"
        " SELECT r.number, s.* FROM steps s JOIN scale_runs r USING (run_key)"
    )
    connection.execute("DELETE FROM scale_steps WHERE step_index >= %s", [per_run])
    connection.execute("TRUNCATE runs, steps, rollup_marks")
    connection.execute(
        "CREATE UNLOGGED TABLE scale_chunks"
        " (number int, item_count int, kept int, data bytea, item_filter bytea)"
    )
    connection.execute(
        "CREATE UNLOGGED TABLE scale_new (place int, template int, run_key uuid, run_id text,"
        " started_at timestamptz, chunk int, run_span bytea, trace_id uuid, entity text)"
    )
    for table in ("scale_runs", "scale_steps"):
        connection.execute(f"ANALYZE {table}".encode())


def _day(connection: psycopg.Connection, day: date, number: int, runs: int, decided: float) -> None:
    connection.execute("TRUNCATE scale_chunks, scale_new")
    connection.execute("SELECT setseed(%s)", [number / 1000])
    # It would take what was drawn for one row for all of the same template.
    connection.execute("SET LOCAL enable_memoize = off")
    with connection.cursor().copy("COPY scale_chunks FROM STDIN (FORMAT BINARY)") as copy:
        copy.set_types(["int4", "int4", "int4", "bytea", "bytea"])
        for at, chunk in enumerate(templates.chunks(number, min(runs, CHUNKS_A_DAY))):
            copy.write_row((at, *chunk))
    with connection.cursor().copy("COPY scale_new FROM STDIN (FORMAT BINARY)") as copy:
        copy.set_types(["int4", "int4", "uuid", "text", "timestamptz", "int4", "bytea", "uuid", "text"])
        for row in _new_runs(day, number, runs, decided):
            copy.write_row(row)
    connection.execute(b"ANALYZE scale_new, scale_chunks")
    values = {"day": day}
    connection.execute(_RUNS, values)
    connection.execute(_STEPS, values)
    connection.execute(_DECISIONS, values)
    _as_the_writer_notes(connection, day)


def _as_the_writer_notes(connection: psycopg.Connection, day: date) -> None:
    """How far the times of the day reach, and which hours are to be counted."""
    first_us = int(datetime(*day.timetuple()[:3], tzinfo=UTC).timestamp()) * 1_000_000
    reach = Reach()
    for table in ("runs", "steps"):
        reach.note_all(table, [day, day], [first_us, first_us + _DAY_US - 1])
    with connection.cursor() as cursor:
        widen(cursor, reach, {})
        leave(cursor, {slot_of(first_us + hour * _DAY_US // 24, day) for hour in range(24)})


def _new_runs(day: date, number: int, runs: int, decided: float) -> Iterator[tuple[object, ...]]:
    random_ = random.Random(1_000_000 + number)
    midnight = datetime(*day.timetuple()[:3], tzinfo=UTC)
    # Runs and their steps begin and end within their day.
    times = sorted(random_.random() * 86_000 for _ in range(runs))
    for place, at in enumerate(times):
        run_id = run_id_of(number, place)
        yield (
            place,
            random_.randrange(templates.RUNS),
            run_key(run_id),
            run_id,
            midnight + timedelta(seconds=at),
            random_.randrange(min(runs, CHUNKS_A_DAY)) if random_.random() < decided else None,
            random_.randbytes(8),
            UUID(bytes=random_.randbytes(16)),
            f"P{random_.randrange(200_000):05}",
        )


def run_id_of(day: int, place: int) -> str:
    """Id of a run: the day counted from the first, and its place in the day."""
    return f"0199a1b2-7c3d-7e4f-8a5b-{day:04x}{place:08x}"


def _remember(connection: psycopg.Connection, first_day: date, days: int, seconds: float) -> Seeded:
    connection.execute(
        "CREATE TABLE scale_seed AS SELECT %s::text AS form, (SELECT count(*) FROM steps) AS steps,"
        " (SELECT count(*) FROM runs) AS runs, (SELECT count(*) FROM decisions) AS chunks,"
        " (SELECT coalesce(sum(item_count), 0)::int8 FROM decisions) AS candidates,"
        " %s::date AS first_day, %s::int AS days, %s::float8 AS seconds",
        [_FORM, first_day, days, seconds],
    )
    row = connection.execute("SELECT * FROM scale_seed").fetchone()
    assert row is not None  # just made
    return Seeded(*row[1:])


def _select(table: str, overridden: dict[str, str]) -> str:
    """Columns of a table and what they get: of the template ``t`` where nothing is said."""
    names = [column.name for column in metadata.tables[table].columns]
    assert overridden.keys() <= set(names), overridden.keys() - set(names)
    values = ", ".join(overridden.get(name, f"t.{name}") for name in names)
    return f"INSERT INTO {table} ({', '.join(names)}) SELECT {values}"


_EPOCH_NS = "(extract(epoch FROM {}) * 1e6)::int8 * 1000"

_RUNS = (
    _select(
        "runs",
        {
            "run_key": "n.run_key",
            "run_id": "n.run_id",
            "run_day": "%(day)s",
            "entity": "n.entity",
            "started_at": "n.started_at",
            "ended_at": "t.ended_at + (n.started_at - t.started_at)",
            "run_started_at": "n.started_at",
            "first_step_at": "n.started_at",
            "trace_ids": "ARRAY[n.trace_id]",
            "span_id": "n.run_span",
            "end_sent_ns": _EPOCH_NS.format("t.ended_at + (n.started_at - t.started_at)"),
            "content_hash": "(random() * 9e18)::int8",
            "received_at": "n.started_at + interval '5 s'",
            "last_received_at": "n.started_at + interval '5 s'",
        },
    )
    + " FROM scale_new n JOIN scale_runs t ON t.number = n.template ORDER BY n.place"
)

# Of the steps without decisions 15 % drop more than 0.9, and those evenly up to 1: a thousandth of
# them more than 0.9999. So rare ones are of steps that took in very many.
_COUNTS = """
    CROSS JOIN LATERAL (
        SELECT random() + 0 * (n.place + t.step_index) AS kind, random() AS place, random() AS part) AS drawn
    CROSS JOIN LATERAL (
        SELECT CASE WHEN drawn.kind < 0.15 THEN 1 - 0.1 * drawn.place ELSE 0.9 * drawn.place END AS ratio
    ) AS dropped
    CROSS JOIN LATERAL (
        SELECT CASE WHEN c.number IS NOT NULL THEN c.item_count
                    WHEN dropped.ratio > 0.995 THEN 200000 + (1e6 * drawn.part)::int8
                    ELSE t.candidates_in END AS entering
    ) AS entered
    CROSS JOIN LATERAL (
        SELECT CASE WHEN c.number IS NOT NULL THEN c.kept
                    ELSE round(entered.entering * (1 - dropped.ratio))::int8 END AS leaving
    ) AS l
    CROSS JOIN LATERAL (
        SELECT t.started_at + (n.started_at - r.started_at) AS started_at,
               t.duration_ms * (0.5 + drawn.part) AS duration_ms
    ) AS timed
"""
_ENDED = "timed.started_at + timed.duration_ms * interval '1 ms'"
_LOST = "(entered.entering - l.leaving)"
_STEPS = (
    _select(
        "steps",
        {
            "run_key": "n.run_key",
            "run_day": "%(day)s",
            "trace_id": "n.trace_id",
            "span_id": "substr(uuid_send(gen_random_uuid()), 1, 8)",
            "parent_span_id": "n.run_span",
            "started_at": "timed.started_at",
            "ended_at": _ENDED,
            "duration_ms": "timed.duration_ms",
            "candidates_in": "entered.entering",
            "candidates_out": "l.leaving",
            "drop_ratio": f"{_LOST}::float8 / entered.entering",
            "kept": "CASE WHEN t.kept IS NOT NULL THEN l.leaving END",
            "eliminated": f"CASE WHEN t.eliminated IS NOT NULL THEN {_LOST} END",
            "scored": "CASE WHEN t.scored IS NOT NULL THEN l.leaving END",
            "not_selected": f"CASE WHEN t.not_selected IS NOT NULL THEN {_LOST} END",
            "reason_counts": f"CASE WHEN t.reason_counts IS NOT NULL"
            f" THEN ARRAY[({_LOST} * drawn.part)::int8, {_LOST} - ({_LOST} * drawn.part)::int8] END",
            "decisions_recorded": "c.item_count",
            "decisions_chunks": "CASE WHEN c.number IS NOT NULL THEN 1 END",
            "end_sent_ns": _EPOCH_NS.format(_ENDED),
            "content_hash": "(random() * 9e18)::int8",
            "received_at": "timed.started_at + interval '5 s'",
        },
    )
    + " FROM scale_new n JOIN scale_runs r ON r.number = n.template"
    + " JOIN scale_steps t ON t.number = n.template"
    + f" LEFT JOIN scale_chunks c ON c.number = n.chunk AND t.step_index = {templates.DECIDED:d}"
    + _COUNTS
    + " ORDER BY n.place, t.step_index"
)

_DECISIONS = (
    _select(
        "decisions",
        {
            "run_key": "n.run_key",
            "step_id": f"'{templates.STEPS[templates.DECIDED][0]}'",
            "attempt_key": "'1'",
            "chunk_index": "0",
            "run_day": "%(day)s",
            "chunk_total": "1",
            "item_count": "t.item_count",
            "data": "t.data",
            "item_filter": "t.item_filter",
            "error": "NULL",
            "content_hash": "(random() * 9e18)::int8",
            "deliveries": "1",
            "received_at": "n.started_at + interval '5 s'",
        },
    )
    + " FROM scale_new n JOIN scale_chunks t ON t.number = n.chunk ORDER BY n.place"
)
