"""
Between the receivers and the database: bounded in bytes, commits in groups, evidence goes first.

Many requests arrive at once and each waits for its own commit. Each writer's thread writes what
is queued as one transaction, so that a commit's price is shared, and resolves the futures of
those requests after it: acknowledged means committed.

When the database falls behind, artifacts are shed, then decisions, and only then a request is
refused, which its sender repeats. Decision 0016.
"""

from __future__ import annotations

import logging
import math
import threading
from collections import Counter, deque
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from time import monotonic

from collector.errors import IntakeFull, IntakeStopped
from collector.shedding import Evidence, Sizes, has_metrics, shed, sizes
from collector.telemetry import Telemetry
from store.contract import Writer
from store.errors import Unavailable
from store.rows import Batch, WriteResult

_log = logging.getLogger(__name__)

MAX_GROUP_BATCHES = 8
"""8 × 512 spans: a transaction of 4,096 rows writes 1.4 times as many per second as one of 512."""
MAX_GROUP_BYTES = 16 * 1024 * 1024
SHED_FROM = {Evidence.ARTIFACTS: 0.5, Evidence.DECISIONS: 0.75}
"""Share of the bound from which on evidence that arrives is shed."""
SHED_AFTER = {Evidence.ARTIFACTS: 0.125, Evidence.DECISIONS: 0.25}
"""Share of the time for a commit after which evidence that still waits for its turn is shed."""
_GROUP_SHARE = 0.125
"""Share of the time for a commit that one transaction may take: all who wait for it wait as long."""
_LONGEST_WRITE_SHARE = 0.5
"""… that one request may take, before its evidence is shed."""
_TELLING_BYTES = 256 * 1024
"""From so much on a commit tells how fast bytes go in. Of a smaller one most is what any commit costs: an
idle server would take itself for one that writes 2 MB/s, and shed the first large request."""
_SECOND_CHANCE = 1.1
"""By so much each small commit that was quick makes the rate count for more, until the next large one:
once one was slow, what is large would be shed for good, and the rate never learned again."""
_FIRST_PAUSE_S = 0.05
_LONGEST_PAUSE_S = 1.0


@dataclass(slots=True, eq=False)
class _Waiting:
    batch: Batch
    sizes: Sizes
    since_s: float
    """When it came, on the clock that stands still while the database is away."""
    deadline: float
    future: Future[WriteResult] = field(default_factory=Future)
    shed: Counter[str] = field(default_factory=Counter)
    """What went, in the units of the ledger; counted once it is committed."""


