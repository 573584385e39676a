"""
What one captured filter step 5,000 → 30 costs, for each capture level and way of recording.

    python -m benchmarks.capture_cost [--rounds 25] [--steps 300] [--score-digits 16] [--json]

Everything is real: the client sends to a collector process on an embedded PostgreSQL, through
a TCP relay that counts the bytes. Time and wire: in each round every way runs once, in a new
order, on the products of that round, and is flushed before the next, so that no sending runs
beside a measured step; medians with the extremes are printed. A multiple is of the bare loop
just before, by processor time, so that a machine whose speed varies distorts it least. Postgres:
the growth of the tables over ``--steps`` steps.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version
from typing import Any

import xray_otel as xray
from benchmarks.capture_client import Cost, measure_client
from benchmarks.capture_storage import STEPS_PER_RUN, Stored, measure_tables
from benchmarks.filter_step import CANDIDATES, KEPT, SEED
from benchmarks.relay import Relay
from benchmarks.servers import clean_environment, servers
from benchmarks.table_sizes import server_version


def report(machine: dict[str, str], costs: Sequence[Cost], stored: Sequence[Stored], rounds: int) -> None:
    """Print the tables."""
    print(", ".join(f"{name} {value}" for name, value in machine.items()))
    print(f"\nin the client, per step of {CANDIDATES:,} → {KEPT}; median (lowest–highest) of {rounds} rounds")
    print(
        f"{'way':13} {'level':12}  {'pipeline ms':22} {'its CPU ms':22} {'× bare':22}"
        f" {'sender CPU ms':20} {'plain B':>9} {'sent B':>9}"
    )
    for cost in costs:
        figures = (cost.wall_ms, cost.cpu_ms, cost.multiple, cost.sender_ms)
        print(
            f"{cost.way:13} {cost.level:12} " + " ".join(f"{figure!s:22}" for figure in figures),
            f"{cost.plain_bytes:7,} {cost.sent_bytes:9,}",
        )
    print(f"\nin Postgres, bytes per step: growth over {stored[0].steps} steps, {STEPS_PER_RUN} in each run")
    print(f"{'level':12} {'decisions':>9}  {'table':9} {'heap':>8} {'toast':>8} {'indexes':>8} {'total':>8}")
    for level in stored:
        for table, parts in level.growth.items():
            figures_ = " ".join(f"{part:8,.0f}" for part in parts.values())
            print(f"{level.level:12} {level.decisions:9,}  {table:9} {figures_}")
        print(
            f"{'':22}  steps and decisions: {level.per_step:,.0f} B a step,"
            f" {level.per_step / CANDIDATES:.1f} B a candidate"
        )


def machine(url: str) -> dict[str, str]:
    """Where and with what this is measured."""
    packages = ("opentelemetry-sdk", "protobuf", "orjson", "psycopg", "zstandard")
    return {
        "cores": str(os.cpu_count()),
        "load": f"{os.getloadavg()[0]:.1f}",
        "Python": platform.python_version(),
        "PostgreSQL": server_version(url),
        **{package: version(package) for package in packages},
    }


def main() -> None:
    """Read the options and measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--steps", type=int, default=300, help="steps of each level sent to Postgres")
    parser.add_argument("--score-digits", type=int, default=16, help="fewer digits compress better")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout, no tables")
    options = parser.parse_args()
    wanted = clean_environment()
    for name in set(os.environ) - set(wanted):
        del os.environ[name]
    with servers() as server, Relay(server.otlp_http) as relay:
        found = machine(server.database)
        xray.configure(endpoint=relay.endpoint, service_name="benchmark", mode="strict")
        costs = measure_client(relay, options.rounds, options.score_digits)
        stored = measure_tables(server.database, options.steps, options.score_digits)
        xray.shutdown()
    if options.json:
        result: dict[str, Any] = {"machine": found, "rounds": options.rounds, "seed": SEED}
        result |= {"client": [asdict(cost) for cost in costs], "postgres": [asdict(one) for one in stored]}
        print(json.dumps(result, indent=2))
    else:
        report(found, costs, stored, options.rounds)


if __name__ == "__main__":
    main()
