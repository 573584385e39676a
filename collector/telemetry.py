"""
What the collector counts about itself.

``METRICS`` is the one table of it: ``/metrics`` serves what it declares, ``docs/metrics.md`` is
generated from it, and a name that is not in it cannot be counted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from collector.responses import Outcome

_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_BATCHES: Final = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0)


class Metric(NamedTuple):
    """One metric as Prometheus shows it."""

    name: str
    """What the code calls it; see ``exposed``."""
    kind: type[Counter] | type[Gauge] | type[Histogram]
    label: str | None
    """The name of its only label; what values it has stands in ``meaning``."""
    unit: str
    """A unit of Prometheus (``bytes``, ``seconds``), else what is counted."""
    meaning: str
    buckets: tuple[float, ...] = ()
    known: tuple[str, ...] = ()
    """Values of the label that are shown from the start, as 0: else the first increase is not seen."""

    @property
    def exposed(self) -> str:
        """The name on ``/metrics``, with the suffix of its kind."""
        return f"{PREFIX}{self.name}" + ("_total" if self.kind is Counter else "")


PREFIX: Final = "xray_collector_"
METRICS: Final = (
    Metric(
        "requests",
        Counter,
        "outcome",
        "requests",
        "OTLP requests answered: stored, malformed, too_large, unsupported_media, not_found, "
        "method_not_allowed, metrics (the signal that is not taken), overloaded, unavailable, and the "
        "refusals of the doors: unauthenticated, forbidden, rate_limited.",
        known=tuple(outcome.value for outcome in Outcome),
    ),
    Metric(
        "bytes",
        Counter,
        "transport",
        "bytes",
        "Bytes of requests that were read, after decompression: otlp, doors (JSON).",
        known=("otlp", "doors"),
    ),
    Metric(
        "records",
        Counter,
        "what",
        "records",
        "Spans and events by what they are to us: run, step, member, foreign, unsupported, or the name of "
        "an event that we know; of the JSON doors step_start, step_end, run_finish.",
        known=("run", "step", "member", "foreign", "unsupported"),
    ),
    Metric(
        "refused",
        Counter,
        "reason",
        "records",
        "Records not stored and said so in partial success: bad_id, undecodable, no_run_id, no_step_id, "
        "unsupported_event, decisions_unreadable, capture_limit, artifact, losses, database, expired "
        "(retention has reached it), erased.",
        known=(
            "bad_id",
            "undecodable",
            "no_run_id",
            "no_step_id",
            "unsupported_event",
            "decisions_unreadable",
            "capture_limit",
            "artifact",
            "losses",
            "database",
            "expired",
            "erased",
        ),
    ),
    Metric("flags", Counter, "code", "flags", "Flags raised on stored rows, by code (docs/glossary.md)."),
    Metric(
        "shed",
        Counter,
        "what",
        "records",
        "Evidence given up under pressure, as the loss ledger has it: decisions (candidates), artifacts.",
        known=("decisions", "artifacts"),
    ),
    Metric(
        "writes",
        Counter,
        "result",
        "transactions",
        "Transactions: committed, unavailable (tried again or given back to the senders), failed.",
        known=("committed", "unavailable", "failed"),
    ),
    Metric("write_duration_seconds", Histogram, None, "seconds", "Duration of a transaction.", _SECONDS),
    Metric(
        "write_group_batches",
        Histogram,
        None,
        "requests",
        "Requests that shared a transaction; more than one while requests wait.",
        _BATCHES,
    ),
    Metric(
        "request_duration_seconds",
        Histogram,
        "transport",
        "seconds",
        "From the whole body to the answer, the wait for the commit included: otlp.",
        _SECONDS,
        known=("otlp",),
    ),
    Metric("intake_waiting_bytes", Gauge, None, "bytes", "What waits for its commit."),
    Metric("intake_max_bytes", Gauge, None, "bytes", "What may wait (XRAY_INTAKE_MAX_BYTES)."),
    Metric(
        "payloads",
        Counter,
        "result",
        "payloads",
        "Payloads of artifacts for the object store: put, known (was there already), store_away (lost: the "
        "object store was away or too slow).",
        known=("put", "known", "store_away"),
    ),
    Metric("payloads_waiting_bytes", Gauge, None, "bytes", "What waits for the object store."),
    Metric("payloads_max_bytes", Gauge, None, "bytes", "What may wait for the object store."),
)


class Telemetry:
    """The metrics of one process; every method may be called from any thread."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        """registry: that of the process, so that one page shows every part; None: one of its own."""
        self.registry = CollectorRegistry() if registry is None else registry
        self._metrics: dict[str, Any] = {metric.name: _made(metric, self.registry) for metric in METRICS}

    def add(self, counter: str, label: str, amount: int = 1) -> None:
        """Count something."""
        self._metrics[counter].labels(label).inc(amount)

    def add_all(self, counter: str, amounts: Mapping[str, int]) -> None:
        """Count several labels of one counter."""
        for label, amount in amounts.items():
            self._metrics[counter].labels(label).inc(amount)

    def observe(self, histogram: str, value: float, label: str | None = None) -> None:
        """Add one observation."""
        metric = self._metrics[histogram]
        (metric if label is None else metric.labels(label)).observe(value)

    def set(self, gauge: str, value: float) -> None:
        """Set a gauge."""
        self._metrics[gauge].set(value)

    def read(self) -> dict[str, dict[str, int]]:
        """Return counter → label → value above 0, as of now; for tests and the final words of a process."""
        return {
            metric.name: {
                next(iter(sample.labels.values())): int(sample.value)
                for family in self._metrics[metric.name].collect()
                for sample in family.samples
                if sample.name == metric.exposed and sample.value
            }
            for metric in METRICS
            if metric.kind is Counter
        }


def _made(metric: Metric, registry: CollectorRegistry) -> Any:
    options: dict[str, Any] = {"registry": registry}
    if metric.kind is Histogram:
        options["buckets"] = metric.buckets
    elif metric.kind is Gauge:
        # Of several processes behind one port the sum is what an operator asks for.
        options["multiprocess_mode"] = "livesum"
    make: Callable[..., Any] = metric.kind
    labels = () if metric.label is None else (metric.label,)
    made = make(f"{PREFIX}{metric.name}", metric.meaning, labels, **options)
    for value in metric.known:
        made.labels(value)
    return made
