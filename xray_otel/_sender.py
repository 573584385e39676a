"""
One background thread that empties the buffer, and another that relieves it while the first one waits.

Metrics and evidence never share a request, so that a refused piece of evidence takes no
step with it; within a cycle the most important class is sent first.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable

from opentelemetry.sdk.resources import Resource

from xray_otel._buffer import Buffer, Item, Priority
from xray_otel._courier import LANES, Courier
from xray_otel._freeing import Freeing
from xray_otel._guard import Guard, described
from xray_otel._pace import Pace
from xray_otel._transport import Answer

_LINGER_S = 0.05
"""A record waits so long for company after a quiet time; a run's start always: it must be out in 100 ms."""
_FULL_BYTES = 2 * 1024 * 1024
"""As much as this is sent at once, without waiting for the interval."""
_TAKE_BYTES = 1_000_000
"""Estimated size of a request."""
_TAKEN_AT_ONCE_BYTES = 200_000
_FAILED_PAUSE_S = 0.05
"""What fails by itself fails again, and would keep a core busy."""


class Sender:
    """Its threads begin when there is something for them to do. ``buffer.changed`` guards what they share."""

    def __init__(
        self, courier: Courier, buffer: Buffer, guard: Guard, interval_s: float, report: Callable[[], None]
    ) -> None:
        """interval_s: between cycles. report: called after work with which the server took something."""
        self._courier = courier
        self._buffer = buffer
        self._changed = buffer.changed
        self._guard = guard
        self._interval_s = interval_s
        self._report = report
        self._freeing = Freeing(courier.pace.rest)
        self._thread: threading.Thread | None = None
        self._relief: threading.Thread | None = None
        """Puts on disk what would overflow while the other thread waits for an answer."""
        self._due_s: float | None = None
        """When the next cycle is due (monotonic); None while nothing waits."""
        self._last_cycle_s = 0.0
        self.resource = Resource.get_empty()
        """Of what was sent last."""

    def schedule(self, priority: Priority) -> None:
        """
        Sets when the next cycle is due; wakes the thread only if that is sooner than it thinks.

        Call with ``changed`` held.
        """
        now_s = time.monotonic()
        due_s = now_s + _LINGER_S
        if self._buffer.size_bytes >= _FULL_BYTES:
            due_s = now_s
        elif priority is not Priority.RUN:
            due_s = min(max(due_s, self._last_cycle_s + self._interval_s), now_s + self._interval_s)
        if self._due_s is None or due_s < self._due_s:
            self._due_s = due_s
            self._changed.notify_all()
        if self._thread is None:
            self._thread = _started(self._work, "xray_otel")
        if self._relief is None and self._courier.may_relieve:
            self._relief = _started(self._relieve, "xray_otel relief")

    @property
    def has_begun(self) -> bool:
        """Whether there was ever something to send."""
        return self._thread is not None

    def join(self, timeout_s: float) -> None:
        """Gives the thread a moment to let go of its files, so that others may send them."""
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout_s)

    def _work(self) -> None:
        while not self._courier.taken_over:
            try:
                task = self._wait_for_work()
                if task is None:
                    break
                task()
                if self._courier.line.delivered:
                    self._courier.backlog.look()
                    self._report()
            except Exception as error:  # noqa: BLE001 - the thread must outlive whatever happened in it
                self._guard.note("delivery", described(error))
                self._courier.pause(Answer(False, retryable=True))
                time.sleep(_FAILED_PAUSE_S)
        self._courier.finish()

    def _relieve(self) -> None:
        """Ends when there is room again or the answer is there; the next record may start another one."""
        pace = self._courier.new_pace()
        freeing = Freeing(pace.rest)
        while items := self._store_overflowing(pace):
            freeing.free(items)
        freeing.free_kept()

    def _store_overflowing(self, pace: Pace) -> list[Item]:
        """Returns what is on disk now; nothing when this is over."""
        with self._changed:
            lane, items = self._overflowing()
            if not items:
                self._relief = None
                return []
        try:
            if self._courier.relieve(lane, items, pace):
                return items
        except Exception as error:  # noqa: BLE001 - as in ``_work``
            self._guard.note("delivery", described(error))
            with self._changed:
                if not self._courier.taken_over:
                    self._buffer.put_back(items)
        with self._changed:
            self._relief = None
        return []

    def _overflowing(self) -> tuple[int, list[Item]]:
        """The least important of what waits, and its lane."""
        for lane in reversed(range(len(LANES))):
            items = self._buffer.take(LANES[lane], _TAKE_BYTES) if self._courier.may_relieve else []
            if items:
                return lane, items
        return 0, []

    def _wait_for_work(self) -> Callable[[], None] | None:
        """Waits until something is due, and returns it; None when the pipeline has stopped."""
        with self._changed:
            while not self._courier.taken_over:
                now_s = time.monotonic()
                cycle_s = self._cycle_due_s(now_s)
                drain_s = self._courier.backlog.due_s()
                if cycle_s is not None and cycle_s <= now_s:
                    self._due_s = None
                    return self._cycle
                if drain_s is not None and drain_s <= now_s:
                    return self._courier.backlog.send_next
                due = [at_s for at_s in (cycle_s, drain_s) if at_s is not None]
                self._changed.wait(min(due) - now_s if due else None)
        return None

    def _cycle_due_s(self, now_s: float) -> float | None:
        if self._buffer.is_empty:
            self._due_s = None
            return None
        due_s = now_s if self._courier.line.flushes or self._due_s is None else self._due_s
        return due_s if self._courier.keeps_at_once else max(due_s, self._courier.line.blocked_until_s)

    def _cycle(self) -> None:
        """Deals with all that waits, the most important first; ends when something had to go back."""
        self._last_cycle_s = time.monotonic()
        self._deliver_all()
        self._freeing.free_kept()

    def _deliver_all(self) -> None:
        for lane, classes in enumerate(LANES):
            while True:
                items = self._take(classes)
                if not items:
                    break
                self.resource = items[-1].content.resource
                delivered = self._courier.deliver(lane, items)
                self._freeing.free(items)
                if not delivered:
                    return

    def _take(self, classes: tuple[Priority, ...]) -> list[Item]:
        """As much as one request takes, in pieces: 1,000 spans that nobody has touched for long take 3 ms."""
        items: list[Item] = []
        left_bytes = _TAKE_BYTES
        while left_bytes > 0:
            with self._changed:
                most_bytes = min(left_bytes, _TAKEN_AT_ONCE_BYTES)
                piece = [] if self._courier.taken_over else self._buffer.take(classes, most_bytes)
            if not piece:
                break
            items += piece
            left_bytes -= sum(item.size_bytes for item in piece)
            self._courier.pace.rest()
        return items


def _started(work: Callable[[], None], name: str) -> threading.Thread | None:
    """None at the interpreter's end or without memory for a thread: the next record tries again."""
    thread = threading.Thread(target=work, name=name, daemon=True)
    with contextlib.suppress(RuntimeError, MemoryError):
        thread.start()
        return thread
    return None
