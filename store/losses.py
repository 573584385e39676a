"""
The loss ledger as it is written: what was recorded and is not stored, once per key.

A loss is never taken back here: whether a chunk that one collector shed came in through
another is seen when the ledger is read (``store/queries/losses.py``), so the order of
arrival cannot show. Decision 0015.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from hashlib import blake2b
from typing import Any, NamedTuple

from psycopg import sql

from store import schema
from store.ids import artifact_key
from store.records import LossRow, SenderLossRow
from store.rows import (
    Artifact,
    DecisionChunk,
    Loss,
    Outcome,
    Row,
    RunCopy,
    RunHeartbeat,
    RunWait,
    SchemaVersion,
    StepCopy,
)
from store.statements import Item, Statements

CAUSES = (
    "client_queue",
    "client_policy",
    "shed",
    "store_away",
    "over_limit",
    "refused",
    "truncated",
    "expired",
    "chunk_missing",
)
"""Why something is not stored. ``chunk_missing`` is never written: it is what nobody gives a cause for."""
THINGS = ("runs", "steps", "decisions", "artifacts", "texts", "outcomes")
"""What can be lost; decisions are counted in candidates."""

_UNSTORABLE = re.compile("[\0\ud800-\udfff]")
_INT64_MAX = (1 << 63) - 1
_MAX_SUBJECT_BYTES = 1200
"""A key must fit into a third of an index page (PostgreSQL manual, B-Tree Indexes)."""


def chunk_subject(step_id: str, attempt_key: str, chunk_index: int) -> str:
    """Subject of a loss of one chunk of decisions; a stored chunk of this name ends the loss."""
    return f"{step_id}/{attempt_key}/{chunk_index}"


def artifact_subject(artifact: Artifact) -> str:
    """Subject of a loss of one artifact, by its key; of the run's own, step and attempt are empty."""
    return f"{artifact.step_id or ''}/{artifact.attempt_key or ''}/{artifact_key(artifact).hex}"


def loss_of(row: Row, cause: str) -> Loss | None:
    """Return the loss of a row for this cause; None for what is of no run, or takes nothing with it."""
    if isinstance(row, DecisionChunk):
        subject = chunk_subject(row.step_id, row.attempt_key, row.chunk_index)
        return _loss(row.run_id, cause, "decisions", subject, row.item_count, row.step_id, row.attempt_key)
    if isinstance(row, Artifact):
        return _loss(row.run_id, cause, "artifacts", artifact_subject(row), 1, row.step_id, row.attempt_key)
    if isinstance(row, StepCopy):
        subject = f"{row.step_id}/{row.attempt_key}/{'end' if row.terminal else 'start'}"
        return _loss(row.run_id, cause, "steps", subject, 1, row.step_id, row.attempt_key)
    if isinstance(row, RunCopy):
        return _loss(row.run_id, cause, "runs", "/end" if row.terminal else "/start", 1)
    if isinstance(row, RunWait):
        return _loss(row.run_id, cause, "runs", "/wait", 1)
    if isinstance(row, Outcome):
        # By its hash, because the ledger outlives the ids of erased items; what was erased is no loss.
        return None if cause == "erased" else _loss(row.run_id, cause, "outcomes", _hashed(row), 1)
    assert isinstance(row, RunHeartbeat | Loss | SchemaVersion)  # nothing else is a row
    return None


def _hashed(outcome: Outcome) -> str:
    name, item_id = outcome.name, outcome.item_id or ""
    return _hash(f"{len(name)}:{name}{item_id}")


def _loss(
    run_id: str,
    cause: str,
    what: str,
    subject: str,
    lost: int,
    step_id: str | None = None,
    attempt_key: str | None = None,
) -> Loss:
    lost = max(0, min(lost, _INT64_MAX))
    if _UNSTORABLE.search(subject) or len(subject.encode()) > _MAX_SUBJECT_BYTES:
        # Refused for its very name: the name's hash stands in, so that it still counts once.
        return Loss(run_id, cause, what, _hash(subject), lost)
    return Loss(run_id, cause, what, subject, lost, step_id, attempt_key)


