"""
What was erased and must not come back: how a writer knows it, and keeps it out of what it stores.

Kept are hashes alone. Whoever can guess an id can test the guess; whoever cannot learns nothing.
Decision 0035.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from hashlib import blake2b
from time import monotonic
from typing import Any, NamedTuple

import psycopg

from store.assemble import Work
from store.decisions import CODEC, pack, unpack
from store.item_filter import FINGERPRINT_BYTES, build, fingerprint
from store.kinds import ChunkState, chunk_state
from store.lone import item_of
from store.merge import Ranked, StepState
from store.rows import DecisionChunk, Refused, StepCopy
from store.statements import Item

ERASED = "it was erased"
"""Why a row of an erased run, or an outcome of an erased item, is refused."""
MARKER = "erased"
"""Stands where the id of an erased item stood."""
LOOK_EVERY_S = 1.0
"""How long a writer may not know of an erasure; whoever erases waits longer (``store/erase.py``)."""


class Erased(NamedTuple):
    """What one writer knows to be erased."""

    number: int = 0
    """Of the last erasure."""
    runs: frozenset[bytes] = frozenset()
    """Run keys."""
    items: Mapping[bytes, frozenset[bytes]] = {}
    """Digests of item ids by their fingerprints."""

    def names(self, item_id: str | None) -> bool:
        """Whether this is the id of an erased item."""
        if item_id is None:
            return False
        digests = self.items.get(fingerprint(item_id))
        return digests is not None and item_digest(item_id) in digests


def item_digest(item_id: str) -> bytes:
    """Return what is kept of an item's id: 16 bytes."""
    return blake2b(item_id.encode("utf-8", "surrogatepass"), digest_size=16, person=b"xray-item").digest()


class ErasureWatch:
    """What a writer knows, looked up again every ``LOOK_EVERY_S``."""

    def __init__(self) -> None:
        self._known = Erased()
        self._looked_at = -float("inf")

    def look(self, connection: psycopg.Connection[Any]) -> Erased:
        """Return what was erased, as of ``LOOK_EVERY_S`` ago or later."""
        now = monotonic()
        if now - self._looked_at < LOOK_EVERY_S:
            return self._known
        row = connection.execute("SELECT coalesce(max(number), 0) FROM erasures").fetchone()
        if row is not None and row[0] > self._known.number:
            self._known = read_erased(connection, self._known)
        # As of before the question, so that what is erased meanwhile is not missed for longer.
        self._looked_at = now
        return self._known


def read_erased(connection: psycopg.Connection[Any], known: Erased) -> Erased:
    """Return what is known with what was erased after it: numbers go up as they are committed."""
    found = connection.execute(
        "SELECT number, kind, digest, fingerprint FROM erasures WHERE number > %s",
        [known.number],
        binary=True,
    )
    runs, items, number = set(known.runs), dict(known.items), known.number
    for each, kind, digest, mark in found:
        number = max(number, each)
        if kind == "run":
            runs.add(bytes(digest))
        else:
            items[bytes(mark)] = items.get(bytes(mark), frozenset()) | {bytes(digest)}
    return Erased(number, frozenset(runs), items)


def scrubbed(work: Work, erased: Erased) -> Work:
    """Return the work without the ids of erased items; itself when there is none in it."""
    if not erased.items:
        return work
    decisions = {key: _scrubbed_chunk(item, erased) for key, item in work.decisions.items()}
    steps = {}
    for key, entry in work.steps.items():
        named = not isinstance(entry, Item) and erased.names(entry[1].selected_id)
        item = item_of(key, entry) if named and not isinstance(entry, Item) else entry
        steps[key] = _scrubbed_step(item, erased) if isinstance(item, Item) else item
    outcomes, refused = dict(work.outcomes), list(work.refused)
    for outcome_key in [key for key in outcomes if erased.names(key[2])]:
        gone = outcomes.pop(outcome_key)
        refused += [(source.batch, Refused(source.copy, ERASED, "erased")) for source in gone.sources]
    return replace(work, decisions=decisions, steps=steps, outcomes=outcomes, refused=refused)


def _scrubbed_chunk(item: Item[ChunkState], erased: Erased) -> Item[ChunkState]:
    chunk = without_items(item.state.chunk, erased)
    if chunk is item.state.chunk:
        return item
    state = chunk_state(chunk, item.state.received_us)._replace(deliveries=item.state.deliveries)
    # Not to be taken apart: its sources still name the item.
    return item._replace(state=state, whole=False)


def without_items(chunk: DecisionChunk, erased: Erased) -> DecisionChunk:
    """Return the chunk with ``MARKER`` in the place of erased items; itself when it names none."""
    data, marks = chunk.data, chunk.item_filter
    if data is None or data[:1] != CODEC or (marks is not None and not _may_name(marks, erased)):
        return chunk
    columns = unpack(data)
    if not any(map(erased.names, columns.item)):
        return chunk
    items = [MARKER if erased.names(item) else item for item in columns.item]
    return chunk._replace(data=pack(replace(columns, item=items)), item_filter=build(items))


def _may_name(marks: bytes, erased: Erased) -> bool:
    if len(erased.items) < 64:
        return any(mark in marks for mark in erased.items)
    width = FINGERPRINT_BYTES
    return any(marks[place : place + width] in erased.items for place in range(0, len(marks), width))


def _scrubbed_step(item: Item[StepState], erased: Erased) -> Item[StepState]:
    terminal, start = item.state.terminal, item.state.start
    if not any(ranked and erased.names(ranked.copy.selected_id) for ranked in (terminal, start)):
        return item
    state = item.state._replace(terminal=_unselected(terminal, erased), start=_unselected(start, erased))
    return item._replace(state=state, whole=False)


def _unselected(ranked: Ranked[StepCopy] | None, erased: Erased) -> Ranked[StepCopy] | None:
    if ranked is None or not erased.names(ranked.copy.selected_id):
        return ranked
    # In its place among the copies, which is that of what was sent: so it meets itself when it comes again.
    return ranked._replace(copy=ranked.copy._replace(selected_id=MARKER))
