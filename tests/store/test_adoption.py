"""Inferred steps that name no run join the only identified run of their trace, whatever came first."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from typing import Any

import psycopg
import pytest

from store.adoption import Adopter
from store.decisions import DecisionColumns, pack
from store.queries.filters import PageRequest
from store.reader import Reader
from store.rows import Artifact, Batch, DecisionChunk, Loss, Outcome, RunCopy, StepCopy
from store.writer import PostgresWriter
from tests.fixtures.reading import run_copy, step_copy
from tests.fixtures.tables import Tables, dump_tables
from tests.fixtures.waiting import wait_until

ALONE, SHARED, NOBODYS, MIXED = (bytes([n]) * 16 for n in (0xA1, 0xB2, 0xC3, 0xD4))
"""Traces: of one identified run, of two, of none, and of one beside steps that say less."""
NS = 1_700_000_000_000_000_000


def spot(trace: bytes, number: int) -> dict[str, Any]:
    """Where an inferred step is: it has no id but that of its span, and no run but its trace."""
    span_id = bytes([number]) * 8
    return {"step_id": span_id.hex(), "attempt_key": span_id.hex(), "span_id": span_id, "trace_id": trace}


def inferred(trace: bytes, number: int, **fields: Any) -> StepCopy:
    where = spot(trace, number)
    return step_copy(
        trace.hex(), where.pop("step_id"), number, attempt=None, step_type="search", inferred=True, **where
    )._replace(**fields)


def chunk(trace: bytes, number: int) -> DecisionChunk:
    span_id = (bytes([number]) * 8).hex()
    columns = DecisionColumns(count=2, item=["a", "b"], verdict="KE")
    return DecisionChunk(trace.hex(), span_id, span_id, 0, 1, 2, pack(columns))


def everything() -> list[Batch]:
    """All that four traces send, about one thing per batch."""
    first = (bytes([1]) * 8).hex()
    rows: list[dict[str, Any]] = [
        # The run of ALONE is told by its span, its steps say where they belong.
        {"runs": [run_copy("alone", 0, trace_id=ALONE, pipeline="shop")]},
        {"steps": [step_copy("alone", "filter", 1, trace_id=ALONE, candidates_in=9)]},
        {"steps": [inferred(ALONE, 1)], "decisions": [chunk(ALONE, 1)]},
        {"steps": [inferred(ALONE, 2)]},
        {"losses": [Loss(ALONE.hex(), "shed", "decisions", f"{first}/{first}/7", 40, first, first)]},
        {
            "artifacts": [
                Artifact(ALONE.hex(), first, first, "prompt", "text/plain", 3, b"\x05" * 32, b"abc"),
                Artifact(ALONE.hex(), None, None, "own", "text/plain", 3, b"\x05" * 32, b"abc"),
            ]
        },
        # One that was stamped with its run by whoever sent it stays there.
        {"steps": [inferred(ALONE, 3, run_id="alone", step_id="stamped")]},
        {"runs": [run_copy("one", 0, trace_id=SHARED)]},
        {"steps": [step_copy("two", "filter", 1, trace_id=SHARED)]},
        {"steps": [inferred(SHARED, 1), inferred(SHARED, 2)], "decisions": [chunk(SHARED, 2)]},
        {"steps": [inferred(NOBODYS, 1)], "decisions": [chunk(NOBODYS, 1)]},
        {"steps": [step_copy("mixed", "rank", 3, trace_id=MIXED)]},
        {"steps": [step_copy(MIXED.hex(), "plain", 1, trace_id=MIXED)]},
        {"steps": [inferred(MIXED, 1)]},
        # The same execution once more, which ended earlier: the one that ended first wins.
        {"steps": [inferred(MIXED, 1, name="earlier", end_sent_ns=1)]},
    ]
    return [Batch(NS, **row) for row in rows]


@pytest.fixture
def new_writer() -> Iterator[Callable[[str], PostgresWriter]]:
    """Writers, closed at the end."""
    writers: list[PostgresWriter] = []

    def make(url: str) -> PostgresWriter:
        writers.append(PostgresWriter(url))
        return writers[-1]

    yield make
    for writer in writers:
        writer.close()


@pytest.fixture
def new_adopter() -> Iterator[Callable[..., Adopter]]:
    """Adopters without a thread, closed at the end."""
    adopters: list[Adopter] = []

    def make(url: str, *arguments: int) -> Adopter:
        adopters.append(Adopter(url, *arguments))
        return adopters[-1]

    yield make
    for adopter in adopters:
        adopter.close()


@pytest.fixture
def writer(database_url: str, new_writer: Callable[[str], PostgresWriter]) -> PostgresWriter:
    return new_writer(database_url)


@pytest.fixture
def adopter(database_url: str, new_adopter: Callable[[str], Adopter]) -> Adopter:
    return new_adopter(database_url)


def store(writer: PostgresWriter, *batches: Batch) -> None:
    for batch in batches:
        (result,) = writer.write([batch])
        assert not result.refused


def finish(adopter: Adopter) -> None:
    while adopter.turn():
        pass


@pytest.fixture
def in_order(
    new_database: Callable[[], str],
    new_writer: Callable[[str], PostgresWriter],
    new_adopter: Callable[[str], Adopter],
) -> Tables:
    """The tables after one delivery in its natural order, moved at the end."""
    url = new_database()
    store(new_writer(url), *everything())
    finish(new_adopter(url))
    return dump_tables(url)


def steps_by_run(tables: Tables) -> dict[str, list[str]]:
    names = {row["run_key"]: row["run_id"] for row in tables["runs"]}
    found: dict[str, list[str]] = {}
    for row in tables["steps"]:
        found.setdefault(names[row["run_key"]], []).append(row["step_id"])
    return found


def test_the_only_identified_run_takes_them_in(in_order: Tables) -> None:
    one, two = ((bytes([n]) * 8).hex() for n in (1, 2))
    assert steps_by_run(in_order) == {
        "alone": [one, two, "filter", "stamped"],
        "two": ["filter"],
        SHARED.hex(): [one, two],
        NOBODYS.hex(): [one],
        "mixed": [one, "rank"],
        MIXED.hex(): ["plain"],
    }
    names = {row["run_key"]: row["run_id"] for row in in_order["runs"]}
    assert sorted(names[row["run_key"]] for row in in_order["decisions"]) == sorted(
        ["alone", SHARED.hex(), NOBODYS.hex()]
    )
    assert [names[row["run_key"]] for row in in_order["losses"]] == ["alone"]
    assert sorted((names[row["run_key"]], row["kind"]) for row in in_order["artifacts"]) == sorted(
        [("alone", "prompt"), (ALONE.hex(), "own")]
    )
    # The same bytes, of which a run keeps its own.
    assert sorted(names[row["run_key"]] for row in in_order["artifact_blobs"]) == sorted(
        ["alone", ALONE.hex()]
    )
    assert not any(row["pending"] for row in in_order["traces"])
    (mixed,) = [row for row in in_order["steps"] if row["name"] == "earlier"]
    assert mixed["filled"] == ["run_id"]


@pytest.mark.parametrize("seed", range(6))
def test_order_repeats_and_turns_do_not_show(
    seed: int,
    in_order: Tables,
    new_database: Callable[[], str],
    new_writer: Callable[[str], PostgresWriter],
    new_adopter: Callable[[str], Adopter],
) -> None:
    """Everything twice, in any order, through two writers, with turns of two adopters in between."""
    url = new_database()
    writers, adopters = [new_writer(url), new_writer(url)], [new_adopter(url), new_adopter(url)]
    chance = random.Random(seed)
    batches = everything() * 2
    chance.shuffle(batches)
    for batch in batches:
        store(chance.choice(writers), batch)
        if chance.random() < 0.5:
            chance.choice(adopters).turn()
    finish(adopters[0])
    assert dump_tables(url) == in_order


def test_turns_beside_writers_lose_nothing(
    in_order: Tables,
    new_database: Callable[[], str],
    new_writer: Callable[[str], PostgresWriter],
    new_adopter: Callable[[str], Adopter],
) -> None:
    """Two writers send everything three times while two adopters move what comes."""
    url = new_database()
    adopters = [new_adopter(url), new_adopter(url)]

    def deliver(seed: int) -> None:
        batches = everything() * 3
        random.Random(seed).shuffle(batches)
        store(new_writer(url), *batches)

    for adopter in adopters:
        adopter.start()
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(deliver, (1, 2)))
    wait_until(lambda: dump_tables(url) == in_order, timeout_s=60.0, what="the steps to lie in their runs")


def test_a_second_identified_run_sends_them_back(
    database_url: str,
    writer: PostgresWriter,
    adopter: Adopter,
) -> None:
    first = (bytes([1]) * 8).hex()
    store(writer, Batch(NS, steps=[step_copy("one", "filter", trace_id=SHARED)]))
    store(writer, Batch(NS, steps=[inferred(SHARED, 1)], decisions=[chunk(SHARED, 1)]))
    finish(adopter)
    assert steps_by_run(dump_tables(database_url)) == {"one": [first, "filter"]}

    store(writer, Batch(NS, runs=[run_copy("two", trace_id=SHARED)]))
    finish(adopter)

    tables = dump_tables(database_url)
    assert steps_by_run(tables) == {"one": ["filter"], SHARED.hex(): [first]}
    assert [row["run_key"] for row in tables["decisions"]] == [
        row["run_key"] for row in tables["steps"] if row["inferred"]
    ]


def test_more_steps_than_a_turn_takes(
    database_url: str,
    writer: PostgresWriter,
    adopter: Adopter,
) -> None:
    steps = [
        inferred(ALONE, 1, step_id=f"s{number}", attempt_key="1", candidates_in=number)
        for number in range(1_300)
    ]
    store(writer, Batch(NS, steps=steps), Batch(NS, runs=[run_copy("alone", trace_id=ALONE)]))
    assert adopter.turn()
    finish(adopter)
    assert len(steps_by_run(dump_tables(database_url))["alone"]) == 1_300

    store(writer, Batch(NS, runs=[run_copy("other", trace_id=ALONE)]))
    finish(adopter)
    assert len(steps_by_run(dump_tables(database_url))[ALONE.hex()]) == 1_300


def test_the_answers_know_the_run_alone(
    reader: Reader,
    writer: PostgresWriter,
    adopter: Adopter,
) -> None:
    """A trace's own run is there until another takes its steps in, and again when they come back."""
    own = ALONE.hex()
    store(writer, Batch(NS, steps=[inferred(ALONE, 1)], decisions=[chunk(ALONE, 1)]))
    finish(adopter)
    assert [run.run_id for run in reader.runs().items] == [own]

    store(writer, Batch(NS, runs=[run_copy("alone", trace_id=ALONE)]))
    finish(adopter)

    assert [(run.run_id, run.steps_count) for run in reader.runs().items] == [("alone", 1)]
    assert [step.run_id for step in reader.steps().items] == ["alone"]
    assert reader.run_detail(own) is None
    assert reader.run_steps(own, PageRequest()) is None
    detail = reader.run_detail("alone")
    assert detail is not None
    assert [(step.inferred, step.completeness.evidence) for step in detail.steps] == [(True, "full")]
    journey = reader.journey("alone", "a")
    assert journey is not None
    assert [stop.step.step_id for stop in journey.steps] == [(bytes([1]) * 8).hex()]

    store(writer, Batch(NS, runs=[run_copy("other", trace_id=ALONE)]))
    finish(adopter)
    assert {run.run_id: run.steps_count for run in reader.runs().items} == {"alone": 0, "other": 0, own: 1}


