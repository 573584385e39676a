"""
From the host's threads to the server: one background thread that empties the buffer.

Metrics and evidence never share a request, so that a refused piece of evidence takes no
step with it; within a cycle the most important class is sent first.
"""

from __future__ import annotations

import contextlib
import os
import random
import threading
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import cast

from opentelemetry.sdk.trace import ReadableSpan

from xray_otel._buffer import Buffer, Cause, Event, Item, Priority
from xray_otel._guard import Guard
from xray_otel._otlp import estimate_bytes, logs_request, traces_request
from xray_otel._transport import Answer, Request, Transport
from xray_otel.settings import Settings

MAX_REQUEST_BYTES = 3_500_000
"""Below the 4 MiB that gRPC servers take by default, counted before compression."""

_RUN_LINGER_S = 0.05
"""A run's start waits this long for company; it must be out within 100 ms."""
_FULL_BYTES = 2 * 1024 * 1024
"""As much as this is sent at once, without waiting for the interval."""
_BACKOFF_S = (0.25, 10.0)
_FLUSH_BACKOFF_S = 0.1
_MAX_RETRY_AFTER_S = 60.0


_LANES = ((Priority.RUN, Priority.STEP), (Priority.DECISIONS,), (Priority.ARTIFACT,))
"""Classes that may share a request."""

_pipelines: weakref.WeakSet[Pipeline] = weakref.WeakSet()


