"""The writer on a real server: equal tables, counted deliveries, isolated refusals."""

from __future__ import annotations

import random
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import sql

from store.decisions import DecisionColumns, pack
from store.rows import Artifact, Batch, DecisionChunk, Flag, RunCopy, RunHeartbeat, RunWait, StepCopy
from store.writer import PostgresWriter, RecentBatches
from tests.fixtures.tables import dump_tables
from tests.store.copy_strategies import BASE_NS, batches

SECOND_NS = 1_000_000_000


@pytest.fixture
def writer(database_url):
    """A writer on a fresh database."""
    writer = PostgresWriter(database_url)
    yield writer
    writer.close()


TIMES: dict[str, Any] = {
    "start_ns": BASE_NS,
    "end_ns": BASE_NS + SECOND_NS,
    "start_sent_ns": BASE_NS,
    "end_sent_ns": BASE_NS + SECOND_NS,
}


def step(run_id: str, step_id: str, **fields: Any) -> StepCopy:
    shape = {"terminal": True, "name": "filter_by_price", "step_type": "filter", "status": "ok", "attempt": 1}
    return StepCopy(run_id, step_id, "1", **{**shape, **TIMES, **fields})


def run_end(run_id: str, **fields: Any) -> RunCopy:
    return RunCopy(run_id, **{"terminal": True, "status": "completed", **TIMES, **fields})


def one(url: str, query: str):
    with psycopg.connect(url) as connection:
        return connection.execute(query).fetchone()


def whole_run(number: int) -> list[Batch]:
    """All that a run sends, one copy per batch, in the order in which a client sends it."""
    run_id = f"run-{number}"
    columns = DecisionColumns(count=2, item=["a", "b"], verdict="KE")
    return [
        Batch(BASE_NS, runs=[RunCopy(run_id, False, start_ns=BASE_NS, start_sent_ns=BASE_NS, entity="P1")]),
        *(
            Batch(BASE_NS, steps=[step(run_id, f"s{n}", candidates_in=10, candidates_out=n, pipeline="shop")])
            for n in range(4)
        ),
        Batch(
            BASE_NS, steps=[step(run_id, "s0", end_sent_ns=BASE_NS + 9, end_ns=BASE_NS + 9, status="error")]
        ),
        Batch(
            BASE_NS, steps=[step(run_id, "s1", terminal=False, status=None, why="cheap only", end_ns=None)]
        ),
        *(
            Batch(BASE_NS, decisions=[DecisionChunk(run_id, "s1", "1", n, 2, 2, pack(columns))])
            for n in (0, 1)
        ),
        Batch(BASE_NS, waits=[RunWait(run_id, BASE_NS + 7, BASE_NS + SECOND_NS)]),
        Batch(
            BASE_NS, artifacts=[Artifact(run_id, "s1", "1", "prompt", "text/plain", 3, b"\x01" * 32, b"abc")]
        ),
        Batch(BASE_NS, runs=[run_end(run_id, pipeline="shop", status="crashed", end_sent_ns=BASE_NS + 5)]),
        Batch(BASE_NS, runs=[run_end(run_id, pipeline="shop", output={"winner": "a"})]),
    ]


@pytest.fixture
def two_databases(postgres, template_database):
    """Two fresh databases to deliver the same data to in two ways."""
    urls = [postgres.create(f"xray_pair_{n}_{random.randrange(10**9)}", template_database) for n in (0, 1)]
    yield urls
    for url in urls:
        postgres.drop(psycopg.conninfo.conninfo_to_dict(url)["dbname"])


def test_shuffled_and_repeated_deliveries_leave_equal_tables(two_databases):
    """Decisions before their step, steps before their run, everything twice: the same tables."""
    ordered = [batch for number in range(20) for batch in whole_run(number)]
    again = ordered * 2
    random.Random(1).shuffle(again)
    for url, deliveries in zip(two_databases, (ordered, again), strict=True):
        writer = PostgresWriter(url)
        for start in range(0, len(deliveries), 7):
            results = writer.write(deliveries[start : start + 7])
            assert all(result.stored == 1 and not result.refused for result in results)
        writer.close()
    assert dump_tables(two_databases[1]) == dump_tables(two_databases[0])


