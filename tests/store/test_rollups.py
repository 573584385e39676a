"""Hourly roll-ups say at any moment what the steps say, whatever became of the steps."""

from __future__ import annotations

import math
import os
import random
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from functools import partial
from time import monotonic
from typing import Any

import psycopg
import pytest
from alembic import command
from psycopg.rows import dict_row

from store import migrate, wire
from store.adoption import Adopter
from store.engine import read_engine
from store.floors import Floors
from store.histograms import RELATIVE_ERROR, SHARE_ERROR
from store.partitions import week_of
from store.queries import metrics, metrics_exact
from store.queries.cursor import Cursors
from store.queries.filters import PageRequest
from store.queries.metrics import GROUP_BY, parse_grouped
from store.reader import Reader
from store.retention import Policy, drop_expired, expire, raise_floors
from store.rollup_marks import Renamed, delete_steps, leave, slot_of
from store.rollups import Rollups, recount, tidy
from store.rows import Batch
from store.writer import PostgresWriter
from tests.fixtures.postgres import TestServer
from tests.fixtures.reading import START, Clock, Shelf, ns, run_copy, run_start, seconds, step_copy

_SEEDS = range(2)
_CHAOS_S = float(os.environ.get("XRAY_TEST_CHAOS_S", "0"))
"""For as long as this, beside the seeds."""
_STEPS = """
SELECT coalesce(s.pipeline, r.pipeline) AS pipeline,
    coalesce(s.pipeline_version, r.pipeline_version) AS pipeline_version, s.name, s.step_type, s.status,
    s.error_type, s.started_at, s.run_day, s.candidates_in, s.candidates_out, s.drop_ratio, s.duration_ms,
    s.score_mean, s.reason_codes, s.reason_counts
FROM steps s JOIN runs r USING (run_key)
"""
_ALL = PageRequest(1000)
_WIDTHS = {"1h": timedelta(hours=1), "6h": timedelta(hours=6), "1d": timedelta(days=1)}

Row = dict[str, Any]


@pytest.fixture
def connection(database_url: str) -> Iterator[psycopg.Connection[Row]]:
    """As upkeep gives a task, with rows that name their columns."""
    with psycopg.connect(database_url, autocommit=True) as opened:
        wire.adapt(opened)
        opened.execute("SET TIME ZONE 'UTC'")
        yield opened  # type: ignore[misc]


def _rows(connection: psycopg.Connection[Any], query: str) -> list[Row]:
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(query).fetchall()


def _settle_all(connection: psycopg.Connection[Any]) -> None:
    for marked in tidy(connection):
        recount(connection, marked)


def _percentile(values: Sequence[float], fraction: float) -> tuple[float, float, float]:
    """As percentile_cont, with the two values it lies between."""
    place = fraction * (len(values) - 1)
    low, high = values[math.floor(place)], values[math.ceil(place)]
    return low + (high - low) * (place - math.floor(place)), low, high


def _check_distribution(seen: Any, values: Sequence[float], name: str) -> None:
    if not values:
        assert (seen.mean, seen.p50, seen.p99) == (None, None, None)
        return
    ordered = sorted(values)
    assert seen.mean == pytest.approx(sum(values) / len(values), rel=1e-9, abs=1e-9)
    for got, fraction in ((seen.p50, 0.5), (seen.p90, 0.9), (seen.p95, 0.95), (seen.p99, 0.99)):
        exact, low, high = _percentile(ordered, fraction)
        error = SHARE_ERROR if name == "drop_ratio" else RELATIVE_ERROR * max(abs(low), abs(high))
        assert abs(got - exact) <= error * 1.000001 + 1e-12, (name, fraction, got, exact)


def _group(row: Row, group_by: Sequence[str], width: timedelta | None) -> tuple[Any, ...]:
    start = None if width is None else row["started_at"] - (row["started_at"] - _ORIGIN) % width
    return (*(row[name] for name in group_by), start)


_ORIGIN = datetime(2000, 1, 1, tzinfo=UTC)


def _sum(values: Sequence[int | None]) -> int | None:
    present = [value for value in values if value is not None]
    return sum(present) if present else None


