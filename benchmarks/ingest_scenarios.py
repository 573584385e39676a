"""What is measured against what, in rounds in which the ways take turns."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NamedTuple

from benchmarks.ingest_ceiling import Rows, copy_bytes, copy_tuples, read_rows
from benchmarks.ingest_collector import Load, Measured, Way, measure
from benchmarks.ingest_databases import Databases
from benchmarks.ingest_decoding import foreign_span_us
from benchmarks.load.payloads import Counts
from benchmarks.processes import cpu_seconds
from benchmarks.spread import Spread
from store.embedded import EmbeddedPostgres

Copy = Callable[[str, Mapping[str, Rows], int], float]

_CEILINGS = {"C1": "COPY of ready bytes (C1)", "write_row": "COPY, write_row of ready values"}
_COPIES: Mapping[str, Copy] = {_CEILINGS["C1"]: copy_bytes, _CEILINGS["write_row"]: copy_tuples}
_FEWER_OF_DECISIONS = 2
_MORE_OF_FOREIGN = 5
"""Requests that are worth more or less work than 512 steps: measurements shall take equally long."""


class Unit(NamedTuple):
    """What a scenario counts."""

    name: str
    of: Callable[[Counts], int]
    costed: int
    """Costs are shown for so many."""

    def rate(self, measured: Measured) -> float:
        """How many in a second."""
        return self.of(measured.sent) / measured.seconds

    def cost_us(self, measured: Measured, cpu_s: float) -> float:
        """Processor time for ``costed`` of them."""
        return cpu_s / self.of(measured.sent) * self.costed * 1e6


SPANS = Unit("spans", lambda counts: counts.spans, 1)
CANDIDATES = Unit("candidates", lambda counts: counts.candidates, 1_000)


@dataclass(frozen=True)
class Found:
    """The measurements of a scenario, a list of rounds for each way."""

    title: str
    unit: Unit
    measured: Mapping[str, Sequence[Measured]]
    remarks: Sequence[str] = ()

    def against(self, ceiling: str, measured: Sequence[Measured]) -> Spread | None:
        """The ratio to a ceiling, round by round; None when it was not measured."""
        ceilings = self.measured.get(_CEILINGS[ceiling])
        if ceilings is None:
            return None
        return Spread.of(
            self.unit.rate(one) / self.unit.rate(top) for one, top in zip(measured, ceilings, strict=True)
        )

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        ways = {
            way: [
                {
                    f"{self.unit.name}_per_second": self.unit.rate(one),
                    "seconds": one.seconds,
                    **one.sent._asdict(),
                    "collector_cpu_s": one.collector_s,
                    "postgres_cpu_s": one.postgres_s,
                    "loader_cpu_s": one.loader_s,
                    "ack_p50_ms": one.percentile_ms(50),
                    "ack_p99_ms": one.percentile_ms(99),
                    "transactions": one.transactions,
                }
                for one in measured
            ]
            for way, measured in self.measured.items()
        }
        return {"scenario": self.title, "ways": ways, "remarks": list(self.remarks)}


class Bench(NamedTuple):
    """A server, and how much is measured on it."""

    server: EmbeddedPostgres
    load: Load
    rounds: int
    processes: Sequence[int]
    settings: Mapping[str, str]
    """Environment variables of the collector."""
    say: Callable[[str], None]

    @property
    def postgres_pid(self) -> int:
        """Of the server's first process."""
        assert self.server.pid is not None  # it runs
        return self.server.pid

    def tuned(self, way: Way) -> Way:
        """The way with the settings that were asked for."""
        return way._replace(settings=self.settings)

    def measure(self, url: str, way: Way, load: Load) -> Measured:
        """One measurement on an empty database."""
        return measure(url, self.postgres_pid, self.tuned(way), load)


def steps(bench: Bench) -> Found:
    """Steps alone: the collector by gRPC in one process and more, and by HTTP."""
    ways = {_grpc(processes): Way("steps", "grpc", processes) for processes in bench.processes}
    ways["collector, HTTP, 1 process"] = Way("steps", "http")
    return _beside_ceilings(bench, bench.load, ways, "steps: 512 spans a request", SPANS)


