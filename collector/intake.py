"""
Between the receivers and the database: bounded in bytes, one writer, commits in groups.

Many requests arrive at once and each waits for its own commit. One thread writes what is
queued as one transaction, so that a commit's price is shared, and resolves the futures of
those requests after it: acknowledged means committed.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from time import monotonic

from collector.errors import IntakeFull, IntakeStopped
from store.contract import Writer
from store.errors import Unavailable
from store.rows import Batch, WriteResult

_log = logging.getLogger(__name__)

MAX_GROUP_BATCHES = 8
"""8 × 512 spans: a transaction of 4,096 rows writes 1.4 times as many per second as one of 512."""
MAX_GROUP_BYTES = 16 * 1024 * 1024
_FIRST_PAUSE_S = 0.05
_LONGEST_PAUSE_S = 1.0
_MIN_BATCH_BYTES = 1024
"""What a batch counts for at least: small requests cost memory too."""


@dataclass(slots=True)
class _Waiting:
    batch: Batch
    deadline: float
    size_bytes: int
    future: Future[WriteResult] = field(default_factory=Future)


class Intake:
    """Takes batches from any thread and writes them through one Writer in its own."""

    def __init__(self, writer: Writer, max_bytes: int, timeout_s: float = 8.0) -> None:
        """max_bytes: of requests that wait; timeout_s: how long one may wait for its commit."""
        self._writer = writer
        self._max_bytes = max_bytes
        self._timeout_s = timeout_s
        self._queue: deque[_Waiting] = deque()
        self._waiting_bytes = 0
        self._busy = 0
        self._stopping = False
        self._changed = threading.Condition()
        self._abandoned = threading.Event()
        self._thread = threading.Thread(target=self._run, name="xray-intake", daemon=True)

    def start(self) -> None:
        """Start writing; safe to call twice."""
        if self._thread.ident is None:
            self._thread.start()

    @property
    def waiting_bytes(self) -> int:
        """Bytes of requests that are queued or being written."""
        return self._waiting_bytes

    def submit(self, batch: Batch, timeout_s: float | None = None) -> Future[WriteResult]:
        """
        Queue a batch; the future resolves after the commit.

        The future fails with ``store.errors.Unavailable`` when the database cannot be reached
        within timeout_s (default: as constructed). Raises ``IntakeFull`` when too much waits,
        ``IntakeStopped`` after ``stop``.
        """
        size = max(batch.size_bytes, _MIN_BATCH_BYTES)
        deadline = monotonic() + (self._timeout_s if timeout_s is None else timeout_s)
        waiting = _Waiting(batch, deadline, size)
        with self._changed:
            if self._stopping:
                raise IntakeStopped
            # A single batch above the bound passes when nothing else waits: it could never pass otherwise.
            if self._waiting_bytes and self._waiting_bytes + size > self._max_bytes:
                raise IntakeFull(self._waiting_bytes, self._max_bytes)
            self._queue.append(waiting)
            self._waiting_bytes += size
            self._changed.notify_all()
        return waiting.future

    def stop(self, deadline_s: float) -> bool:
        """
        Refuse new batches and write the queued ones; return whether all were written in time.

        Those that were not fail with ``Unavailable``. Safe to call twice and before ``start``.
        """
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
            until = monotonic() + deadline_s
            started = self._thread.ident is not None
            while started and (self._queue or self._busy) and (left := until - monotonic()) > 0:
                self._changed.wait(left)
            drained = not self._queue and not self._busy
            self._abandoned.set()
            left_over = list(self._queue)
            self._queue.clear()
        for waiting in left_over:
            self._settle(waiting, Unavailable("the collector stopped before the database took this in"))
        if started:
            self._thread.join(max(0.1, until - monotonic()))
        return drained

    def _run(self) -> None:
        while group := self._next_group():
            try:
                self._write(group)
            finally:
                with self._changed:
                    self._busy = 0
                    self._changed.notify_all()

    def _next_group(self) -> list[_Waiting]:
        """Return what is queued, up to the bounds of a group; empty when the intake has stopped."""
        with self._changed:
            while not self._queue and not self._stopping:
                self._changed.wait()
            group: list[_Waiting] = []
            size = 0
            while self._queue and len(group) < MAX_GROUP_BATCHES:
                size += self._queue[0].size_bytes
                if group and size > MAX_GROUP_BYTES:
                    break
                group.append(self._queue.popleft())
            self._busy = len(group)
            return group

    def _write(self, group: list[_Waiting]) -> None:
        pause = _FIRST_PAUSE_S
        # Their senders were told to come again: writing them as well would keep a database that is
        # behind from ever catching up.
        group = self._give_up_late_ones(group, Unavailable("the database did not get to this in time"))
        while group:
            try:
                results = self._writer.write([waiting.batch for waiting in group])
                written = list(zip(group, results, strict=True))
            except Unavailable as exc:
                group = self._give_up_late_ones(group, exc)
                if group and self._abandoned.wait(pause):
                    self._fail(group, exc)
                    return
                pause = min(2 * pause, _LONGEST_PAUSE_S)
            except Exception as exc:  # noqa: BLE001  # the edge of this thread
                # Whatever it is, it must not end the thread nor take the other requests of the group with it.
                _log.exception("a write failed for a reason that the store does not know")
                if len(group) == 1:
                    self._fail(group, exc)
                else:
                    for waiting in group:
                        self._write([waiting])
                return
            else:
                for waiting, result in written:
                    self._settle(waiting, result)
                return

    def _give_up_late_ones(self, group: list[_Waiting], exc: Unavailable) -> list[_Waiting]:
        now = monotonic()
        self._fail([waiting for waiting in group if waiting.deadline <= now], exc)
        return [waiting for waiting in group if waiting.deadline > now]

    def _fail(self, group: Sequence[_Waiting], exc: Exception) -> None:
        for waiting in group:
            self._settle(waiting, exc)

    def _settle(self, waiting: _Waiting, outcome: WriteResult | Exception) -> None:
        with self._changed:
            self._waiting_bytes -= waiting.size_bytes
        # A receiver that waited long enough has cancelled the future and answered already.
        if not waiting.future.set_running_or_notify_cancel():
            return
        if isinstance(outcome, Exception):
            waiting.future.set_exception(outcome)
        else:
            waiting.future.set_result(outcome)
