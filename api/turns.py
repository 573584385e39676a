"""
Turns at the questions that hold whole runs in memory: a few at once, others wait, more are refused.

Two runs of 400,000 decisions that differ in each take 0.45 GB while they are compared, and one processor
however many threads compare. Who waits waits on the event loop: the threads are for all other questions.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import HTTPException, Request

AT_ONCE = 4
WAITING = 64
WAIT_S = 10.0


class Turns:
    """Of one server."""

    def __init__(self, at_once: int = AT_ONCE, waiting: int = WAITING, wait_s: float = WAIT_S) -> None:
        self._free = asyncio.Semaphore(at_once)
        self._at_once = at_once
        self._most_waiting = waiting
        self.waiting = 0
        """Questions whose turn has not come."""
        self._wait_s = wait_s

    @asynccontextmanager
    async def one(self) -> AsyncIterator[None]:
        """Return when it is the caller's turn; raises ``HTTPException`` 503 when it does not come in time."""
        if self._free.locked() and self.waiting >= self._most_waiting:
            raise self._busy()
        self.waiting += 1
        try:
            async with asyncio.timeout(self._wait_s):
                await self._free.acquire()
        except TimeoutError:
            raise self._busy() from None
        finally:
            self.waiting -= 1
        try:
            yield
        finally:
            self._free.release()

    def _busy(self) -> HTTPException:
        message = f"{self._at_once} questions about whole runs are answered at once, and more wait; try again"
        return HTTPException(503, {"code": "busy", "message": message})


async def turn(request: Request) -> AsyncIterator[None]:
    """A dependency with ``scope="function"``: whoever fetches the answer slowly holds nobody up."""
    turns: Turns = request.app.state.turns
    async with turns.one():
        yield
