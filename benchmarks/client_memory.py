"""
Does the client's memory grow with the number of steps?

Records runs of 1,000 steps against a server that takes everything, and looks at the resident
memory after every twentieth part, when all is delivered. The first quarter is for warming up;
through the rest a line is laid, whose slope is the growth.

    python -m benchmarks.client_memory [--steps 10000000] [--json]
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import statistics
import time
from pathlib import Path

import xray_otel as xray
from benchmarks.client_overhead import sink

STEPS_OF_A_RUN = 1_000
PARTS = 20
WARM = 5
"""Parts that do not count."""


def resident_bytes() -> int:
    """Memory of this process that lies in RAM (proc(5), ``statm``)."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def record(steps: int) -> None:
    """Records so many steps, no faster than they are delivered."""
    for _ in range(steps // STEPS_OF_A_RUN):
        with xray.run("memory"):
            for number in range(STEPS_OF_A_RUN):
                with xray.step("price", type="filter", why="band") as step:
                    step.counts(in_=number, out=30)
        while not xray.flush(60.0):
            pass


def main() -> None:
    parser = argparse.ArgumentParser(description="Whether the client's memory grows.")
    parser.add_argument("--steps", type=int, default=10_000_000)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    part = options.steps // PARTS
    found: list[tuple[int, int]] = []
    with sink() as endpoint:
        xray.configure(endpoint=endpoint, offline="drop")
        started_s = time.monotonic()
        for number in range(PARTS):
            record(part)
            gc.collect()
            found.append(((number + 1) * part, resident_bytes()))
        took_s = time.monotonic() - started_s
        xray.shutdown()
    steps, sizes = zip(*found[WARM:], strict=True)
    growth = statistics.linear_regression(steps, sizes).slope  # bytes per step is MB per million steps
    result = {
        "steps": options.steps,
        "seconds": took_s,
        "mb": sizes[-1] / 1e6,
        "mb_per_million_steps": growth,
    }
    if options.json:
        print(json.dumps(result | {"resident": found}))
    else:
        print(
            f"{options.steps:,} steps in {took_s:.0f} s: {sizes[-1] / 1e6:.1f} MB,"
            f" {growth:+.2f} MB per million"
        )


if __name__ == "__main__":
    main()
