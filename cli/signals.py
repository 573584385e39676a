"""
When a server stops: on a signal, when its terminal closes, or with its parent.
"""

from __future__ import annotations

import os
import queue
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

_POLL_S = 0.5


class StopSignals:
    """
    Collects SIGINT, SIGTERM and SIGHUP while it is entered; only in the main thread.

    The first signal asks for a graceful stop. A second SIGINT means the person will not
    wait: it raises KeyboardInterrupt as usual. A SIGHUP that was ignored before (nohup)
    stays ignored.
    """

    def __init__(self) -> None:
        # Not an Event: its lock is not reentrant, and a handler runs on the thread that waits.
        self._arrived: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._asked = False
        self._before: dict[int, object] = {}
        self._parent = os.getppid()

    def __enter__(self) -> StopSignals:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if number == signal.SIGHUP and signal.getsignal(number) == signal.SIG_IGN:
                continue
            self._before[number] = signal.signal(number, self._ask)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]  # what signal.signal returned
        self._before.clear()

    def wait(self, with_parent: bool = False, broken: Callable[[], str | None] = lambda: None) -> str | None:
        """
        Return None when a signal came or, if asked, when the process that started us is gone.

        Returns what ``broken`` says as soon as it says something; it is asked twice a second.
        """
        while True:
            with suppress(queue.Empty):
                self._arrived.get(timeout=_POLL_S)
                return None
            if with_parent and os.getppid() != self._parent:
                return None
            if (reason := broken()) is not None:
                return reason

    def _ask(self, number: int, _frame: FrameType | None) -> None:
        if self._asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        self._asked = True
        self._arrived.put(number)


@contextmanager
def interrupted_by_termination() -> Iterator[None]:
    """
    Let SIGTERM and a closed terminal end the block as Ctrl-C does, so that it cleans up.

    For commands that work and do not wait. Only in the main thread.
    """
    numbers = (signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.getsignal(number) for number in numbers}
    for number in numbers:
        if before[number] != signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
