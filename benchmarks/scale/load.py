"""Steps that come in while questions are asked: a real collector, sent to at half of what it can take."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import NamedTuple
from urllib.parse import urlsplit

import psycopg

from benchmarks.load.loader import Loader, Plan, loader
from benchmarks.load.sender import Phase
from benchmarks.servers import collector
from store import wire
from store.database import libpq_url
from store.rollup_marks import delete_steps
from store.rollups import Rollups

_SENDERS = 4
_WARM = 16
_PROBED = 60
"""Requests of 512 spans by which the capacity is measured."""


class Rate(NamedTuple):
    """Spans a second."""

    capacity: float
    sent: float


class Paced:
    """A thread that sends four requests at a time, evenly spread."""

    def __init__(self, sending: Loader, requests_per_s: float) -> None:
        self._sending = sending
        self._every_s = _SENDERS / requests_per_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._sent = 0
        self._began = 0.0

    def __enter__(self) -> Paced:
        self._began = time.monotonic()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    @property
    def rate(self) -> float:
        """Spans a second since the beginning, or until now."""
        return self._sent * self._sending.counts.spans / (time.monotonic() - self._began)

    def _run(self) -> None:
        due = time.monotonic()
        while not self._stop.is_set():
            self._sending.run(Phase(_SENDERS))
            self._sent += _SENDERS
            # What could not be sent in time is not made up for: half of the capacity is the most.
            due = max(due + self._every_s, time.monotonic() - self._every_s)
            self._stop.wait(max(0.0, due - time.monotonic()))


@contextmanager
def half_capacity(url: str) -> Iterator[tuple[Paced, float]]:
    """Sends for as long as the block lasts, and takes what came in away; with it the capacity in spans/s."""
    before = _now(url)
    try:
        with (
            collector(url) as started,
            loader([urlsplit(started.otlp_grpc).netloc], Plan("steps", _SENDERS)) as sending,
        ):
            sending.run(Phase(_WARM))
            outcome = sending.run(Phase(_PROBED))
            capacity = _PROBED / outcome.seconds
            with Paced(sending, capacity / 2) as paced:
                yield paced, capacity * sending.counts.spans
    finally:
        _remove_since(url, before)


def _now(url: str) -> datetime:
    with psycopg.connect(libpq_url(url)) as connection:
        row = connection.execute("SELECT now()").fetchone()
        assert row is not None  # a scalar
        found: datetime = row[0]
        return found


def _remove_since(url: str, instant: datetime) -> None:
    """What was received since then: a kept folder stays as it was seeded."""
    with psycopg.connect(libpq_url(url), autocommit=True) as connection:
        wire.adapt(connection)
        with connection.transaction(), connection.cursor() as cursor:
            cursor.execute("SELECT run_key FROM runs WHERE received_at >= %s", [instant], binary=True)
            delete_steps(cursor, [key for (key,) in cursor.fetchall()])
            cursor.execute("DELETE FROM runs WHERE received_at >= %s", [instant])
        Rollups().turn(connection)
        connection.execute("VACUUM (ANALYZE) runs, steps")
