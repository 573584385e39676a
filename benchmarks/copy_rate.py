"""
How fast the writer stores steps, against COPY of the same rows, and what a run key costs.

    python -m benchmarks.copy_rate [--rounds 5] [--batches 40] [--url postgresql://…]

Ways are interleaved within each round, so that a busy machine slows all of them; medians are
printed. Without ``--url`` a server is started in a temporary folder. Rows: steps with 24 of
their columns filled, 512 to a batch, 8 runs in each; a transaction per batch unless said.
"""

from __future__ import annotations

import argparse
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import psycopg

from store import migrate, wire
from store.assemble import assemble
from store.database import libpq_url
from store.embedded import EmbeddedPostgres
from store.ids import run_key
from store.kinds import Steps, day_of
from store.partitions import Partitions
from store.rows import Batch, StepCopy
from store.writer import PostgresWriter

BATCH_STEPS = 512
BATCH_RUNS = 8
DAY_NS = 1_795_000_000_000_000_000


def make_batch(seed: int) -> Batch:
    """A batch of steps with random ids and times; equal seeds give equal batches."""
    random_ = random.Random(seed)
    runs = [f"{random_.getrandbits(128):032x}" for _ in range(BATCH_RUNS)]
    return Batch(DAY_NS, steps=[_step(random_, runs[n % BATCH_RUNS]) for n in range(BATCH_STEPS)])


def _step(random_: random.Random, run_id: str) -> StepCopy:
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
        trace_id=random_.randbytes(16),
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
    )


def copy_alone(url: str, _batches: Sequence[Batch]) -> None:
    """COPY of rows that are ready into the same table with the same indexes: the ceiling."""
    with psycopg.connect(url, autocommit=True) as connection:
        wire.adapt(connection)
        for rows in _prepared:
            cursor = connection.cursor()
            with connection.transaction(), cursor.copy(Steps.statements.copy.statement) as copy:
                copy.set_types(Steps.statements.copy.types)
                for row in rows:
                    copy.write_row(row)


_prepared: list[list[list[Any]]] = []
"""Rows for copy_alone in their wire form, made before the clock starts."""


def prepare(batches: Sequence[Batch]) -> None:
    """Fill ``_prepared``."""
    _prepared.clear()
    form, day, kind = Steps.statements.copy, day_of(DAY_NS // 1000), Steps()
    for batch in batches:
        items = [item._replace(key=(*item.key, day)) for item in assemble([batch]).steps.values()]
        _prepared.append([form.encode(kind.row(item)) for item in sorted(items, key=lambda item: item.key)])


def write(url: str, batches: Sequence[Batch], group: int) -> None:
    """The writer, ``group`` batches to a transaction."""
    writer = PostgresWriter(url)
    for start in range(0, len(batches), group):
        results = writer.write(batches[start : start + group])
        assert all(result.stored == BATCH_STEPS for result in results)
    writer.close()


def measure(url: str, rounds: int, count: int) -> None:
    """Print rows per second of each way, the median and the extremes of the rounds."""
    ways: dict[str, Callable[[str, Sequence[Batch]], None]] = {
        "COPY of ready rows": copy_alone,
        "writer, a transaction per batch": lambda url, batches: write(url, batches, 1),
        "writer, 8 batches to a transaction": lambda url, batches: write(url, batches, 8),
        "writer, the same batches again": lambda url, batches: write(url, batches, 1),
    }
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for round_ in range(rounds):
        for position, (name, way) in enumerate(ways.items()):
            # The last way repeats what the way before it has stored.
            seed = round_ * 1000 + min(position, len(ways) - 2)
            batches = [make_batch(seed * 1000 + n) for n in range(count)]
            prepare(batches)
            before = time.perf_counter()
            way(url, batches)
            rates[name].append(count * BATCH_STEPS / (time.perf_counter() - before))
    ceiling = statistics.median(rates["COPY of ready rows"])
    print(f"{rounds} rounds of {count} batches of {BATCH_STEPS} steps; rows/s: median (lowest to highest)")
    for name, values in rates.items():
        median = statistics.median(values)
        spread = f"({min(values):,.0f} to {max(values):,.0f})"
        print(f"  {name:36} {median:8,.0f}  {spread}  × {median / ceiling:.2f}")


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


@contextmanager
def server(url: str | None) -> Iterator[str]:
    """The named server, or one of our own that ends with the measurement."""
    if url is not None:
        yield libpq_url(url)
        return
    with tempfile.TemporaryDirectory() as folder, EmbeddedPostgres(Path(folder)) as own:
        yield own.url


def main() -> None:
    """Read the options and measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batches", type=int, default=40)
    parser.add_argument("--url", help="an empty database of your own; bench tables and rows stay in it")
    options = parser.parse_args()
    with server(options.url) as url:
        migrate.upgrade(url)
        with psycopg.connect(url, autocommit=True) as connection:
            Partitions().ensure(connection, [day_of(DAY_NS // 1000)])
        measure(url, options.rounds, options.batches)
        measure_keys(url, options.rounds, options.batches)


if __name__ == "__main__":
    main()
