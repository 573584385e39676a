"""What questions about losses are answered with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class LossRecord:
    """One entry of the loss ledger, or what follows from a step's record in the same shape."""

    run_id: str | None
    """None when the sender could not tell."""
    pipeline: str | None
    service_name: str | None
    """Of the run, or of the sender when there is no run."""
    cause: str
    what: str
    count: int
    step_id: str | None
    attempt: int | None
    """As sent; None also when the attempts of the step are numbered by their start."""
    received_at: datetime
    """When it was first known; for ``chunk_missing``, the receipt of the step."""


@dataclass(frozen=True, slots=True)
class LossTotal:
    """What was lost for one cause."""

    cause: str
    what: str
    count: int
    entries: int


@dataclass(frozen=True, slots=True)
class LossTotals:
    """What was lost, by cause and kind."""

    items: Sequence[LossTotal]
    received_after: datetime | None
    """Since when, where nothing that was asked bounds it."""
