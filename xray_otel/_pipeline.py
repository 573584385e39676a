"""
From the host's threads to the server: one background thread that empties the buffer.

Metrics and evidence never share a request, so that a refused piece of evidence takes no
step with it; within a cycle the most important class is sent first.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
import weakref
from collections.abc import Callable, Mapping

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan

from xray_otel import semconv
from xray_otel._batches import MAX_REQUEST_BYTES
from xray_otel._buffer import Buffer, Cause, Event, Item, Part, Priority, report_of
from xray_otel._courier import LANES, Courier
from xray_otel._guard import Guard, described
from xray_otel._otlp import estimate_bytes
from xray_otel._transport import Answer, Transport
from xray_otel._words import counted
from xray_otel.settings import Settings

_LINGER_S = 0.05
"""A record waits so long for company after a quiet time; a run's start always: it must be out in 100 ms."""
_FULL_BYTES = 2 * 1024 * 1024
"""As much as this is sent at once, without waiting for the interval."""
_TAKE_BYTES = 1_000_000
"""Estimated size of a request."""
_TAKEN_AT_ONCE_BYTES = 200_000
_FREED_AT_ONCE = 100
_RESCUE_SHARE = 0.25
"""Of the time to deliver at exit: what is left for writing to disk, and for ending the connection."""
_MIN_RESCUE_S = 0.2
_JOIN_S = 0.1

_pipelines: weakref.WeakSet[Pipeline] = weakref.WeakSet()


