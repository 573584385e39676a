"""
What waits to be sent: four classes under one byte budget, with counted losses.

When the budget is full, the lowest class goes first and in it the newest: evidence can
never push out metrics, and what is left of a class is a beginning without holes.
"""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan


class Priority(IntEnum):
    """Classes of telemetry, the most important first."""

    RUN = 0
    STEP = 1
    DECISIONS = 2
    ARTIFACT = 3


class Event(NamedTuple):
    """One OTLP log record; ``attributes`` hold only clean str, int, float, bool, bytes and lists."""

    name: str
    time_ns: int
    attributes: Mapping[str, object]
    resource: Resource
    trace_id: int = 0
    span_id: int = 0


@dataclass(frozen=True, slots=True)
class Item:
    """One span or event on its way, with its estimated size on the wire."""

    priority: Priority
    size_bytes: int
    content: ReadableSpan | Event
    generation: int = 0
    """How many flushes had been asked for when it came; set by the buffer."""


class Cause:
    """Why something was lost; finer than the words of ``xray.losses.causes``."""

    BUFFER_FULL = "buffer_full"
    """The byte budget was full and this was the least important."""
    TOO_LARGE = "too_large"
    """It alone exceeds what one request or artifact may hold."""
    REFUSED = "refused"
    """The server refused the request for good."""
    REJECTED = "rejected"
    """The server took the request and rejected this part of it (partial success)."""
    ENCODING = "encoding"
    """It could not be put on the wire."""
    OFFLINE = "offline"
    """The server was away and the setting ``offline`` is ``drop``."""
    SHUTDOWN = "shutdown"
    """The client had been shut down, or its time to deliver at exit was over."""


class Buffer:
    """The queues. Safe to use from any thread; ``offer`` never blocks on the network."""

    def __init__(self, budget_bytes: int) -> None:
        self._budget_bytes = budget_bytes
        self.changed = threading.Condition()
        """
        Guards everything here; the pipeline waits on it for work and for deliveries. Reentrant,
        because a finalizer or signal handler may record while its own thread holds it.
        """
        self._queues: dict[Priority, deque[Item]] = {priority: deque() for priority in Priority}
        self._size_bytes = 0
        self._generation = 0
        self._open: Counter[int] = Counter()
        self._losses: Counter[tuple[str, str]] = Counter()
        self.lost = 0
        """Records lost so far, for whatever cause."""

    def offer(self, priority: Priority, size_bytes: int, content: ReadableSpan | Event) -> bool:
        """Takes it in, or counts it as lost and returns False. Call with ``changed`` held."""
        item = Item(priority, size_bytes, content, self._generation)
        self._open[item.generation] += 1
        if not self._make_room(item):
            self.settle((item,), Cause.BUFFER_FULL)
            return False
        self._queues[priority].append(item)
        self._size_bytes += size_bytes
        return True

    def _make_room(self, item: Item) -> bool:
        while self._size_bytes + item.size_bytes > self._budget_bytes:
            lowest = next((p for p in reversed(Priority) if self._queues[p]), None)
            if lowest is None or lowest <= item.priority:
                return False
            victim = self._queues[lowest].pop()
            self._size_bytes -= victim.size_bytes
            self.settle((victim,), Cause.BUFFER_FULL)
        return True

    def take(self, priorities: Sequence[Priority], max_bytes: int) -> list[Item]:
        """
        The oldest items of these classes, at least one and at most ``max_bytes`` of them.

        Taken items stay open until ``settle`` or ``put_back``. Call with ``changed`` held.
        """
        taken: list[Item] = []
        size_bytes = 0
        for priority in priorities:
            queue = self._queues[priority]
            while queue and (not taken or size_bytes + queue[0].size_bytes <= max_bytes):
                item = queue.popleft()
                taken.append(item)
                size_bytes += item.size_bytes
        self._size_bytes -= size_bytes
        return taken

    def put_back(self, items: Sequence[Item]) -> None:
        """Returns items whose delivery failed to the front; sheds down to the budget again."""
        with self.changed:
            for item in reversed(items):
                self._queues[item.priority].appendleft(item)
                self._size_bytes += item.size_bytes
            for priority in reversed(Priority):
                queue = self._queues[priority]
                while queue and self._size_bytes > self._budget_bytes:
                    victim = queue.pop()
                    self._size_bytes -= victim.size_bytes
                    self.settle((victim,), Cause.BUFFER_FULL)

    def settle(self, items: Sequence[Item], cause: str | None = None) -> None:
        """Closes items: delivered, or lost by ``cause``. Call with ``changed`` held."""
        for item in items:
            self._open[item.generation] -= 1
            if not self._open[item.generation]:
                del self._open[item.generation]
            if cause is not None:
                self.lose(item.priority, cause)

    def lose(self, priority: Priority, cause: str, count: int = 1) -> None:
        """Counts what was lost before it got here. Call with ``changed`` held."""
        self._losses[priority.name.lower(), cause] += count
        self.lost += count

    def next_generation(self) -> int:
        """Marks this moment; see ``is_settled``. Call with ``changed`` held."""
        self._generation += 1
        return self._generation - 1

    def is_settled(self, generation: int) -> bool:
        """Whether all that came up to that moment is delivered or lost. Call with ``changed`` held."""
        return all(open_generation > generation for open_generation in self._open)

    def clear(self, cause: str) -> int:
        """Gives up all that waits and returns its number. Call with ``changed`` held."""
        waiting = [item for queue in self._queues.values() for item in queue]
        for queue in self._queues.values():
            queue.clear()
        self._size_bytes = 0
        self.settle(waiting, cause)
        return len(waiting)

    @property
    def size_bytes(self) -> int:
        return self._size_bytes

    @property
    def is_empty(self) -> bool:
        return not any(self._queues.values())

    def has(self, priority: Priority) -> bool:
        return bool(self._queues[priority])

    @property
    def open_count(self) -> int:
        """Items that wait or are being sent."""
        return sum(self._open.values())

    @property
    def losses(self) -> dict[tuple[str, str], int]:
        """Lost records by (class, cause); the class is run, step, decisions or artifact."""
        return dict(self._losses)
