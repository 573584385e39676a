"""
What a turn of an ``Adopter`` does in its transaction (decision 0020).

It locks some traces, and moves their steps with all that belongs to them by the ordinary landing.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import date
from time import time_ns
from typing import Any

import psycopg
from psycopg import sql

from store import schema
from store.artifact_limit import UNUSED_BLOBS, trim
from store.bounds import Reach, widen
from store.kinds import Artifacts, Blobs, Decisions, Steps
from store.landing import Kind, by_column, land
from store.losses import Losses
from store.moved import (
    ADOPTED,
    AdoptedSteps,
    Move,
    artifact_item,
    blob_item,
    chunk_item,
    loss_item,
    step_item,
)
from store.records import ArtifactRow, BlobRow, StepRow, TraceRow
from store.rollup_marks import leave, slot_of
from store.statements import Item
from store.traces import Traces, recover_trace
from store.wire import Array, array

_STEPS_PER_TURN = 512
_CHUNKS_PER_TURN = 256
"""Some 30 MB, when each holds thousands of candidates."""
_ARTIFACTS_PER_TURN = 16
"""A payload may be as large as a request."""
_LOSSES_PER_TURN = 1_024


def _columns(table: Any) -> sql.Composed:
    return sql.SQL(", ").join(sql.Identifier("t", column.name) for column in table.columns)


_PENDING = sql.SQL(
    "SELECT {} FROM traces t WHERE t.pending AND t.run_key <> ALL (%s) ORDER BY t.run_key LIMIT %s"
    " FOR UPDATE SKIP LOCKED"
).format(_columns(schema.traces))

_DAYS = (
    "SELECT run_key, run_day FROM runs WHERE run_key = ANY (%s)"
    " AND run_day >= coalesce((SELECT first_day FROM retention_floors WHERE kind = 'runs'), '-infinity')"
    " AND NOT EXISTS (SELECT FROM erasures WHERE kind = 'run' AND digest = uuid_send(run_key))"
)

_FREE_RUNS = (
    "SELECT run_key FROM runs WHERE run_key = ANY (%s) ORDER BY run_key FOR NO KEY UPDATE SKIP LOCKED"
)
"""Locks them as writers of artifacts do; those lock runs before traces, so it never waits for them."""

_MOVES = sql.SQL(
    "unnest(%s, %s, %s, %s) WITH ORDINALITY AS k (source, target, own, trace_id, n)"
    " JOIN runs source ON source.run_key = k.source JOIN {table} t"
    " ON t.run_key = source.run_key AND t.run_day = source.run_day"
)

_STEPS = sql.SQL(
    "SELECT k.n, {columns} FROM {moves}"
    # In the trace's own run all of them name no run; elsewhere those that were taken in.
    " WHERE t.trace_id = k.trace_id AND t.inferred AND (k.source = k.own OR {adopted} = ANY (t.filled))"
    " ORDER BY t.run_key, t.step_id, t.attempt_key LIMIT {limit} FOR UPDATE OF t"
).format(
    columns=_columns(schema.steps),
    moves=_MOVES.format(table=sql.Identifier("steps")),
    adopted=sql.Literal(ADOPTED),
    limit=_STEPS_PER_TURN,
)


def _evidence_of(table: Any, limit: int) -> sql.Composed:
    """What still lies in the source of steps that lie in the target."""
    return sql.SQL(
        "SELECT k.n, {columns} FROM {moves} JOIN runs target ON target.run_key = k.target"
        " JOIN steps s ON s.run_key = target.run_key AND s.run_day = target.run_day"
        " AND s.step_id = t.step_id AND s.attempt_key = t.attempt_key"
        " WHERE s.trace_id = k.trace_id AND s.inferred AND (k.target = k.own OR {adopted} = ANY (s.filled))"
        " LIMIT {limit} FOR UPDATE OF t"
    ).format(
        limit=limit,
        columns=_columns(table),
        moves=_MOVES.format(table=sql.Identifier(table.name)),
        adopted=sql.Literal(ADOPTED),
    )


_DECISIONS = _evidence_of(schema.decisions, _CHUNKS_PER_TURN)
_ARTIFACTS = _evidence_of(schema.artifacts, _ARTIFACTS_PER_TURN)
_LOSSES = _evidence_of(schema.losses, _LOSSES_PER_TURN)

_BLOBS = sql.SQL(
    "SELECT k.n, {columns} FROM unnest(%s, %s, %s, %s) AS k (run_key, sha256, run_day, n)"
    " JOIN artifact_blobs t USING (run_key, sha256, run_day)"
).format(columns=_columns(schema.artifact_blobs))


def take(cursor: psycopg.Cursor[Any], traces: int, but: Collection[bytes]) -> list[TraceRow]:
    """
    Lock some of the traces whose steps lie elsewhere than they belong, and return them.

    traces: how many, at most. but: keys of those that are left out.
    """
    cursor.execute(_PENDING, [array("uuid", but), traces], binary=True)
    return [TraceRow(*record) for record in cursor]


def move(cursor: psycopg.Cursor[Any], pending: Sequence[TraceRow], max_artifacts: int) -> bool:
    """
    Move steps of these traces; return whether there may be more to do at once.

    max_artifacts: of one run.
    """
    if not pending:
        return False
    moves = _moves(cursor, pending)
    drained = [_move_steps(cursor, moves), _move_decisions(cursor, moves)]
    artifacts = [(move, ArtifactRow(*row)) for move, row in _found(cursor, _ARTIFACTS, moves)]
    free = _free(cursor, artifacts)
    drained.append(_move_artifacts(cursor, free, max_artifacts) and len(free) == len(artifacts))
    drained.append(_move_losses(cursor, moves))
    _settle(cursor, pending, {move.own: move for move in moves}, all(drained))
    # Who adds to one of the runs just now is done soon.
    return len(free) == len(artifacts)


def _moves(cursor: psycopg.Cursor[Any], pending: Sequence[TraceRow]) -> list[Move]:
    """What to do for each trace: back first, when its steps lie with a run that is no longer the only one."""
    wanted = []
    for row in pending:
        trace = recover_trace(row)
        if trace.placed is not None and trace.placed != trace.home:
            wanted.append((trace, row.run_key, trace.placed, row.run_key))
        elif trace.home is not None:
            wanted.append((trace, row.run_key, row.run_key, trace.home))
    targets = {target for *_, target in wanted}
    cursor.execute(_DAYS, [array("uuid", targets)], binary=True)
    days: dict[bytes, date] = dict(cursor.fetchall())
    # A run whose time is over, or that was erased, takes nothing in.
    return [Move(*move, days[move[-1]]) for move in wanted if move[-1] in days]


def _arrays(moves: Sequence[Move]) -> list[Array]:
    return [
        array("uuid", [move.source for move in moves]),
        array("uuid", [move.target for move in moves]),
        array("uuid", [move.own for move in moves]),
        array("uuid", [move.trace.trace_id for move in moves]),
    ]


def _found(
    cursor: psycopg.Cursor[Any], query: sql.Composed, moves: Sequence[Move]
) -> list[tuple[Move, Sequence[Any]]]:
    """The rows that a statement gives, each with the move that it is part of."""
    if not moves:
        return []
    cursor.execute(query, _arrays(moves), binary=True)
    return [(moves[number - 1], row) for number, *row in cursor]


def _move_steps(cursor: psycopg.Cursor[Any], moves: Sequence[Move]) -> bool:
    """Move steps, up to the bound of a turn; return whether none were left that could be moved."""
    found = [(move, StepRow(*row)) for move, row in _found(cursor, _STEPS, moves)]
    moved, reach = 0, Reach()
    slots = {slot_of(row.started_at, row.run_day) for _, row in found}
    for kind, adopts in ((AdoptedSteps(reach), True), (Steps(reach), False)):
        pairs = [step_item(move, row) for move, row in found if move.adopts is adopts]
        moved += _carry(cursor, kind, pairs)
        slots |= kind.slots
    if moved:
        leave(cursor, slots)
    widen(cursor, reach, {})
    return len(found) < _STEPS_PER_TURN or not moved


def _move_decisions(cursor: psycopg.Cursor[Any], moves: Sequence[Move]) -> bool:
    """As ``_move_steps``."""
    found = _found(cursor, _DECISIONS, moves)
    moved = _carry(cursor, Decisions(), [chunk_item(*each) for each in found])
    return len(found) < _CHUNKS_PER_TURN or not moved


def _move_losses(cursor: psycopg.Cursor[Any], moves: Sequence[Move]) -> bool:
    """As ``_move_steps``."""
    found = _found(cursor, _LOSSES, moves)
    moved = _carry(cursor, Losses(), [loss_item(*each) for each in found])
    return len(found) < _LOSSES_PER_TURN or not moved


def _free(
    cursor: psycopg.Cursor[Any], artifacts: Sequence[tuple[Move, ArtifactRow]]
) -> Sequence[tuple[Move, ArtifactRow]]:
    """Lock the runs where artifacts go, which are counted; return those whose run nobody else has locked."""
    if not artifacts:
        return artifacts
    cursor.execute(_FREE_RUNS, [array("uuid", {move.target for move, _ in artifacts})], binary=True)
    locked = {key for (key,) in cursor}
    return [(move, old) for move, old in artifacts if move.target in locked]


def _move_artifacts(
    cursor: psycopg.Cursor[Any], found: Sequence[tuple[Move, ArtifactRow]], max_artifacts: int
) -> bool:
    """As ``_move_steps``, with their payloads; past the limit of their new run they are losses there."""
    if not found:
        return True
    moved = _carry(cursor, Artifacts(), [artifact_item(*each) for each in found])
    _move_blobs(cursor, found)
    days = {move.target: move.target_day for move, _ in found}
    past = trim(cursor, days, days, max_artifacts, time_ns() // 1_000)
    land(
        cursor,
        Losses(),
        [item._replace(key=(*item.key, days[item.key[0]])) for item in past],
        again=True,
    )
    return len(found) < _ARTIFACTS_PER_TURN or not moved


def _carry(
    cursor: psycopg.Cursor[Any], kind: Kind[Any], pairs: Sequence[tuple[Item[Any], tuple[Any, ...]]]
) -> int:
    """Land items, and delete the rows that they were made of, by their keys; return how many."""
    if not pairs:
        return 0
    # Two runs may hold a copy of the same step: they come one after the other.
    apart: dict[tuple[Any, ...], list[tuple[Item[Any], tuple[Any, ...]]]] = {}
    for item, key in pairs:
        apart.setdefault(item.key, []).append((item, key))
    gone = []
    for place in range(max(map(len, apart.values()))):
        now = [same[place] for same in apart.values() if len(same) > place]
        landed = land(cursor, kind, [item for item, _ in now], again=True)
        refused = {item.key for item, _ in landed.refused}
        gone += [Item(key, None, []) for item, key in now if item.key not in refused]
    if gone:
        cursor.execute(kind.statements.delete, kind.statements.key_arrays(gone))
    return len(gone)


def _move_blobs(cursor: psycopg.Cursor[Any], artifacts: Sequence[tuple[Move, ArtifactRow]]) -> None:
    """Bring the payloads of artifacts that were moved; what is left in their place without one goes."""
    keys = [
        array("uuid", [old.run_key for _, old in artifacts]),
        array("bytea", [old.sha256 for _, old in artifacts]),
        array("date", [old.run_day for _, old in artifacts]),
    ]
    cursor.execute(_BLOBS, [*keys, array("int8", range(len(artifacts)))], binary=True)
    items = {}
    for number, *row in cursor.fetchall():
        move, old = artifacts[number]
        item = blob_item(move, old, BlobRow(*row))
        items[item.key] = item
    land(cursor, Blobs(), list(items.values()), again=True)
    cursor.execute(UNUSED_BLOBS, keys)


def _settle(
    cursor: psycopg.Cursor[Any], pending: Sequence[TraceRow], moves: Mapping[bytes, Move], drained: bool
) -> None:
    """Note where the steps of each trace are put now, and whether that was all."""
    rows = []
    for row in pending:
        move = moves.get(row.run_key)
        if move is None:
            rows.append(row._replace(pending=False))
        elif move.adopts:
            rows.append(row._replace(placed=move.target, pending=not drained))
        else:
            placed = None if drained else row.placed
            rows.append(row._replace(placed=placed, pending=not drained or move.trace.home is not None))
    traces = Traces.statements
    cursor.execute(traces.delete, traces.key_arrays([Item((row.run_key,), None, []) for row in rows]))
    traces.copy.send(cursor, by_column(rows))