def _hash(subject: str) -> str:
    return f"/{blake2b(subject.encode('utf-8', 'surrogatepass'), digest_size=16).hexdigest()}"


class LossState(NamedTuple):
    """One entry of the ledger; of two that differ the larger stays, whole."""

    deliveries: int
    received_us: int
    loss: Loss


def loss_state(loss: Loss, received_us: int) -> LossState:
    """What one copy of an entry says, without what its table has no place for: it must not decide."""
    if loss.run_id is None:
        return LossState(1, received_us, loss._replace(step_id=None, attempt_key=None))
    return LossState(1, received_us, loss._replace(pipeline=None, service_name=None))


def merge_losses(one: LossState, other: LossState) -> LossState:
    """Join two copies of the same entry."""
    return max(one, other, key=_order)._replace(
        deliveries=one.deliveries + other.deliveries, received_us=min(one.received_us, other.received_us)
    )


def _order(state: LossState) -> tuple[Any, ...]:
    loss = state.loss
    names = (loss.step_id, loss.attempt_key, loss.pipeline, loss.service_name)
    return (loss.lost, *(name or "" for name in names))


class Losses:
    """``losses``."""

    statements = Statements(schema.losses, peek=sql.SQL("t.lost, t.step_id, t.attempt_key"))
    optimistic = True

    def row(self, item: Item[LossState]) -> LossRow:
        run_key, cause, what, subject, run_day = item.key
        deliveries, received_us, loss = item.state
        return LossRow(
            run_key,
            cause,
            what,
            subject,
            run_day,
            loss.lost,
            loss.step_id,
            loss.attempt_key,
            deliveries,
            received_us,
        )

    def settled(self, peeked: Sequence[Any], item: Item[LossState]) -> bool:
        lost, step_id, attempt_key = peeked[5:]
        stored = Loss("", "", "", "", lost, step_id, attempt_key)
        return _order(LossState(0, 0, stored)) >= _order(item.state)

    def combine(self, stored: Sequence[Any], item: Item[LossState]) -> LossState:
        row = LossRow(*stored)
        loss = item.state.loss._replace(lost=row.lost, step_id=row.step_id, attempt_key=row.attempt_key)
        return merge_losses(LossState(row.deliveries, row.received_at, loss), item.state)

    def parts(self, item: Item[LossState]) -> list[Item[LossState]]:
        return _parts(item)


class SenderLosses:
    """``sender_losses``."""

    statements = Statements(schema.sender_losses, peek=sql.SQL("t.lost, t.pipeline, t.service_name"))
    optimistic = True

    def row(self, item: Item[LossState]) -> SenderLossRow:
        report_id, cause, what = item.key
        deliveries, received_us, loss = item.state
        return SenderLossRow(
            report_id, cause, what, loss.lost, loss.pipeline, loss.service_name, deliveries, received_us
        )

    def settled(self, peeked: Sequence[Any], item: Item[LossState]) -> bool:
        lost, pipeline, service_name = peeked[3:]
        stored = Loss(None, "", "", "", lost, None, None, pipeline, service_name)
        return _order(LossState(0, 0, stored)) >= _order(item.state)

    def combine(self, stored: Sequence[Any], item: Item[LossState]) -> LossState:
        row = SenderLossRow(*stored)
        loss = item.state.loss._replace(lost=row.lost, pipeline=row.pipeline, service_name=row.service_name)
        return merge_losses(LossState(row.deliveries, row.received_at, loss), item.state)

    def parts(self, item: Item[LossState]) -> list[Item[LossState]]:
        return _parts(item)


def _parts(item: Item[LossState]) -> list[Item[LossState]]:
    return [
        item._replace(state=loss_state(source.copy, item.state.received_us), sources=[source])
        for source in item.sources
        if isinstance(source.copy, Loss)
    ]
