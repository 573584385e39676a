"""
How fast decisions are stored, with the search for an item, and how fast that search is.

    python -m benchmarks.decision_rate [--rounds 5] [--steps 1000 20000] [--url postgresql://…]

Steps of 5,000 candidates: a random id of 12 characters, a verdict, one of six reasons for those
eliminated, a score of four digits. Processor time of the thread for each stage, and beside it that of
other ways to find items; then texts as they arrive → rows in Postgres through ``PostgresWriter``, with
their steps and runs, wall time; then the search. Without ``--url`` a server is started in a temporary
folder. 20,000 steps take 2 GB of disk.
"""

from __future__ import annotations

import argparse
import random
import statistics
import string
import time
from array import array
from collections.abc import Callable, Iterator, Sequence
from typing import Any, LiteralString
from zlib import crc32

import orjson
import psycopg
from psycopg import sql

from benchmarks.servers import database
from collector.decisions import parse
from store import item_filter, migrate
from store.decisions import pack, pack_text
from store.queries.filters import PageRequest
from store.queries.types_decisions import ItemHistory
from store.reader import Reader
from store.rows import Batch, DecisionChunk, RunCopy, StepCopy
from store.writer import PostgresWriter

CANDIDATES = 5000
STEPS_PER_BATCH = 8
START_NS = 1_795_000_000_000_000_000
_REASONS = [f"reason_{n}" for n in range(6)]
_ALPHABET = string.ascii_uppercase + string.digits


def make_ids(random_: random.Random) -> list[str]:
    """The ids of one step."""
    return ["".join(random_.choices(_ALPHABET, k=12)) for _ in range(CANDIDATES)]


def make_text(random_: random.Random, ids: Sequence[str]) -> bytes:
    """The wire text of one step's decisions, as the client writes it."""
    verdict = "".join(random_.choices("KE", weights=[1, 9], k=len(ids)))
    return orjson.dumps(
        {
            "v": 1,
            "n": len(ids),
            "item": ids,
            "verdict": verdict,
            "reasons": _REASONS,
            "reason": [None if letter == "K" else random_.randrange(6) for letter in verdict],
            "score": [round(random_.random(), 4) for _ in ids],
        }
    )


