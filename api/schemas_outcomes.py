"""Late outcomes as REST answers them."""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field


class Outcome(BaseModel):
    """What became known of a run, or of an item in it, afterwards."""

    model_config = ConfigDict(frozen=True, from_attributes=True)

    name: str
    item_id: str | None = Field(description="null: it is about the run.")
    value: bool | int | float | str
    source: str | None = Field(description="Who or what said so.")
    observed_at: datetime | None = Field(description="null: no usable time was sent.")