def test_two_writers_at_once_leave_the_tables_of_one(two_databases):
    """Writers that deliver the same data in different orders at the same time do not disturb each other."""
    ordered = [batch for number in range(20) for batch in whole_run(number)]
    single = PostgresWriter(two_databases[0])
    single.write(ordered)
    single.close()

    def deliver(seed: int) -> None:
        shuffled = list(ordered)
        random.Random(seed).shuffle(shuffled)
        writer = PostgresWriter(two_databases[1])
        for start in range(0, len(shuffled), 13):
            writer.write(shuffled[start : start + 13])
        writer.close()

    with ThreadPoolExecutor(3) as threads:
        list(threads.map(deliver, (1, 2, 3)))
    assert dump_tables(two_databases[1]) == dump_tables(two_databases[0])
    assert one(two_databases[1], "SELECT sum(deliveries) FROM steps") == (3 * 20 * 6,)


@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(deliveries=st.lists(batches(), min_size=1, max_size=4), order=st.randoms(use_true_random=False))
def test_any_copies_in_any_order_leave_equal_tables(two_databases, deliveries, order):
    """Whatever meets in a key, one call in order and single calls shuffled and doubled agree."""
    for url in two_databases:
        with psycopg.connect(url) as connection:
            connection.execute("TRUNCATE runs, steps, decisions, artifacts, artifact_blobs, losses")
    again = deliveries * 2
    order.shuffle(again)
    at_once, one_by_one = (PostgresWriter(url) for url in two_databases)
    at_once.write(deliveries)
    for batch in again:
        one_by_one.write([batch])
    at_once.close()
    one_by_one.close()
    assert dump_tables(two_databases[1]) == dump_tables(two_databases[0])


def requests(writer: PostgresWriter, batch: Batch, trace: Path) -> Counter[str]:
    """What the writer asks of the server for one batch, by kind of message (libpq's trace)."""
    with trace.open("w+") as file:
        connection = writer._connect()
        connection.pgconn.trace(file.fileno())
        writer.write([batch])
        connection.pgconn.untrace()
        file.seek(0)
        messages = [line.split("\t") for line in file]
    sent = Counter(message[3] for message in messages if message[1] == "F")
    return Counter({kind: sent[kind] for kind in ("Query", "Parse", "Bind", "Execute")})


def test_a_repeated_batch_costs_no_statement_per_row(writer, database_url, tmp_path):
    """A second delivery takes as many statements for 300 steps as for 3, and only counts them."""
    asked = []
    for count in (3, 300):
        run_id = f"run-{count}"
        batch = Batch(BASE_NS, runs=[run_end(run_id)], steps=[step(run_id, f"s{n}") for n in range(count)])
        writer.write([batch])
        before = dump_tables(database_url)
        asked.append(requests(writer, batch, tmp_path / "trace"))
        assert dump_tables(database_url) == before
    assert asked[0] == asked[1]
    assert one(database_url, "SELECT min(deliveries), max(deliveries) FROM steps") == (2, 2)
    assert one(database_url, "SELECT min(deliveries), max(deliveries) FROM runs") == (2, 2)


def test_steps_of_a_known_run_do_not_look_at_it(writer, tmp_path):
    """While nothing about the run changes, storing a step is one COPY in one transaction."""
    writer.write([Batch(BASE_NS, steps=[step("run-1", "s0")])])
    asked = requests(writer, Batch(BASE_NS, steps=[step("run-1", "s1")]), tmp_path / "trace")
    assert asked == {
        "Query": 4,
        "Parse": 0,
        "Bind": 0,
        "Execute": 0,
    }  # BEGIN, SAVEPOINT, COPY, COMMIT


def test_a_batch_that_comes_again_leaves_its_group_alone(writer, database_url, tmp_path):
    """Among others it is merged with what is stored; when a writer here stored it, no COPY is in vain."""
    recent = RecentBatches()
    batches = [
        Batch(
            BASE_NS,
            steps=[step(f"run-{n}", f"s{m}") for m in range(3)],
            decisions=[DecisionChunk(f"run-{n}", "s1", "1", 0, 1, 1, b"\x01x")],
        )
        for n in range(6)
    ]
    first, knowing = PostgresWriter(database_url, recent), PostgresWriter(database_url, recent)
    first.write(batches[:1])
    assert rolled_back(knowing, batches[:3], tmp_path / "knowing") == 0
    # A writer that cannot know: a conflict in each table, once with its group and once alone.
    assert rolled_back(writer, [*batches[3:], batches[2]], tmp_path / "unknowing") == 4
    first.close()
    knowing.close()
    with psycopg.connect(database_url) as connection:
        for table, each in (("steps", 3), ("decisions", 1)):
            counted = connection.execute(
                sql.SQL(
                    "SELECT run_id, sum(t.deliveries) FROM {} t JOIN runs USING (run_key) GROUP BY 1"
                ).format(sql.Identifier(table))
            ).fetchall()
            assert dict(counted) == {
                f"run-{n}": each * deliveries for n, deliveries in enumerate((2, 1, 2, 1, 1, 1))
            }