def bloom(ids: Sequence[str], bits: int = 65536) -> bytes:
    """A Bloom filter of 8 KiB: both halves of the CRC-32 as positions; 13 bits a candidate."""
    flags = bytearray(b"0") * bits
    one = ord("1")
    for position in array("H", array("I", map(crc32, map(str.encode, ids))).tobytes()):
        flags[position] = one
    return int(flags, 2).to_bytes(bits // 8, "big")


def bloom_positions(item_id: str, bits: int = 65536) -> list[int]:
    """The bits of ``bloom`` to look at, counted as ``get_bit`` does."""
    halves = array("H", crc32(item_id.encode()).to_bytes(4, "little"))
    # Written from the most significant bit on, while get_bit counts from the least within a byte.
    return [position // 8 * 8 + 7 - position % 8 for position in halves if position < bits]


def hash_numbers(ids: Sequence[str]) -> list[int]:
    """What a GIN index over integers would take."""
    return [crc32(item.encode()) - (1 << 31) for item in ids]


def sorted_fingerprints(ids: Sequence[str]) -> bytes:
    """Hashes in ascending order: the place of one can be computed."""
    return array("I", sorted(map(crc32, map(str.encode, ids)))).tobytes()


def measure_stages(rounds: int) -> None:
    """Print the processor time of each stage per 5,000 candidates."""
    random_ = random.Random(1)
    texts = [make_text(random_, make_ids(random_)) for _ in range(20)]
    payloads = [parse(text) for text in texts]
    stages: dict[str, Callable[[int], object]] = {
        "parse and check": lambda n: parse(texts[n]),
        "  of it the JSON parser": lambda n: orjson.loads(texts[n]),
        "pack: the text as it came (zstd, off the lock)": lambda n: pack_text(texts[n]),
        "pack: a new text of the columns": lambda n: pack(payloads[n].columns),
        "filter: fingerprints of 24 bits": lambda n: item_filter.build(payloads[n].columns.item),
        "  instead: Bloom filter, 13 bits": lambda n: bloom(payloads[n].columns.item),
        "  instead: fingerprints of 32 bits, sorted": lambda n: sorted_fingerprints(payloads[n].columns.item),
        "  instead: integers for GIN": lambda n: hash_numbers(payloads[n].columns.item),
    }
    spent: dict[str, list[float]] = {name: [] for name in stages}
    for _ in range(rounds):
        for name, stage in stages.items():
            for n in range(len(texts)):
                before = time.thread_time()
                stage(n)
                spent[name].append(time.thread_time() - before)
    print(
        f"processor time per {CANDIDATES:,} candidates, {len(texts[0]):,} bytes of text; ms, median (lowest)"
    )
    for name, values in spent.items():
        print(f"  {name:48} {statistics.median(values) * 1e3:6.2f}  ({min(values) * 1e3:.2f})")


def make_batch(texts: Sequence[bytes], number: int) -> Batch:
    """A batch of steps, each in a run of its own; what the collector does with a chunk is done here."""
    runs, steps, chunks = [], [], []
    for n, text in enumerate(texts):
        run_id = f"run-{number:06d}-{n}"
        start = START_NS + (number * STEPS_PER_BATCH + n) * 1_000_000
        end = start + 1_000_000
        times: dict[str, Any] = {"start_ns": start, "end_ns": end, "start_sent_ns": start, "end_sent_ns": end}
        payload = parse(text)
        data = pack(payload.columns) if payload.text is None else pack_text(payload.text)
        found = item_filter.build(payload.columns.item)
        runs.append(RunCopy(run_id, True, "completed", pipeline="shop", **times))
        steps.append(
            StepCopy(
                run_id,
                "price",
                "1",
                True,
                "by price",
                attempt=1,
                step_type="filter",
                status="ok",
                candidates_in=CANDIDATES,
                decisions_recorded=CANDIDATES,
                decisions_chunks=1,
                **times,
            )
        )
        chunks.append(
            DecisionChunk(run_id, "price", "1", 0, 1, payload.columns.count, data, item_filter=found)
        )
    return Batch(START_NS, runs=runs, steps=steps, decisions=chunks)


def fill(url: str, count: int, random_: random.Random) -> None:
    """Store ``count`` steps; print the rate and what they take on disk."""
    writer = PostgresWriter(url)
    rates, spent = [], []
    with psycopg.connect(url, autocommit=True) as connection:
        (before,) = connection.execute(_SIZE).fetchone() or (0,)
        stored = 0
        while stored < count:
            size = min(STEPS_PER_BATCH, count - stored)
            texts = [make_text(random_, make_ids(random_)) for _ in range(size)]
            started, processor = time.perf_counter(), time.thread_time()
            (result,) = writer.write([make_batch(texts, _number())])
            rates.append(size * CANDIDATES / (time.perf_counter() - started))
            spent.append((time.thread_time() - processor) / size)
            assert not result.refused
            stored += size
        (after,) = connection.execute(_SIZE).fetchone() or (0,)
        connection.execute("VACUUM ANALYZE")
    writer.close()
    print(
        f"{count:,} steps through one writer, text to commit: {statistics.median(rates) / 1e6:.2f} M"
        f" candidates/s (mean {statistics.harmonic_mean(rates) / 1e6:.2f}, lowest {min(rates) / 1e6:.2f}),"
        f" {statistics.median(spent) * 1e3:.2f} ms of the thread per step,"
        f" {(after - before) / count / CANDIDATES:.1f} bytes per candidate on disk"
    )


_SEED = 2
_SIZE = (
    "SELECT coalesce(sum(pg_total_relation_size(relid)), 0)::bigint"
    " FROM pg_partition_tree('decisions') WHERE isleaf"
)
_batches = iter(range(10**9))


def _number() -> int:
    return next(_batches)


def measure_search(url: str, rounds: int, stored: int) -> None:
    """Print how long the search takes for an item of one step, of no step, and how often it opens in vain."""
    known = make_ids(random.Random(_SEED))[0]
    strangers = make_ids(random.Random("strangers"))[:rounds]
    reader = Reader.open(url, statement_timeout_ms=60_000)
    spent: dict[str, list[float]] = {}
    for name, items in {"an item of one step": [known] * rounds, "an item of no step": strangers}.items():
        for item in items:
            started = time.perf_counter()
            pages = list(_pages(reader, item))
            spent.setdefault(name, []).append(time.perf_counter() - started)
            assert sum(page.completeness.steps_searched for page in pages) == stored
            assert sum(len(page.items) for page in pages) == (item == known)
    reader.close()
    with psycopg.connect(url) as connection:
        found = connection.execute(
            "SELECT count(*) FROM decisions, unnest(%s::bytea[]) f WHERE position(f IN item_filter) > 0",
            [[item_filter.fingerprint(item) for item in strangers]],
        ).fetchone()
    assert found is not None  # one row always
    print(f"search through {stored:,} steps, newest to oldest; ms, median (lowest to highest)")
    for name, values in spent.items():
        print(
            f"  {name:24} {statistics.median(values) * 1e3:8.1f}"
            f"  ({min(values) * 1e3:.1f} to {max(values) * 1e3:.1f})"
        )
    print(f"  chunks opened in vain: {found[0] / stored / len(strangers):.3%}")


def _pages(reader: Reader, item: str) -> Iterator[ItemHistory]:
    page = reader.item_history(item)
    yield page
    while page.next_cursor is not None:
        page = reader.item_history(item, page=PageRequest(cursor=page.next_cursor))
        yield page


def measure_alternatives(url: str, rounds: int, count: int) -> None:
    """Print what other ways to find items cost in Postgres: COPY of ``count`` steps, disk, a search."""
    random_ = random.Random(3)
    # Steps of real pipelines judge the same items again; of new ones only, GIN would be five times larger.
    catalogue = [item for _ in range(40) for item in make_ids(random_)]
    steps = [random_.sample(catalogue, CANDIDATES) for _ in range(count)]
    packed = [pack_text(make_text(random_, ids)) for ids in steps]
    sought = "".join(random_.choices(_ALPHABET, k=12))
    first, second = bloom_positions(sought)
    ways: dict[str, tuple[str, str, Callable[[Sequence[str]], object], LiteralString, Sequence[object]]] = {
        "nothing": ("bool", "", bool, "i", ()),
        "fingerprints of 24 bits": (
            "bytea",
            "ALTER TABLE bench ALTER i SET STORAGE EXTERNAL",
            item_filter.build,
            "position(%s::bytea IN i) > 0",
            [item_filter.fingerprint(sought)],
        ),
        "Bloom filter, 13 bits": (
            "bytea",
            "ALTER TABLE bench ALTER i SET STORAGE EXTERNAL",
            bloom,
            "get_bit(i, %s) = 1 AND get_bit(i, %s) = 1",
            [first, second],
        ),
        "GIN over texts": ("text[]", "CREATE INDEX ON bench USING gin (i)", list, "i @> ARRAY[%s]", [sought]),
        "GIN over integers": (
            "int4[]",
            "CREATE INDEX ON bench USING gin (i)",
            hash_numbers,
            "i @> ARRAY[%s::int4]",
            hash_numbers([sought]),
        ),
    }
    print(f"other ways, COPY of {count:,} steps with their packed decisions, {STEPS_PER_BATCH} to a commit")
    with psycopg.connect(url, autocommit=True) as connection:
        for name, (type_, setup, make, condition, values) in ways.items():
            connection.execute("DROP TABLE IF EXISTS bench")
            connection.execute(f"CREATE TABLE bench (n int PRIMARY KEY, data bytea, i {type_})".encode())
            connection.execute("ALTER TABLE bench ALTER data SET STORAGE EXTERNAL")
            connection.execute(setup.encode())
            started = time.perf_counter()
            for start in range(0, count, STEPS_PER_BATCH):
                with connection.cursor().copy("COPY bench FROM STDIN (FORMAT BINARY)") as copy:
                    copy.set_types(["int4", "bytea", type_])
                    for n in range(start, min(start + STEPS_PER_BATCH, count)):
                        copy.write_row((n, packed[n], make(steps[n])))
            rate = count * CANDIDATES / (time.perf_counter() - started)
            # What GIN has put off is part of its price.
            connection.execute("VACUUM ANALYZE bench")
            full = count * CANDIDATES / (time.perf_counter() - started)
            size = connection.execute("SELECT pg_total_relation_size('bench')").fetchone()
            assert size is not None  # one row always
            # The planner knows too little of array elements to choose the index itself.
            connection.execute(f"SET enable_seqscan = {'off' if 'GIN' in name else 'on'}".encode())
            query = sql.SQL("SELECT n FROM bench WHERE ") + sql.SQL(condition)
            spent = []
            for _ in range(rounds):
                before = time.perf_counter()
                connection.execute(query, values).fetchall()
                spent.append(time.perf_counter() - before)
            print(
                f"  {name:24} {rate / 1e6:5.2f} M candidates/s ({full / 1e6:.2f} with VACUUM)"
                f"  {size[0] / count / CANDIDATES:5.1f} B/candidate"
                f"  search {statistics.median(spent) * 1e3:7.2f} ms"
            )
        connection.execute("DROP TABLE bench")


def main() -> None:
    """Read the options and measure."""
    assert __doc__ is not None
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, nargs="+", default=[1000, 20_000], help="ascending sizes")
    parser.add_argument("--url", help="an empty database of your own; the rows stay in it")
    options = parser.parse_args()
    measure_stages(options.rounds)
    with database(options.url) as url:
        migrate.upgrade(url)
        measure_alternatives(url, options.rounds, min(options.steps))
        stored, random_ = 0, random.Random(_SEED)
        for steps in options.steps:
            fill(url, steps - stored, random_)
            stored = steps
            measure_search(url, options.rounds, stored)


if __name__ == "__main__":
    main()
