"""Late outcomes as they are answered."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class OutcomeRecord:
    """What became known of a run, or of an item in it; one that was withdrawn is none."""

    name: str
    item_id: str | None
    """None: it is about the run."""
    value: bool | int | float | str
    source: str | None
    observed_at: datetime | None
    """None: no usable time was sent."""
