"""
Delivers records, and keeps what cannot be delivered now: on disk, in memory or not at all.

While the server is away everything goes to the spool as it comes, without an attempt, so
that a process may end at any moment; what is due is tried again from there.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from xray_otel._batches import Batch, batches
from xray_otel._buffer import Buffer, Cause, Item, Part, Priority, parts_of, rejected_parts
from xray_otel._guard import Guard, described
from xray_otel._halves import send_in_parts
from xray_otel._line import Line
from xray_otel._pace import PATIENT_FILL, Pace, hurry
from xray_otel._segments import Frame, Segment
from xray_otel._spool import Spool, open_spool
from xray_otel._transport import Answer, Transport
from xray_otel._words import counted
from xray_otel.settings import Settings

LANES = ((Priority.RUN, Priority.STEP), (Priority.DECISIONS,), (Priority.ARTIFACT,))
"""Classes that may share a request: a refused piece of evidence takes no step with it."""

_MAX_MEMORY_S = 3_600.0
_MAX_STORED_S = 7 * 86_400.0
"""Nothing is retried for ever: so long in memory, so long on disk."""
_MAX_STRIKES = 10
"""So often may a stored request fail right after others were taken."""
_SPOOL_PAUSE_S = 30.0
"""So long after an error the disk is left alone."""
_LOOK_S = 30.0
"""So often it is looked for what processes left that have died."""
_OWN_LOOK_S = 1.0
"""The same while another process sends what is ours, and a flush may wait for it."""


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
        self._spool: Spool | None = open_spool(settings, self._lose_parts)
        self._spool_rests_until_s = 0.0
        self._spool_failed = False
        self._stored: dict[Path, Counter[int]] = {}
        self._draining: tuple[Segment, Iterator[Frame]] | None = None
        self._strikes: Counter[tuple[str, int]] = Counter()
        self._has_backlog = False
        self._look_s = 0.0
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

    def due_s(self) -> float | None:
        """When ``drain`` has something to do (monotonic); None: not before something is delivered."""
        if self._has_backlog:
            return self.line.blocked_until_s
        return self._look_s if self._stored else None

    def deliver(self, lane: int, items: Sequence[Item]) -> bool:
        """Sends items in hand, or keeps them; False when they had to go back and nothing more can be done."""
        try:
            for batch in batches(items, self._unencodable, self.pace.rest):
                if not self._deliver(lane, batch):
                    # Those that are settled already are in hand no more, and stay settled.
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
                    self._reject(parts_of(batch.items), answer)
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
            self._stored.setdefault(path, Counter()).update(self._buffer.store(batch.items))
            self._has_backlog = True
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

    def look(self) -> None:
        """Looks for what is stored, by this process or by ones that have died."""
        now_s = time.monotonic()
        if self._spool is None or now_s < self._look_s:
            return
        self._look_s = now_s + _LOOK_S
        try:
            self._has_backlog = bool(self._spool.stored())
        except Exception as error:  # noqa: BLE001 - the disk says nothing of the server, which is there
            self._has_backlog = False
            self._guard.note("spool", f"cannot be read: {described(error)}")
        self._reconcile()

    def drain(self) -> None:
        """Sends the next stored request, if there is one."""
        if not self._has_backlog:
            self._look_s = 0.0
            self.look()
            if not self._has_backlog:
                return
        if self._draining is None:
            segment = None if self._spool is None else next(self._spool.claim(), None)
            if segment is None:  # there is none, or others send them
                self._has_backlog = False
                self._look_s = time.monotonic() + (_OWN_LOOK_S if self._stored else _LOOK_S)
                self._reconcile()
                return
            self._draining = segment, segment.frames()
        segment, frames = self._draining
        try:
            frame = next(frames, None)
            if frame is None:
                self._draining = None
                segment.remove()
                self._reconcile()
            elif self._send_frame(segment, frame):
                segment.acknowledge(frame)
            else:
                self._let_go()
        except BaseException:
            self._let_go()
            raise

    def _send_frame(self, segment: Segment, frame: Frame) -> bool:
        if time.time() - frame.time_s > _MAX_STORED_S:
            self._lose_parts(frame.parts, Cause.EXPIRED)
            return True
        server_was_there = not self.line.failures
        answers = send_in_parts(self.line.exchange, frame.payload, frame.parts)
        answer = answers[-1].answer
        if not answer.retryable:
            for one in answers:
                if not one.answer.delivered:
                    self._lose_parts(one.parts, Cause.REFUSED, one.answer.message)
                elif one.answer.rejected:
                    self._reject(one.parts, one.answer)
            self._strikes.pop((segment.path.name, frame.end), None)
            return True
        key = (segment.path.name, frame.end)
        self._strikes[key] += server_was_there
        if self._strikes[key] >= _MAX_STRIKES:
            self._lose_parts(frame.parts, Cause.EXPIRED, answer.message)
            return True
        self.pause(answer)
        return False

    def _let_go(self) -> None:
        draining, self._draining = self._draining, None
        if draining is not None:
            draining[0].close()

    def _reconcile(self) -> None:
        """Settles what is no longer on disk, because it was delivered, by whomever, or given up."""
        gone = [path for path in list(self._stored) if not path.exists()]
        if gone:
            with self._buffer.changed:
                for path in gone:
                    self._buffer.settle_stored(self._stored.pop(path, Counter()))
                self._buffer.changed.notify_all()

    def pause(self, answer: Answer) -> None:
        """After a failed attempt."""
        self.line.pause(answer)
        if not self.taken_over:  # then it is the shutdown that ended the request, and that has the last word
            self._guard.note("delivery", f"{self._settings.endpoint} is away: {answer.message}")

    def hurry(self) -> None:
        """Somebody waits: the next attempt is due soon. Call with ``changed`` held."""
        self.line.hurry()
        if self._stored and not self._has_backlog:
            self._look_s = 0.0

    def finish(self) -> None:
        """The last of the thread that delivers: no file and no connection of its own stays open."""
        self._let_go()
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
        draining, self._draining = self._draining, None
        if draining is not None:
            draining[0].leave()

    @property
    def sends_stored(self) -> bool:
        """Whether a stored request waits for its answer, and would be sent again if that were not heard."""
        return self.line.in_exchange and self._draining is not None

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

    def _settle(self, items: Sequence[Item], cause: str | None = None, message: str = "") -> None:
        with self._buffer.changed:
            settled = self._buffer.settle(items, cause)
            self._buffer.changed.notify_all()
        if cause is not None:
            self._guard.note("delivery", f"{counted(settled, 'record')} lost ({cause}): {message}")

    def _lose_parts(self, parts: Sequence[Part], cause: str, message: str = "") -> None:
        with self._buffer.changed:
            self._buffer.lose(parts, cause)
        lost = counted(sum(part.records for part in parts), "record")
        self._guard.note("spool", f"{lost} lost ({cause}): {message}")

    def _reject(self, parts: Sequence[Part], answer: Answer) -> None:
        with self._buffer.changed:
            self._buffer.lose(rejected_parts(parts, answer.rejected), Cause.REJECTED)
        self._guard.note("delivery", f"{counted(answer.rejected, 'record')} rejected: {answer.message}")