def rolled_back(writer: PostgresWriter, batches: list[Batch], trace: Path) -> int:
    """How many savepoints the writer rolls back to store the batches (libpq's trace)."""
    with trace.open("w+") as file:
        connection = writer._connect()
        connection.pgconn.trace(file.fileno())
        results = writer.write(batches)
        connection.pgconn.untrace()
        file.seek(0)
        assert not any(result.refused for result in results)
        return sum('"ROLLBACK TO' in line for line in file)


@pytest.mark.parametrize("again", [[0, 1], [1, 0, 0, 1]], ids=["at once", "shuffled"])
def test_what_cannot_be_stored_is_named_when_its_batch_comes_again(writer, database_url, again):
    """Looking first at what is stored takes no copy without a database form for a good one."""
    good = [step("run-1", f"s{n}") for n in range(4)]
    bad = [
        step("run-1", "s9", metrics={"x": object()}, sent_hash=3),
        step("run-1", "s\0", sent_hash=4),
        step("run-1", "s\ud800", sent_hash=5),
    ]
    chunk = DecisionChunk("run-1", "s1", "1", 2**31, 1, 1, b"\x01x")
    batches = [Batch(BASE_NS, steps=good), Batch(BASE_NS, steps=[*good, *bad], decisions=[chunk])]
    for results in (writer.write(batches), writer.write([batches[n] for n in again])):
        named = [refusal.row for result in results for refusal in result.refused]
        assert len(named) == len(results) // 2 * 4
        assert all(row in (*bad, chunk) for row in named)
    assert one(database_url, "SELECT count(*), min(deliveries) FROM steps") == (4, 2 + len(again))
    assert one(database_url, "SELECT count(*) FROM decisions") == (0,)


def test_created_runs_are_named_once(writer):
    """A run belongs to the first batch that mentions it, and to none when it is there already."""
    first = Batch(BASE_NS, steps=[step("run-1", "s1")])
    second = Batch(BASE_NS, runs=[run_end("run-1"), run_end("run-2")])
    results = writer.write([first, second])
    assert [result.created_runs for result in results] == [{"run-1"}, {"run-2"}]
    assert [result.created_runs for result in writer.write([first, second])] == [frozenset(), frozenset()]


def test_a_run_is_what_its_steps_say_until_it_speaks(writer, database_url):
    """Pipeline, service and start come from the first step, then from the run itself."""
    query = "SELECT pipeline, service_name, started_at = first_step_at, terminal_status FROM runs"
    early = step("run-1", "s1", pipeline="from-step", service_name="shop")
    late = step("run-1", "s2", pipeline="later", start_ns=BASE_NS + 9, start_sent_ns=BASE_NS + 9)
    writer.write([Batch(BASE_NS, steps=[late])])
    writer.write([Batch(BASE_NS, steps=[early])])
    assert one(database_url, query) == ("from-step", "shop", True, None)
    writer.write([Batch(BASE_NS, runs=[run_end("run-1", pipeline="from-run", start_ns=BASE_NS - SECOND_NS)])])
    assert one(database_url, query) == ("from-run", "shop", False, "completed")


def test_the_day_of_a_run_is_that_of_its_first_receipt(writer, database_url):
    """A step that comes a week later lies in the partition of its run's first day."""
    week_ns = 7 * 86_400 * SECOND_NS
    writer.write([Batch(BASE_NS, steps=[step("run-1", "s1")])])
    writer.write([Batch(BASE_NS + week_ns, steps=[step("run-1", "s1"), step("run-1", "s2")])])
    assert one(database_url, "SELECT count(*), count(DISTINCT run_day) FROM steps") == (2, 1)


SILENCE = "SELECT extract(epoch FROM last_received_at - received_at)::int FROM runs"


def test_news_of_a_run_is_noted(writer, database_url):
    """Silence is measured from last_received_at, which steps and heartbeats move, to about ten seconds."""
    for seconds, noted in ((0, 0), (5, 0), (60, 60)):
        writer.write([Batch(BASE_NS + seconds * SECOND_NS, steps=[step("run-1", f"s{seconds}")])])
        assert one(database_url, SILENCE) == (noted,)
    (result,) = writer.write([Batch(BASE_NS + 120 * SECOND_NS, heartbeats=[RunHeartbeat("run-1")])])
    assert (result.stored, one(database_url, SILENCE)) == (1, (120,))