class Intake:
    """Takes batches from any thread and writes them, in a thread for each Writer."""

    def __init__(
        self,
        *writers: Writer,
        max_bytes: int,
        timeout_s: float = 8.0,
        telemetry: Telemetry | None = None,
        gauges: str = "intake",
    ) -> None:
        """
        max_bytes: memory of what waits; timeout_s: how long a request may wait for its commit.

        gauges: how the names of the two metrics begin that show what waits and what may.
        """
        self._max_bytes = max_bytes
        self._timeout_s = timeout_s
        self._telemetry = telemetry or Telemetry()
        self._gauges = gauges
        self._telemetry.set(f"{gauges}_max_bytes", max_bytes)
        self._queue: deque[_Waiting] = deque()
        self._holding: dict[Evidence, dict[_Waiting, None]] = {evidence: {} for evidence in Evidence}
        """Queued requests that have evidence of a kind, oldest first."""
        self._waiting_bytes = 0
        self._busy = 0
        self._away_since: float | None = None
        self._away_s = 0.0
        self._bytes_per_s = math.inf
        """What a writer got done lately."""
        self._chance = 1.0
        self._stopping = False
        self._changed = threading.Condition()
        self._abandoned = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(writer,), name=f"xray-intake-{number}", daemon=True)
            for number, writer in enumerate(writers)
        ]
        self._started = False

    def start(self) -> None:
        """Start writing; safe to call twice."""
        if not self._started:
            self._started = True
            for thread in self._threads:
                thread.start()

    @property
    def waiting_bytes(self) -> int:
        """Memory of what is queued or being written, in bytes, about."""
        return self._waiting_bytes

    def submit(self, batch: Batch, timeout_s: float | None = None) -> Future[WriteResult]:
        """
        Queue a batch; the future resolves after the commit.

        Under pressure losses take the place of its evidence, or of that of batches which wait
        already. The future fails with ``store.errors.Unavailable`` when the database cannot be
        reached within timeout_s (default: as constructed). Raises ``IntakeFull`` when too much
        waits all the same, ``IntakeStopped`` after ``stop``.
        """
        now = monotonic()
        deadline = now + (self._timeout_s if timeout_s is None else timeout_s)
        size = sizes(batch)
        with self._changed:
            if self._stopping:
                raise IntakeStopped
            waiting = _Waiting(batch, size, self._present_s(now), deadline)
            for evidence, share in SHED_FROM.items():
                if not self._fits(waiting.sizes.total, share):
                    self._shed(waiting, evidence)
            if has_metrics(batch):
                self._make_room(waiting.sizes.total)
            # A single batch above the bound passes when nothing else waits: it could never pass otherwise.
            if not self._fits(waiting.sizes.total, 1.0):
                raise IntakeFull(self._waiting_bytes, self._max_bytes)
            self._queue.append(waiting)
            for evidence in Evidence:
                if waiting.sizes.of(evidence):
                    self._holding[evidence][waiting] = None
            self._count_bytes(waiting.sizes.total)
            self._changed.notify_all()
        return waiting.future

    def stop(self, deadline_s: float) -> bool:
        """
        Refuse new batches and write the queued ones; return whether all were written in time.

        Those that were not fail with ``Unavailable``. Safe to call twice and before ``start``.
        """
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
            until = monotonic() + deadline_s
            while self._started and (self._queue or self._busy) and (left := until - monotonic()) > 0:
                self._changed.wait(left)
            drained = not self._queue and not self._busy
            self._abandoned.set()
            left_over = list(self._queue)
            self._queue.clear()
        self._fail(left_over, Unavailable("the collector stopped before the database took this in"))
        if self._started:
            for thread in self._threads:
                thread.join(max(0.1, until - monotonic()))
        return drained

    def _make_room(self, size_bytes: int) -> None:
        """Shed queued evidence, the newest first, until so much fits or none is left."""
        for evidence in Evidence:
            holding = self._holding[evidence]
            while holding and not self._fits(size_bytes, 1.0):
                queued, _ = holding.popitem()
                self._shed_queued(queued, evidence)

    def _shed_late(self, waiting: _Waiting, waited_s: float) -> None:
        """Shed what waited for too long, or would take too long: its metrics must not come too late."""
        longest_bytes = _LONGEST_WRITE_SHARE * self._timeout_s * self._bytes_per_s * self._chance
        for evidence, share in SHED_AFTER.items():
            if waited_s > share * self._timeout_s or waiting.sizes.total > longest_bytes:
                self._shed_queued(waiting, evidence)

    def _shed_queued(self, waiting: _Waiting, evidence: Evidence) -> None:
        before = waiting.sizes.total
        self._shed(waiting, evidence)
        self._count_bytes(waiting.sizes.total - before)

    @staticmethod
    def _shed(waiting: _Waiting, evidence: Evidence) -> None:
        if waiting.sizes.of(evidence):
            waiting.batch, waiting.shed[evidence.value] = shed(waiting.batch, evidence)
            waiting.sizes = sizes(waiting.batch)

    def _present_s(self, now: float) -> float:
        """Return the time on the clock that stands still while the database is away."""
        return (now if self._away_since is None else self._away_since) - self._away_s

    def _fits(self, size_bytes: int, share: float) -> bool:
        return not self._waiting_bytes or self._waiting_bytes + size_bytes <= share * self._max_bytes

    def _count_bytes(self, change: int) -> None:
        self._waiting_bytes += change
        self._telemetry.set(f"{self._gauges}_waiting_bytes", self._waiting_bytes)

    def _run(self, writer: Writer) -> None:
        while group := self._next_group():
            try:
                self._write(writer, group)
            finally:
                with self._changed:
                    self._busy -= 1
                    self._changed.notify_all()

    def _next_group(self) -> list[_Waiting]:
        """Return what is queued, up to the bounds of a group; empty when the intake has stopped."""
        with self._changed:
            while not self._queue and not self._stopping:
                self._changed.wait()
            group: list[_Waiting] = []
            size = 0
            most = min(MAX_GROUP_BYTES, _GROUP_SHARE * self._timeout_s * self._bytes_per_s * self._chance)
            present_s = self._present_s(monotonic())
            while self._queue and len(group) < MAX_GROUP_BATCHES:
                waiting = self._queue[0]
                self._shed_late(waiting, present_s - waiting.since_s)
                size += waiting.sizes.total
                if group and size > most:
                    break
                self._queue.popleft()
                for holding in self._holding.values():
                    holding.pop(waiting, None)
                group.append(waiting)
            self._busy += bool(group)
            return group

    def _write(self, writer: Writer, group: list[_Waiting]) -> None:
        pause = _FIRST_PAUSE_S
        # Their senders were told to come again: writing them as well would keep a database that is
        # behind from ever catching up.
        group = self._give_up_late_ones(group, Unavailable("the database did not get to this in time"))
        while group:
            began = monotonic()
            try:
                results = writer.write([waiting.batch for waiting in group])
                written = list(zip(group, results, strict=True))
            except Unavailable as exc:
                self._note_absence()
                group = self._give_up_late_ones(group, exc)
                if group and self._abandoned.wait(pause):
                    self._fail(group, exc)
                    return
                pause = min(2 * pause, _LONGEST_PAUSE_S)
            except Exception as exc:  # noqa: BLE001  # the edge of this thread
                # Whatever it is, it must not end the thread nor take the other requests of the group with it.
                _log.exception("a write failed for a reason that the store does not know")
                self._telemetry.add("writes", "failed")
                if len(group) == 1:
                    self._fail(group, exc)
                else:
                    for waiting in group:
                        self._write(writer, [waiting])
                return
            else:
                self._note_commit(group, monotonic() - began)
                for waiting, result in written:
                    self._telemetry.add_all("shed", waiting.shed)
                    self._settle(waiting, result)
                return

    def _note_absence(self) -> None:
        self._telemetry.add("writes", "unavailable")
        with self._changed:
            if self._away_since is None:
                self._away_since = monotonic()

    def _note_commit(self, group: list[_Waiting], seconds: float) -> None:
        self._telemetry.add("writes", "committed")
        self._telemetry.observe("write_duration_seconds", seconds)
        self._telemetry.observe("write_group_batches", len(group))
        size_bytes = sum(waiting.sizes.total for waiting in group)
        with self._changed:
            self._learn_rate(size_bytes, seconds)
            if self._away_since is not None:
                self._away_s += monotonic() - self._away_since
                self._away_since = None

    def _learn_rate(self, size_bytes: int, seconds: float) -> None:
        rate, known = size_bytes / max(seconds, 1e-6), self._bytes_per_s
        if size_bytes >= _TELLING_BYTES or rate > known:
            self._bytes_per_s = rate if math.isinf(known) else (known + rate) / 2
            if size_bytes >= _TELLING_BYTES:
                self._chance = 1.0
        elif seconds < _GROUP_SHARE * self._timeout_s:
            self._chance *= _SECOND_CHANCE

    def _give_up_late_ones(self, group: list[_Waiting], exc: Unavailable) -> list[_Waiting]:
        now = monotonic()
        self._fail([waiting for waiting in group if waiting.deadline <= now], exc)
        return [waiting for waiting in group if waiting.deadline > now]

    def _fail(self, group: Sequence[_Waiting], exc: Exception) -> None:
        for waiting in group:
            self._settle(waiting, exc)

    def _settle(self, waiting: _Waiting, outcome: WriteResult | Exception) -> None:
        with self._changed:
            self._count_bytes(-waiting.sizes.total)
        # A receiver that waited long enough has cancelled the future and answered already.
        if not waiting.future.set_running_or_notify_cancel():
            return
        if isinstance(outcome, Exception):
            waiting.future.set_exception(outcome)
        else:
            waiting.future.set_result(outcome)
