"""
What ``store/moving.py`` moves: rows of one run as items of another.

Where a row is to be deleted afterwards, its key comes with the item.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Any, NamedTuple

from store.kinds import ArtifactState, ChunkState, Steps
from store.losses import LossState
from store.merge import StepState
from store.records import ArtifactRow, BlobRow, DecisionRow, LossRow, StepRow
from store.render import recover_step
from store.rows import Artifact, DecisionChunk, Loss
from store.statements import Item, Source
from store.traces import TraceState

ADOPTED = "run_id"
"""In ``steps.filled``: the step did not say whose it is, and lies in a run that took it in."""


class Move(NamedTuple):
    """The inferred steps of one trace on their way from one run to another."""

    trace: TraceState
    own: bytes
    """Key of the trace's own run."""
    source: bytes
    target: bytes
    target_day: date

    @property
    def adopts(self) -> bool:
        """To a run that takes them in; else back to the trace's own."""
        return self.target != self.own


class AdoptedSteps(Steps):
    """Steps in a run that took them in."""

    def row(self, item: Item[StepState]) -> StepRow:
        row = super().row(item)
        return row._replace(filled=[*(row.filled or ()), ADOPTED])


def step_item(move: Move, row: StepRow) -> tuple[Item[StepState], tuple[Any, ...]]:
    key = (row.step_id, row.attempt_key)
    state = recover_step(row, "")
    copies = [ranked.copy for ranked in (state.terminal, state.start) if ranked is not None]
    item = Item((move.target, *key, move.target_day), state, [Source(0, copies[0])])
    return item, (row.run_key, *key, row.run_day)


def chunk_item(move: Move, row: Sequence[Any]) -> tuple[Item[ChunkState], tuple[Any, ...]]:
    old = DecisionRow(*row)
    key = (old.step_id, old.attempt_key, old.chunk_index)
    chunk = DecisionChunk(
        "", *key, old.chunk_total, old.item_count, old.data, error=old.error, item_filter=old.item_filter
    )
    state = ChunkState(old.deliveries, old.received_at, (old.data is None, old.content_hash), chunk)
    return Item((move.target, *key, move.target_day), state, []), (old.run_key, *key, old.run_day)


def artifact_item(move: Move, old: ArtifactRow) -> tuple[Item[ArtifactState], tuple[Any, ...]]:
    artifact = Artifact(
        "",
        old.step_id,
        old.attempt_key,
        old.kind,
        old.content_type,
        old.size_bytes,
        old.sha256,
        url=old.url,
        name=old.name,
    )
    state = ArtifactState(old.deliveries, old.received_at, artifact)
    new_key = (move.target, old.artifact_key, move.target_day)
    return Item(new_key, state, []), (old.run_key, old.artifact_key, old.run_day)


def blob_item(move: Move, old: ArtifactRow, blob: BlobRow) -> Item[ArtifactState]:
    artifact = Artifact(
        "",
        None,
        None,
        old.kind,
        old.content_type,
        old.size_bytes,
        old.sha256,
        data=blob.data,
        # An object stays where it is, under the key of the run that it came for.
        object_run_key=blob.object_run_key,
    )
    return Item((move.target, old.sha256, move.target_day), ArtifactState(0, blob.received_at, artifact), [])


def loss_item(move: Move, row: Sequence[Any]) -> tuple[Item[LossState], tuple[Any, ...]]:
    old = LossRow(*row)
    key = (old.cause, old.what, old.subject)
    state = LossState(old.deliveries, old.received_at, Loss("", *key, old.lost, old.step_id, old.attempt_key))
    return Item((move.target, *key, move.target_day), state, []), (old.run_key, *key, old.run_day)