def test_a_heartbeat_makes_its_run(writer, database_url):
    """A run of which only a heartbeat came is there, with what was wrong with it."""
    flag = Flag("invalid_run_id", "xray.run.id", "no good")
    writer.write([Batch(BASE_NS, heartbeats=[RunHeartbeat("run-1", b"T" * 16, (flag,))])])
    found = one(database_url, "SELECT terminal_status, flags->0->>'code', deliveries FROM runs")
    assert found == (None, "invalid_run_id", 0)


def test_news_of_a_run_with_a_short_timeout_is_noted_in_time(writer, database_url):
    """A run that gives itself two seconds does not look silent while a step comes every second."""
    start = RunCopy("run-1", False, start_ns=BASE_NS, start_sent_ns=BASE_NS, timeout_s=2.0)
    writer.write([Batch(BASE_NS, runs=[start])])
    for second in (1, 2, 3):
        writer.write([Batch(BASE_NS + second * SECOND_NS, steps=[step("run-1", f"s{second}")])])
        assert one(database_url, SILENCE) == (second,)


def test_news_of_a_run_that_another_writer_woke_is_noted(writer, database_url):
    """A run that ended here and went on through another collector does not fall silent for the steps here."""
    writer.write([Batch(BASE_NS, runs=[run_end("run-1")])])
    other = PostgresWriter(database_url)
    other.write([Batch(BASE_NS + SECOND_NS, waits=[RunWait("run-1", BASE_NS + 90 * SECOND_NS)])])
    other.close()
    writer.write([Batch(BASE_NS + 180 * SECOND_NS, steps=[step("run-1", "s1")])])
    assert one(database_url, SILENCE) == (180,)


