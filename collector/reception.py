"""
Bodies that are on their way in, over both transports: bounded in bytes together, and each in time.

A request is counted from its first byte until its rows are in the intake, with what
decompression makes of it. Nobody waits here for anybody: whoever finds no room is asked to
come again, and whoever sends slowly gives way.

The deadlines belong to one event loop; bytes may be counted in any thread.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Self

from collector.errors import BodyTooSlow, IntakeStopped, ReceptionFull

USUAL_BODY_BYTES = 4 * 1024 * 1024
"""gRPC's own limit of a message, so that what passes through a Collector is not larger."""
_SHARE_OF_LARGE = 0.75
"""Of the room, for bodies above that size: a few large ones must not shut out all the others."""
_PATIENCE_S = 1.0
"""How long a body may take when others need its place."""


class Reception:
    """Counts the bytes under way and cuts bodies that take too long."""

    def __init__(self, max_bytes: int, timeout_s: float) -> None:
        """max_bytes: of all bodies together; timeout_s: from a request's headers to its last byte."""
        self._max_bytes = max_bytes
        self._timeout_s = timeout_s
        self._bytes = 0
        self._lock = threading.Lock()
        self._reading: dict[asyncio.Timeout, float] = {}
        """Deadlines of the bodies being read, oldest first, with the loop's time at which each began."""
        self._closed = False
        self._met_large = False

    @property
    def bytes_under_way(self) -> int:
        """Bytes counted now."""
        return self._bytes

    def met_large(self) -> bool:
        """Tell whether a body above the usual size has come since the last call."""
        met, self._met_large = self._met_large, False
        return met

    def claim(self) -> Claim:
        """Return the count of one request; it ends with its ``with`` block."""
        return Claim(self)

    @asynccontextmanager
    async def reading(self, *, unmeasured: bool = False) -> AsyncIterator[None]:
        """
        Bound the time of the block, which reads one body.

        unmeasured: the transport holds the body and tells its size at the end; when more are read
        so than have room at the usual size, the oldest give way. Raises ``ReceptionFull``,
        ``BodyTooSlow``, and ``IntakeStopped`` when the collector stops meanwhile.
        """
        if self._closed:
            raise IntakeStopped
        if self._bytes >= self._max_bytes:
            raise ReceptionFull(self._bytes, self._max_bytes)
        if unmeasured and len(self._reading) * USUAL_BODY_BYTES >= self._max_bytes:
            self._hurry()
        try:
            async with asyncio.timeout(self._timeout_s) as deadline:
                self._reading[deadline] = asyncio.get_running_loop().time()
                try:
                    yield
                finally:
                    self._reading.pop(deadline, None)
        except TimeoutError:
            if self._closed:
                raise IntakeStopped from None
            raise BodyTooSlow from None

    def close(self) -> None:
        """Refuse new bodies and cut those being read; in the loop's thread."""
        self._closed = True
        now = asyncio.get_running_loop().time()
        for deadline in self._reading:
            deadline.reschedule(now)

    def _hurry(self) -> None:
        """Give the oldest body little time; it leaves the list, so that the next call meets another."""
        if self._reading:
            deadline = next(iter(self._reading))
            deadline.reschedule(self._reading.pop(deadline) + _PATIENCE_S)

    def _add(self, held: int, more: int) -> None:
        share = 1.0 if held + more <= USUAL_BODY_BYTES else _SHARE_OF_LARGE
        with self._lock:
            # Alone, a body of any size passes: it never could otherwise.
            if self._bytes > held and self._bytes + more > share * self._max_bytes:
                raise ReceptionFull(self._bytes, self._max_bytes)
            self._bytes += more

    def _release(self, size: int) -> None:
        with self._lock:
            self._bytes -= size
        self._met_large |= size > USUAL_BODY_BYTES


class Claim:
    """The bytes of one request."""

    def __init__(self, reception: Reception) -> None:
        self._reception = reception
        self._size = 0

    def add(self, size_bytes: int) -> None:
        """Count more bytes. Raises ``ReceptionFull``."""
        self._reception._add(self._size, size_bytes)  # noqa: SLF001  # two halves of one thing
        self._size += size_bytes

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._reception._release(self._size)  # noqa: SLF001  # as above
        self._size = 0
