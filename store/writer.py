"""
The writing side of the store: ``PostgresWriter`` keeps the promises of ``store/contract.py``.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import date
from random import uniform
from time import sleep

import psycopg

from store import distribution
from store.artifact_limit import DEFAULT_MAX_ARTIFACTS
from store.assemble import Work, assemble
from store.bounds import Bounds
from store.database import connect_to_write
from store.erasures import ErasureWatch, scrubbed
from store.errors import Unavailable
from store.faults import RACE_LOST
from store.partitions import Partitions
from store.rows import Batch, WriteResult
from store.transaction import KnownRun, Memory, Transaction

_CACHED_RUNS = 20_000
"""Runs remembered by a writer, about 1 KB each; a forgotten one costs a look at its row."""
_RECENT_BATCHES = 16_384
"""About 2 MB; at a thousand batches a second a retry may take a quarter of a minute."""
_MAX_ATTEMPTS = 8
_PAUSE_S = 0.005
"""Doubled for each attempt: about half a second in all, spent only where writers want the same rows."""
_SETTINGS = (
    "SELECT set_config('statement_timeout', '60s', false), set_config('lock_timeout', '30s', false),"
    " set_config('idle_in_transaction_session_timeout', '120s', false)"
)
"""So that a stuck server or rival turns into ``Unavailable`` and never into a silent stop."""
_DURABLE = (
    "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'"
)
"""A database may be set to forget commits in a crash; what is acknowledged here must not be."""


class _News(Exception):
    """Retention or an erasure has come in between: the transaction begins again, knowing of it."""


_BEGIN_AGAIN: tuple[type[Exception], ...] = (*RACE_LOST, _News)


class RecentBatches:
    """
    Marks of batches that are committed: a sender that saw no answer sends its batch again.

    A hint that spares a vain COPY; what is stored is always the database's to say.
    """

    def __init__(self) -> None:
        self._marks: OrderedDict[int, None] = OrderedDict()
        self._lock = threading.Lock()

    def add(self, marks: Iterable[int | None]) -> None:
        """Remember these, for as long as ``_RECENT_BATCHES`` others take."""
        with self._lock:
            self._marks.update((mark, None) for mark in marks if mark is not None)
            while len(self._marks) > _RECENT_BATCHES:
                self._marks.popitem(last=False)

    def among(self, marks: Sequence[int | None]) -> frozenset[int]:
        """The places of those that are remembered."""
        with self._lock:
            return frozenset(place for place, mark in enumerate(marks) if mark in self._marks)


class PostgresWriter:
    """
    Stores batches in Postgres by COPY; see ``contract.Writer`` for what it promises.

    Connects when first used and again after the connection was lost. Not thread-safe: one
    thread, one writer; any number of writers may share a database.
    """

    def __init__(
        self,
        url: str,
        recent: RecentBatches | None = None,
        max_artifacts_per_run: int = DEFAULT_MAX_ARTIFACTS,
    ) -> None:
        """
        recent: shared by the writers of a process, so that each knows what another has stored.

        max_artifacts_per_run: the same for all writers of a database.
        """
        self._url = url
        self._max_artifacts = max_artifacts_per_run
        self._recent = RecentBatches() if recent is None else recent
        self._connection: psycopg.Connection | None = None
        self._partitions = Partitions()
        self._known: OrderedDict[str, KnownRun] = OrderedDict()
        self._bounds: dict[date, Bounds] = {}
        self._erasures = ErasureWatch()

    def write(self, batches: Sequence[Batch]) -> Sequence[WriteResult]:
        work = assemble(batches)
        fresh = self._connection is None
        for attempt in range(1, _MAX_ATTEMPTS + 1):
            try:
                return self._write(work, batches)
            except _BEGIN_AGAIN as error:
                if attempt == _MAX_ATTEMPTS:
                    raise Unavailable("other writers got in the way each time") from error
                # Of those who keep losing to each other, one has to step back.
                sleep(uniform(0, _PAUSE_S * 2**attempt))
            except psycopg.Error as error:
                lost = self._connection is None or self._connection.closed
                self._disconnect()
                # A connection that died while we were idle says nothing about the server now.
                if fresh or not lost:
                    raise Unavailable(_what_failed(error)) from error
                fresh = True
        raise AssertionError("the last attempt returns or raises")

    def close(self) -> None:
        self._disconnect()

    def _write(self, work: Work, batches: Sequence[Batch]) -> Sequence[WriteResult]:
        connection = self._connect()
        self._partitions.ensure(connection, work.days)
        erased = self._erasures.look(connection)
        memory = Memory(self._known, self._bounds, self._partitions.floors, erased)
        repeated = self._recent.among(work.marks)
        transaction = Transaction(scrubbed(work, erased), memory, self._max_artifacts, repeated)
        with connection.transaction(), connection.cursor() as cursor:
            transaction.run(cursor)
            if transaction.found_no_partition and self._partitions.look_again(cursor):
                raise _News
            # What took long may be the last to bring something back (``erase.py`` waits for no longer).
            if self._erasures.look(connection) is not erased:
                raise _News
        for run_id in transaction.expired:
            self._known.pop(run_id, None)
        self._remember(transaction.learned)
        self._bounds |= transaction.reached
        self._recent.add(work.marks)
        return transaction.results(batches)

    def _connect(self) -> psycopg.Connection:
        if self._connection is None:
            self._connection = connection = connect_to_write(self._url, "xray-writer")
            connection.execute(_SETTINGS)
            connection.execute(_DURABLE)
            distribution.prepare(connection)
        return self._connection

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        # Another server may be behind the URL next time.
        self._partitions = Partitions()
        self._known.clear()
        self._bounds.clear()
        self._erasures = ErasureWatch()
        if connection is not None:
            with suppress(psycopg.Error):
                connection.close()

    def _remember(self, learned: dict[str, KnownRun]) -> None:
        for run_id, known in learned.items():
            self._known[run_id] = known
            self._known.move_to_end(run_id)
        while len(self._known) > _CACHED_RUNS:
            self._known.popitem(last=False)


def _what_failed(error: psycopg.Error) -> str:
    # The primary message alone: DETAIL may hold values of rows, connection errors hold no password.
    text = (error.diag.message_primary if error.sqlstate else None) or str(error).split("\n")[0]
    return f"the database cannot store now: {text}"