def test_a_commit_survives_a_crash_whatever_the_database_prefers(database_url):
    """Where synchronous_commit is off by default, the writer asks for it: acknowledged means on disk."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        name = sql.Identifier(connection.info.dbname)
        connection.execute(sql.SQL("ALTER DATABASE {} SET synchronous_commit = off").format(name))
    writer = PostgresWriter(database_url)
    assert writer._connect().execute("SHOW synchronous_commit").fetchone() == ("on",)
    writer.close()


@pytest.mark.parametrize(
    "poison",
    [
        step("run-1", "bad", name="a\0b"),
        step("run-1", "bad", input={"text": "a\0b"}),
        step("run-1", "bad", why="\ud800"),
        step("run-1", "bad", candidates_in=2**63),
        step("run-1", "bad", reason_codes=("a",), reason_counts=(2**63,)),
        step("run-1", "bad", step_index=2**31),
        step("run-1", "bad", start_ns=2**80),
        step("run-1", "bad", metrics={"x": object()}),
        step("run-1", "".join(random.Random(2).choices("abcdefghijklmnopqrstuvwxyz0123456789", k=20_000))),
        run_end("run-1", entity="a\0b"),
        run_end("run-1", output=["\ud800"]),
        run_end("bad\0run"),
        RunWait("run-1", BASE_NS, 2**80),
        DecisionChunk("run-1", "s1", "1", 2**31, 1, 1, b"\x01"),
        Artifact("run-1", None, None, "a\0b", "text/plain", 1, b"\x02" * 32, b"x"),
    ],
    ids=lambda copy: f"{type(copy).__name__}",
)
def test_a_row_that_the_database_refuses_harms_no_other(writer, database_url, poison):
    """The refused copy is named with a reason; the rest of its batch, and its run, is stored."""
    fields = {"RunCopy": "runs", "RunWait": "waits", "StepCopy": "steps", "DecisionChunk": "decisions"}
    field = fields.get(type(poison).__name__, "artifacts")
    good = Batch(BASE_NS, steps=[step("run-1", f"s{n}") for n in range(50)])
    poisoned = Batch(BASE_NS, **{field: [poison]}, size_bytes=1)
    results = writer.write([good, poisoned, Batch(BASE_NS, runs=[run_end("run-1", entity="P1")])])
    assert [result.stored for result in results] == [50, 0, 1]
    (refused,) = results[1].refused
    assert refused.row is poison
    assert refused.reason
    assert "a\0b" not in refused.reason
    assert one(database_url, "SELECT count(*) FROM steps") == (50,)
    assert one(database_url, "SELECT entity, terminal_status FROM runs") == ("P1", "completed")


def test_good_copies_are_not_refused_with_a_bad_one_of_their_key(writer, database_url):
    """Copies that would merge into one row are tried one by one when the row is refused."""
    good = step("run-1", "s1", why="fine")
    bad = step("run-1", "s1", why="a\0b", end_sent_ns=BASE_NS)
    results = writer.write([Batch(BASE_NS, steps=[good]), Batch(BASE_NS, steps=[bad, step("run-1", "s2")])])
    assert [[refusal.row for refusal in result.refused] for result in results] == [[], [bad]]
    assert one(database_url, "SELECT why FROM steps WHERE step_id = 's1'") == ("fine",)


def test_what_steps_say_outlives_a_refused_copy_of_their_run(writer, database_url):
    """Steps in one batch with a run copy that is refused name the run as they would have alone."""
    bad = run_end("run-1", output="a\0b")
    (result,) = writer.write([Batch(BASE_NS, runs=[bad], steps=[step("run-1", "s1", pipeline="shop")])])
    assert [refusal.row for refusal in result.refused] == [bad]
    assert one(database_url, "SELECT pipeline, started_at = first_step_at FROM runs") == ("shop", True)


def test_a_flood_of_copies_of_a_refused_row_is_refused_at_once(writer, database_url):
    """Beyond a bound the copies of one key are not tried one by one."""
    flood = [step("run-1", "s1", why="a\0b", end_sent_ns=BASE_NS + n) for n in range(5000)]
    (result,) = writer.write([Batch(BASE_NS, steps=[*flood, step("run-1", "s2")])])
    assert (result.stored, len(result.refused)) == (1, 5000)
    assert one(database_url, "SELECT count(*) FROM steps") == (1,)


def test_children_of_a_refused_run_are_refused_with_it(writer, database_url):
    """When not even the run's id can be stored, its steps and evidence say so."""
    bad = "bad\0run"
    batch = Batch(
        BASE_NS,
        steps=[step(bad, "s1"), step("run-1", "s1")],
        decisions=[DecisionChunk(bad, "s1", "1", 0, 1, 1, b"\x01")],
    )
    (result,) = writer.write([batch])
    assert result.stored == 1
    assert [refusal.row for refusal in result.refused] == [batch.steps[0], batch.decisions[0]]
    assert one(database_url, "SELECT run_id FROM runs") == ("run-1",)


def test_a_refused_change_leaves_the_stored_row(writer, database_url):
    """A bad later copy of a stored run or step is refused; what was there stays, and merges on."""
    writer.write([Batch(BASE_NS, runs=[run_end("run-1")], steps=[step("run-1", "s1")])])
    before = dump_tables(database_url)
    worse = Batch(
        BASE_NS,
        runs=[run_end("run-1", output="a\0b", end_sent_ns=BASE_NS + 99 * SECOND_NS)],
        steps=[step("run-1", "s1", why="a\0b", end_sent_ns=BASE_NS - SECOND_NS)],
    )
    (result,) = writer.write([worse])
    assert len(result.refused) == 2
    assert dump_tables(database_url) | {"losses": []} == before
    assert one(database_url, "SELECT count(*) FROM losses") == (2,)
    better = step("run-1", "s1", why="first end wins", end_sent_ns=BASE_NS - 1)
    writer.write([Batch(BASE_NS, steps=[better])])
    assert one(database_url, "SELECT why FROM steps") == ("first end wins",)


def test_a_readable_chunk_replaces_an_unreadable_one(writer, database_url):
    """Evidence that arrived damaged is healed by a good copy, and not damaged by a bad one."""
    damaged = DecisionChunk("run-1", "s1", "1", 0, 1, 0, None, "checksum differs")
    good = DecisionChunk("run-1", "s1", "1", 0, 1, 1, b"\x01x")
    for chunk in (damaged, good, damaged):
        writer.write([Batch(BASE_NS, decisions=[chunk])])
    assert one(database_url, "SELECT data, error, deliveries FROM decisions") == (b"\x01x", None, 3)


def test_an_empty_call_is_answered(writer):
    """No batches, and batches without rows, store nothing and fail nothing."""
    assert list(writer.write([])) == []
    (result,) = writer.write([Batch(BASE_NS)])
    assert (result.stored, list(result.refused), result.created_runs) == (0, [], frozenset())