def test_a_label_of_the_traces_own_run_stays_in_sight(
    reader: Reader,
    writer: PostgresWriter,
    adopter: Adopter,
) -> None:
    """Whoever labelled it named that run; it is there until the label is withdrawn."""
    own = ALONE.hex()
    store(writer, Batch(NS, steps=[inferred(ALONE, 1)], outcomes=[Outcome(own, "bad", None, True, NS, "t")]))
    store(writer, Batch(NS, runs=[run_copy("alone", trace_id=ALONE)]))
    finish(adopter)

    assert {run.run_id: run.steps_count for run in reader.runs().items} == {"alone": 1, own: 0}
    detail = reader.run_detail(own)
    assert detail is not None
    assert [(each.name, each.value) for each in detail.run.outcomes] == [("bad", True)]

    store(writer, Batch(NS, outcomes=[Outcome(own, "bad", None, None, NS + 1, "t")]))
    assert [run.run_id for run in reader.runs().items] == ["alone"]


def test_runs_without_such_steps_leave_no_work(
    database_url: str, new_writer: Callable[[str], PostgresWriter], new_adopter: Callable[[str], Adopter]
) -> None:
    """A row per run and trace, written once; nothing for an adopter to do."""
    writer = new_writer(database_url)
    ours: Sequence[RunCopy | StepCopy] = [
        run_copy("alone", trace_id=ALONE),
        step_copy("alone", "filter", trace_id=ALONE),
    ]
    batch = Batch(NS, runs=[ours[0]], steps=[ours[1]])  # type: ignore[list-item]
    store(writer, batch)
    with psycopg.connect(database_url) as connection:
        before = connection.execute("SELECT ctid, claimed_by, pending FROM traces").fetchall()
        connection.commit()
        store(new_writer(database_url), batch, replace(batch, received_ns=NS + 1))
        assert connection.execute("SELECT ctid, claimed_by, pending FROM traces").fetchall() == before
    assert [pending for *_, pending in before] == [False]
    assert not new_adopter(database_url).turn()


