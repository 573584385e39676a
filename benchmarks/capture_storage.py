"""What captured steps occupy in Postgres: the growth of its tables, over steps that the client sent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import xray_otel as xray
from benchmarks.filter_step import CANDIDATES, LEVELS, SEED, WAYS, Product, captured, catalogue, settle
from benchmarks.table_sizes import Size, contents, sizes
from xray_otel.settings import Capture

WARM_STEPS = 30
STEPS_PER_RUN = 10
CATALOGUES = 8
"""Steps take turns with as many different sets of products."""


@dataclass(frozen=True, slots=True)
class Stored:
    """What a step occupies in Postgres at one level, in bytes per step."""

    level: str
    steps: int
    decisions: int
    """Candidates with a stored decision, per step."""
    growth: dict[str, dict[str, float]]
    """Table → heap, toast, indexes, total."""

    @property
    def per_step(self) -> float:
        """Bytes of steps and decisions; a run's row is shared by its steps."""
        return self.growth["steps"]["total"] + self.growth["decisions"]["total"]


def measure_tables(url: str, steps: int, score_digits: int) -> list[Stored]:
    """What ``steps`` steps of each level add to the tables, all of which must have arrived."""
    catalogues = [catalogue(SEED + at, score_digits) for at in range(CATALOGUES)]
    found = []
    for level in LEVELS:
        # Afterwards the free space maps exist, and pages are filled as they will be.
        _send(level, WARM_STEPS, catalogues)
        size, content = sizes(url), contents(url)
        _send(level, steps, catalogues)
        grown = {table: now.since(size[table]) for table, now in sizes(url).items()}
        after = contents(url)
        decisions = after.decisions - content.decisions
        expected = {"metrics_only": 0, "full": steps * CANDIDATES}.get(level, decisions)
        if after.steps - content.steps != steps or decisions != expected:
            raise SystemExit(f"sent {steps} steps at {level}; the tables hold {content}, then {after}")
        found.append(Stored(level, steps, round(decisions / steps), _per_step(grown, steps)))
    return found


def _send(level: Capture, steps: int, catalogues: Sequence[Sequence[Product]]) -> None:
    for first in range(0, steps, STEPS_PER_RUN):
        with xray.run("capture-cost", version="v1"):
            for at in range(first, min(first + STEPS_PER_RUN, steps)):
                captured(WAYS["record"], level, catalogues[at % len(catalogues)])
        settle()


def _per_step(growth: dict[str, Size], steps: int) -> dict[str, dict[str, float]]:
    return {
        table: {part: size_bytes / steps for part, size_bytes in size._asdict().items()}
        for table, size in growth.items()
    }
