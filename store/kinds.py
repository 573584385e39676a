"""
What differs between the tables when rows land in them (``store/landing.py``).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime
from hashlib import blake2b
from typing import Any, NamedTuple

from psycopg import sql

from store import schema
from store.bounds import Reach
from store.copies import to_json
from store.landing import Landed
from store.merge import (
    Order,
    Ranked,
    RunState,
    StepState,
    bare_run,
    heartbeat_state,
    merge_runs,
    merge_steps,
    run_state,
    start_order,
    step_state,
    terminal_order,
    wait_state,
)
from store.records import ArtifactRow, BlobRow, DecisionRow, RunRow, StepRow
from store.render import recover_run, recover_step, render_run, render_step
from store.rollup_marks import Renamed, Slot, slot_of
from store.rows import Artifact, DecisionChunk, Row, RunCopy, RunHeartbeat, RunWait, StepCopy
from store.statements import Item, Statements


class ChunkState(NamedTuple):
    """One chunk of decisions; of several copies a readable one stays, then the smaller hash."""

    deliveries: int
    received_us: int
    order: tuple[bool, int]
    """(unreadable, content hash)."""
    chunk: DecisionChunk


class ArtifactState(NamedTuple):
    """One artifact; its key holds all that can be seen of it, so copies never differ."""

    deliveries: int
    received_us: int
    artifact: Artifact


def day_of(received_us: int) -> date:
    """The UTC day of a time of receipt."""
    return datetime.fromtimestamp(received_us // 1_000_000, UTC).date()


class Runs:
    """
    ``runs``; looked at first, because its rows decide the ``run_day`` of everything else.

    One object per transaction: ``met`` collects the stored runs that were looked at.
    """

    statements = Statements(
        schema.runs,
        touch=sql.SQL(
            "deliveries = t.deliveries + k.deliveries, last_received_at = greatest(t.last_received_at,"
            " timestamptz 'epoch' + k.received_us * interval '1 microsecond')"
        ),
    )
    optimistic = False

    def __init__(self, reach: Reach) -> None:
        self._reach = reach
        self.met: dict[str, tuple[date, RunState]] = {}
        """By run id: the day and the state after merging."""
        self.joined: dict[str, set[bytes]] = {}
        """By run id: the traces that the stored run had not been seen in."""
        self.renamed: list[Renamed] = []
        """Stored runs whose pipeline or its version is another than before."""

    def row(self, item: Item[RunState]) -> RunRow:
        known = self.met.get(item.state.run_id)
        day = known[0] if known else day_of(item.state.received_us)
        row = render_run(item.state, item.key[0], day)
        self._reach.note("runs", day, row.started_at)
        return row

    def settled(self, _peeked: Sequence[Any], _item: Item[RunState]) -> bool:
        return False

    def combine(self, stored: Sequence[Any], item: Item[RunState]) -> RunState | None:
        row = RunRow(*stored)
        before = recover_run(row)
        after = merge_runs(before, item.state)
        self.met[row.run_id] = (row.run_day, after)
        self.joined[row.run_id] = {*after.trace_ids} - {*before.trace_ids}
        now = render_run(after, row.run_key, row.run_day)
        if (row.pipeline, row.pipeline_version) != (now.pipeline, now.pipeline_version):
            self.renamed.append(Renamed(row.run_key, row.run_day))
        return None if _same_run(row, now) else after

    def parts(self, item: Item[RunState]) -> list[Item[RunState]]:
        state = item.state
        parts = [
            item._replace(state=_said(source.copy, state.received_us), sources=[source])
            for source in item.sources
        ]
        # What the steps said of the run may be at fault too: they are judged on their own.
        steps_said = bare_run(state.run_id, state.received_us)._replace(
            stub=state.stub, first_step_us=state.first_step_us
        )
        return [*parts, item._replace(state=steps_said, sources=[])]


def _lone_hash(item: Item[StepState]) -> int | None:
    terminal, start = item.state.terminal, item.state.start
    return terminal.order[2] if terminal is not None and start is None else None


class Steps:
    """``steps``; one object per transaction: it collects which hours the rows are counted in."""

    statements = Statements(
        schema.steps,
        peek=sql.SQL(
            "t.content_hash, t.end_sent_ns,"
            " CASE WHEN 'span_id' = ANY (t.filled) THEN NULL ELSE t.span_id END,"
            " (t.start_copy->>'content_hash')::int8, (t.start_copy->'copy'->>'start_sent_ns')::int8"
        ),
        hash_of=_lone_hash,
    )
    optimistic = True

    def __init__(self, reach: Reach) -> None:
        self._reach = reach
        self._now: dict[tuple[Any, ...], Slot] = {}
        self._before: dict[tuple[Any, ...], Slot] = {}

    def touched(self, landed: Landed[StepState]) -> set[Slot]:
        """Where rows are counted that are new or other than before, and where those were."""
        now = {self._now[item.key] for item in (*landed.created, *landed.changed)}
        return now | {self._before[item.key] for item in landed.changed}

    @property
    def slots(self) -> set[Slot]:
        """Where all rows that were rendered or met are counted, whatever became of them."""
        return {*self._now.values(), *self._before.values()}

    def row(self, item: Item[StepState]) -> StepRow:
        row = render_step(item.state, item.key[0], item.key[3])
        self._reach.note("steps", row.run_day, row.started_at)
        self._now[item.key] = slot_of(row.started_at, row.run_day)
        return row

    def settled(self, peeked: Sequence[Any], item: Item[StepState]) -> bool:
        terminal_hash, end_sent_ns, span_id, start_hash, start_sent_ns = peeked[4:]
        terminal = None if terminal_hash is None else terminal_order(end_sent_ns, span_id, terminal_hash)
        start = None if start_hash is None else start_order(start_sent_ns, start_hash)
        return _wins(terminal, item.state.terminal) and _wins(start, item.state.start)

    def combine(self, stored: Sequence[Any], item: Item[StepState]) -> StepState | None:
        row = StepRow(*stored)
        copy = item.sources[0].copy
        assert isinstance(copy, StepCopy)  # nothing else is a source of a step
        before = recover_step(row, copy.run_id)
        after = merge_steps(before, item.state)
        # The first that is met is the committed one; others are of this transaction.
        self._before.setdefault(item.key, slot_of(row.started_at, row.run_day))
        return None if _orders(before) == _orders(after) else after

    def parts(self, item: Item[StepState]) -> list[Item[StepState]]:
        return [
            item._replace(state=step_state(source.copy, item.state.received_us), sources=[source])
            for source in item.sources
            if isinstance(source.copy, StepCopy)
        ]


class Decisions:
    """``decisions``."""

    # Not the data: which of two copies stays is decided by the hash.
    statements = Statements(
        schema.decisions,
        peek=sql.SQL("t.data IS NULL, t.content_hash"),
        hash_of=lambda item: item.state.order[1],
    )
    optimistic = True

    def row(self, item: Item[ChunkState]) -> DecisionRow:
        run_key, step_id, attempt_key, chunk_index, run_day = item.key
        deliveries, received_us, (_, hashed), chunk = item.state
        return DecisionRow(
            run_key,
            step_id,
            attempt_key,
            chunk_index,
            run_day,
            chunk.chunk_total,
            chunk.item_count,
            chunk.data,
            chunk.item_filter,
            chunk.error,
            hashed,
            deliveries,
            received_us,
        )

    def settled(self, peeked: Sequence[Any], item: Item[ChunkState]) -> bool:
        return tuple(peeked[5:]) <= item.state.order

    def combine(self, stored: Sequence[Any], item: Item[ChunkState]) -> ChunkState:
        row = DecisionRow(*stored)
        order = (row.data is None, row.content_hash)
        chunk = item.state.chunk._replace(
            chunk_total=row.chunk_total,
            item_count=row.item_count,
            data=row.data,
            item_filter=row.item_filter,
            error=row.error,
        )
        return merge_chunks(ChunkState(row.deliveries, row.received_at, order, chunk), item.state)

    def parts(self, item: Item[ChunkState]) -> list[Item[ChunkState]]:
        return [
            item._replace(state=chunk_state(source.copy, item.state.received_us), sources=[source])
            for source in item.sources
            if isinstance(source.copy, DecisionChunk)
        ]


class Artifacts:
    """``artifacts``."""

    statements = Statements(schema.artifacts, peek=sql.SQL("t.deliveries"))
    optimistic = True

    def row(self, item: Item[ArtifactState]) -> ArtifactRow:
        run_key, artifact_key, run_day = item.key
        deliveries, received_us, artifact = item.state
        return ArtifactRow(
            run_key,
            artifact_key,
            run_day,
            artifact.step_id,
            artifact.attempt_key,
            artifact.kind,
            artifact.content_type,
            artifact.size_bytes,
            artifact.sha256,
            artifact.url,
            artifact.name,
            deliveries,
            received_us,
        )

    def settled(self, _peeked: Sequence[Any], _item: Item[ArtifactState]) -> bool:
        return True

    def combine(self, _stored: Sequence[Any], _item: Item[ArtifactState]) -> None:
        return None

    def parts(self, item: Item[ArtifactState]) -> list[Item[ArtifactState]]:
        return [item._replace(sources=[source]) for source in item.sources[:1]]


class Blobs:
    """``artifact_blobs``."""

    statements = Statements(schema.artifact_blobs, peek=sql.SQL("t.received_at"), touch=None)
    optimistic = True

    def row(self, item: Item[ArtifactState]) -> BlobRow:
        run_key, sha256, run_day = item.key
        _, received_us, artifact = item.state
        return BlobRow(run_key, sha256, run_day, artifact.data, received_us, artifact.object_run_key)

    def settled(self, _peeked: Sequence[Any], _item: Item[ArtifactState]) -> bool:
        return True

    def combine(self, _stored: Sequence[Any], _item: Item[ArtifactState]) -> None:
        return None

    def parts(self, item: Item[ArtifactState]) -> list[Item[ArtifactState]]:
        return [item._replace(sources=[source]) for source in item.sources[:1]]


def _said(copy: Row, received_us: int) -> RunState:
    if isinstance(copy, RunCopy):
        return run_state(copy, received_us)
    if isinstance(copy, RunWait):
        return wait_state(copy, received_us)
    assert isinstance(copy, RunHeartbeat)  # nothing else is a source of a run
    return heartbeat_state(copy, received_us)


def chunk_state(chunk: DecisionChunk, received_us: int) -> ChunkState:
    """What one copy of a chunk says."""
    head = to_json([chunk.chunk_total, chunk.item_count, chunk.error])
    digest = blake2b(head + b"\0" + (chunk.data or b""), digest_size=8).digest()
    order = (chunk.data is None, int.from_bytes(digest, "big", signed=True))
    return ChunkState(1, received_us, order, chunk)


def merge_chunks(one: ChunkState, other: ChunkState) -> ChunkState:
    """Join two copies of the same chunk."""
    return min(one, other, key=lambda state: state.order)._replace(
        deliveries=one.deliveries + other.deliveries, received_us=min(one.received_us, other.received_us)
    )


def merge_artifacts(one: ArtifactState, other: ArtifactState) -> ArtifactState:
    """Join two copies of the same artifact; a payload that only one of them carried is kept."""
    kept = one if one.artifact.data is not None else other
    return kept._replace(
        deliveries=one.deliveries + other.deliveries, received_us=min(one.received_us, other.received_us)
    )


def _wins(stored: Order | None, came: Ranked[StepCopy] | None) -> bool:
    return came is None or (stored is not None and stored <= came.order)


def _orders(state: StepState) -> tuple[Any, Any]:
    return state.terminal and state.terminal.order, state.start and state.start.order


_RECEIPT_LAST = ("deliveries", "received_at", "last_received_at")


def _same_run(row: RunRow, other: RunRow) -> bool:
    """Whether two rows agree in everything but what merely counts receipts."""
    assert RunRow._fields[-3:] == _RECEIPT_LAST
    # As JSON text: a list read from the database equals the tuple that it was written from.
    return to_json(tuple(row[:-3])) == to_json(tuple(other[:-3]))
