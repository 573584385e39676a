"""The answers about erasures, as ``api/schemas.py`` holds all others."""

from __future__ import annotations

from pydantic import Field

from api.schemas import Answer


class ErasedRun(Answer):
    """What was wiped of a run."""

    steps: int = Field(description="Of which the numbers stay.")
    decisions: int = Field(description="Chunks of decisions.")
    artifacts: int
    outcomes: int


class ErasedItem(Answer):
    """Where the id of an item was taken out."""

    chunks: int = Field(description="Of decisions, which stay as those of an item without a name.")
    steps: int = Field(description="That had selected it.")
    outcomes: int = Field(description="Deleted: they were about it.")
