"""
How fast the writer stores steps, against COPY of the same rows, and what a run key costs.

    python -m benchmarks.copy_rate [--rounds 5] [--batches 48] [--runs 64] [--url postgresql://…]

Ways are interleaved within each round, so that a busy machine slows all of them; the median of
the rounds is printed. Without ``--url`` a server is started in a temporary folder. A batch
holds 512 steps with 24 of their columns filled, of ``--runs`` runs, the end of each of these
runs, and a chunk of decisions (50 candidates) for every eighth step. The ceiling is COPY of
the rows that the writer makes of them, ready in memory, all columns of them, into the same
three tables over one connection, with the same commits.
"""

from __future__ import annotations

import argparse
import gc
import random
import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from operator import itemgetter
from typing import Any, NamedTuple
from uuid import UUID, uuid4

import psycopg

from benchmarks.servers import database
from store import migrate, wire
from store.assemble import assemble
from store.bounds import Reach
from store.decisions import DecisionColumns, pack
from store.ids import run_key
from store.kinds import Decisions, Runs, Steps, day_of
from store.landing import by_column
from store.lone import render_lone
from store.partitions import Partitions
from store.rows import Batch, DecisionChunk, RunCopy, StepCopy
from store.statements import Item
from store.writer import PostgresWriter, RecentBatches

