"""
Delivers records, and keeps what cannot be delivered now: on disk, in memory or not at all.

While the server is away everything goes to the spool as it comes, without an attempt, so
that a process may end at any moment; what is due is tried again from there.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from xray_otel._backlog import Backlog
from xray_otel._batches import Batch, batches
from xray_otel._buffer import Buffer, Cause, Item, Part, Priority, parts_of
from xray_otel._guard import Guard, described
from xray_otel._line import Line
from xray_otel._pace import PATIENT_FILL, Pace, hurry
from xray_otel._spool import Spool, open_spool
from xray_otel._transport import Answer, Transport
from xray_otel._words import counted
from xray_otel.settings import Settings

LANES = ((Priority.RUN, Priority.STEP), (Priority.DECISIONS,), (Priority.ARTIFACT,))
"""Classes that may share a request: a refused piece of evidence takes no step with it."""

_MAX_MEMORY_S = 3_600.0
"""Nothing is retried for ever."""
_SPOOL_PAUSE_S = 30.0
"""So long after an error the disk is left alone."""


class Courier:
    """One thread delivers with it; ``store`` may come from any. ``buffer.changed`` guards what they share."""

    def __init__(
        self, settings: Settings, guard: Guard, buffer: Buffer, connect: Callable[[Settings], Transport]
    ) -> None:
        self._settings = settings
        self._guard = guard
        self._buffer = buffer
        self.line = Line(settings, buffer.changed, connect)
        self.pace = self.new_pace()
        """Of the thread that delivers."""
        self._spool: Spool | None = open_spool(settings, self._lose_stored)
        self._spool_rests_until_s = 0.0
        self._spool_failed = False
        self.backlog = Backlog(self._spool, self.line, buffer, guard, self.pause)
        self.taken_over = False
        """Whether a shutdown deals with what is in hand; the thread that had it keeps off."""
        self.writers = 0
        """Threads that are just putting on disk what they have in hand."""

    @property
    def keeps_at_once(self) -> bool:
        """Whether what comes while the server is away can be dealt with without waiting for it."""
        return self._settings.offline == "drop" or self._spool_works()

    @property
    def spool_folder(self) -> Path | None:
        """Where undelivered records lie; None when they are held in memory."""
        return None if self._spool is None else self._spool.folder

    def deliver(self, lane: int, items: Sequence[Item]) -> bool:
        """Sends items in hand, or keeps them; False when they had to go back and nothing more can be done."""
        try:
            for batch in batches(items, self._unencodable, self.pace.rest):
                if not self._deliver(lane, batch):
                    # Those that are settled already are in hand no more, and stay settled.
                    with self._buffer.changed:  # or a shutdown would take over in between, and count none
                        if not self.taken_over:
                            self._buffer.put_back(items)
                    return False
        except Exception as error:  # noqa: BLE001 - tried again it would be the same, and all would wait
            if self.taken_over:
                return False
            self._settle(items, Cause.ENCODING, described(error))
        return True

    def _deliver(self, lane: int, batch: Batch) -> bool:
        if self.taken_over:
            return False
        relieve = lane > 0 and not self._is_patient() and self._spool_works()
        if not relieve and time.monotonic() >= self.line.blocked_until_s:
            answer = self.line.exchange(batch.payload)
            if answer.delivered:
                self._settle(batch.items)
                if answer.rejected:
                    self.backlog.reject(parts_of(batch.items), answer)
                return True
            if answer.too_large and len(batch.items) > 1:
                return self._deliver_halves(lane, batch.items)
            if not answer.retryable:
                self._settle(batch.items, Cause.REFUSED, answer.message)
                return True
            self.pause(answer)
        return self._keep(lane, batch)

    def _deliver_halves(self, lane: int, items: Sequence[Item]) -> bool:
        """Refused as a whole for its size: what fits in smaller requests must not be lost with the rest."""
        middle = len(items) // 2
        return all(
            self._deliver(lane, batch)
            for half in (items[:middle], items[middle:])
            for batch in batches(half, self._unencodable, self.pace.rest)
        )

    def _keep(self, lane: int, batch: Batch) -> bool:
        if self._settings.offline == "drop":
            self._settle(batch.items, Cause.OFFLINE, f"{self._settings.endpoint} is away")
            return True
        with self._writing() as mine:
            if not mine:
                return False
            if self.store(lane, batch):
                return True
        if self.line.away_for_s() > _MAX_MEMORY_S:
            self._settle(batch.items, Cause.EXPIRED, f"{self._settings.endpoint} was away too long")
            return True
        return False

    @contextmanager
    def _writing(self) -> Iterator[bool]:
        """A shutdown waits for the end of it, or it does not begin (False): who stores stores alone."""
        with self._buffer.changed:
            mine = not self.taken_over
            self.writers += mine
        try:
            yield mine
        finally:
            with self._buffer.changed:
                self.writers -= mine
                self._buffer.changed.notify_all()

    def relieve(self, lane: int, items: Sequence[Item], pace: Pace) -> bool:
        """Puts items in hand on disk without an attempt, from any thread; False when they had to go back."""
        for batch in batches(items, self._unencodable, pace.rest):
            with self._writing() as mine:
                if not mine:
                    return False
                if not self.store(lane, batch):
                    self._buffer.put_back(items)
                    return False
        return True

    def store(self, lane: int, batch: Batch) -> bool:
        """Puts items in hand on disk; False when that is not possible. From any thread."""
        spool = self._spool
        if spool is None or not self._spool_works():
            return False
        parts = parts_of(batch.items)
        try:
            path = spool.append(lane, batch.payload, parts)
            if self.taken_over:
                spool.seal()  # nothing follows, and another process may send it at once
        except Exception as error:  # noqa: BLE001 - mostly OSError, and memory is there in any case
            self._spool_rests_until_s = time.monotonic() + _SPOOL_PAUSE_S
            # Said at once, whatever was said in the last minute: it may come to losses.
            first, self._spool_failed = not self._spool_failed, True
            self._guard.note("spool", f"cannot be written, memory is used: {error}", last=first)
            return False
        if path is None:
            self._settle(batch.items, Cause.SPOOL_FULL, "raise XRAY_SPOOL_BYTES")
            return True
        with self._buffer.changed:
            self.backlog.add(path, self._buffer.store(batch.items))
            self._buffer.changed.notify_all()
        return True

    def store_all(self, items: Sequence[Item], deadline_s: float) -> None:
        """Puts as many of these items in hand on disk as the time allows, the important ones first."""
        try:
            for lane, classes in enumerate(LANES):
                some = [item for item in items if item.priority in classes]
                for batch in batches(some, self._unencodable, hurry):
                    if time.monotonic() > deadline_s or not self.store(lane, batch):
                        return
        except Exception as error:  # noqa: BLE001 - the host's exit is no place to raise
            self._guard.note("spool", described(error))

    def pause(self, answer: Answer) -> None:
        """After a failed attempt."""
        self.line.pause(answer)
        if not self.taken_over:  # then it is the shutdown that ended the request, and that has the last word
            self._guard.note("delivery", f"{self._settings.endpoint} is away: {answer.message}")

    def hurry(self) -> None:
        """Somebody waits: the next attempt is due soon. Call with ``changed`` held."""
        self.line.hurry()
        self.backlog.hurry()

    def finish(self) -> None:
        """The last of the thread that delivers: no file and no connection of its own stays open."""
        self.backlog.let_go()
        self.close()

    def close(self) -> None:
        """Ends the connection, and leaves what is on disk to others."""
        if self._spool is not None:
            self._spool.seal()
        self.line.close()

    def reset_after_fork(self) -> None:
        """In the child: lets go of the parent's files; they and what is in them stay the parent's."""
        if self._spool is not None:
            self._spool.reset_after_fork()
        self.backlog.reset_after_fork()

    @property
    def may_relieve(self) -> bool:
        """Whether the budget runs out, nothing is sent because a request hangs, and there is a disk."""
        return (
            self.line.in_exchange
            and not self.taken_over
            and self._buffer.size_bytes * 2 > self._settings.buffer_bytes
            and self._spool_works()
        )

    def _spool_works(self) -> bool:
        return self._spool is not None and time.monotonic() >= self._spool_rests_until_s

    def _is_patient(self) -> bool:
        """Whether the buffer is far from full."""
        return self._fill() < PATIENT_FILL

    def new_pace(self) -> Pace:
        """For one thread."""
        return Pace(self._fill)

    def _fill(self) -> float:
        return self._buffer.size_bytes / self._settings.buffer_bytes

    def _unencodable(self, item: Item, error: Exception) -> None:
        self._settle((item,), Cause.ENCODING, described(error))

    def _lose_stored(self, parts: Sequence[Part], cause: str) -> None:
        self.backlog.lose(parts, cause)

    def _settle(self, items: Sequence[Item], cause: str | None = None, message: str = "") -> None:
        with self._buffer.changed:
            settled = self._buffer.settle(items, cause)
            self._buffer.changed.notify_all()
        if cause is not None:
            self._guard.note("delivery", f"{counted(settled, 'record')} lost ({cause}): {message}")
