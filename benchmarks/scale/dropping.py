"""How long it takes to drop all that was seeded, and how long a writer stands still meanwhile."""

from __future__ import annotations

import itertools
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, NamedTuple

import psycopg

from benchmarks.scale.seed import Seeded
from store.database import libpq_url
from store.floors import Floors
from store.partitions import week_of
from store.retention import delete_expired, drop_expired, raise_floors
from store.rows import Batch, RunCopy, StepCopy
from store.writer import PostgresWriter

SECONDS_BAR = 1.0
GAP_BAR_MS = 100.0
_BATCH_STEPS = 64
_ALONE_S = 5.0

Say = Callable[[str], None]


class Phase(NamedTuple):
    """A part of retention."""

    seconds: float
    longest_gap_ms: float
    """Between two commits of the writer."""


class _Writing:
    """A thread that stores small batches of a time that stays, one after the other."""

    def __init__(self, url: str, received_ns: int) -> None:
        self._writer = PostgresWriter(url)
        self._received_ns = received_ns
        self._random = random.Random(1)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._commits: list[float] = []

    def __enter__(self) -> _Writing:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._writer.close()

    def longest_gap_ms(self, began: float, ended: float) -> float:
        """Of those that overlap with the time between."""
        commits = list(self._commits)
        gaps = [
            after - before
            for before, after in itertools.pairwise(commits)
            if after >= began and before <= ended
        ]
        return max(gaps, default=ended - began) * 1000

    def _run(self) -> None:
        while not self._stop.is_set():
            (result,) = self._writer.write([self._batch()])
            assert not result.refused, result.refused
            self._commits.append(time.monotonic())

    def _batch(self) -> Batch:
        run_id = f"{self._random.getrandbits(128):032x}"
        at = self._received_ns
        steps = [
            StepCopy(run_id, f"s{n}", "1", True, "s", step_type="filter", start_ns=at, end_ns=at + n)
            for n in range(_BATCH_STEPS)
        ]
        return Batch(at, runs=[RunCopy(run_id, True, start_ns=at, end_ns=at)], steps=steps)


def measure(url: str, seeded: Seeded, say: Say) -> dict[str, Any]:
    """Drop everything that was seeded."""
    floor = week_of(seeded.end.date() + timedelta(days=14))
    received_ns = int((seeded.end + timedelta(days=21)).timestamp()) * 10**9
    found: dict[str, Phase] = {}
    with (
        psycopg.connect(libpq_url(url), autocommit=True) as connection,
        _Writing(url, received_ns) as writing,
    ):

        @contextmanager
        def timed(name: str) -> Iterator[None]:
            began = time.monotonic()
            yield
            ended = time.monotonic()
            time.sleep(0.3)  # the commit that ends the last gap
            found[name] = Phase(ended - began, writing.longest_gap_ms(began, ended))

        time.sleep(1.0)
        with timed("nothing, for comparison"):
            time.sleep(_ALONE_S)
        with timed("floors raised"):
            floors = raise_floors(connection, Floors(floor, floor, floor, floor))
        with timed("partitions dropped"):
            drop_expired(connection, floors)
        with timed("rows of runs deleted"):
            delete_expired(connection, floors)
        left = connection.execute("SELECT count(*) FROM steps WHERE run_day < %s", [floor]).fetchone()
        assert left == (0,), left
    dropped = found["partitions dropped"]
    say(f"dropping {seeded.steps:,} steps; a writer commits batches of {_BATCH_STEPS} steps all the time:")
    for name, phase in found.items():
        say(f"  {name:24} {phase.seconds:7.2f} s, longest gap between commits {phase.longest_gap_ms:.0f} ms")
    met = dropped.seconds < SECONDS_BAR and dropped.longest_gap_ms < GAP_BAR_MS
    say(f"  bar {SECONDS_BAR:g} s and {GAP_BAR_MS:g} ms: {'met' if met else 'NOT MET'}")
    return {name: phase._asdict() for name, phase in found.items()}
