"""
How many spans X-Ray, Arize Phoenix and MLflow store in a second, and what they lose when killed.

    python -m benchmarks.peers [--rounds 3] [--systems xray,phoenix,mlflow] [--kills 1] [--json]

The same requests (512 spans, 15 attributes each) from the same four senders go to each system,
by gRPC where it has it, into a database of its own on the same PostgreSQL. All run side by
side and take turns in each round; a system's time ends when its tables hold every span. Then
each is killed (SIGKILL, with all it started) under load, and the spans that it had
acknowledged are looked for in its tables.

The peers are installed by pip, once, into ``~/.cache/xray/peers`` (2 GB, some minutes).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

import psycopg
from psycopg import sql

from benchmarks import processes
from benchmarks.load.loader import Loader, Plan, loader
from benchmarks.load.otlp import serial_text
from benchmarks.load.payloads import SPANS
from benchmarks.load.sender import Phase
from benchmarks.peers_systems import PEERS, Peer, System
from benchmarks.servers import postgres
from benchmarks.spread import Spread
from benchmarks.table_sizes import server_version
from store.embedded import EmbeddedPostgres

_WARM = 2
_PATIENCE_S = 300.0
_POLL_S = 0.1
_UNDER_LOAD_S = 5.0
_UNDER_LOAD_BATCHES = 8
"""Stored before the kill, so that the slowest has acknowledged some, too."""
_ENOUGH = 1_000_000
"""More templates than a system can take before it is killed."""
_OTHERS = """
    SELECT count(*) FROM pg_stat_activity
     WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'
