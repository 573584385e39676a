"""
Traces, as far as runs share them: who may take in the steps that name no run (decision 0020).

A row says which identified runs were seen in a trace and whether steps were inferred in it.
Both sides write it in the transaction of what they report, so that whoever comes second waits
for the first and sees it. The steps themselves are moved later (``store/adoption.py``).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import psycopg
from psycopg import sql

from store import schema
from store.faults import CONFLICT
from store.ids import run_key_bytes
from store.landing import land
from store.records import TraceRow
from store.savepoint import savepoint
from store.statements import Item, Statements

_ENOUGH = 2
"""Claims that are kept: with two of them nobody takes the steps in, however many more there are."""
_TRACE_ID = re.compile("[0-9a-f]{32}")


class TraceState(NamedTuple):
    """What is known of one trace; claims and signs of inferred steps only ever grow."""

    trace_id: bytes
    received_us: int
    claimed_by: tuple[bytes, ...] = ()
    inferred: bool = False
    placed: bytes | None = None
    pending: bool = False
    came: bool = False
    """Whether something of the trace's own run came, which may belong elsewhere; not stored."""

    @property
    def home(self) -> bytes | None:
        """Where its inferred steps belong: the only identified run, or None for the trace's own."""
        return self.claimed_by[0] if len(self.claimed_by) == 1 else None


def merge_traces(stored: TraceState, came: TraceState) -> TraceState:
    """Join what is stored with what came."""
    merged = stored._replace(
        received_us=min(stored.received_us, came.received_us),
        claimed_by=tuple(sorted({*stored.claimed_by, *came.claimed_by})[:_ENOUGH]),
        inferred=stored.inferred or came.inferred,
    )
    moves = merged.placed != merged.home or (came.came and merged.home is not None)
    return merged._replace(pending=stored.pending or (merged.inferred and moves))


def own_trace(run_id: str) -> bytes | None:
    """Return the trace whose own run may have this id."""
    return bytes.fromhex(run_id) if len(run_id) == 32 and _TRACE_ID.fullmatch(run_id) else None


class Claim(NamedTuple):
    """An identified run was seen in a trace."""

    own: bytes
    """Key of the trace's own run."""
    trace_id: bytes
    run_key: bytes
    received_us: int


class Sign(NamedTuple):
    """Something came to a trace's own run: inferred steps, or evidence."""

    trace_id: bytes
    inferred: bool
    received_us: int


def claims(run_id: str, run_key: bytes, trace_ids: Iterable[bytes], received_us: int) -> list[Claim]:
    """Return the claims of a run; one that has its id from the trace makes none."""
    named = ((trace_id.hex(), trace_id) for trace_id in trace_ids)
    return [
        Claim(run_key_bytes(own), trace_id, run_key, received_us) for own, trace_id in named if own != run_id
    ]


def land_traces(cursor: psycopg.Cursor[Any], claimed: list[Claim], signs: Sequence[Sign]) -> None:
    """Note what runs the traces have, and of which something came that may belong to one of them."""
    if signs or not _copied(cursor, claimed):
        items: dict[bytes, Item[TraceState]] = {}
        for own, trace_id, run_key, received_us in claimed:
            _add(items, own, TraceState(trace_id, received_us, (run_key,)))
        for trace_id, inferred, received_us in signs:
            said = TraceState(trace_id, received_us, inferred=inferred, came=True)
            _add(items, run_key_bytes(trace_id.hex()), said)
        # None can be refused: nothing in them is the sender's own words.
        land(cursor, Traces(), list(items.values()), again=True)


def _copied(cursor: psycopg.Cursor[Any], claimed: list[Claim]) -> bool:
    """Store the claims on traces that nothing is known of, as most are; False when one of them is known."""
    if not claimed:
        return True
    claimed.sort()  # all writers take the rows in the order of their keys
    own, trace_ids, run_keys, received_us = zip(*claimed, strict=True)
    no, nothing = (False,) * len(own), (None,) * len(own)
    try:
        with savepoint(cursor):
            Traces.statements.copy.send(
                cursor, (own, trace_ids, [(key,) for key in run_keys], no, nothing, no, received_us)
            )
    except CONFLICT:
        return False
    return True


def _add(items: dict[bytes, Item[TraceState]], key: bytes, said: TraceState) -> None:
    known = items.get(key)
    if known is not None:
        came = said.came or known.state.came
        said = merge_traces(known.state, said)._replace(came=came)
    items[key] = Item((key,), said, [])


class Traces:
    """``traces``, where something is known of one of them already."""

    statements = Statements(
        schema.traces,
        peek=sql.SQL("t.trace_id, t.claimed_by, t.inferred, t.placed, t.pending, t.received_at"),
        touch=None,
    )
    optimistic = False

    def row(self, item: Item[TraceState]) -> TraceRow:
        state = item.state
        return TraceRow(
            item.key[0],
            state.trace_id,
            state.claimed_by or None,
            state.inferred,
            state.placed,
            state.pending or (state.inferred and state.placed != state.home),
            state.received_us,
        )

    def settled(self, peeked: Sequence[object], item: Item[TraceState]) -> bool:
        stored = recover_trace(TraceRow(*peeked))  # type: ignore[arg-type]  # in the order of the columns
        return merge_traces(stored, item.state)._replace(received_us=0) == stored._replace(received_us=0)

    def combine(self, stored: Sequence[object], item: Item[TraceState]) -> TraceState:
        return merge_traces(recover_trace(TraceRow(*stored)), item.state)  # type: ignore[arg-type]

    def parts(self, item: Item[TraceState]) -> list[Item[TraceState]]:
        return [item]


def recover_trace(row: TraceRow) -> TraceState:
    """Return the state that the row was made of."""
    return TraceState(
        row.trace_id, row.received_at, tuple(row.claimed_by or ()), row.inferred, row.placed, row.pending
    )
