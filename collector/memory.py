"""
Memory that the allocator keeps although nothing uses it (glibc; elsewhere these do nothing).
"""

from __future__ import annotations

import ctypes
import mmap
from pathlib import Path
from typing import Any

_M_ARENA_MAX = -8  # malloc.h
_ARENAS = 2


def _libc() -> Any:
    return ctypes.CDLL(None)


def use_few_arenas() -> None:
    """
    Let all threads allocate from few places; before they start.

    glibc gives each thread its own, and what one freed no other can have (mallopt(3)).
    """
    mallopt = getattr(_libc(), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, _ARENAS)


def give_back() -> None:
    """Return free memory to the system (malloc_trim(3)); takes milliseconds."""
    malloc_trim = getattr(_libc(), "malloc_trim", None)
    if malloc_trim is not None:
        malloc_trim(0)


def resident_bytes() -> int:
    """Return the memory that this process holds; 0 where the system does not tell (proc_pid_statm(5))."""
    try:
        with Path("/proc/self/statm").open("rb") as statm:
            return int(statm.read().split()[1]) * mmap.PAGESIZE
    except OSError:
        return 0