BATCH_STEPS = 512
GROUP = 8
"""Batches to a transaction when several wait."""
REPEATED = 20
"""One batch in so many comes again."""
DAY_NS = 1_795_000_000_000_000_000
DAY = day_of(DAY_NS // 1000)


def make_batch(seed: int, run_count: int) -> Batch:
    """A batch with random ids and times; equal seeds give equal batches."""
    random_ = random.Random(seed)
    runs = [f"{random_.getrandbits(128):032x}" for _ in range(run_count)]
    traces = {run_id: random_.randbytes(16) for run_id in runs}
    of_run = [runs[n * run_count // BATCH_STEPS] for n in range(BATCH_STEPS)]
    steps = [_step(random_, run_id, traces[run_id]) for run_id in of_run]
    return Batch(
        DAY_NS,
        runs=[_run(random_, run_id, traces[run_id]) for run_id in runs],
        steps=steps,
        decisions=[_chunk(random_, step) for step in steps[::8]],
    )


def _step(random_: random.Random, run_id: str, trace_id: bytes) -> StepCopy:
    start = DAY_NS + random_.randrange(10**12)
    end = start + random_.randrange(10**8)
    out = random_.randrange(5000)
    return StepCopy(
        run_id,
        f"{random_.getrandbits(64):016x}",
        "1",
        True,
        "filter_by_price",
        attempt=1,
        step_type="filter",
        status="ok",
        start_ns=start,
        end_ns=end,
        start_sent_ns=start,
        end_sent_ns=end,
        trace_id=trace_id,
        span_id=random_.randbytes(8),
        pipeline="competitor-selection",
        pipeline_version="v3",
        service_name="shop",
        candidates_in=5000,
        candidates_out=out,
        kept=out,
        eliminated=5000 - out,
        reason_codes=("price_too_high", "brand_excluded"),
        reason_counts=(5000 - out, 0),
        why="the budget is 50",
        metrics={"recall": random_.random()},
        reasoning={"max_price": 50},
        sent_hash=random_.getrandbits(63),
    )


def _run(random_: random.Random, run_id: str, trace_id: bytes) -> RunCopy:
    start = DAY_NS + random_.randrange(10**12)
    return RunCopy(
        run_id,
        True,
        status="completed",
        start_ns=start,
        end_ns=start + 10**9,
        start_sent_ns=start,
        end_sent_ns=start + 10**9,
        trace_id=trace_id,
        span_id=random_.randbytes(8),
        pipeline="competitor-selection",
        pipeline_version="v3",
        service_name="shop",
        entity=f"product-{random_.getrandbits(32)}",
        outcome="selected",
        sent_hash=random_.getrandbits(63),
    )


def _chunk(random_: random.Random, step: StepCopy) -> DecisionChunk:
    columns = DecisionColumns(
        count=50, item=[f"{random_.getrandbits(48):012x}" for _ in range(50)], verdict="K" * 10 + "E" * 40
    )
    return DecisionChunk(step.run_id, step.step_id, step.attempt_key, 0, 1, 50, pack(columns))


Ready = list[tuple[Any, list[tuple[Any, ...]]]]
"""What one transaction copies: statement and types of a table, and its rows in their wire form."""


def ready_rows(groups: Sequence[Sequence[Batch]]) -> list[Ready]:
    """The rows that the writer would make of each group, in the order in which it copies them."""
    made = []
    for group in groups:
        work = assemble(group)
        runs = [Item((run.key,), run.state, run.sources) for run in work.runs.values()]
        chunks = [item._replace(key=(*item.key, DAY)) for item in work.decisions.values()]
        steps = sorted(work.steps.items())
        columns = render_lone(
            [key for key, _ in steps],
            [entry for _, entry in steps if not isinstance(entry, Item)],
            [DAY] * len(steps),
        )
        rows = [Runs(Reach()).row(item) for item in sorted(runs, key=itemgetter(0))]
        decisions = [Decisions().row(item) for item in sorted(chunks, key=itemgetter(0))]
        made.append(
            [
                _ready(Runs.statements.copy, by_column(rows)),
                _ready(Steps.statements.copy, columns),
                _ready(Decisions.statements.copy, by_column(decisions)),
            ]
        )
    return made


def _ready(form: wire.CopyForm, columns: Sequence[wire.Column]) -> tuple[Any, list[tuple[Any, ...]]]:
    everything = tuple(range(len(columns)))
    return form.statement(everything), list(zip(*form.encode(columns, everything), strict=True))


def copy_ready(url: str, made: Sequence[Ready]) -> None:
    """COPY of rows that are ready, a transaction for each group: the ceiling."""
    with psycopg.connect(url, autocommit=True) as connection:
        wire.adapt(connection)
        for tables in made:
            with connection.transaction(), connection.cursor() as cursor:
                for (statement, types), rows in tables:
                    with cursor.copy(statement) as copy:
                        copy.set_types(types)
                        for row in rows:
                            copy.write_row(row)


def write(url: str, groups: Sequence[Sequence[Batch]], recent: RecentBatches | None = None) -> None:
    """The writer, a call for each group."""
    writer = PostgresWriter(url, recent)
    for group in groups:
        results = writer.write(group)
        assert all(result.stored >= BATCH_STEPS and not result.refused for result in results)
    writer.close()


def write_by_two(url: str, groups: Sequence[Sequence[Batch]]) -> None:
    """Two writers of one process, each with every other group."""
    with ThreadPoolExecutor(2) as threads:
        recent = RecentBatches()
        for done in [threads.submit(write, url, groups[number::2], recent) for number in range(2)]:
            done.result()


def grouped(batches: Sequence[Batch], size: int) -> list[Sequence[Batch]]:
    """The batches, ``size`` to a group."""
    return [batches[start : start + size] for start in range(0, len(batches), size)]


def partly_repeated(batches: Sequence[Batch]) -> list[Batch]:
    """The batches, every twentieth of them once more, 12 batches later."""
    sent: list[Batch] = []
    for number, batch in enumerate(batches):
        sent.append(batch)
        if number >= 12 and number % REPEATED == REPEATED // 2 + 2:
            sent.append(batches[number - 12])
    return sent


class Way(NamedTuple):
    """A way to store the batches; what it is given is made before the clock starts."""

    prepare: Callable[[list[Batch]], Any]
    store: Callable[[str, Any], None]
    ceiling: str | None
    """The name of the way that it is compared with."""


_ALONE, _GROUPED = "COPY of ready rows, commit per batch", "COPY of ready rows, commit per 8 batches"
WAYS = {
    _ALONE: Way(lambda batches: ready_rows(grouped(batches, 1)), copy_ready, None),
    _GROUPED: Way(lambda batches: ready_rows(grouped(batches, GROUP)), copy_ready, None),
    "writer, commit per batch": Way(lambda batches: grouped(batches, 1), write, _ALONE),
    "writer, commit per 8 batches": Way(lambda batches: grouped(batches, GROUP), write, _GROUPED),
    "… every 20th batch sent twice": Way(
        lambda batches: grouped(partly_repeated(batches), GROUP), write, _GROUPED
    ),
    "two writers, commit per 8 batches": Way(lambda batches: grouped(batches, GROUP), write_by_two, _GROUPED),
    "… every 20th batch sent twice by two": Way(
        lambda batches: grouped(partly_repeated(batches), GROUP), write_by_two, _GROUPED
    ),
    "all of it sent again, to a writer that did not store it": Way(
        lambda batches: grouped(batches, GROUP), write, _GROUPED
    ),
}


def measure(url: str, rounds: int, count: int, run_count: int) -> None:
    """Print steps per second and processor time per step of each way."""
    rates: dict[str, list[float]] = {name: [] for name in WAYS}
    cpu_us: dict[str, list[float]] = {name: [] for name in WAYS}
    for round_ in range(rounds):
        for position, (name, way) in enumerate(WAYS.items()):
            # The last way repeats what the way before it has stored.
            seed = round_ * 1000 + min(position, len(WAYS) - 2)
            given = way.prepare([make_batch(seed * 1000 + n, run_count) for n in range(count)])
            gc.collect()
            gc.freeze()  # what waits to be stored would not be in this process
            before, cpu_before = time.perf_counter(), time.process_time()
            way.store(url, given)
            cpu_us[name].append((time.process_time() - cpu_before) / (count * BATCH_STEPS) * 1e6)
            rates[name].append(count * BATCH_STEPS / (time.perf_counter() - before))
    print(
        f"{rounds} rounds of {count} batches of {BATCH_STEPS} steps of {run_count} runs;"
        " steps/s: median (lowest to highest); of the ceiling with as many commits; µs of this process a step"
    )
    for name, way in WAYS.items():
        median, spread = (
            statistics.median(rates[name]),
            f"({min(rates[name]):,.0f} to {max(rates[name]):,.0f})",
        )
        ceiling = statistics.median(rates[way.ceiling or name])
        print(
            f"  {name:56} {median:8,.0f} {spread:20}  × {median / ceiling:.2f}"
            f"  {statistics.median(cpu_us[name]):5.1f} µs"
        )


def measure_keys(url: str, rounds: int, count: int) -> None:
    """Print what a table costs whose key begins with the text run id, and with the 16-byte hash."""
    kinds: dict[str, tuple[str, str, Callable[[str], str | UUID]]] = {
        "text run id": ("bench_text", "text", lambda run_id: run_id),
        "uuid run_key": ("bench_uuid", "uuid", run_key),
    }
    seconds: dict[str, list[float]] = {name: [] for name in kinds}
    with psycopg.connect(url, autocommit=True) as connection:
        for table, type_, _ in kinds.values():
            connection.execute(f"DROP TABLE IF EXISTS {table}".encode())
            connection.execute(
                f"CREATE TABLE {table} (run {type_}, step_id text, attempt_key text, run_day date,"
                " candidates_in bigint, PRIMARY KEY (run, step_id, attempt_key, run_day))".encode()
            )
        for _ in range(rounds):
            ids = [(str(uuid4()), f"{random.getrandbits(64):016x}") for _ in range(count * BATCH_STEPS // 4)]
            for name, (table, type_, key_of) in kinds.items():
                rows = [(key_of(run), step, "1", day_of(0), 5000) for run, step in ids]
                before = time.perf_counter()
                with connection.cursor().copy(f"COPY {table} FROM STDIN (FORMAT BINARY)".encode()) as copy:
                    copy.set_types([type_, "text", "text", "date", "int8"])
                    for row in rows:
                        copy.write_row(row)
                seconds[name].append(time.perf_counter() - before)
        print(f"key of a table of {rounds * len(ids):,} rows, 36-character run ids:")
        for name, (table, _, _) in kinds.items():
            size = connection.execute(
                "SELECT pg_relation_size(%s::regclass), pg_indexes_size(%s::regclass)", [table, table]
            ).fetchone()
            assert size is not None  # one row always
            heap, index = (part / (rounds * len(ids)) for part in size)
            rate = len(ids) / statistics.median(seconds[name])
            print(f"  {name:14} {rate:8,.0f} rows/s   {heap:4.0f} B/row heap   {index:4.0f} B/row key index")
            connection.execute(f"DROP TABLE {table}".encode())


def main() -> None:
    """Read the options and measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batches", type=int, default=48)
    parser.add_argument("--runs", type=int, default=64, help="runs in a batch")
    parser.add_argument("--url", help="an empty database of your own; bench tables and rows stay in it")
    options = parser.parse_args()
    with database(options.url) as url:
        migrate.upgrade(url)
        with psycopg.connect(url, autocommit=True) as connection:
            Partitions().ensure(connection, [day_of(DAY_NS // 1000)])
        measure(url, options.rounds, options.batches, options.runs)
        measure_keys(url, options.rounds, options.batches)


if __name__ == "__main__":
    main()