def test_a_row_that_makes_no_sense_holds_up_its_own_trace_alone(
    database_url: str,
    writer: PostgresWriter,
    adopter: Adopter,
) -> None:
    """The adopter goes on with the traces behind it, which it took in the same turn."""
    traces = {f"r{number}": bytes([number]) * 16 for number in range(1, 9)}
    for run_id, trace in traces.items():
        store(writer, Batch(NS, steps=[inferred(trace, 1)], runs=[run_copy(run_id, trace_id=trace)]))
    with psycopg.connect(database_url) as connection:
        bad = traces["r4"].hex()
        connection.execute("UPDATE steps SET start_copy = '{}' WHERE trace_id = %s", [bad])
    failures = 0
    for _ in range(40):
        try:
            if not adopter.turn():
                break
        except KeyError:
            failures += 1
    assert 1 <= failures < 40
    found = steps_by_run(dump_tables(database_url))
    assert set(found) == {*traces, bad} - {"r4"}


def artifacts_of(run_id: str, step_id: str | None, numbers: Iterable[int]) -> list[Batch]:
    """One artifact a batch."""
    return [
        Batch(
            NS,
            artifacts=[
                Artifact(run_id, step_id, step_id, f"k{n}", "text/plain", 1, bytes([n]) * 32, bytes([n]))
            ],
        )
        for n in numbers
    ]


