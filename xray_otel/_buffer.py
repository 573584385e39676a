"""
What waits to be sent: four classes under one byte budget, with counted losses.

When the budget is full, the lowest class goes first and in it the newest: evidence can
never push out metrics, and what is left of a class is a beginning without holes.
"""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan

from xray_otel import semconv
from xray_otel._ids import is_run_id
from xray_otel._ledger import Ledger


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
    is_nameless: bool = False
    """Whether its run's id leaves masked. Reports of losses and the disk, which nothing masks, do without."""


class Cause:
    """Why something was lost; finer than the words of ``xray.losses.causes``."""

    BUFFER_FULL = "buffer_full"
    """The byte budget was full and this was the least important."""
    SPOOL_FULL = "spool_full"
    """The server was away, the spool was full and this was the least important."""
    EXPIRED = "expired"
    """It waited for the server longer, or was tried oftener, than is of use."""
    DAMAGED = "damaged"
    """It lay on disk and can no longer be read."""
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


_WORDS: Mapping[str, str | None] = {
    Cause.BUFFER_FULL: "client_queue",
    Cause.SPOOL_FULL: "client_queue",
    Cause.EXPIRED: "client_queue",
    Cause.DAMAGED: "client_queue",
    Cause.SHUTDOWN: "client_queue",
    Cause.TOO_LARGE: "client_policy",
    Cause.ENCODING: "client_policy",
    Cause.OFFLINE: "client_policy",
    Cause.REFUSED: "client_policy",
    Cause.REJECTED: None,  # the server keeps its own account of what it rejects
}
"""The convention's word for a cause, for the report to the server."""
_THINGS = {
    Priority.RUN: "runs",
    Priority.STEP: "steps",
    Priority.DECISIONS: "decisions",
    Priority.ARTIFACT: "artifacts",
}


class Part(NamedTuple):
    """What some records mean to one run, should they get lost."""

    run_id: str
    """Empty when it is not known."""
    priority: Priority
    records: int
    amount: int
    """Candidates in the case of decisions, else records."""
    kind: str = ""
    """What they are, where the class does not say it: ``outcome``."""


def parts_of(items: Iterable[Item]) -> list[Part]:
    """The records by run and class. A report of losses is no record: nothing of a run is lost with it."""
    found: dict[tuple[str, Priority, str], tuple[int, int]] = {}
    for item in items:
        content = item.content
        if report_of(item) is not None:
            continue
        kind = "outcome" if isinstance(content, Event) and content.name == semconv.EVENT_OUTCOME else ""
        try:
            attributes = content.attributes or {}
            run_id = "" if item.is_nameless else known_run_id(attributes.get(semconv.RUN_ID))
            amount = attributes.get(semconv.CHUNK_COUNT, 1) if item.priority is Priority.DECISIONS else 1
        except Exception:  # noqa: BLE001 - a span of the host may hold anything, and counts all the same
            run_id, amount = "", 1
        key = (run_id, item.priority, kind)
        records, amounts = found.get(key, (0, 0))
        found[key] = records + 1, amounts + (amount if type(amount) is int else 1)
    return [Part(run_id, priority, *counts, kind) for (run_id, priority, kind), counts in found.items()]


def known_run_id(value: object) -> str:
    """The run's id, empty where it is none: the server knows such records by their trace."""
    return value if is_run_id(value) else ""


def rejected_parts(parts: Iterable[Part], rejected: int) -> list[Part]:
    """
    What the server rejected of a request with these.

    It does not say which records, so it is those of the lowest class; of the highest, late outcomes before
    the runs themselves, because the server may know of no item or run that they could belong to.
    """
    parts = list(parts)
    lowest = max((part.priority for part in parts), default=Priority.RUN)
    outcomes = sum(part.records for part in parts if part.kind and part.priority is lowest)
    told = (min(rejected, outcomes), "outcome"), (rejected - min(rejected, outcomes), "")
    return [Part("", lowest, count, count, kind) for count, kind in told if count]