def decisions(bench: Bench) -> Found:
    """Steps with 5,000 decisions each."""
    load = Load(max(1, bench.load.batches // _FEWER_OF_DECISIONS))
    ways = {_grpc(1): Way("decisions")}
    return _beside_ceilings(bench, load, ways, "decisions: 4 steps a request, 5,000 to a step", CANDIDATES)


def foreign(bench: Bench) -> Found:
    """
    What spans of other instrumentation cost: requests with them, against the same without them.

    The second pair, of requests with nothing of ours, measures the same without the noise of the
    steps, which cost many times more.
    """
    load = Load(bench.load.batches * _MORE_OF_FOREIGN, repeat_every=0)
    ways = {
        "95 % foreign": Way("mixed"),
        "the same without the foreign": Way("ours of mixed"),
        "foreign alone": Way("foreign"),
        "one foreign span a request": Way("one foreign"),
    }
    title = "foreign: 512 spans a request, 95 % of them not ours"
    found = _rounds(bench, load, ways, title, SPANS)
    mixed, ours, alone, one = found.values()
    remarks = [
        f"collector CPU for a foreign span among ours: {_difference(mixed, ours).shown('.2f')} µs",
        f"… in requests of nothing else: {_difference(alone, one).shown('.2f')} µs",
        f"… of that in decoding, in this process: {foreign_span_us().shown('.2f')} µs",
    ]
    return Found(title, SPANS, found, remarks)


def _difference(more: Sequence[Measured], less: Sequence[Measured]) -> Spread:
    """CPU in µs for each foreign span that one has more than the other, in as many requests."""
    return Spread.of(
        (one.collector_s - other.collector_s) / (one.sent.foreign - other.sent.foreign) * 1e6
        for one, other in zip(more, less, strict=True)
    )


SCENARIOS: Mapping[str, Callable[[Bench], Found]] = {
    "steps": steps,
    "decisions": decisions,
    "foreign": foreign,
}


def _grpc(processes: int) -> str:
    return f"collector, gRPC, {processes} process{'es' if processes > 1 else ''}"


def _beside_ceilings(bench: Bench, load: Load, ways: Mapping[str, Way], title: str, unit: Unit) -> Found:
    bench.say(f"{title}: a collector stores the rows that the ceilings write again")
    with Databases(bench.server, f"model_{unit.name}").fresh() as url:
        model = bench.measure(url, next(iter(ways.values())), load)
        tables = read_rows(url)
    ceilings = {
        name: lambda url, copy=copy: _ceiling(bench, url, copy, tables, model)
        for name, copy in _COPIES.items()
    }
    measured = _rounds(bench, load, ways, title, unit, ceilings)
    rows = ", ".join(f"{len(rows.rows):,} {table}" for table, rows in tables.items())
    remark = (
        f"ceilings: {rows} in {model.transactions} transactions,"
        f" {model.stored.spans / model.transactions:,.0f} spans in each"
    )
    return Found(title, unit, measured, [remark])


def _rounds(
    bench: Bench,
    load: Load,
    ways: Mapping[str, Way],
    title: str,
    unit: Unit,
    ceilings: Mapping[str, Callable[[str], Measured]] = MappingProxyType({}),
) -> dict[str, list[Measured]]:
    databases = Databases(bench.server, f"bench_{title.partition(':')[0]}")
    names = [*ceilings, *ways]
    measured: dict[str, list[Measured]] = {name: [] for name in names}
    for round_ in range(bench.rounds):
        for name in _turns(names, round_):
            with databases.fresh() as url:
                one = bench.measure(url, ways[name], load) if name in ways else ceilings[name](url)
            measured[name].append(one)
            rate = f"{unit.rate(one):,.0f} {unit.name}/s, {one.collector_s:.2f} s of the collector's CPU"
            bench.say(f"round {round_ + 1} of {bench.rounds}: {name}: {rate}")
    return measured


def _ceiling(bench: Bench, url: str, copy: Copy, tables: Mapping[str, Rows], model: Measured) -> Measured:
    before = cpu_seconds(bench.postgres_pid)
    seconds = copy(url, tables, model.transactions)
    return Measured(seconds, model.stored, cpu_seconds(bench.postgres_pid) - before)


def _turns(names: Sequence[str], round_: int) -> list[str]:
    """The names from another one on in each round."""
    turn = round_ % len(names)
    return [*names[turn:], *names[:turn]]