@pytest.mark.parametrize("seed", range(3))
def test_the_limit_of_artifacts_holds_for_those_that_are_moved(
    seed: int,
    new_database: Callable[[], str],
    new_adopter: Callable[..., Adopter],
) -> None:
    """Of a run's own and those that came with adopted steps the same stay, whatever came first."""
    limit, first = 3, (bytes([1]) * 8).hex()
    batches = [
        Batch(NS, runs=[run_copy("alone", trace_id=ALONE)]),
        Batch(NS, steps=[inferred(ALONE, 1)]),
        *artifacts_of("alone", "own", range(4)),
        *artifacts_of(ALONE.hex(), first, range(4, 24)),
    ]

    def delivered(order: Sequence[Batch], turns: bool) -> Tables:
        url = new_database()
        adopter = new_adopter(url, limit)
        with closing(PostgresWriter(url, max_artifacts_per_run=limit)) as writer:
            for batch in order:
                store(writer, batch)
                if turns:
                    adopter.turn()
        finish(adopter)
        return dump_tables(url)

    shuffled = list(batches)
    random.Random(seed).shuffle(shuffled)
    tables = delivered(shuffled, turns=seed % 2 == 0)
    assert len(tables["artifacts"]) == len(tables["artifact_blobs"]) == limit
    assert sum(row["lost"] for row in tables["losses"]) == 24 - limit
    assert tables == delivered(batches, turns=False)


def test_artifacts_wait_for_whoever_adds_to_their_new_run(
    database_url: str,
    new_writer: Callable[[str], PostgresWriter],
    new_adopter: Callable[[str], Adopter],
) -> None:
    """A writer that holds the run counts its artifacts: nobody may add to them meanwhile, nor be kept."""
    adopter, first = new_adopter(database_url), (bytes([1]) * 8).hex()
    store(
        new_writer(database_url),
        Batch(NS, runs=[run_copy("alone", trace_id=ALONE)], steps=[inferred(ALONE, 1)]),
        *artifacts_of(ALONE.hex(), first, range(2)),
    )
    with psycopg.connect(database_url) as connection:
        connection.execute("SELECT FROM runs WHERE run_id = 'alone' FOR UPDATE")
        assert not adopter.turn()
        assert steps_by_run(dump_tables(database_url)) == {"alone": [first]}
        assert {row["run_key"] for row in dump_tables(database_url)["artifacts"]} == {
            row["run_key"] for row in dump_tables(database_url)["runs"] if row["run_id"] == ALONE.hex()
        }
    finish(adopter)
    tables = dump_tables(database_url)
    assert {row["run_key"] for row in tables["artifacts"]} == {row["run_key"] for row in tables["steps"]}
    assert len(tables["artifacts"]) == 2
