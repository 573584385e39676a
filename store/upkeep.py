"""
Work that a server does by itself beside its requests: retention, roll-ups, collecting garbage.

A task has a thread of its own in every server process, and runs in one of them at a time: whoever
holds its advisory lock. ``upkeep_turns`` tells the others when it last ran, so that a task of
ten processes runs once per interval and not ten times, nor again because a server was restarted.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from time import monotonic
from typing import Any
from zlib import crc32

import psycopg
from prometheus_client import CollectorRegistry

from store.database import connect_to_write
from store.upkeep_telemetry import UpkeepTelemetry

_log = logging.getLogger(__name__)

_ADVISORY_LOCKS = 0x78726175
"""First half of every lock; the second is a hash of the task's name."""
_FIRST_PAUSE_S = 1.0
"""A command that starts a server for a moment need not look after its database."""
_RETRY_S = 60.0
"""After a failure, where the interval is longer."""
_CANCEL_EVERY_S = 0.1
_SETTINGS = (
    "SELECT set_config('statement_timeout', '600s', false), set_config('lock_timeout', '10s', false),"
    " set_config('idle_in_transaction_session_timeout', '600s', false)"
)

_DUE = """
SELECT clock_timestamp() - started_at NOT BETWEEN interval '0' AND make_interval(
    secs => CASE WHEN error IS NULL THEN %s ELSE %s END)
FROM upkeep_turns WHERE task = %s
"""
_STARTED = """
INSERT INTO upkeep_turns (task, started_at, failures) VALUES (%s, clock_timestamp(), 0)
ON CONFLICT (task) DO UPDATE SET started_at = excluded.started_at
"""
_SUCCEEDED = """
UPDATE upkeep_turns SET succeeded_at = clock_timestamp(), duration_s = %s, error = NULL, failures = 0
WHERE task = %s
"""
_FAILED = "UPDATE upkeep_turns SET duration_s = %s, error = %s, failures = failures + 1 WHERE task = %s"


@dataclass(frozen=True)
class Task:
    """Something to be done every now and then; safe to be interrupted at any statement."""

    name: str
    """A word, the same in every release: other processes and the metrics know the task by it."""
    interval_s: float
    """From start to start."""
    run: Callable[[psycopg.Connection[Any]], None]
    """
    Called in a thread of its own with an autocommit connection (READ COMMITTED, a statement timeout of
    ten minutes, a lock timeout of ten seconds) that nobody else uses and that is closed afterwards.
    What it raises is logged and counted, and it is called again.
    """


class Upkeep:
    """
    Runs tasks from ``start`` to ``stop``; a database that is away is waited for.

    ``start`` and ``stop`` from one thread.
    """

    def __init__(
        self, tasks: Sequence[Task], database_url: str, registry: CollectorRegistry | None = None
    ) -> None:
        """registry: that of the process, so that its page shows these metrics, too."""
        self._tasks = tuple(tasks)
        if len({task.name for task in self._tasks}) < len(self._tasks):
            raise ValueError("two tasks of one name")
        self._url = database_url
        self.registry = CollectorRegistry() if registry is None else registry
        self._telemetry = UpkeepTelemetry(self.registry, [task.name for task in self._tasks])
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []
        self._connections: set[psycopg.Connection[Any]] = set()
        self._lock = threading.Lock()
        """Of ``_connections``."""

    def start(self) -> None:
        """Begin; returns at once."""
        for task in self._tasks:
            thread = threading.Thread(
                target=self._run, args=[task], name=f"xray-upkeep-{task.name}", daemon=True
            )
            self._threads.append(thread)
            thread.start()

    def stop(self, deadline_s: float) -> None:
        """Interrupt what is under way, which is undone, and end; safe to call twice and before ``start``."""
        self._stopping.set()
        until = monotonic() + deadline_s
        while any(thread.is_alive() for thread in self._threads) and monotonic() < until:
            with self._lock:
                under_way = list(self._connections)
            for connection in under_way:
                # Between two statements there is nothing to cancel: the next one is, in the next round.
                with suppress(psycopg.Error):
                    connection.cancel_safe(timeout=max(0.1, until - monotonic()))
            for thread in self._threads:
                thread.join(_CANCEL_EVERY_S / len(self._threads))
        self._threads = []

    def turn(self, task: Task) -> bool:
        """
        Run a task now if it is due and runs nowhere else; return whether it ran.

        Raises whatever the task raises, after it was noted, and ``psycopg.Error``.
        """
        with self._connection() as connection:
            # Held by the session: it is released when the connection closes, however that happens.
            locked = connection.execute(
                "SELECT pg_try_advisory_lock(%s, %s)", [_ADVISORY_LOCKS, _lock_of(task.name)]
            )
            if locked.fetchone() != (True,) or not _is_due(connection, task):
                return False
            connection.execute(_STARTED, [task.name])
            began = monotonic()
            try:
                task.run(connection)
            except BaseException as error:
                if not self._stopping.is_set():
                    self._note_failure(task, monotonic() - began, error)
                raise
            duration_s = monotonic() - began
            connection.execute(_SUCCEEDED, [duration_s, task.name])
            self._telemetry.succeeded(task.name, duration_s)
        return True

    def _note_failure(self, task: Task, duration_s: float, error: BaseException) -> None:
        # By a connection of its own: the task's may be lost, or in a transaction that failed.
        self._telemetry.failed(task.name, duration_s)
        with suppress(psycopg.Error), self._connection() as connection:
            connection.execute(_FAILED, [duration_s, _said(error), task.name])

    def _run(self, task: Task) -> None:
        pause, failing = min(_FIRST_PAUSE_S, task.interval_s), False
        while not self._stopping.wait(pause):
            pause = task.interval_s
            try:
                self.turn(task)
                failing = False
            except Exception as error:  # noqa: BLE001  # the edge of this thread: other turns may go better
                if self._stopping.is_set():
                    return
                pause = min(pause, _RETRY_S)
                if not failing:
                    _log.warning(
                        "upkeep failed, and is tried again: %s", task.name, extra={"error": _said(error)}
                    )
                failing = True

    @contextmanager
    def _connection(self) -> Iterator[psycopg.Connection[Any]]:
        """A connection of its own for each turn: between turns the server's connections are for others."""
        with connect_to_write(self._url, "xray-upkeep") as connection:
            connection.execute(_SETTINGS)
            with self._lock:
                self._connections.add(connection)
            try:
                yield connection
            finally:
                with self._lock:
                    self._connections.discard(connection)


def _is_due(connection: psycopg.Connection[Any], task: Task) -> bool:
    # A tenth less: threads wake late, and must not skip every second turn for it.
    after_failure_s = min(task.interval_s, _RETRY_S)
    row = connection.execute(_DUE, [0.9 * task.interval_s, 0.9 * after_failure_s, task.name]).fetchone()
    return row is None or bool(row[0])


def _lock_of(name: str) -> int:
    """A signed 32-bit number, as advisory locks of two halves have them."""
    return crc32(name.encode()) - (1 << 31)


def _said(error: BaseException) -> str:
    """The kind of the error alone: its message may hold values of rows."""
    code = f"{error.sqlstate} " if isinstance(error, psycopg.Error) and error.sqlstate else ""
    return code + type(error).__name__