def report_of(item: Item) -> Mapping[str, object] | None:
    """The report of losses that the item is, or None."""
    content = item.content
    return content.attributes if isinstance(content, Event) and content.name == semconv.EVENT_LOSSES else None


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
        self._in_hand: dict[int, Item] = {}
        self._size_bytes = 0
        self._generation = 0
        self._open: Counter[int] = Counter()
        self._stored = 0
        self._losses: Counter[tuple[str, str]] = Counter()
        self.ledger = Ledger()
        """What the server has to be told of the losses."""
        self.lost = 0
        """Records lost so far, for whatever cause."""

    def offer(
        self, priority: Priority, size_bytes: int, content: ReadableSpan | Event, *, is_nameless: bool = False
    ) -> bool:
        """Takes it in, or counts it as lost and returns False. Call with ``changed`` held."""
        item = Item(priority, size_bytes, content, self._generation, is_nameless)
        if not self._make_room(item):
            self._lose_item(item, Cause.BUFFER_FULL)
            return False
        self._open[item.generation] += 1
        self._queues[priority].append(item)
        self._size_bytes += size_bytes
        return True

    def _make_room(self, item: Item) -> bool:
        while self._size_bytes + item.size_bytes > self._budget_bytes:
            lowest = next((p for p in reversed(Priority) if self._queues[p]), None)
            if lowest is None or lowest <= item.priority:
                return False
            self._shed(lowest)
        return True

    def _shed(self, priority: Priority) -> None:
        victim = self._queues[priority].pop()
        self._size_bytes -= victim.size_bytes
        self._close(victim.generation)
        self._lose_item(victim, Cause.BUFFER_FULL)

    def take(self, priorities: Sequence[Priority], max_bytes: int) -> list[Item]:
        """
        The oldest items of these classes, at least one and at most ``max_bytes`` of them.

        Taken items stay in hand until ``settle``, ``store`` or ``put_back``. Call with ``changed`` held.
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
        self._in_hand.update((id(item), item) for item in taken)
        return taken

    def take_all(self) -> list[Item]:
        """
        All that waits or is in hand, the most important first; whoever has it in hand has it no more.

        Call with ``changed`` held.
        """
        items = list(self._in_hand.values())
        items += [item for queue in self._queues.values() for item in queue]
        for queue in self._queues.values():
            queue.clear()
        self._size_bytes = 0
        self._in_hand = {id(item): item for item in items}
        return sorted(items, key=lambda item: item.priority)

    def put_back(self, items: Sequence[Item]) -> None:
        """Returns items in hand to the front; sheds down to the budget again."""
        with self.changed:
            for item in reversed(self._release(items)):
                self._queues[item.priority].appendleft(item)
                self._size_bytes += item.size_bytes
            for priority in reversed(Priority):
                while self._queues[priority] and self._size_bytes > self._budget_bytes:
                    self._shed(priority)

    def settle(self, items: Sequence[Item], cause: str | None = None) -> int:
        """
        Closes items in hand: delivered, or lost by ``cause``; returns how many were in hand still.

        Call with ``changed`` held.
        """
        released = self._release(items)
        for generation, count in Counter([item.generation for item in released]).items():
            self._close(generation, count)
        if cause is not None:
            for item in released:
                self._lose_item(item, cause)
        return len(released)

    def store(self, items: Sequence[Item]) -> Counter[int]:
        """
        Marks items in hand as kept on disk: still open, but not here. Call with ``changed`` held.

        Returns what ``settle_stored`` needs once they have left the disk.
        """
        generations = Counter(item.generation for item in self._release(items))
        self._stored += generations.total()
        return generations

    def settle_stored(self, generations: Mapping[int, int]) -> None:
        """Closes what was stored. Call with ``changed`` held."""
        for generation, count in generations.items():
            self._stored -= count
            self._close(generation, count)

    def _release(self, items: Sequence[Item]) -> list[Item]:
        """Those that are in hand still; a shutdown may have taken them over."""
        return [item for item in items if self._in_hand.pop(id(item), None) is not None]

    def _close(self, generation: int, count: int = 1) -> None:
        self._open[generation] -= count
        if self._open[generation] <= 0:
            del self._open[generation]

    def _lose_item(self, item: Item, cause: str) -> None:
        report = report_of(item)
        if report is not None and cause not in (Cause.REFUSED, Cause.ENCODING):
            self.ledger.give_back(report)
        self.lose(parts_of((item,)), cause)

    def lose(self, parts: Iterable[Part], cause: str) -> None:
        """Counts what was lost before it got here or after it had left. Call with ``changed`` held."""
        word = _WORDS[cause]
        for part in parts:
            self._losses[part.kind or part.priority.name.lower(), cause] += part.records
            self.lost += part.records
            if word is not None:
                what = "outcomes" if part.kind else _THINGS[part.priority]
                self.ledger.add(part.run_id, word, what, part.amount)

    def next_generation(self) -> int:
        """Marks this moment; see ``is_settled``. Call with ``changed`` held."""
        self._generation += 1
        return self._generation - 1

    def is_settled(self, generation: int) -> bool:
        """Whether all that came up to that moment is delivered or lost. Call with ``changed`` held."""
        return all(open_generation > generation for open_generation in self._open)

    @property
    def size_bytes(self) -> int:
        return self._size_bytes

    @property
    def is_empty(self) -> bool:
        return not any(self._queues.values())

    @property
    def open_count(self) -> int:
        """Items that wait here or on disk, or are being sent."""
        return sum(self._open.values())

    @property
    def stored_count(self) -> int:
        """Those of them that are on disk."""
        return self._stored

    @property
    def losses(self) -> dict[tuple[str, str], int]:
        """Lost records by (class, cause); the class is run, step, decisions, artifact or outcome."""
        return dict(self._losses)
