"""Requests for a load, serialised before the clock starts."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

from opentelemetry.proto.trace.v1.trace_pb2 import Span

from benchmarks.load import otlp
from benchmarks.load.foreign import foreign_span
from benchmarks.load.runs import CANDIDATES, STEPS_PER_RUN, Run

SPANS = 512
"""Spans to a request, the batch size of OpenTelemetry's SDKs."""
CHUNKS = 4
"""Chunks to a request of decisions: 4 × 180 kB stay well below the 4 MiB that gRPC accepts by default."""
FOREIGN_SHARE = 0.95
_SEED = 20261121


class Counts(NamedTuple):
    """What a request holds, or several do."""

    spans: int = 0
    runs: int = 0
    """Rows of runs."""
    run_spans: int = 0
    """Runs that have ended, whose own span is in it."""
    steps: int = 0
    foreign: int = 0
    chunks: int = 0
    candidates: int = 0

    @property
    def ours(self) -> int:
        """Spans that become rows."""
        return self.run_spans + self.steps

    def times(self, copies: int) -> Counts:
        """The sum of equal requests."""
        return Counts(*(number * copies for number in self))

    def plus(self, other: Counts) -> Counts:
        """The sum of two."""
        return Counts(*map(sum, zip(self, other, strict=True)))


class Template(NamedTuple):
    """Requests that are sent one after the other, by one sender."""

    bodies: tuple[tuple[str, otlp.Body], ...]
    """Signal (``traces`` or ``logs``) and serialised request."""
    counts: Counts

    def fresh(self, serial: int, now_ns: int) -> list[tuple[str, bytes]]:
        """The requests as nobody has sent them yet; see ``otlp.Body.fresh``."""
        return [(signal, body.fresh(serial, now_ns)) for signal, body in self.bodies]


def templates(load: str, count: int, seed: int = _SEED) -> list[Template]:
    """``count`` templates of one of LOADS; equal seeds give equal templates."""
    return [LOADS[load](random.Random(seed * 1000 + number)) for number in range(count)]


def _steps(random_: random.Random) -> Template:
    """512 spans of ours: 56 runs of eight steps that have ended, and one that still runs."""
    spans: list[Span] = []
    runs = 0
    while len(spans) < SPANS:
        run = Run(random_, runs)
        spans += [run.step(index, len(spans) + index) for index in range(STEPS_PER_RUN)]
        if len(spans) < SPANS:
            spans.append(run.span(len(spans)))
        runs += 1
    ended = SPANS - runs * STEPS_PER_RUN
    return _of_spans(spans, Counts(SPANS, runs, ended, runs * STEPS_PER_RUN))


def _mixed(random_: random.Random) -> Template:
    """512 spans of which 95 % are of other instrumentation."""
    return _fan_out(random_, round(SPANS * FOREIGN_SHARE))


def _ours_of_mixed(random_: random.Random) -> Template:
    """What ``_mixed`` holds of ours, in as many requests."""
    return _fan_out(random_, 0)


def _foreign(random_: random.Random, count: int = SPANS) -> Template:
    """Spans of other instrumentation only."""
    trace_id = otlp.make_trace_id(random_)
    spans = [foreign_span(random_, trace_id, at) for at in range(count)]
    return _of_spans(spans, Counts(count, foreign=count))


def _fan_out(random_: random.Random, foreign: int) -> Template:
    ours = SPANS - round(SPANS * FOREIGN_SHARE)
    runs = [Run(random_, number) for number in range(-(-ours // STEPS_PER_RUN))]
    spans = [runs[at // STEPS_PER_RUN].step(at % STEPS_PER_RUN, at) for at in range(ours)]
    trace_id = otlp.make_trace_id(random_)
    spans += [foreign_span(random_, trace_id, at) for at in range(ours, ours + foreign)]
    random_.shuffle(spans)
    return _of_spans(spans, Counts(len(spans), len(runs), 0, ours, foreign))


def _decisions(random_: random.Random) -> Template:
    """Four steps with 5,000 decisions each, as the client sends them: spans, then log records."""
    run = Run(random_, 0)
    spans = otlp.trace_request(run.step(index, index) for index in range(CHUNKS))
    chunks = otlp.logs_request(run.chunk(index) for index in range(CHUNKS))
    counts = Counts(CHUNKS, 1, 0, CHUNKS, 0, CHUNKS, CHUNKS * CANDIDATES)
    return Template((("traces", spans), ("logs", chunks)), counts)


def _of_spans(spans: Sequence[Span], counts: Counts) -> Template:
    return Template((("traces", otlp.trace_request(spans)),), counts)


LOADS: Mapping[str, Callable[[random.Random], Template]] = {
    "steps": _steps,
    "decisions": _decisions,
    "mixed": _mixed,
    "ours of mixed": _ours_of_mixed,
    "foreign": _foreign,
    "one foreign": partial(_foreign, count=1),
}
