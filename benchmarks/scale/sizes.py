"""
What a step and a candidate occupy on disk, all indexes included.

The reference payload comes in through a collector: 512 spans to a request, 15 attributes each. The
candidates go through the writer, as the codec packs them.
"""

from __future__ import annotations

import random
import string
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import psycopg

from benchmarks.ingest_databases import Databases
from benchmarks.load.loader import Plan, loader
from benchmarks.load.sender import Phase
from benchmarks.scale.seed import Seeded
from benchmarks.servers import collector, postgres
from benchmarks.table_sizes import sizes
from store.database import libpq_url
from store.decisions import DecisionColumns, pack
from store.item_filter import build
from store.rows import Batch, DecisionChunk, RunCopy
from store.writer import PostgresWriter

PEER_SPAN_BYTES = 892 + 45
"""A span of the reference payload in Arize Phoenix 20.26.1, and its share of the traces."""
SHARE_BAR = 0.65
CANDIDATE_BAR, SEARCHED_BAR = 16.0, 20.0
"""Bytes of a candidate with id, verdict, reason and score; and with what finds it in all runs."""
_REQUESTS = 400
_CHUNKS, _CANDIDATES = 40, 5_000
_REASONS = ("price_too_high", "rating_too_low", "brand_excluded", "out_of_stock", "no_image", "duplicate")

Say = Callable[[str], None]

_PARTS = r"""
    SELECT substring(t.relname, '^[a-z]+'), c.relname, pg_get_indexdef(i.indexrelid), pg_relation_size(c.oid)
      FROM pg_class AS t
      JOIN pg_class AS c ON c.oid = t.oid OR c.oid = t.reltoastrelid
           OR c.oid IN (SELECT indexrelid FROM pg_index WHERE indrelid IN (t.oid, t.reltoastrelid))
      LEFT JOIN pg_index AS i ON i.indexrelid = c.oid
     WHERE t.relkind = 'r' AND t.relname ~ '^(runs|steps|decisions)(_p[0-9]+)?$'
"""


def measure(url: str, seeded: Seeded, say: Say) -> dict[str, Any]:
    """All of it, printed as it is found."""
    reference = _reference(say)
    return {"seeded": _seeded(url, seeded, say), **reference}


def _reference(say: Say) -> dict[str, Any]:
    with postgres() as server:
        with (
            collector(server.url) as started,
            loader([urlsplit(started.otlp_grpc).netloc], Plan("steps")) as sending,
        ):
            sending.run(Phase(_REQUESTS))
            counts = sending.counts.times(_REQUESTS)
        grown = sizes(server.url)
        spans, steps = counts.ours, counts.steps
        step_bytes = grown["steps"].total / steps
        span_bytes = (grown["steps"].total + grown["runs"].total) / spans
        bar = SHARE_BAR * PEER_SPAN_BYTES
        say(
            f"reference payload, {steps:,} steps of {counts.runs:,} runs: {step_bytes:.0f} B a step,"
            f" {span_bytes:.0f} B a span with the runs; bar {bar:.0f}:"
            f" {_met(max(step_bytes, span_bytes), bar)}"
        )
        for part, size in _parts(server.url, steps).items():
            say(f"  {size:7.1f} B a step  {part}")
        columns = _columns(server.url)
        say("  columns: " + ", ".join(f"{name} {size:.0f}" for name, size in columns.items()))
        candidates = _candidates(Databases(server, "sizes"), say)
    return {
        "step_bytes": step_bytes,
        "span_bytes": span_bytes,
        "bar_bytes": bar,
        "columns": columns,
        "candidates": candidates,
    }


def _seeded(url: str, seeded: Seeded, say: Say) -> dict[str, float]:
    found = _parts(url, seeded.steps)
    say(f"what was seeded, {seeded.steps:,} steps, {seeded.candidates:,} candidates:")
    for part, size in found.items():
        say(f"  {size:7.1f} B a step  {part}")
    return found


def _parts(url: str, steps: int) -> dict[str, float]:
    """Bytes a step of each table, its TOAST and its indexes, partitions summed up; the largest first."""
    found: dict[str, float] = {}
    with psycopg.connect(libpq_url(url)) as connection:
        for table, name, definition, size in connection.execute(_PARTS):
            part = _part(table, name, definition)
            found[part] = found.get(part, 0.0) + size / steps
    return dict(sorted(found.items(), key=lambda pair: -pair[1]))


