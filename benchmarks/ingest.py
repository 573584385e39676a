"""
How fast the collector stores what real senders send, against COPY of the same rows.

    python -m benchmarks.ingest [--rounds 5] [--batches 200] [--processes 1,2] [--scenarios …] [--json]
    python -m benchmarks.ingest --profile

Everything is real: an embedded PostgreSQL, collector processes, gRPC or HTTP senders in a
process of their own, four requests under way, one in twenty sent twice. Ways take turns in
each round, each on a fresh database with the migrated tables; every row is counted
afterwards. The ceiling C1 takes the rows that a collector has stored and writes them with COPY
into the same tables and indexes: one connection, transactions of the collector's size.

Scenarios: ``steps`` (512 spans to a request, 15 attributes each), ``decisions`` (steps with
5,000 decisions each), ``foreign`` (95 % of the spans are of other instrumentation).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from typing import Any

from benchmarks.ingest_collector import Load, Measured
from benchmarks.ingest_profile import profile
from benchmarks.ingest_scenarios import SCENARIOS, Bench, Found
from benchmarks.servers import clean_environment, postgres
from benchmarks.spread import Spread
from benchmarks.table_sizes import server_version


def report(machine: Mapping[str, str], found: Sequence[Found], rounds: int) -> None:
    """Print the tables."""
    print(", ".join(f"{name} {value}" for name, value in machine.items()))
    for scenario in found:
        unit = scenario.unit
        costed = "a span" if unit.costed == 1 else f"per {unit.costed:,} {unit.name}"
        print(f"\n{scenario.title}; median (lowest–highest) of {rounds} rounds; CPU in µs {costed}")
        print(
            f"{'way':32} {unit.name + '/s':>34} {'÷ C1':>18} {'÷ write_row':>18} {'ack p50/p99 ms':>15}"
            f" {'collector':>10} {'Postgres':>9} {'loader':>7} {'cores':>6}"
        )
        for way, measured in scenario.measured.items():
            print(_line(scenario, way, measured))
        for remark in scenario.remarks:
            print(f"  {remark}")


def _line(scenario: Found, way: str, measured: Sequence[Measured]) -> str:
    def middle(value: Callable[[Measured], float]) -> float:
        return Spread.of(map(value, measured)).median

    unit = scenario.unit
    rate = Spread.of(map(unit.rate, measured))
    ratios = [scenario.against(ceiling, measured) for ceiling in ("C1", "write_row")]
    shown = " ".join(f"{ratio.shown('.2f') if ratio else '':>18}" for ratio in ratios)
    p50, p99 = middle(lambda one: one.percentile_ms(50)), middle(lambda one: one.percentile_ms(99))
    return (
        f"{way:32} {rate.shown(',.0f'):>34} {shown} {f'{p50:.0f}/{p99:.0f}':>15}"
        f" {middle(lambda one: unit.cost_us(one, one.collector_s)):10.2f}"
        f" {middle(lambda one: unit.cost_us(one, one.postgres_s)):9.2f}"
        f" {middle(lambda one: unit.cost_us(one, one.loader_s)):7.2f}"
        f" {middle(lambda one: one.cores):6.2f}"
    )


def _machine(url: str) -> dict[str, str]:
    packages = ("grpcio", "protobuf", "psycopg", "orjson")
    return {
        "cores": str(os.cpu_count()),
        "load": f"{os.getloadavg()[0]:.1f}",
        "Python": platform.python_version(),
        "PostgreSQL": server_version(url),
        **{package: version(package) for package in packages},
    }


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batches", type=int, default=200, help="requests to a measurement (default 200)")
    parser.add_argument("--processes", default="1,2", help="values of XRAY_PROCESSES (default 1,2)")
    parser.add_argument("--scenarios", default=",".join(SCENARIOS), help="some of them, separated by commas")
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="a setting of the collector"
    )
    parser.add_argument(
        "--profile", action="store_true", help="only tell where one collector spends its time"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout, no tables")
    options = parser.parse_args()
    options.processes = [int(number) for number in options.processes.split(",")]
    options.scenarios = options.scenarios.split(",")
    options.settings = dict(setting.split("=", 1) for setting in options.set)
    if unknown := set(options.scenarios) - set(SCENARIOS):
        parser.error(f"unknown scenarios: {', '.join(unknown)}; there are {', '.join(SCENARIOS)}")
    return options


def main() -> None:
    """Read the options and measure."""
    options = _options()
    wanted = clean_environment()
    for name in set(os.environ) - set(wanted):
        del os.environ[name]
    with postgres() as server:
        bench = Bench(
            server,
            Load(options.batches),
            options.rounds,
            options.processes,
            options.settings,
            _say,
        )
        if options.profile:
            for scenario in options.scenarios:
                profile(bench, scenario)
            return
        machine = _machine(server.url)
        found = [SCENARIOS[scenario](bench) for scenario in options.scenarios]
    if options.json:
        result: dict[str, Any] = {"machine": machine, "rounds": options.rounds, "settings": options.settings}
        result["scenarios"] = [scenario.as_dict() for scenario in found]
        print(json.dumps(result, indent=2))
    else:
        report(machine, found, options.rounds)


if __name__ == "__main__":
    main()
