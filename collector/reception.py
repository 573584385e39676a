"""
Bodies that are on their way in, by any port: bounded in bytes together, and each in time.

A request is counted from its first byte until its rows are in the intake, with what
decompression makes of it. Nobody waits here for anybody: whoever finds no room is asked to
come again, and whoever sends slowly gives way.

The ports of a process share one ``Room``, in any thread; the deadlines of a ``Reception``
belong to one event loop.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Self

from collector.errors import BodyTooSlow, IntakeStopped, ReceptionFull

USUAL_BODY_BYTES = 4 * 1024 * 1024
"""gRPC's own limit of a message, so that what passes through a Collector is not larger."""
_SHARE_OF_LARGE = 0.75
"""Of the room, for bodies above that size: a few large ones must not shut out all the others."""
_WATCH_EVERY_S = 0.01
"""As long as a message of the usual size takes to arrive; of larger ones some megabytes do."""
_MOMENT_S = 0.2
"""How long a body of unknown size waits for another, whose sender may be silent."""
_PATIENCE_S = 1.0
"""How long a body may take when others need its place."""


class Room:
    """Counts the bytes under way."""

    def __init__(self, max_bytes: int) -> None:
        """max_bytes: of all bodies together."""
        self.max_bytes = max_bytes
        self._bytes = 0
        self._lock = threading.Lock()
        self._met_large = False

    @property
    def bytes_under_way(self) -> int:
        """Bytes counted now."""
        return self._bytes

    def met_large(self) -> bool:
        """Tell whether a body above the usual size has come since the last call."""
        met, self._met_large = self._met_large, False
        return met

    def check(self) -> None:
        """Raise ``ReceptionFull`` when nothing more has room."""
        if self._bytes >= self.max_bytes:
            raise ReceptionFull(self._bytes, self.max_bytes)

    def _add(self, held: int, more: int) -> None:
        share = 1.0 if held + more <= USUAL_BODY_BYTES else _SHARE_OF_LARGE
        with self._lock:
            # Alone, a body of any size passes: it never could otherwise.
            if self._bytes > held and self._bytes + more > share * self.max_bytes:
                raise ReceptionFull(self._bytes, self.max_bytes)
            self._bytes += more

    def _release(self, size: int) -> None:
        with self._lock:
            self._bytes -= size
        self._met_large |= size > USUAL_BODY_BYTES


class Reception:
    """Gives the bodies that one event loop reads their place and their time."""

    def __init__(self, room: Room, timeout_s: float, memory_in_use: Callable[[], int] | None = None) -> None:
        """
        timeout_s: from a request's headers to its last byte. memory_in_use: bytes that the process has
        taken for requests, those included that a transport holds and nobody has counted.
        """
        self._room = room
        self._timeout_s = timeout_s
        self._memory_in_use = memory_in_use
        self._unmeasured: dict[asyncio.Timeout, None] = {}
        """Deadlines of the bodies whose size is not known before their end, oldest first."""
        self._watching: asyncio.Task[None] | None = None
        self._first = asyncio.Lock()
        self._reading: dict[asyncio.Timeout, float] = {}
        """Deadlines of the bodies being read, oldest first, with the loop's time at which each began."""
        self._closed = False

    def claim(self) -> Claim:
        """Return the count of one request; it ends with its ``with`` block."""
        return Claim(self._room)

    @asynccontextmanager
    async def reading(self, *, unmeasured: bool = False) -> AsyncIterator[None]:
        """
        Bound the time of the block, which reads one body.

        unmeasured: the transport holds the body and tells its size at the end; when more are read
        so than have room at the usual size, the oldest give way, and when they take too much memory the
        latest. Raises ``ReceptionFull``, ``BodyTooSlow``, and ``IntakeStopped`` when the
        collector stops meanwhile.
        """
        if self._closed:
            raise IntakeStopped
        self._room.check()
        first = unmeasured and await self._turn()
        try:
            if self._closed:
                raise IntakeStopped
            if unmeasured:
                self._check_memory()
                if len(self._reading) * USUAL_BODY_BYTES >= self._room.max_bytes:
                    self._hurry()
            async with asyncio.timeout(self._timeout_s) as deadline:
                self._reading[deadline] = asyncio.get_running_loop().time()
                if unmeasured:
                    self._watch(deadline)
                try:
                    yield
                finally:
                    self._reading.pop(deadline, None)
                    self._unmeasured.pop(deadline, None)
        except TimeoutError:
            if self._closed:
                raise IntakeStopped from None
            raise BodyTooSlow from None
        finally:
            if first:
                self._first.release()

    def close(self) -> None:
        """Refuse new bodies and cut those being read; in the loop's thread."""
        self._closed = True
        now = asyncio.get_running_loop().time()
        for deadline in self._reading:
            deadline.reschedule(now)

    async def _turn(self) -> bool:
        """
        Wait for the body of unknown size that is being read, for a moment: then it shows how large it is.

        Return whether this is the one that others wait for now.
        """
        try:
            async with asyncio.timeout(_MOMENT_S):
                return await self._first.acquire()
        except TimeoutError:
            return False

    def _check_memory(self) -> None:
        """Raise ``ReceptionFull`` when the bodies that came before take too much memory."""
        if self._memory_in_use is not None and (self._unmeasured or self._room.bytes_under_way):
            in_use = self._memory_in_use()
            if in_use > self._room.max_bytes:
                raise ReceptionFull(in_use, self._room.max_bytes)

    def _watch(self, deadline: asyncio.Timeout) -> None:
        self._unmeasured[deadline] = None
        if self._memory_in_use is not None and (self._watching is None or self._watching.done()):
            self._watching = asyncio.create_task(self._watch_memory(self._memory_in_use))

    async def _watch_memory(self, in_use: Callable[[], int]) -> None:
        """While bodies of unknown size are read, cut those beside another when they take too much memory."""
        seen: set[asyncio.Timeout] = set()
        while self._unmeasured:
            await asyncio.sleep(_WATCH_EVERY_S)
            # Who was not here the last time most likely is not large, and gone the next time.
            late = [deadline for deadline in self._unmeasured if deadline in seen]
            if not self._room.bytes_under_way:
                del late[:1]  # alone, a body of any size passes
            seen = set(self._unmeasured)
            if late and in_use() > self._room.max_bytes:
                now = asyncio.get_running_loop().time()
                for deadline in late:
                    self._unmeasured.pop(deadline)
                    deadline.reschedule(now)

    def _hurry(self) -> None:
        """Give the oldest body little time; it leaves the list, so that the next call meets another."""
        if self._reading:
            deadline = next(iter(self._reading))
            deadline.reschedule(self._reading.pop(deadline) + _PATIENCE_S)


class Claim:
    """The bytes of one request."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self._size = 0

    def add(self, size_bytes: int) -> None:
        """Count more bytes. Raises ``ReceptionFull``."""
        self._room._add(self._size, size_bytes)  # noqa: SLF001  # two halves of one thing
        self._size += size_bytes

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._room._release(self._size)  # noqa: SLF001  # as above
        self._size = 0
