"""From the host's threads to the server: what is taken in, waited for, rescued at the end, and counted."""

from __future__ import annotations

import os
import sys
import threading
import time
import weakref
from collections.abc import Callable, Mapping

from opentelemetry.sdk.trace import ReadableSpan

from xray_otel import _mask, semconv
from xray_otel._batches import MAX_REQUEST_BYTES
from xray_otel._buffer import Buffer, Cause, Event, Item, Part, Priority, known_run_id, report_of
from xray_otel._courier import Courier
from xray_otel._guard import Guard, described
from xray_otel._ids import leaves_whole
from xray_otel._otlp import estimate_bytes
from xray_otel._sender import Sender
from xray_otel._transport import Transport
from xray_otel._words import counted
from xray_otel.settings import Settings

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
        self._inherited: list[Courier] = []
        self._start_over()
        _pipelines.add(self)

    def _start_over(self) -> None:
        self._buffer = Buffer(self._settings.buffer_bytes)
        self._changed = self._buffer.changed
        self._courier = Courier(self._settings, self._guard, self._buffer, self._connect)
        interval_s = self._settings.flush_interval_ms / 1000
        self._sender = Sender(self._courier, self._buffer, self._guard, interval_s, self._report_losses)
        self._stopped = False
        self._rescuer: int | None = None
        """The thread that puts on disk what a shutdown could not deliver."""
        self._takes_late = False
        """Stopped by the process's exit: what other threads still end goes to disk."""

    def offer_span(self, priority: Priority, span: ReadableSpan, attributes: Mapping[str, object]) -> None:
        """Takes an ended span with these attributes in, or counts it as lost."""
        size_bytes = estimate_bytes(attributes)
        if span.events:
            size_bytes += sum(estimate_bytes(event.attributes or {}) for event in span.events)
        # Asked before the lock is taken, because the mask may be the host's.
        masked = _mask.current.searches and not _leaves_whole(attributes.get(semconv.RUN_ID))
        self._offer(priority, size_bytes, span, is_nameless=masked)

    def offer_event(self, priority: Priority, event: Event) -> None:
        """Takes an event in, or counts it as lost."""
        self._offer(priority, estimate_bytes(event.attributes), event)

    def _offer(
        self,
        priority: Priority,
        size_bytes: int,
        content: ReadableSpan | Event,
        *,
        is_nameless: bool = False,
    ) -> None:
        with self._changed:
            lost_before = self._buffer.lost
            if size_bytes > MAX_REQUEST_BYTES:
                run_id = None if is_nameless else (content.attributes or {}).get(semconv.RUN_ID)
                self.lose(priority, Cause.TOO_LARGE, run_id)
            elif (
                self._buffer.offer(priority, size_bytes, content, is_nameless=is_nameless)
                and not self._stopped
            ):
                self._sender.schedule(priority)
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

    def note_failure(self, where: str, error: Exception) -> None:
        """Counts and logs a failure in code of the host that X-Ray was called from; never raises."""
        self._guard.note(where, described(error))

    def lose(self, priority: Priority, cause: str, run_id: object = None, amount: int = 1) -> None:
        """Counts a record that was lost before it came here; the run's id if it has one, candidates in it."""
        with self._changed:
            self._buffer.lose((Part(known_run_id(run_id), priority, 1, amount),), cause)

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
            courier.line.flushes += 1
            courier.hurry()
            self._changed.notify_all()
            # Not by what was known before: the server may be back.
            courier.line.is_away = False
            try:
                while not buffer.is_settled(generation):
                    left_s = deadline_s - time.monotonic()
                    if left_s <= 0 or self._stopped:
                        return False
                    if or_stored and courier.line.is_away and buffer.open_count == buffer.stored_count:
                        return False
                    self._changed.wait(left_s)
            finally:
                courier.line.flushes -= 1
            return True

    def shutdown(self, timeout_s: float, *, at_exit: bool = False, clears: bool = False) -> bool:
        """
        Flushes within ``timeout_s`` seconds, then takes nothing more in. Safe to call twice.

        What is not acknowledged by then goes to disk; where there is none, it counts as lost.
        Returns whether everything was settled. ``at_exit``: what daemon threads record until
        the process is gone goes to disk, too. ``clears``: then what ended processes have left on
        disk is sent as well, for ``XRAY_EXIT_TIMEOUT_S`` in all at most.
        """
        deadline_s = time.monotonic() + timeout_s
        rescue_s = timeout_s * _RESCUE_SHARE
        clears_until_s = min(deadline_s - rescue_s, time.monotonic() + self._settings.exit_timeout_s)
        settled = self._is_settled() or (self._sender.has_begun and self.secure(timeout_s - rescue_s))
        # Whose own records are refused has a wrong key perhaps, and would lose those of others by it.
        if settled and clears and self._courier.line.has_delivered:
            self._clear(clears_until_s)
        if settled and self._sender.has_begun and self._has_reports():
            settled = self.secure(deadline_s - rescue_s - time.monotonic())
        with self._changed:
            self._courier.taken_over = True
            # A write under way ends in a moment; taken over before, its records would be on disk twice.
            left_s = max(deadline_s - time.monotonic(), _MIN_RESCUE_S)
            self._changed.wait_for(lambda: not self._courier.writers, left_s)
            is_first = not self._stopped
            if is_first:
                self._rescuer = threading.get_ident()
                self._stopped, self._takes_late = True, at_exit
                self._offer_reports()
                lost_before = self._buffer.lost
                items = self._buffer.take_all()
                self._changed.notify_all()
        if not is_first:
            self._rescue_again(deadline_s)
            return settled
        lost = self._rescue(items, deadline_s)
        with self._changed:
            self._rescuer = None
            self._changed.notify_all()
            backlog = self._courier.backlog
            self._changed.wait_for(lambda: not backlog.is_sending, deadline_s - time.monotonic())
        self._courier.close()
        self._sender.join(_JOIN_S)
        reports = sum(report_of(item) is not None for item in items)
        self._tell(lost, lost_before, self._buffer.stored_count - reports)
        return settled and not lost

    def _clear(self, until_s: float) -> None:
        """
        Sends what others left on disk while the server takes it.

        Where only short programs run none would come to it otherwise: each has its own records to
        send, and ends with the answer.
        """
        backlog, line = self._courier.backlog, self._courier.line
        with self._changed:
            backlog.is_asked_for = True
            self._changed.notify_all()
            self._changed.wait_for(
                lambda: not backlog.is_asked_for or line.failures or self._stopped,
                until_s - time.monotonic(),
            )
            backlog.is_asked_for = False

    def _rescue(self, items: list[Item], deadline_s: float) -> int:
        """To disk with what is not delivered; returns how much of it is lost."""
        self._courier.store_all(items, max(deadline_s, time.monotonic() + _MIN_RESCUE_S))
        return self._give_up(items)

    def _rescue_again(self, deadline_s: float) -> None:
        """
        Sees to it that what another call rescues is safe, because the process may end after this one.

        In that call's own thread this is a signal handler, which it cannot go on beside.
        """
        with self._changed:
            if self._rescuer != threading.get_ident():
                left_s = max(deadline_s - time.monotonic(), _MIN_RESCUE_S)
                self._changed.wait_for(lambda: self._rescuer is None, left_s)
                return
            items = self._buffer.take_all()  # what the other has not put on disk yet
        self._rescue(items, deadline_s)

    def _has_reports(self) -> bool:
        """Whether the server has yet to hear of losses; sees to it that they are on their way."""
        with self._changed:
            if not self._stopped:
                self._offer_reports()
            return bool(self._buffer.open_count)

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
                "next programs that reach it send them, or: python -m xray_otel sync"
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

    def _report_losses(self) -> None:
        """With a success the server hears what it will not get. Decision 0022."""
        with self._changed:
            self._courier.line.delivered = False
            if not self._stopped:
                self._offer_reports()

    def _offer_reports(self) -> None:
        if not self._buffer.ledger:
            return
        for report in self._buffer.ledger.take():
            event = Event(semconv.EVENT_LOSSES, time.time_ns(), report, self._sender.resource)
            if self._buffer.offer(Priority.RUN, estimate_bytes(report), event):
                self._sender.schedule(Priority.RUN)


def _leaves_whole(run_id: object) -> bool:
    return type(run_id) is not str or leaves_whole(run_id)


def _reset_all_after_fork() -> None:
    for pipeline in list(_pipelines):
        pipeline.reset_after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_reset_all_after_fork)