class Pipeline:
    """
    Takes spans and events from any thread without blocking and delivers them.

    Undelivered ones are tried again with growing pauses, as long as the byte budget holds
    them. After a fork the child starts empty, with a thread and a connection of its own.
    """

    def __init__(self, settings: Settings, guard: Guard, connect: Callable[[Settings], Transport]) -> None:
        self._settings = settings
        self._guard = guard
        self._connect = connect
        self._interval_s = settings.flush_interval_ms / 1000
        self._inherited: list[Transport | None] = []
        self._start_over()
        _pipelines.add(self)

    def _start_over(self) -> None:
        self._buffer = Buffer(self._settings.buffer_bytes)
        self._changed = self._buffer.changed
        self._transport: Transport | None = None
        self._thread: threading.Thread | None = None
        self._stopped = False
        self._due_s: float | None = None
        """When the next cycle is due (monotonic); None while nothing waits."""
        self._blocked_until_s = 0.0
        """No attempt before this, after a failed one."""
        self._failures = 0
        self._flushes = 0
        """Callers that wait in flush()."""

    def offer_span(self, priority: Priority, span: ReadableSpan, attributes: Mapping[str, object]) -> None:
        """Takes an ended span with these attributes in, or counts it as lost."""
        self._offer(priority, estimate_bytes(attributes), span)

    def offer_event(self, priority: Priority, event: Event) -> None:
        """Takes an event in, or counts it as lost."""
        self._offer(priority, estimate_bytes(event.attributes), event)

    def _offer(self, priority: Priority, size_bytes: int, content: ReadableSpan | Event) -> None:
        with self._changed:
            lost_before = self._buffer.lost
            if self._stopped:
                self._buffer.lose(priority, Cause.SHUTDOWN)
            elif size_bytes > MAX_REQUEST_BYTES:
                self._buffer.lose(priority, Cause.TOO_LARGE)
            elif self._buffer.offer(priority, size_bytes, content):
                self._schedule(priority)
            shed = self._buffer.lost != lost_before
        if shed:
            # Without the lock: the host's logging handlers may be slow, or record steps themselves.
            self._complain(priority, size_bytes)

    def _complain(self, priority: Priority, size_bytes: int) -> None:
        if self._stopped:
            message = f"a {priority.name.lower()} came after the shutdown"
        elif size_bytes > MAX_REQUEST_BYTES:
            message = f"a {priority.name.lower()} of {size_bytes} bytes is too large"
        else:
            message = "full, telemetry is shed; raise XRAY_BUFFER_BYTES"
        self._guard.note("buffer", message)

    def _schedule(self, priority: Priority) -> None:
        """Sets when the next cycle is due; wakes the thread only if that is sooner than it thinks."""
        now_s = time.monotonic()
        wait_s = _RUN_LINGER_S if priority is Priority.RUN else self._interval_s
        if self._buffer.size_bytes >= _FULL_BYTES:
            wait_s = 0.0
        if self._due_s is None or now_s + wait_s < self._due_s:
            self._due_s = now_s + wait_s
            self._changed.notify_all()
        if self._thread is None:
            self._start_thread()

    def _start_thread(self) -> None:
        thread = threading.Thread(target=self._work, name="xray_otel", daemon=True)
        # Not started at the interpreter's end or without memory for it: the next record tries again.
        with contextlib.suppress(RuntimeError, MemoryError):
            thread.start()
            self._thread = thread

    def note_failure(self, where: str, error: Exception) -> None:
        """Counts and logs a failure in code of the host that X-Ray was called from; never raises."""
        self._guard.note(where, f"{type(error).__name__}: {error}")

    def lose(self, priority: Priority, cause: str) -> None:
        """Counts what was lost before it came here."""
        with self._changed:
            self._buffer.lose(priority, cause)

    def flush(self, timeout_s: float) -> bool:
        """
        Sends what was taken in before the call, waiting at most ``timeout_s`` seconds.

        Returns whether all of it is settled: acknowledged by the server, or counted as lost.
        """
        deadline_s = time.monotonic() + timeout_s
        with self._changed:
            generation = self._buffer.next_generation()
            self._flushes += 1
            self._blocked_until_s = min(self._blocked_until_s, time.monotonic() + _FLUSH_BACKOFF_S)
            self._changed.notify_all()
            try:
                while not self._buffer.is_settled(generation):
                    left_s = deadline_s - time.monotonic()
                    if left_s <= 0 or self._stopped:
                        return False
                    self._changed.wait(left_s)
            finally:
                self._flushes -= 1
            return True

    def shutdown(self, timeout_s: float) -> bool:
        """
        Flushes within ``timeout_s`` seconds, then takes nothing more in. Safe to call twice.

        Returns whether everything was settled; what was not is counted as lost.
        """
        settled = self.flush(timeout_s)
        with self._changed:
            if self._stopped:
                return settled
            self._stopped = True
            lost = sum(self._buffer.losses.values())
            left = self._buffer.clear(Cause.SHUTDOWN) + self._buffer.open_count
            self._changed.notify_all()
        if self._transport is not None:
            self._transport.close()
        if left:
            message = f"{left} records were not delivered to {self._settings.endpoint} and are lost"
            earlier = f", after {lost} others" if lost else ""
            self._guard.note("shutdown", message + earlier, last=True)
        elif lost:
            # At most one line a minute was written while it happened.
            self._guard.note("shutdown", f"{lost} records are lost in all", last=True)
        return settled

    @property
    def losses(self) -> dict[tuple[str, str], int]:
        """Lost records so far, by (class, cause)."""
        with self._changed:
            return self._buffer.losses

    @property
    def pending(self) -> int:
        """Records that are neither acknowledged nor lost."""
        with self._changed:
            return self._buffer.open_count

    def reset_after_fork(self) -> None:
        """Makes the child's pipeline new: the parent delivers what it had taken in."""
        self._guard.reset_after_fork()
        # Closing the parent's connection from here could disturb it, so it is kept and not used.
        self._inherited.append(self._transport)
        self._start_over()

    def _work(self) -> None:
        while self._wait_for_work():
            try:
                self._cycle()
            except Exception as error:  # noqa: BLE001 - the thread must outlive whatever happened in it
                self._guard.note("delivery", f"{type(error).__name__}: {error}")
                self._pause(Answer(False, retryable=True))

    def _wait_for_work(self) -> bool:
        """Waits until a cycle is due; False when the pipeline has stopped."""
        with self._changed:
            while not self._stopped:
                now_s = time.monotonic()
                if self._buffer.is_empty:
                    self._due_s = None
                    self._changed.wait()
                    continue
                due_s = now_s if self._flushes or self._due_s is None else self._due_s
                left_s = max(due_s, self._blocked_until_s) - now_s
                if left_s <= 0:
                    self._due_s = None
                    return True
                self._changed.wait(left_s)
        return False

    def _cycle(self) -> None:
        """Sends all that waits, the most important first; ends at the first failure to deliver."""
        for lane in _LANES:
            while True:
                with self._changed:
                    items = self._buffer.take(lane, MAX_REQUEST_BYTES)
                if not items:
                    break
                if not self._deliver(items):
                    return

    def _deliver(self, items: Sequence[Item]) -> bool:
        """Sends spans and events of one lane; False when the server is away."""
        events = [item for item in items if isinstance(item.content, Event)]
        spans = [item for item in items if not isinstance(item.content, Event)]
        # The start of a run comes before its steps, so that the server sees it first.
        if not self._send(events, lambda part: logs_request([cast(Event, i.content) for i in part])):
            self._put_back(spans)
            return False
        return self._send(spans, lambda part: traces_request([cast(ReadableSpan, i.content) for i in part]))

    def _send(self, items: Sequence[Item], encode: Callable[[Sequence[Item]], Request]) -> bool:
        if not items:
            return True
        try:
            request = encode(items)
            fits = request.ByteSize() <= MAX_REQUEST_BYTES
        except Exception as error:  # noqa: BLE001 - a span of the host may hold anything
            if len(items) == 1:
                self._settle(items, Cause.ENCODING, f"{type(error).__name__}: {error}")
                return True
            fits = False
        if not fits and len(items) > 1:
            half = len(items) // 2
            if not self._send(items[:half], encode):
                self._put_back(items[half:])
                return False
            return self._send(items[half:], encode)
        return self._account(items, self._exchange(request))

    def _exchange(self, request: Request) -> Answer:
        try:
            if self._transport is None:
                self._transport = self._connect(self._settings)
            return self._transport.send(request, self._settings.export_timeout_s)
        except Exception as error:  # noqa: BLE001 - taken items must come back whatever a library does
            return Answer(False, retryable=True, message=f"{type(error).__name__}: {error}")

    def _account(self, items: Sequence[Item], answer: Answer) -> bool:
        if answer.delivered:
            self._failures = 0
            self._settle(items)
            if answer.rejected:
                self._reject(items, answer)
        elif not answer.retryable:
            self._settle(items, Cause.REFUSED, answer.message)
        elif self._settings.offline == "drop":
            self._settle(items, Cause.OFFLINE, answer.message)
        else:
            self._put_back(items)
            self._pause(answer)
            return False
        return True

    def _settle(self, items: Sequence[Item], cause: str | None = None, message: str = "") -> None:
        with self._changed:
            self._buffer.settle(items, cause)
            self._changed.notify_all()
        if cause is not None:
            self._guard.note("delivery", f"{len(items)} records lost ({cause}): {message}")

    def _reject(self, items: Sequence[Item], answer: Answer) -> None:
        """The server does not say which records it rejected, so they count for the request's lowest class."""
        lowest = max(item.priority for item in items)
        with self._changed:
            self._buffer.lose(lowest, Cause.REJECTED, answer.rejected)
        self._guard.note("delivery", f"{answer.rejected} records rejected: {answer.message}")

    def _put_back(self, items: Sequence[Item]) -> None:
        if not items:
            return
        with self._changed:
            if self._stopped:
                self._buffer.settle(items, Cause.SHUTDOWN)
            else:
                self._buffer.put_back(items)
            self._changed.notify_all()

    def _pause(self, answer: Answer) -> None:
        self._failures += 1
        first_s, longest_s = _BACKOFF_S
        pause_s = min(longest_s, first_s * 2 ** min(self._failures - 1, 10)) * random.uniform(0.8, 1.2)
        if answer.retry_after_s is not None:
            pause_s = max(pause_s, min(answer.retry_after_s, _MAX_RETRY_AFTER_S))
        with self._changed:
            if self._flushes:
                pause_s = min(pause_s, _FLUSH_BACKOFF_S)
            self._blocked_until_s = time.monotonic() + pause_s
        self._guard.note("delivery", f"{self._settings.endpoint} is away: {answer.message}")


def _reset_all_after_fork() -> None:
    for pipeline in _pipelines:
        pipeline.reset_after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_reset_all_after_fork)
