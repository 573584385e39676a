"""
Gaps in what a busy thread can do, and how much of them the machine made.

A thread that looks at the clock without pause sees a gap whenever it cannot go on: because
another thread of the process holds the interpreter, or because the system gave the processor
to somebody else. The second is told by Linux (``/proc/…/schedstat``: time that a thread was
ready and waited for a processor), so the first is what is left. On a busy machine that is too
much: the system may also take the processor from the thread that holds the interpreter. Without
all waiting it is too little: threads may wait at once. On a quiet one the figures are the same.
"""

from __future__ import annotations

import ctypes
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

_LONG_MS = 4.0


class Pauses(NamedTuple):
    """Gaps that one thread saw, in ms of wall time."""

    longest_ms: float
    above_4_ms: int
    held_longest_ms: float
    """Without the time for which the thread itself was ready and waited for a processor."""
    held_above_4_ms: int
    surely_held_longest_ms: float
    """Without that of the other threads, too, one of which may hold the interpreter while it waits."""
    surely_held_above_4_ms: int

    def __str__(self) -> str:
        return (
            f"longest {self.longest_ms:.1f} ms, {self.above_4_ms} above 4 ms; without its waiting for a "
            f"processor: {self.held_longest_ms:.1f} ms, {self.held_above_4_ms} above 4 ms; without that of "
            f"any thread: {self.surely_held_longest_ms:.1f} ms, {self.surely_held_above_4_ms} above 4 ms"
        )


def watch(seconds: float) -> Pauses:
    """Look at the clock without pause for so long, beside the threads that there are. Linux."""
    gaps: list[float] = []
    held: list[float] = []
    surely_held: list[float] = []
    with _schedstats() as waits:
        # The system takes the processor away between these two looks, too. So what was waited is read
        # before the gap's first look at the clock and after its last; on an edge it counts for both gaps.
        before = between = waits()
        last = started = time.perf_counter()
        while last - started < seconds:
            now = time.perf_counter()
            after = waits()
            if now - last > 0.001:
                gap_ms = (now - last) * 1000
                gaps.append(gap_ms)
                held.append(max(0.0, gap_ms - (after.own_ns - before.own_ns) / 1e6))
                surely_held.append(max(0.0, held[-1] - (after.others_ns - before.others_ns) / 1e6))
            before, between, last = between, after, now
    return Pauses(*_summary(gaps), *_summary(held), *_summary(surely_held))


def _summary(gaps_ms: Sequence[float]) -> tuple[float, int]:
    return max(gaps_ms, default=0.0), sum(gap_ms > _LONG_MS for gap_ms in gaps_ms)


class _Waits(NamedTuple):
    """For how long threads were ready and waited for a processor, since they began."""

    own_ns: int
    others_ns: int


@contextmanager
def _schedstats() -> Iterator[Callable[[], _Waits]]:
    """Reads what there was of it, without letting go of the interpreter as os.pread would."""
    this = threading.get_native_id()
    with ExitStack() as files:
        threads = {int(task.name): _schedstat(task, files) for task in Path("/proc/self/task").iterdir()}
        own = threads.pop(this)
        yield lambda: _Waits(own(), sum(read() for read in threads.values()))


def _schedstat(task: Path, files: ExitStack) -> Callable[[], int]:
    file = os.open(task / "schedstat", os.O_RDONLY)
    files.callback(os.close, file)
    pread = ctypes.PyDLL(None).pread
    figures = ctypes.create_string_buffer(64)

    def read() -> int:
        pread(file, figures, 63, ctypes.c_long(0))
        return int(figures.value.split()[1])

    return read