class Pipeline:
    """
    Takes spans and events from any thread without blocking and delivers them.

    Undelivered ones are kept and tried again with growing pauses. After a fork the child
    starts empty, with a thread, a connection and files of its own.
    """

    def __init__(self, settings: Settings, guard: Guard, connect: Callable[[Settings], Transport]) -> None:
        self._settings = settings
        self._guard = guard
        self._connect = connect
        self._interval_s = settings.flush_interval_ms / 1000
        self._inherited: list[Courier] = []
        self._start_over()
        _pipelines.add(self)

    def _start_over(self) -> None:
        self._buffer = Buffer(self._settings.buffer_bytes)
        self._changed = self._buffer.changed
        self._courier = Courier(self._settings, self._guard, self._buffer, self._connect)
        self._thread: threading.Thread | None = None
        self._relief: threading.Thread | None = None
        """Puts on disk what would overflow while the other thread waits for an answer."""
        self._stopped = False
        self._takes_late = False
        """Stopped by the process's exit: what other threads still end goes to disk."""
        self._due_s: float | None = None
        """When the next cycle is due (monotonic); None while nothing waits."""
        self._last_cycle_s = 0.0
        self._resource = Resource.get_empty()

    def offer_span(self, priority: Priority, span: ReadableSpan, attributes: Mapping[str, object]) -> None:
        """Takes an ended span with these attributes in, or counts it as lost."""
        self._offer(priority, estimate_bytes(attributes), span)

    def offer_event(self, priority: Priority, event: Event) -> None:
        """Takes an event in, or counts it as lost."""
        self._offer(priority, estimate_bytes(event.attributes), event)

    def _offer(self, priority: Priority, size_bytes: int, content: ReadableSpan | Event) -> None:
        with self._changed:
            lost_before = self._buffer.lost
            if size_bytes > MAX_REQUEST_BYTES:
                self.lose(priority, Cause.TOO_LARGE, (content.attributes or {}).get(semconv.RUN_ID))
            elif self._buffer.offer(priority, size_bytes, content) and not self._stopped:
                self._schedule(priority)
            shed = self._buffer.lost != lost_before
        if self._stopped:
            self._take_late()
        if shed:
            # Without the lock: the host's logging handlers may be slow, or record steps themselves.
            self._complain(priority, size_bytes)

    def _complain(self, priority: Priority, size_bytes: int) -> None:
        if size_bytes > MAX_REQUEST_BYTES:
            message = f"a {priority.name.lower()} of {size_bytes} bytes is too large"
        else:
            message = "full, telemetry is shed; raise XRAY_BUFFER_BYTES"
        self._guard.note("buffer", message)

    def _take_late(self) -> None:
        """What came after the shutdown: to disk if the process is at its end, else it is lost."""
        with self._changed:
            items = self._buffer.take(tuple(Priority), sys.maxsize)
        if self._takes_late:
            self._courier.store_all(items, time.monotonic() + _MIN_RESCUE_S)
        lost = self._give_up(items)
        if lost:
            self._guard.note("buffer", f"{counted(lost, 'record')} came after the shutdown")

    def _give_up(self, items: list[Item]) -> int:
        with self._changed:
            lost_before = self._buffer.lost
            self._buffer.settle(items, Cause.SHUTDOWN)
            self._changed.notify_all()
            return self._buffer.lost - lost_before

    def _schedule(self, priority: Priority) -> None:
        """Sets when the next cycle is due; wakes the thread only if that is sooner than it thinks."""
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

    def note_failure(self, where: str, error: Exception) -> None:
        """Counts and logs a failure in code of the host that X-Ray was called from; never raises."""
        self._guard.note(where, described(error))

    def lose(self, priority: Priority, cause: str, run_id: object = None, amount: int = 1) -> None:
        """Counts a record that was lost before it came here; the run's id if it has one, candidates in it."""
        with self._changed:
            self._buffer.lose((Part(run_id if isinstance(run_id, str) else "", priority, 1, amount),), cause)

    def flush(self, timeout_s: float) -> bool:
        """
        Sends what was taken in before the call, waiting at most ``timeout_s`` seconds.

        Returns whether all of it is settled: acknowledged by the server, or counted as lost.
        What lies on disk is not.
        """
        return self._wait(timeout_s, or_stored=False)

    def secure(self, timeout_s: float) -> bool:
        """As ``flush``, but waits no longer once the server is away and all of it lies on disk."""
        return self._wait(timeout_s, or_stored=True)

    def _wait(self, timeout_s: float, *, or_stored: bool) -> bool:
        deadline_s = time.monotonic() + timeout_s
        courier, buffer = self._courier, self._buffer
        with self._changed:
            generation = buffer.next_generation()
            courier.flushes += 1
            courier.hurry()
            self._changed.notify_all()
            # Not by what was known before: the server may be back.
            courier.is_away = False
            try:
                while not buffer.is_settled(generation):
                    left_s = deadline_s - time.monotonic()
                    if left_s <= 0 or self._stopped:
                        return False
                    if or_stored and courier.is_away and buffer.open_count == buffer.stored_count:
                        return False
                    self._changed.wait(left_s)
            finally:
                courier.flushes -= 1
            return True

    def shutdown(self, timeout_s: float, *, at_exit: bool = False) -> bool:
        """
        Flushes within ``timeout_s`` seconds, then takes nothing more in. Safe to call twice.

        What is not acknowledged by then goes to disk; where there is none, it counts as lost.
        Returns whether everything was settled. ``at_exit``: what daemon threads record until
        the process is gone goes to disk, too.
        """
        deadline_s = time.monotonic() + timeout_s
        rescue_s = timeout_s * _RESCUE_SHARE
        settled = self._is_settled() or (self._thread is not None and self.secure(timeout_s - rescue_s))
        if settled and self._thread is not None and self._has_reports():
            settled = self.secure(deadline_s - rescue_s - time.monotonic())
        with self._changed:
            self._courier.taken_over = True
            # A write under way ends in a moment; taken over before, its records would be on disk twice.
            left_s = max(deadline_s - time.monotonic(), _MIN_RESCUE_S)
            self._changed.wait_for(lambda: not self._courier.writers, left_s)
            if self._stopped:
                return settled
            self._stopped, self._takes_late = True, at_exit
            self._offer_reports()
            items = self._buffer.take_all()
            lost_before = self._buffer.lost
            self._changed.notify_all()
        self._courier.store_all(items, max(deadline_s, time.monotonic() + _MIN_RESCUE_S))
        lost = self._give_up(items)
        with self._changed:
            self._changed.wait_for(lambda: not self._courier.sends_stored, deadline_s - time.monotonic())
        self._courier.close()
        self._join()
        reports = sum(report_of(item) is not None for item in items)
        self._tell(lost, lost_before, self._buffer.stored_count - reports)
        return settled and not lost

    def _has_reports(self) -> bool:
        """Whether the server has yet to hear of losses; sees to it that they are on their way."""
        with self._changed:
            if not self._stopped:
                self._offer_reports()
            return bool(self._buffer.open_count)

    def _join(self) -> None:
        """Gives the thread a moment to let go of its files, so that others may send them."""
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(_JOIN_S)

    def _is_settled(self) -> bool:
        with self._changed:
            return not self._buffer.open_count

    def _tell(self, lost: int, lost_before: int, stored: int) -> None:
        """The last word: at most one line a minute was written until now."""
        if lost:
            message = f"{counted(lost, 'record')} lost, not delivered to {self._settings.endpoint}"
            earlier = f", after {lost_before} others" if lost_before else ""
            self._guard.note("shutdown", message + earlier, last=True)
        elif lost_before:
            self._guard.note("shutdown", f"{counted(lost_before, 'record')} lost in all", last=True)
        if stored > 0:
            message = (
                f"{counted(stored, 'record waits', 'records wait')} for {self._settings.endpoint} "
                f"in {self._courier.spool_folder}; the "
                "next process sends them, or: python -m xray_otel sync"
            )
            self._guard.note("shutdown", message, last=True)

    def run_ended(self) -> None:
        """Where a process may be frozen as soon as a run has ended, waits until its records are safe."""
        if self._settings.flushes_runs and not self._stopped:
            self.secure(self._settings.exit_timeout_s)

    @property
    def losses(self) -> dict[tuple[str, str], int]:
        """Lost records so far, by (class, cause)."""
        with self._changed:
            return self._buffer.losses

    @property
    def pending(self) -> int:
        """Records that are neither acknowledged nor lost, those on disk among them."""
        with self._changed:
            return self._buffer.open_count

    def reset_after_fork(self) -> None:
        """Makes the child's pipeline new: the parent delivers what it had taken in."""
        self._guard.reset_after_fork()
        # Closing the parent's connection from here could disturb it, so it is kept and not used.
        self._inherited.append(self._courier)
        self._courier.reset_after_fork()
        self._start_over()

    def _work(self) -> None:
        while task := self._wait_for_work():
            try:
                task()
                if self._courier.delivered:
                    self._courier.look()
                    self._report_losses()
            except Exception as error:  # noqa: BLE001 - the thread must outlive whatever happened in it
                self._guard.note("delivery", described(error))
                self._courier.pause(Answer(False, retryable=True))
        self._courier.finish()

    def _relieve(self) -> None:
        """Ends when there is room again or the answer is there; the next record may start another one."""
        go_on = True
        while go_on:
            with self._changed:
                lane, items = self._overflowing()
                if not items:
                    self._relief = None
                    return
            try:
                go_on = self._courier.relieve(lane, items)
            except Exception as error:  # noqa: BLE001 - as in ``_work``
                self._guard.note("delivery", described(error))
                self._buffer.put_back(items)
                go_on = False
        with self._changed:
            self._relief = None

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
                drain_s = self._courier.due_s()
                if cycle_s is not None and cycle_s <= now_s:
                    self._due_s = None
                    return self._cycle
                if drain_s is not None and drain_s <= now_s:
                    return self._courier.drain
                due = [at_s for at_s in (cycle_s, drain_s) if at_s is not None]
                self._changed.wait(min(due) - now_s if due else None)
        return None

    def _cycle_due_s(self, now_s: float) -> float | None:
        if self._buffer.is_empty:
            self._due_s = None
            return None
        due_s = now_s if self._courier.flushes or self._due_s is None else self._due_s
        return due_s if self._courier.keeps_at_once else max(due_s, self._courier.blocked_until_s)

    def _cycle(self) -> None:
        """Deals with all that waits, the most important first; ends when something had to go back."""
        self._last_cycle_s = time.monotonic()
        for lane, classes in enumerate(LANES):
            while True:
                items = self._take(classes)
                if not items:
                    break
                self._resource = items[-1].content.resource
                delivered = self._courier.deliver(lane, items)
                self._let_go(items)
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

    def _let_go(self, items: list[Item]) -> None:
        """Frees them in pieces, and not with the lock: 1,000 spans take up to 5 ms."""
        while items:
            self._courier.pace.rest()
            del items[-_FREED_AT_ONCE:]

    def _report_losses(self) -> None:
        """With a success the server hears what it will not get. Decision 0022."""
        with self._changed:
            self._courier.delivered = False
            if not self._stopped:
                self._offer_reports()

    def _offer_reports(self) -> None:
        if not self._buffer.ledger:
            return
        for report in self._buffer.ledger.take():
            event = Event(semconv.EVENT_LOSSES, time.time_ns(), report, self._resource)
            if self._buffer.offer(Priority.RUN, estimate_bytes(report), event):
                self._schedule(Priority.RUN)


def _started(work: Callable[[], None], name: str) -> threading.Thread | None:
    """None at the interpreter's end or without memory for a thread: the next record tries again."""
    thread = threading.Thread(target=work, name=name, daemon=True)
    with contextlib.suppress(RuntimeError, MemoryError):
        thread.start()
        return thread
    return None


def _reset_all_after_fork() -> None:
    for pipeline in list(_pipelines):
        pipeline.reset_after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_reset_all_after_fork)
