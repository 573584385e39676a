"""What a captured step costs its client: the pipeline's time, the sender's time, bytes on the wire."""

from __future__ import annotations

import gc
import random
import statistics
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import xray_otel as xray
from benchmarks.filter_step import (
    KEPT,
    LEVELS,
    SEED,
    WAYS,
    Product,
    Way,
    bare,
    captured,
    catalogue,
    counts,
    settle,
)
from benchmarks.relay import Relay, Wire
from xray_otel.settings import Capture

WARM_ROUNDS = 3

BARE = ("bare loop", "")
Variant = tuple[str, str]
"""Way of recording and capture level."""


class Sample(NamedTuple):
    """One execution."""

    wall_ms: float
    cpu_ms: float
    """Of the pipeline's thread."""
    multiple: float = 1.0
    """``cpu_ms`` over that of the bare loop just before."""
    sender_ms: float = 0.0
    """CPU of the client's background thread, until the server had acknowledged."""
    wire: Wire = Wire(0, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class Spread:
    """Median and extremes."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Spread:
        """The spread of at least one value."""
        found = list(values)
        return cls(statistics.median(found), min(found), max(found))

    def __str__(self) -> str:
        return f"{self.median:6.2f} ({self.low:.2f}–{self.high:.2f})"


@dataclass(frozen=True, slots=True)
class Cost:
    """What a step costs the client, recorded in one way at one level."""

    way: str
    level: str
    wall_ms: Spread
    cpu_ms: Spread
    multiple: Spread
    sender_ms: Spread
    requests: int
    plain_bytes: int
    """Request bodies before compression, median."""
    sent_bytes: int
    """Bytes on the socket: heads and gzip bodies, median."""


class SenderClock:
    """CPU time of the client's background thread."""

    def __init__(self) -> None:
        [sender] = [thread for thread in threading.enumerate() if thread.name == "xray_otel"]
        assert sender.ident is not None  # it runs
        self._clock = time.pthread_getcpuclockid(sender.ident)

    def ms(self) -> float:
        """Milliseconds since the thread began."""
        return time.clock_gettime(self._clock) * 1e3


def timed(work: Callable[[], list[Product]]) -> Sample:
    """Run once; times of this thread only."""
    gc.collect()
    wall, cpu = time.perf_counter(), time.thread_time()
    kept = work()
    cpu, wall = time.thread_time() - cpu, time.perf_counter() - wall
    assert len(kept) == KEPT
    return Sample(wall * 1e3, cpu * 1e3)


def measure_client(relay: Relay, rounds: int, score_digits: int) -> list[Cost]:
    """Time and wire of each variant."""
    variants: dict[Variant, tuple[Way, Capture]] = {("counts", "metrics_only"): (counts, "metrics_only")}
    variants |= {(name, level): (way, level) for name, way in WAYS.items() for level in LEVELS}
    random_ = random.Random(SEED)
    samples: dict[Variant, list[Sample]] = defaultdict(list)
    for round_ in range(-WARM_ROUNDS, rounds):
        products = catalogue(SEED + round_, score_digits)
        order = random_.sample([BARE, *variants], len(variants) + 1)
        with xray.run("capture-cost", version="v1"):
            settle()  # the run's start, so that the steps are alone on the wire
            clock = SenderClock()
            for variant in order:
                alone = _bare(products)
                sample = alone if variant == BARE else _sent(relay, clock, *variants[variant], products)
                if round_ >= 0:
                    samples[variant].append(sample._replace(multiple=sample.cpu_ms / alone.cpu_ms))
        settle()
    return [_cost(variant, samples[variant]) for variant in [BARE, *variants]]


def _bare(products: Sequence[Product]) -> Sample:
    """The middle one of three bare loops: alone it is too short to compare with."""
    return sorted((timed(lambda: bare(products)) for _ in range(3)), key=lambda sample: sample.cpu_ms)[1]


def _sent(relay: Relay, clock: SenderClock, way: Way, level: Capture, products: Sequence[Product]) -> Sample:
    relay.take()
    before_ms = clock.ms()
    sample = timed(lambda: captured(way, level, products))
    settle()
    return sample._replace(sender_ms=clock.ms() - before_ms, wire=relay.take())


def _cost(variant: Variant, samples: Sequence[Sample]) -> Cost:
    wires = [sample.wire for sample in samples]
    return Cost(
        *variant,
        wall_ms=Spread.of(sample.wall_ms for sample in samples),
        cpu_ms=Spread.of(sample.cpu_ms for sample in samples),
        multiple=Spread.of(sample.multiple for sample in samples),
        sender_ms=Spread.of(sample.sender_ms for sample in samples),
        requests=max(wire.requests for wire in wires),
        plain_bytes=round(statistics.median(wire.plain for wire in wires)),
        sent_bytes=round(statistics.median(wire.sent for wire in wires)),
    )
