"""
Late outcomes as they are written: of the copies of one, that which was observed last holds.

The order of copies is (time observed, hash of the content), both as sent, so no order of arrival
can show. One that was withdrawn stays as a row without a value: a copy from before that comes
later changes nothing. Decision 0039.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import Any, NamedTuple

from psycopg import sql

from store import schema
from store.copies import to_json
from store.merge import RunState, bare_run, microseconds
from store.records import OutcomeRow
from store.rows import Outcome
from store.statements import Item, Statements

_OF_THE_RUN = ""
_NEVER_US = 0
"""An outcome is no sign that its run goes on: a run known from outcomes alone has been silent for ever."""


class OutcomeState(NamedTuple):
    """One outcome; the copy that holds, whole."""

    deliveries: int
    received_us: int
    observed_us: int | None
    content_hash: int
    outcome: Outcome


def outcome_key(run_key: bytes, outcome: Outcome) -> tuple[Any, ...]:
    """Return the key of the outcome but for ``run_day``."""
    return (run_key, outcome.name, outcome.item_id or _OF_THE_RUN)


def outcome_state(outcome: Outcome, received_us: int) -> OutcomeState:
    """What one copy of an outcome says."""
    observed_us = microseconds(outcome.observed_ns)
    digest = blake2b(to_json([observed_us, outcome.value, outcome.source]), digest_size=8).digest()
    hashed = int.from_bytes(digest, "big", signed=True)
    return OutcomeState(1, received_us, observed_us, hashed, outcome)


def merge_outcomes(one: OutcomeState, other: OutcomeState) -> OutcomeState:
    """Join two copies of the same outcome."""
    return max(one, other, key=_place)._replace(
        deliveries=one.deliveries + other.deliveries, received_us=min(one.received_us, other.received_us)
    )


def silent_run(run_id: str, received_us: int) -> RunState:
    """The state of a run of which an outcome came: it is there, which says nothing about how it goes."""
    return bare_run(run_id, received_us)._replace(last_received_us=_NEVER_US)


def _place(state: OutcomeState) -> tuple[bool, int, int]:
    return _order(state.observed_us, state.content_hash)


def _order(observed_us: int | None, content_hash: int) -> tuple[bool, int, int]:
    return (observed_us is not None, observed_us or 0, content_hash)


class Outcomes:
    """``outcomes``."""

    statements = Statements(
        schema.outcomes,
        peek=sql.SQL("t.observed_at, t.content_hash"),
        hash_of=lambda item: item.state.content_hash,
    )
    optimistic = True

    def row(self, item: Item[OutcomeState]) -> OutcomeRow:
        run_key, name, item_id, run_day = item.key
        deliveries, received_us, observed_us, content_hash, outcome = item.state
        return OutcomeRow(
            run_key,
            name,
            item_id,
            run_day,
            outcome.value,
            outcome.source,
            observed_us,
            content_hash,
            deliveries,
            received_us,
        )

    def settled(self, peeked: Sequence[Any], item: Item[OutcomeState]) -> bool:
        observed_us, content_hash = peeked[4:]
        return _order(observed_us, content_hash) >= _place(item.state)

    def combine(self, stored: Sequence[Any], item: Item[OutcomeState]) -> OutcomeState:
        row = OutcomeRow(*stored)
        outcome = item.state.outcome._replace(value=row.value, source=row.source)
        known = OutcomeState(row.deliveries, row.received_at, row.observed_at, row.content_hash, outcome)
        return merge_outcomes(known, item.state)

    def parts(self, item: Item[OutcomeState]) -> list[Item[OutcomeState]]:
        return [
            item._replace(state=outcome_state(source.copy, item.state.received_us), sources=[source])
            for source in item.sources
            if isinstance(source.copy, Outcome)
        ]
