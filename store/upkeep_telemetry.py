"""
What upkeep counts about itself; as ``collector/telemetry.py``, ``METRICS`` is the one table of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from prometheus_client import CollectorRegistry, Counter, Gauge

PREFIX: Final = "xray_upkeep_"


class Metric(NamedTuple):
    """One metric as Prometheus shows it."""

    name: str
    kind: type[Counter] | type[Gauge]
    labels: tuple[str, ...]
    unit: str
    meaning: str

    @property
    def exposed(self) -> str:
        """The name on ``/metrics``, with the suffix of its kind."""
        return f"{PREFIX}{self.name}" + ("_total" if self.kind is Counter else "")


TURNS: Final = Metric(
    "turns",
    Counter,
    ("task", "result"),
    "turns",
    "Turns of upkeep that this process took, by task and result: succeeded, failed (and tried again).",
)
SECONDS: Final = Metric(
    "seconds", Counter, ("task",), "seconds", "Time that turns of upkeep took in this process, by task."
)
SUCCEEDED: Final = Metric(
    "last_success_timestamp_seconds",
    Gauge,
    ("task",),
    "seconds",
    "When this process last ended a turn well, in seconds since 1970; another may have done so later.",
)
METRICS: Final = (TURNS, SECONDS, SUCCEEDED)


class UpkeepTelemetry:
    """The metrics of one process; every method may be called from any thread."""

    def __init__(self, registry: CollectorRegistry, tasks: Sequence[str]) -> None:
        self._turns = Counter(f"{PREFIX}{TURNS.name}", TURNS.meaning, TURNS.labels, registry=registry)
        self._seconds = Counter(f"{PREFIX}{SECONDS.name}", SECONDS.meaning, SECONDS.labels, registry=registry)
        self._succeeded = Gauge(
            SUCCEEDED.exposed,
            SUCCEEDED.meaning,
            SUCCEEDED.labels,
            registry=registry,
            multiprocess_mode="max",
        )
        for task in tasks:
            # Shown from the start: else the first increase is not seen.
            self._turns.labels(task, "succeeded")
            self._turns.labels(task, "failed")

    def succeeded(self, task: str, duration_s: float) -> None:
        """Count a turn that ended well just now."""
        self._turns.labels(task, "succeeded").inc()
        self._seconds.labels(task).inc(duration_s)
        self._succeeded.labels(task).set_to_current_time()

    def failed(self, task: str, duration_s: float) -> None:
        """Count a turn that failed."""
        self._turns.labels(task, "failed").inc()
        self._seconds.labels(task).inc(duration_s)
