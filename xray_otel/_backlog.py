"""
What lies on disk, of this process and of ended ones, on its way to the server: a request at a time.

The thread that delivers sends it between its own records. At the process's end that thread
goes on with it for a while, so that a host on which only short programs run empties its spool, too.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from xray_otel._buffer import Buffer, Cause, Part, rejected_parts
from xray_otel._guard import Guard, described
from xray_otel._halves import send_in_parts
from xray_otel._line import Line
from xray_otel._segments import Frame, Segment
from xray_otel._spool import Spool
from xray_otel._transport import Answer
from xray_otel._words import counted

_MAX_STORED_S = 7 * 86_400.0
"""Nothing is retried for ever."""
_MAX_STRIKES = 10
"""So often may a stored request fail right after others were taken."""
_LOOK_S = 30.0
"""So often it is looked for what processes left that have died."""
_OWN_LOOK_S = 1.0
"""The same while another process sends what is ours, and a flush may wait for it."""


class Backlog:
    """Works in the thread that delivers; ``buffer.changed`` guards what it shares with others."""

    def __init__(
        self, spool: Spool | None, line: Line, buffer: Buffer, guard: Guard, pause: Callable[[Answer], None]
    ) -> None:
        """pause: called after a failed attempt."""
        self._spool = spool
        self._line = line
        self._buffer = buffer
        self._guard = guard
        self._pause = pause
        self._own: dict[Path, Counter[int]] = {}
        """What this process has stored, as the buffer counts it."""
        self._draining: tuple[Segment, Iterator[Frame]] | None = None
        self._strikes: Counter[tuple[str, int]] = Counter()
        self._is_there = False
        """Whether something is known to lie there that nobody else sends."""
        self._look_s = 0.0
        self.is_asked_for = False
        """Whether somebody waits until there is nothing left for this process to send."""
        self.is_sending = False
        """Whether a request is under way that would be sent again if its answer were not noted."""

    def due_s(self) -> float | None:
        """When ``send_next`` has something to do (monotonic); None: not before something is delivered."""
        if self._is_there or self.is_asked_for:
            return self._line.blocked_until_s
        return self._look_s if self._own else None

    def add(self, path: Path, generations: Counter[int]) -> None:
        """This process has stored something. Call with ``changed`` held."""
        self._own.setdefault(path, Counter()).update(generations)
        self._is_there = True

    def hurry(self) -> None:
        """Somebody waits for what this process has stored. Call with ``changed`` held."""
        if self._own and not self._is_there:
            self._look_s = 0.0

    def look(self) -> None:
        """Looks for what is stored, by this process or by ones that have died."""
        now_s = time.monotonic()
        if self._spool is None or now_s < self._look_s:
            return
        self._look_s = now_s + _LOOK_S
        try:
            self._is_there = bool(self._spool.stored())
        except Exception as error:  # noqa: BLE001 - the disk says nothing of the server, which is there
            self._is_there = False
            self._guard.note("spool", f"cannot be read: {described(error)}")
        self._reconcile()

    def send_next(self) -> None:
        """Sends the next stored request, if there is one."""
        try:
            self._send_next()
        except OSError as error:  # of the disk's: the server is there, and what is recorded now is sent
            self._guard.note("spool", f"cannot be read: {described(error)}")
            self._rest(_LOOK_S)

    def _send_next(self) -> None:
        if not self._is_there:
            self._look_s = 0.0
            self.look()
            if not self._is_there:
                self._done()
                return
        if self._draining is None:
            segment = None if self._spool is None else next(self._spool.claim(), None)
            if segment is None:  # there is none, or others send them
                self._rest(_OWN_LOOK_S if self._own else _LOOK_S)
                return
            self._draining = segment, segment.frames()
        segment, frames = self._draining
        self.is_sending = True
        try:
            frame = next(frames, None)
            if frame is None:
                self._draining = None
                segment.remove()
                self._reconcile()
            elif self._send(segment, frame):
                segment.acknowledge(frame)
            else:
                self.let_go()
        except BaseException:
            self.let_go()
            raise
        finally:
            with self._buffer.changed:
                self.is_sending = False
                self._buffer.changed.notify_all()

    def _send(self, segment: Segment, frame: Frame) -> bool:
        if frame.is_damaged:
            self.lose(frame.parts, Cause.DAMAGED, f"{segment.path} is damaged")
            return True
        if time.time() - frame.time_s > _MAX_STORED_S:
            self.lose(frame.parts, Cause.EXPIRED)
            return True
        server_was_there = not self._line.failures
        answers = send_in_parts(self._line.exchange, frame.payload, frame.parts)
        answer = answers[-1].answer
        if not answer.retryable:
            for one in answers:
                if not one.answer.delivered:
                    self.lose(one.parts, Cause.REFUSED, one.answer.message)
                elif one.answer.rejected:
                    self.reject(one.parts, one.answer)
            self._strikes.pop((segment.path.name, frame.end), None)
            return True
        key = (segment.path.name, frame.end)
        self._strikes[key] += server_was_there
        if self._strikes[key] >= _MAX_STRIKES:
            self.lose(frame.parts, Cause.EXPIRED, answer.message)
            return True
        self._pause(answer)
        return False

    def _rest(self, pause_s: float) -> None:
        """There is nothing to send for so long, as far as this process can tell."""
        self._is_there = False
        self._look_s = time.monotonic() + pause_s
        self._reconcile()
        self._done()

    def _done(self) -> None:
        with self._buffer.changed:
            self.is_asked_for = False
            self._buffer.changed.notify_all()

    def _reconcile(self) -> None:
        """Settles what is no longer on disk, because it was delivered, by whomever, or given up."""
        gone = [path for path in list(self._own) if not path.exists()]
        if gone:
            with self._buffer.changed:
                for path in gone:
                    self._buffer.settle_stored(self._own.pop(path, Counter()))
                self._buffer.changed.notify_all()

    def let_go(self) -> None:
        """Leaves the rest of what is being sent to whoever comes next."""
        draining, self._draining = self._draining, None
        if draining is not None:
            draining[0].close()

    def reset_after_fork(self) -> None:
        """In the child: lets go of the parent's file, which stays the parent's."""
        draining, self._draining = self._draining, None
        if draining is not None:
            draining[0].leave()

    def lose(self, parts: Sequence[Part], cause: str, message: str = "") -> None:
        """Counts as lost what lay on disk, or was to lie there."""
        with self._buffer.changed:
            self._buffer.lose(parts, cause)
        lost = counted(sum(part.records for part in parts), "record")
        self._guard.note("spool", f"{lost} lost ({cause}): {message}")

    def reject(self, parts: Sequence[Part], answer: Answer) -> None:
        """Counts what the server took out of a request that it took."""
        with self._buffer.changed:
            self._buffer.lose(rejected_parts(parts, answer.rejected), Cause.REJECTED)
        self._guard.note("delivery", f"{counted(answer.rejected, 'record')} rejected: {answer.message}")