"""


class Measured(NamedTuple):
    """One measurement of a system."""

    acknowledged_per_second: float
    stored_per_second: float
    ack_p50_ms: float
    system_ms: float
    """Processor time per 1,000 spans, of the system."""
    postgres_ms: float


class Killed(NamedTuple):
    """What a SIGKILL under load did, in spans."""

    acknowledged: int
    lost: int


class Found(NamedTuple):
    """All about one system."""

    name: str
    spans: int
    """To a measurement."""
    measured: Sequence[Measured]
    killed: Sequence[Killed]

    def middle(self, field: str) -> float:
        """The median of one field."""
        return Spread.of(getattr(measured, field) for measured in self.measured).median

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        measured = [one._asdict() for one in self.measured]
        return self._asdict() | {"measured": measured, "killed": [one._asdict() for one in self.killed]}


class Contestant(NamedTuple):
    """A system that runs, and its senders."""

    peer: Peer
    system: System
    sending: Loader


def measure(contestant: Contestant, postgres_pid: int) -> Measured:
    """Send, and wait until the tables hold all of it."""
    system = contestant.system
    expected = _count(system) + contestant.peer.batches * SPANS
    before = processes.cpu_seconds(system.pid), processes.cpu_seconds(postgres_pid)
    began = time.perf_counter()
    outcome = contestant.sending.run(Phase(contestant.peer.batches))
    _wait(system, expected)
    seconds = time.perf_counter() - began
    after = processes.cpu_seconds(system.pid), processes.cpu_seconds(postgres_pid)
    spans = contestant.peer.batches * SPANS
    return Measured(
        spans / outcome.seconds,
        spans / seconds,
        Spread.of(outcome.latencies_ms).median,
        *((then - now) / spans * 1e6 for now, then in zip(before, after, strict=True)),
    )


def kill_under_load(contestant: Contestant) -> Killed:
    """End it in the middle of its work; spans of acknowledged requests that its tables do not hold."""
    system = contestant.system
    before = _count(system)
    contestant.sending.begin(Phase(_ENOUGH, until_refused=True))
    time.sleep(_UNDER_LOAD_S)
    _wait(system, before + _UNDER_LOAD_BATCHES * SPANS)
    processes.kill(system.pid)
    acknowledged = contestant.sending.end().acknowledged
    with psycopg.connect(system.database, autocommit=True) as connection:
        # A transaction that it had begun to commit may still become visible.
        _until_alone(connection)
        stored: Counter[str] = Counter()
        for serial, spans in connection.execute(system.by_serial.encode()):
            stored[serial] += spans
    lost = sum(max(0, SPANS - stored[serial_text(serial).hex()]) for serial in acknowledged)
    return Killed(len(acknowledged) * SPANS, lost)


def _until_alone(connection: psycopg.Connection) -> None:
    deadline = time.monotonic() + _PATIENCE_S
    while connection.execute(_OTHERS).fetchone() != (0,):
        if time.monotonic() > deadline:
            raise SystemExit("a killed system still has connections")
        time.sleep(_POLL_S)


def _wait(system: System, expected: int) -> None:
    deadline = time.monotonic() + _PATIENCE_S
    while (found := _count(system)) < expected:
        if time.monotonic() > deadline:
            raise SystemExit(f"{system.name} holds {found} of {expected} spans after {_PATIENCE_S:g} s")
        time.sleep(_POLL_S)


def _count(system: System) -> int:
    with psycopg.connect(system.database) as connection:
        row = connection.execute(system.total.encode()).fetchone()
        assert row is not None  # a scalar
        return int(row[0])


@contextmanager
def contestant(server: EmbeddedPostgres, name: str, database: str) -> Iterator[Contestant]:
    """A system on a new database, with senders that have sent to it before."""
    with psycopg.connect(server.url, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(database)))
    peer = PEERS[name]
    with ExitStack() as stack:
        _say(f"{name}: starting")
        system = stack.enter_context(peer.start(server.database_url(database), _say))
        sending = stack.enter_context(loader([system.target], Plan("steps", headers=system.headers)))
        sending.run(Phase(_WARM))
        _wait(system, _WARM * SPANS)
        yield Contestant(peer, system, sending)


def run(server: EmbeddedPostgres, names: Sequence[str], rounds: int, kills: int) -> list[Found]:
    """All measurements, then all kills."""
    found = []
    assert server.pid is not None  # it runs
    with ExitStack() as stack:
        running = [stack.enter_context(contestant(server, name, f"peer_{name}")) for name in names]
        measured: dict[str, list[Measured]] = {one.system.name: [] for one in running}
        for round_ in range(rounds):
            for one in running[round_ % len(running) :] + running[: round_ % len(running)]:
                result = measure(one, server.pid)
                measured[one.system.name].append(result)
                rate = f"{result.stored_per_second:,.0f} spans/s stored"
                _say(f"round {round_ + 1} of {rounds}: {one.system.name}: {rate}")
    for name, (shown, results) in zip(names, measured.items(), strict=True):
        killed = []
        for kill in range(kills):
            with contestant(server, name, f"peer_{name}_{kill}") as one:
                killed.append(kill_under_load(one))
            _say(f"{shown}: {killed[-1].lost:,} of {killed[-1].acknowledged:,} acknowledged spans lost")
        found.append(Found(shown, PEERS[name].batches * SPANS, results, killed))
    return found


def report(machine: Mapping[str, str], found: Sequence[Found]) -> None:
    """Print the table."""
    print(", ".join(f"{name} {value}" for name, value in machine.items()))
    print(f"\n{len(found[0].measured)} rounds: median (lowest–highest); CPU in ms per 1,000 spans")
    print(
        f"{'system':24} {'spans':>8} {'stored spans/s':>28} {'first is ×':>10} {'acknowledged/s':>15}"
        f" {'ack p50 ms':>10} {'its CPU':>8} {'Postgres':>8}   acknowledged spans lost after SIGKILL"
    )
    ours = found[0].middle("stored_per_second")
    for one in found:
        stored = Spread.of(measured.stored_per_second for measured in one.measured)
        spread = f"({stored.low:,.0f}–{stored.high:,.0f})"
        losses = ", ".join(f"{killed.lost:,} of {killed.acknowledged:,}" for killed in one.killed)
        print(
            f"{one.name:24} {one.spans:8,} {stored.median:10,.0f} {spread:>17} {ours / stored.median:10.1f}"
            f" {one.middle('acknowledged_per_second'):15,.0f} {one.middle('ack_p50_ms'):10,.0f}"
            f" {one.middle('system_ms'):8,.0f} {one.middle('postgres_ms'):8,.0f}   {losses}"
        )


def _machine(url: str) -> dict[str, str]:
    return {
        "cores": str(os.cpu_count()),
        "load": f"{os.getloadavg()[0]:.1f}",
        "Python": platform.python_version(),
        "PostgreSQL": server_version(url),
    }


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def main() -> None:
    """Read the options and measure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--kills", type=int, default=1, help="how often each is killed (default 1)")
    parser.add_argument("--systems", default=",".join(PEERS), help="some of them, separated by commas")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout, no table")
    options = parser.parse_args()
    names = options.systems.split(",")
    if unknown := set(names) - set(PEERS):
        parser.error(f"unknown systems: {', '.join(unknown)}; there are {', '.join(PEERS)}")
    with postgres() as server:
        machine = _machine(server.url)
        found = run(server, names, options.rounds, options.kills)
    if options.json:
        print(json.dumps({"machine": machine, "systems": [one.as_dict() for one in found]}, indent=2))
    else:
        report(machine, found)


if __name__ == "__main__":
    main()
