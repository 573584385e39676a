"""The answers of ``/losses``."""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from api.schemas import LOSS_CAUSE, LOST_THING, Answer, ListCompleteness


class Loss(Answer):
    """Something that was recorded and is not stored."""

    run_id: str | None = Field(description="null when the sender could not tell.")
    pipeline: str | None
    service_name: str | None = Field(description="Of the run, or of the sender when there is no run.")
    cause: str = Field(description=f"{LOSS_CAUSE}.")
    what: str = Field(description=LOST_THING)
    count: int
    step_id: str | None = Field(description="null when the loss is not about one step.")
    attempt: int | None = Field(description="As sent; null also when the sender does not number attempts.")
    received_at: datetime = Field(description="When it was first known.")


class LossTotal(Answer):
    """What was lost for one cause."""

    cause: str = Field(description=f"{LOSS_CAUSE}.")
    what: str = Field(description=LOST_THING)
    count: int
    entries: int = Field(description="Entries of /losses behind the count.")


class LossList(Answer):
    """Losses, the latest first."""

    items: list[Loss]
    next_cursor: str | None = Field(description="null on the last page.")
    completeness: ListCompleteness


class LossTotals(Answer):
    """Losses by cause and kind."""

    items: list[LossTotal]
    received_after: datetime | None = Field(description="Since when, where no filter bounds it.")
