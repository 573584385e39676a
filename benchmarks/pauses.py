"""
Gaps in what a busy thread can do, and how much of them the machine made.

A thread that looks at the clock without pause sees a gap whenever it cannot go on: because
another thread of the process holds the interpreter, or because the system gave the processor
to somebody else. The second is told by Linux (``/proc/…/schedstat``: time that a thread was
ready and waited for a processor), so the first is what is left.
"""

from __future__ import annotations

import ctypes
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

_LONG_MS = 4.0


class Pauses(NamedTuple):
    """Gaps that one thread saw, in ms of wall time."""

    longest_ms: float
    above_4_ms: int
    held_longest_ms: float
    """Without the time for which the thread itself was ready and waited for a processor; NaN if unknown."""
    held_above_4_ms: int

    def __str__(self) -> str:
        return (
            f"longest {self.longest_ms:.1f} ms, {self.above_4_ms} above 4 ms; without waiting for "
            f"a processor: longest {self.held_longest_ms:.1f} ms, {self.held_above_4_ms} above 4 ms"
        )


def watch(seconds: float) -> Pauses:
    """Look at the clock without pause for so long. Linux."""
    gaps: list[float] = []
    held: list[float] = []
    with _schedstat() as read:
        before, after = ctypes.create_string_buffer(64), ctypes.create_string_buffer(64)
        read(before)
        last = started = time.perf_counter()
        while (now := time.perf_counter()) - started < seconds:
            read(after)
            if now - last > 0.001:
                gap_ms = (now - last) * 1000
                waited_ms = (_waited_ns(after) - _waited_ns(before)) / 1e6
                gaps.append(gap_ms)
                held.append(max(0.0, gap_ms - waited_ms))
                now = time.perf_counter()
            before, after = after, before
            last = now
    return Pauses(
        max(gaps, default=0.0),
        sum(gap > _LONG_MS for gap in gaps),
        max(held, default=0.0),
        sum(gap > _LONG_MS for gap in held),
    )


@contextmanager
def _schedstat() -> Iterator[ctypes._NamedFuncPointer]:
    """Reads this thread's figures into a buffer without letting go of the interpreter, as os.pread would."""
    file = os.open(f"/proc/self/task/{threading.get_native_id()}/schedstat", os.O_RDONLY)
    pread = ctypes.PyDLL(None).pread
    try:
        yield lambda buffer: pread(file, buffer, 63, ctypes.c_long(0))  # type: ignore[misc]
    finally:
        os.close(file)


def _waited_ns(figures: ctypes.Array[ctypes.c_char]) -> int:
    return int(figures.value.split()[1])
