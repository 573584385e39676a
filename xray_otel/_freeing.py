"""
Frees what was sent in small pieces, which for the C library means more than to free it slowly.

glibc gives memory back to the system when the end of its heap is free, and all that is free
before the end at once: some 150 µs for a megabyte, in one call, with the interpreter held. What
was recorded in a burst lies there in the order in which it was recorded. It is sent, and freed, in the
same order, so that the last of 30 MB would give back all of them. Decision 0046.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from xray_otel._buffer import Item

_AT_ONCE = 100
_KEPT_EVERY_BYTES = 2_000_000
_KEPT_BYTES = 256 * 1024
"""A larger record is not kept."""
_MOST_KEPT = 32
"""With what lies between them the default of the whole buffer. In a long burst the oldest are given up."""


class Freeing:
    """
    Keeps a record here and there until nothing waits, and frees these from the end.

    Each parts what is free before it from what is free after it, so that less is given back at a time.
    """

    def __init__(self, rest: Callable[[], None]) -> None:
        """rest: called between pieces of work."""
        self._rest = rest
        self._kept: deque[Item] = deque(maxlen=_MOST_KEPT)
        self._since_bytes = 0

    def free(self, items: list[Item]) -> None:
        """Empties the list. Not to be called with the buffer's lock: 1,000 spans take up to 5 ms."""
        for item in items:
            self._since_bytes += item.size_bytes
            if self._since_bytes >= _KEPT_EVERY_BYTES and item.size_bytes <= _KEPT_BYTES:
                self._kept.append(item)
                self._since_bytes = 0
        while items:
            self._rest()
            del items[-_AT_ONCE:]

    def free_kept(self) -> None:
        """When nothing waits."""
        while self._kept:
            self._rest()
            self._kept.pop()