def _check(reader: Reader, rows: Sequence[Row], draw: random.Random, *, whole_hours: bool) -> None:
    """A random question is answered as by counting these rows one by one."""
    group_by = tuple(draw.sample(GROUP_BY, draw.randrange(4)))
    bucket = draw.choice([None, "1h", "6h", "1d"])
    sent = [("bucket", bucket)] if bucket else []
    sent += [("group_by", ",".join(group_by))] if group_by else []
    wanted = list(rows)
    for name in draw.sample(["pipeline", "status", "name"], draw.randrange(2)):
        if present := sorted({row[name] for row in rows if row[name]}):
            sent.append((name, value := draw.choice(present)))
            wanted = [row for row in wanted if row[name] == value]
    if draw.random() < 0.5:
        unit = 3600 if whole_hours else 60
        since = START + timedelta(seconds=unit * draw.randrange(-200_000 // unit, 200_000 // unit))
        sent.append(("started_after", since.isoformat()))
        wanted = [row for row in wanted if row["started_at"] >= since]
    if draw.random() < 0.5:
        unit = 3600 if whole_hours else 60
        until = START + timedelta(seconds=unit * draw.randrange(-200_000 // unit, 200_000 // unit))
        sent.append(("started_before", until.isoformat()))
        wanted = [row for row in wanted if row["started_at"] < until]
    filters, grouping, _ = parse_grouped(sent)
    width = _WIDTHS[bucket] if bucket else None
    groups = defaultdict(list)
    for row in wanted:
        groups[_group(row, group_by, width)].append(row)

    steps = reader.step_metrics(filters, grouping, _ALL).items
    seen = {(*(item.group[name] for name in group_by), item.bucket_start): item for item in steps}
    assert len(seen) == len(steps)
    assert set(seen) == set(groups), sent
    for place, item in seen.items():
        of_group = groups[place]
        assert item.steps == len(of_group)
        assert item.errors == sum(row["status"] == "error" for row in of_group)
        assert item.candidates_in == _sum([row["candidates_in"] for row in of_group])
        assert item.candidates_out == _sum([row["candidates_out"] for row in of_group])
        for name in ("drop_ratio", "duration_ms", "score_mean"):
            values = [row[name] for row in of_group if row[name] is not None]
            _check_distribution(getattr(item, name), values, name)

    given: Counter[tuple[Any, ...]] = Counter()
    for row in wanted:
        for code, times in zip(row["reason_codes"] or (), row["reason_counts"] or (), strict=True):
            given[(*_group(row, group_by, width), code)] += times
    reasons = reader.reason_metrics(filters, grouping, _ALL).items
    assert {
        (*(reason.group[name] for name in group_by), reason.bucket_start, reason.reason): reason.count
        for reason in reasons
    } == dict(given)
    shares: dict[tuple[Any, ...], float] = {}
    for reason in reasons:
        place = (*reason.group.values(), reason.bucket_start)
        shares[place] = shares.get(place, 0.0) + (reason.share or 0)
    assert all(share == 0 or math.isclose(share, 1) for share in shares.values())


class _World:
    """A database to which random things happen."""

    def __init__(self, url: str, draw: random.Random, connection: psycopg.Connection[Any]) -> None:
        self._writers = [PostgresWriter(url) for _ in range(2)]
        self._draw = draw
        self._connection = connection
        self._sent: list[tuple[int, list[Any], list[Any]]] = []
        self.gone: list[Row] = []
        """Steps whose partition was dropped."""

    def close(self) -> None:
        for writer in self._writers:
            writer.close()

    def rows(self) -> list[Row]:
        return self.gone + _rows(self._connection, _STEPS)

    def happen(self) -> None:
        happenings = [self.send, self.send, self.send, self.send_again, self.erase, self.count, self.drop]
        self._draw.choices(happenings, [8, 8, 8, 3, 2, 5, 1])[0]()

    def send(self) -> None:
        draw = self._draw
        received = START + timedelta(days=draw.choice([0, 0, 7, 14, 21]))
        runs: list[Any] = []
        steps = []
        for _ in range(draw.randrange(1, 8)):
            run_id = f"r{draw.randrange(12)}"
            version = draw.choice([None, None, "1"])
            if draw.random() < 0.3:
                make = draw.choice([run_copy, run_start])
                runs.append(make(run_id, pipeline=draw.choice(["a", "b", None]), pipeline_version=version))
            steps.append(self._step(run_id))
        self._write(ns(received), runs, steps)

    def _step(self, run_id: str) -> Any:
        draw = self._draw
        begun = draw.random() < 0.2
        at = draw.choice([0, 0, 1, 2, 30]) * 3600 + draw.randrange(3600) + draw.choice([0, 0.25, -0.0001])
        start = ns(seconds(at))
        entering = draw.choice([None, 0, 3, 10, 1000])
        count = draw.randrange(3)
        end = start + draw.choice([0, 1_000, 7_000_000, 10**12])
        return step_copy(
            run_id,
            f"s{draw.randrange(4)}",
            at,
            terminal=not begun,
            status=None if begun else draw.choice(["ok", "ok", "error"]),
            end_ns=None if begun else end,
            error_type=draw.choice([None, "E"]),
            name=draw.choice(["x", "y"]),
            step_type=draw.choice(["filter", "rank"]),
            pipeline=draw.choice(["a", None, None]),
            candidates_in=entering,
            candidates_out=None if entering is None else draw.randrange(entering + 1),
            reason_codes=("p", "q")[:count] or None,
            reason_counts=(draw.randrange(3), 4)[:count] or None,
            score=None
            if draw.random() < 0.5
            else (0.0, 1.0, draw.choice([-3.5, 0.0, 0.1, 1e300]), *[None] * 4),
        )

    def send_again(self) -> None:
        if self._sent:
            self._write(*self._draw.choice(self._sent))

    def _write(self, received_ns: int, runs: list[Any], steps: list[Any]) -> None:
        self._sent.append((received_ns, runs, steps))
        self._draw.choice(self._writers).write([Batch(received_ns, runs=runs, steps=steps)])

    def erase(self) -> None:
        keys = _rows(self._connection, "SELECT DISTINCT run_key FROM steps ORDER BY 1")
        if keys:
            with self._connection.transaction(), self._connection.cursor() as cursor:
                assert delete_steps(cursor, [self._draw.choice(keys)["run_key"].bytes]) > 0

    def count(self) -> None:
        Rollups().turn(self._connection)

    def drop(self) -> None:
        weeks = {week_of(row["run_day"]) for row in _rows(self._connection, "SELECT run_day FROM steps")}
        if not weeks:
            return
        floor = min(weeks) + timedelta(days=7)
        self.gone += [row for row in _rows(self._connection, _STEPS) if row["run_day"] < floor]
        floors = raise_floors(self._connection, Floors(runs=floor))
        _settle_all(self._connection)
        drop_expired(self._connection, floors)


def _live(database_url: str, connection: psycopg.Connection[Any], reader: Reader, seed: int) -> None:
    draw = random.Random(seed)
    with closing(_World(database_url, draw, connection)) as world:
        for _ in range(40):
            world.happen()
            _check(reader, world.rows(), draw, whole_hours=bool(world.gone))
        Rollups().turn(connection)
        assert _rows(connection, "SELECT FROM rollup_marks") == []
        # From roll-ups alone now, whole hours.
        for _ in range(10):
            _check(reader, world.rows(), draw, whole_hours=True)
        assert sum(row["steps"] for row in _rows(connection, "SELECT steps FROM step_hours")) == len(
            world.rows()
        )


@pytest.mark.parametrize("seed", _SEEDS)
def test_roll_ups_equal_the_steps_whatever_happens(
    seed: int, database_url: str, connection: psycopg.Connection[Any], reader: Reader
) -> None:
    """Duplicates, late copies, merges, renamed runs, erasures, drops: each answer is that of the steps."""
    _live(database_url, connection, reader, seed)


@pytest.mark.skipif(not _CHAOS_S, reason="XRAY_TEST_CHAOS_S says for how long")
def test_roll_ups_equal_the_steps_for_long(
    postgres: TestServer, template_database: str, clock: Clock
) -> None:
    """The same with other seeds, each in a database of its own."""
    until, seed = monotonic() + _CHAOS_S, 1_000
    while monotonic() < until:
        name = f"xray_chaos_{seed}"
        url = postgres.create(name, template=template_database)
        opened = Reader.open(url, now=clock)
        with psycopg.connect(url, autocommit=True) as connection:
            wire.adapt(connection)
            connection.execute("SET TIME ZONE 'UTC'")
            _live(url, connection, opened, seed)
        opened.close()
        postgres.drop(name)
        seed += 1


_MORE_OF_IT = """
INSERT INTO steps (run_key, step_id, attempt_key, run_day, name, step_type, status, started_at, inferred,
                   deliveries, received_at)
SELECT run_key, 'late', '1', run_day, 'x', 'filter', 'ok', started_at, false, 1, received_at
FROM steps LIMIT 1
"""


def _named(connection: psycopg.Connection[Any]) -> dict[str | None, int]:
    rows = connection.execute("SELECT pipeline, sum(steps)::integer FROM step_hours GROUP BY 1")
    return dict(rows.fetchall())


def test_a_mark_that_is_not_seen_stays(
    shelf: Shelf, database_url: str, connection: psycopg.Connection[Any]
) -> None:
    """A step whose writer commits after its hour was counted is in the next count."""
    shelf.put(run_copy("r", pipeline="a"), step_copy("r", "s"))
    (slot,) = {slot_of(ns(START) // 1000, START.date())}
    with psycopg.connect(database_url) as late, late.cursor() as cursor:
        cursor.execute(_MORE_OF_IT)
        leave(cursor, {slot})
        _settle_all(connection)
        assert _named(connection) == {"a": 1}
    _settle_all(connection)
    assert _named(connection) == {"a": 2}


def test_a_run_is_renamed_while_its_steps_are_stored(
    shelf: Shelf, database_url: str, connection: psycopg.Connection[Any]
) -> None:
    """Whichever of the two is committed first and counted in between, the step has the new name."""
    shelf.put(run_start("r", pipeline="a"), step_copy("r", "s"))
    _settle_all(connection)
    with psycopg.connect(database_url) as late, late.cursor() as cursor:
        cursor.execute(_MORE_OF_IT)
        leave(cursor, {slot_of(ns(START) // 1000, START.date())})
        shelf.put(run_copy("r", pipeline="b"))
        _settle_all(connection)
        assert _named(connection) == {"b": 1}
    _settle_all(connection)
    assert _named(connection) == {"b": 2}
    with psycopg.connect(database_url) as late, late.cursor() as cursor:
        cursor.execute("UPDATE runs SET pipeline = 'c' RETURNING run_key, run_day")
        (key, day) = cursor.fetchone() or (None, None)
        assert key is not None
        leave(cursor, (), [Renamed(key.bytes, day)])
        shelf.put(step_copy("r", "t"))
        _settle_all(connection)
        assert _named(connection) == {"b": 3}
    _settle_all(connection)
    assert _named(connection) == {"c": 3}


def test_answers_are_exact_while_others_write_and_count(
    database_url: str, connection: psycopg.Connection[Any]
) -> None:
    """In any snapshot, roll-ups and the rest together say what the steps say."""
    stop = threading.Event()
    failed: list[BaseException] = []

    def write(number: int) -> None:
        draw = random.Random(number)
        with closing(PostgresWriter(database_url)) as writer:
            for batch in range(40):
                runs = [run_copy(f"r{draw.randrange(9)}", batch, pipeline=draw.choice("ab"))]
                steps = [
                    step_copy(
                        f"r{draw.randrange(9)}", f"s{draw.randrange(9)}", 3600 * draw.randrange(3), end_ns=end
                    )
                    for end in (ns(seconds(9000 + draw.randrange(99))) for _ in range(5))
                ]
                writer.write([Batch(ns(START), runs=runs, steps=steps)])

    def count() -> None:
        with psycopg.connect(database_url, autocommit=True) as own:
            while not stop.is_set():
                _settle_all(own)

    def guarded(work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:
            failed.append(error)
            raise

    writers = [threading.Thread(target=guarded, args=[partial(write, number)]) for number in range(2)]
    counters = [threading.Thread(target=guarded, args=[count]) for _ in range(2)]
    for thread in (*writers, *counters):
        thread.start()
    engine = read_engine(database_url, statement_timeout_ms=60_000)
    filters, grouping, _ = parse_grouped([("group_by", "pipeline,name"), ("bucket", "1h")])
    cursors, compared = Cursors(b"k" * 32), 0
    try:
        while any(thread.is_alive() for thread in writers) or not compared:
            with engine.connect() as snapshot:
                asked = (snapshot, cursors, filters, grouping, _ALL)
                seen, wanted = metrics.step_metrics(*asked), metrics_exact.step_metrics(*asked)
            assert [(item.group, item.bucket_start, item.steps) for item in seen.items] == [
                (item.group, item.bucket_start, item.steps) for item in wanted.items
            ]
            compared += seen.resolution is not None
    finally:
        stop.set()
        for thread in (*writers, *counters):
            thread.join()
        engine.dispose()
    assert failed == []
    _settle_all(connection)
    counted = connection.execute("SELECT sum(steps) FROM step_hours").fetchone()
    assert counted == connection.execute("SELECT count(*) FROM steps").fetchone()


def test_steps_that_are_moved_to_their_run(
    shelf: Shelf, database_url: str, connection: psycopg.Connection[Any]
) -> None:
    """Inferred steps that are brought to another run, of another week and name, are counted there alone."""
    trace = b"\xa1" * 16
    shelf.put(step_copy(trace.hex(), "s", trace_id=trace, inferred=True))
    _settle_all(connection)
    assert _named(connection) == {None: 1}
    shelf.put(run_copy("r", pipeline="a", trace_id=trace), received=START + timedelta(days=7))
    adopter = Adopter(database_url)
    while adopter.turn():
        pass
    adopter.close()
    _settle_all(connection)
    assert _named(connection) == {"a": 1}


def test_a_database_of_before_gets_roll_ups(
    shelf: Shelf, database_url: str, connection: psycopg.Connection[Any], reader: Reader
) -> None:
    """After the migration every hour that has steps is marked, each once, and no other."""
    for number in range(3):
        received = START + timedelta(days=7 * number)
        shelf.put(*(step_copy(f"r{number}", f"s{i}", 1800 * i) for i in (0, 1, 5, 900)), received=received)
    with migrate._connection(database_url) as opened:
        command.downgrade(migrate._config(opened), "0003")
    migrate.upgrade(database_url)
    assert len(_rows(connection, "SELECT FROM rollup_marks")) == 9
    Rollups().turn(connection)
    assert _named(connection) == {None: 12}
    page = reader.step_metrics()
    assert (page.items[0].steps, page.resolution is not None) == (12, True)


def test_an_hour_that_is_written_all_the_time_is_counted_now_and_then(
    shelf: Shelf, connection: psycopg.Connection[Any]
) -> None:
    """It rests for fifty times as long as it took to count, and at least for ten seconds."""
    now = [0.0]
    rollups = Rollups(clock=lambda: now[0])
    for step, at_s, counted in (("a", 0.0, 1), ("b", 5.0, 1), ("c", 9.9, 1), ("d", 10.1, 4), ("e", 15.0, 4)):
        now[0] = at_s
        shelf.put(run_copy("r", pipeline="a"), step_copy("r", step))
        rollups.turn(connection)
        assert _named(connection) == {"a": counted}


_ENDLESS = "UPDATE steps SET duration_ms = 1e308 WHERE step_id LIKE 'odd%'"
"""Two of them have no sum. Nothing that can be sent: it stands for whatever keeps an hour from its count."""


def test_an_hour_that_cannot_be_counted_keeps_no_other_from_it(
    shelf: Shelf, connection: psycopg.Connection[Any]
) -> None:
    """The turn fails after those before it were counted; the hour rests and is tried again."""
    steps = [step_copy("r", *step, name="n") for step in (("s", 0), ("odd", 7200), ("odd2", 7201))]
    shelf.put(run_copy("r", pipeline="a"), *steps)
    connection.execute(_ENDLESS)
    now = [0.0]
    rollups = Rollups(clock=lambda: now[0])
    with pytest.raises(psycopg.DataError):
        rollups.turn(connection)
    assert _named(connection) == {"a": 1}
    now[0] = 5.0
    rollups.turn(connection)
    now[0] = 3600.0
    with pytest.raises(psycopg.DataError):
        rollups.turn(connection)


def test_an_hour_that_cannot_be_counted_holds_up_its_week(
    shelf: Shelf, connection: psycopg.Connection[Any]
) -> None:
    """What expired before it goes; the week waits, with the names of its runs."""
    for weeks, (run_id, *names) in enumerate((("a", "s", "t"), ("b", "odd", "odd2"), ("c", "s", "t"))):
        steps = [step_copy(run_id, name, name="n") for name in names]
        shelf.put(run_copy(run_id, pipeline=run_id), *steps, received=START + timedelta(days=7 * weeks))
    connection.execute(_ENDLESS)

    def expire_two_weeks() -> None:
        expire(connection, Policy(runs_days=7), lambda: week_of(START.date()) + timedelta(days=21))

    with pytest.raises(psycopg.DataError):
        expire_two_weeks()
    assert _named(connection) == {"a": 2}
    connection.execute("UPDATE steps SET duration_ms = 1")
    expire_two_weeks()
    assert _rows(connection, "SELECT DISTINCT run_id FROM steps JOIN runs USING (run_key)") == [
        {"run_id": "c"}
    ]
    assert _named(connection) == {"a": 2, "b": 2}


def test_the_view_says_what_is_settled(shelf: Shelf, connection: psycopg.Connection[Any]) -> None:
    """A row of the public view is settled while its hour has no mark."""
    shelf.put(run_copy("r", pipeline="a"), step_copy("r", "s", candidates_in=4, candidates_out=1))
    _settle_all(connection)
    query = "SELECT pipeline, steps, drop_ratio_sum / drop_ratio_steps, settled FROM xray_public.step_hours"
    assert connection.execute(query).fetchall() == [("a", 1, 0.75, True)]
    shelf.put(step_copy("r", "t"))
    assert connection.execute(query).fetchall() == [("a", 1, 0.75, False)]
