"""One measurement of collectors under load: what they stored, how fast, for how much processor time."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from types import MappingProxyType
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from benchmarks.ingest_databases import Stored, stored
from benchmarks.load.loader import Plan, loader
from benchmarks.load.payloads import Counts
from benchmarks.load.sender import Outcome, Phase
from benchmarks.processes import cpu_seconds
from benchmarks.servers import Collector, collector

WARM = 16
"""Templates that are sent before the clock starts, so that every cache and code path has been used."""

Watch = AbstractContextManager[Any]


class Way(NamedTuple):
    """How the collector runs and is sent to."""

    load: str
    protocol: str = "grpc"
    processes: int = 1
    senders: int = 4
    settings: Mapping[str, str] = MappingProxyType({})
    """Environment variables of the collector."""


class Load(NamedTuple):
    """How much is sent."""

    batches: int
    repeat_every: int = 20


class Measured(NamedTuple):
    """One measurement. Processor times in seconds."""

    seconds: float
    sent: Counts
    """In that time, repeated templates counted once."""
    postgres_s: float
    collector_s: float = 0.0
    loader_s: float = 0.0
    latencies_ms: tuple[float, ...] = ()
    stored: Counts = Counts()
    """What stands in the database, with what was sent before the clock started."""
    transactions: int = 0
    """Those that left it there."""

    def percentile_ms(self, percent: int) -> float:
        """Of the times from request to acknowledgement."""
        return statistics.quantiles(self.latencies_ms, n=100)[percent - 1] if self.latencies_ms else 0.0

    @property
    def cores(self) -> float:
        """Processors that all of it kept busy."""
        return (self.postgres_s + self.collector_s + self.loader_s) / self.seconds


def measure(
    url: str, postgres_pid: int, way: Way, load: Load, watch: Callable[[int], Watch] = nullcontext
) -> Measured:
    """
    Send the load to a collector on the database, which must be empty; every row is counted afterwards.

    watch: entered with the process id of the collector for as long as the load lasts.
    """
    settings = {**way.settings, "XRAY_PROCESSES": str(way.processes)}
    with collector(url, **settings) as started:
        # Each connection to a shared port goes to a process by chance: many of them spread evenly.
        plan = Plan(way.load, way.senders, connections=8 if way.processes > 1 else 1)
        with loader([_target(started, way.protocol)], plan) as sending:
            sending.run(Phase(WARM))
            before = cpu_seconds(started.pid), cpu_seconds(postgres_pid)
            with watch(started.pid):
                outcome = sending.run(Phase(load.batches, load.repeat_every))
            after = cpu_seconds(started.pid), cpu_seconds(postgres_pid)
            counts = sending.counts
    all_of_it = counts.times(load.batches + WARM)
    found = stored(url)
    _check(found, all_of_it, outcome, load)
    return Measured(
        outcome.seconds,
        counts.times(load.batches),
        after[1] - before[1],
        after[0] - before[0],
        outcome.cpu_seconds,
        tuple(outcome.latencies_ms),
        all_of_it,
        found.transactions,
    )


def _target(one: Collector, protocol: str) -> str:
    return urlsplit(one.otlp_grpc).netloc if protocol == "grpc" else one.otlp_http


def _check(found: Stored, sent: Counts, outcome: Outcome, load: Load) -> None:
    """Everything once: what was lost or doubled makes the figures worthless."""
    expected = (sent.runs, sent.run_spans, sent.steps, sent.candidates)
    if (found.runs, found.ended_runs, found.steps, found.candidates) != expected:
        raise SystemExit(f"sent {sent}; the tables hold {found}")
    if len(outcome.acknowledged) != load.batches:
        raise SystemExit(f"{len(outcome.acknowledged)} of {load.batches} templates were acknowledged")
    twice = (
        sum(serial % load.repeat_every == 0 for serial in outcome.acknowledged) if load.repeat_every else 0
    )
    if outcome.repeated != twice:
        raise SystemExit(f"{outcome.repeated} templates were acknowledged twice, {twice} sent twice")
