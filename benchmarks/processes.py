"""Processes with everything they started: their processor time, and their end."""

from __future__ import annotations

import os
import signal
from collections import defaultdict
from contextlib import suppress
from pathlib import Path

_TICK_S = 1 / os.sysconf("SC_CLK_TCK")
_PROC = Path("/proc")


def cpu_seconds(pid: int) -> float:
    """
    User and system time of a process, its descendants, and those of them that have ended.

    In steps of 10 ms (proc(5), ``/proc/pid/stat``: utime, stime, cutime, cstime).
    """
    # One that ends between two looks would be missing, in its own place and in its parent's: the time
    # only grows, so the larger of two sums is right.
    return max(sum(_tree(pid).values()) for _ in range(2)) * _TICK_S


def kill(pid: int) -> None:
    """SIGKILL to a process and its descendants, as the end of a machine would be."""
    for one in _tree(pid):
        with suppress(ProcessLookupError):
            os.kill(one, signal.SIGKILL)


def _tree(pid: int) -> dict[int, int]:
    """Process ids, ancestors first, with the ticks that each has used."""
    children: defaultdict[int, list[int]] = defaultdict(list)
    ticks: dict[int, int] = {}
    for folder in _PROC.iterdir():
        if not folder.name.isdigit():
            continue
        # It may end while we look, and is then counted with its parent's.
        with suppress(FileNotFoundError, ProcessLookupError):
            # The name, in parentheses, may hold anything; fields are counted from behind it.
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            children[int(fields[1])].append(int(folder.name))
            ticks[int(folder.name)] = sum(map(int, fields[11:15]))
    found: dict[int, int] = {}
    left = [pid] if pid in ticks else []
    while left:
        one = left.pop()
        found[one] = ticks[one]
        left += children[one]
    return found