def _part(table: str, name: str, definition: str | None) -> str:
    if name.startswith("pg_toast"):
        return f"{table}: TOAST"
    return table if definition is None else f"{table}: index {definition[definition.index('(') :]}"


def _columns(url: str) -> dict[str, float]:
    """Bytes a step of the columns that the payload fills, without headers and padding."""
    with psycopg.connect(libpq_url(url)) as connection:
        names = [
            str(name)
            for (name,) in connection.execute(
                "SELECT attname FROM pg_attribute WHERE attrelid = 'steps'::regclass AND attnum > 0"
                " ORDER BY attnum"
            )
        ]
        summed = ", ".join(f"coalesce(sum(pg_column_size({name})), 0)::float8 / count(*)" for name in names)
        row = connection.execute(f"SELECT {summed} FROM steps".encode()).fetchone()  # noqa: S608
        assert row is not None  # an aggregate without GROUP BY
    return {name: size for name, size in zip(names, row, strict=True) if size}


def _candidates(databases: Databases, say: Say) -> dict[str, float]:
    """Bytes a candidate of ``decisions``, its index and TOAST, by what is recorded."""
    found: dict[str, float] = {}
    for name, searched, extra in _VARIANTS:
        with databases.fresh() as url:
            _store(url, extra, searched)
            size = sizes(url)["decisions"].total / (_CHUNKS * _CANDIDATES)
        found[name] = size
        bar = SEARCHED_BAR if searched else CANDIDATE_BAR
        judged = f"; bar {bar:g}: {_met(size, bar)}" if extra is _four_digits else ""
        say(f"  {size:5.2f} B a candidate  {name}{judged}")
    return found


def _store(url: str, extra: Callable[[random.Random], Mapping[str, Any]], searched: bool) -> None:
    random_ = random.Random(7)
    received_ns = int(datetime.now(UTC).timestamp()) * 10**9
    chunks = []
    for number in range(_CHUNKS):
        items = [
            "".join(random_.choices(string.ascii_uppercase + string.digits, k=12)) for _ in range(_CANDIDATES)
        ]
        verdict = "".join(random_.choices("KE", (1, 9), k=_CANDIDATES))
        columns = DecisionColumns(
            count=_CANDIDATES,
            item=items,
            verdict=verdict,
            reasons=_REASONS,
            reason=[None if letter == "K" else random_.randrange(6) for letter in verdict],
            **extra(random_),
        )
        item_filter = build(items) if searched else None
        chunks.append(
            DecisionChunk("r", f"s{number}", "1", 0, 1, _CANDIDATES, pack(columns), item_filter=item_filter)
        )
    writer = PostgresWriter(url)
    (result,) = writer.write([Batch(received_ns, runs=[RunCopy("r", True)], decisions=chunks)])
    writer.close()
    assert not result.refused, result.refused


def _nothing(_random: random.Random) -> Mapping[str, Any]:
    return {}


def _four_digits(random_: random.Random) -> Mapping[str, Any]:
    return {"score": [round(random_.random(), 4) for _ in range(_CANDIDATES)]}


def _all_digits(random_: random.Random) -> Mapping[str, Any]:
    return {"score": [random_.random() for _ in range(_CANDIDATES)]}


def _value(random_: random.Random) -> Mapping[str, Any]:
    return {**_four_digits(random_), "value": [round(random_.uniform(1, 500), 2) for _ in range(_CANDIDATES)]}


def _threshold(random_: random.Random) -> Mapping[str, Any]:
    return {**_value(random_), "threshold": 50.0}


def _thresholds(random_: random.Random) -> Mapping[str, Any]:
    drawn = [round(random_.uniform(1, 500), 2) for _ in range(_CANDIDATES)]
    return {**_value(random_), "threshold": drawn}


_VARIANTS = (
    ("id, verdict, reason", False, _nothing),
    ("id, verdict, reason, score of 4 digits", False, _four_digits),
    ("score of 4 digits, with item search across runs", True, _four_digits),
    ("id, verdict, reason, score of 16 digits", False, _all_digits),
    ("score of 16 digits, with item search across runs", True, _all_digits),
    ("score of 4 digits, value of 4 to 5", False, _value),
    ("… and one threshold", False, _threshold),
    ("… and a threshold each", False, _thresholds),
)


def _met(size: float, bar: float) -> str:
    return "met" if size <= bar else "NOT MET"
