"""
What can be taken out of a batch under pressure: evidence, never metrics.

Whatever goes leaves an entry for the loss ledger in the same batch, so that it is committed
with the rest: acknowledged = stored + shed. Decision 0016.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from enum import Enum
from typing import NamedTuple

from store.losses import loss_of
from store.rows import Artifact, Batch, DecisionChunk, Loss

_CAUSE = "shed"
_ROW_BYTES = 2048
"""A run or step as Python objects, measured with 15 attributes; its texts come on top."""
_EVIDENCE_BYTES = 512
"""A chunk or an artifact beside its payload."""
_LOSS_BYTES = 512
_REQUEST_BYTES = 16 * 1024
"""The request itself: its task, its future, its place among those that wait."""


class Evidence(Enum):
    """The two kinds, in the order in which they are given up."""

    ARTIFACTS = "artifacts"
    DECISIONS = "decisions"


class Sizes(NamedTuple):
    """Memory of a batch, in bytes, about."""

    kept: int
    """What cannot be shed."""
    artifacts: int
    decisions: int

    @property
    def total(self) -> int:
        """All of it."""
        return self.kept + self.artifacts + self.decisions

    def of(self, evidence: Evidence) -> int:
        """What shedding this kind frees, about."""
        return self.artifacts if evidence is Evidence.ARTIFACTS else self.decisions


def sizes(batch: Batch) -> Sizes:
    """Return what the rows of a batch take."""
    artifacts = sum(_EVIDENCE_BYTES + len(artifact.data or b"") for artifact in batch.artifacts)
    decisions = sum(_EVIDENCE_BYTES + _bytes(chunk) for chunk in batch.decisions)
    rows = sum(map(len, (batch.runs, batch.waits, batch.heartbeats, batch.steps, batch.outcomes)))
    kept = _REQUEST_BYTES + rows * _ROW_BYTES + len(batch.losses) * _LOSS_BYTES
    if not artifacts and not decisions:
        # Long texts: of a request without evidence all of its bytes may be such.
        kept = max(kept, batch.size_bytes)
    return Sizes(kept, artifacts, decisions)


def has_metrics(batch: Batch) -> bool:
    """Tell whether a batch says anything beside evidence."""
    return bool(batch.runs or batch.waits or batch.heartbeats or batch.steps or batch.outcomes)


def shed(batch: Batch, evidence: Evidence) -> tuple[Batch, int]:
    """Return the batch with losses in place of this kind of evidence, and how much that was, as counted."""
    if evidence is Evidence.ARTIFACTS:
        losses = _losses(batch.artifacts)
        smaller = replace(batch, artifacts=(), losses=[*batch.losses, *losses])
    else:
        losses = _losses(batch.decisions)
        smaller = replace(batch, decisions=(), losses=[*batch.losses, *losses])
    return smaller, sum(loss.lost for loss in losses)


def _bytes(chunk: DecisionChunk) -> int:
    return len(chunk.data or b"") + len(chunk.item_filter or b"")


def _losses(rows: Iterable[DecisionChunk | Artifact]) -> list[Loss]:
    return [loss for row in rows if (loss := loss_of(row, _CAUSE)) is not None]
