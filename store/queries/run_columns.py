"""The decisions of all steps of a run, as the columns that they are stored in: no object per candidate."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from sqlalchemy import Connection, select

from store.decisions import DecisionColumns, UnknownCodec, unpack
from store.ids import run_key
from store.queries.derived import readable
from store.schema import decisions, runs, steps

MAX_DECISIONS = 1_000_000
"""Of one run; 100,000 take 12 ms of processor time and 15 MB."""
_CHUNKS_AT_ONCE = 64

StepKey = tuple[str, str]
"""(step_id, attempt_key)."""


class RunColumns(NamedTuple):
    """What the steps of a run decided, and which step's span stands around which."""

    by_step: Mapping[StepKey, Sequence[DecisionColumns]]
    """Chunks in order; without executions that have none."""
    unread: frozenset[StepKey]
    """Executions with decisions that were too many, or that cannot be unpacked; not in ``by_step``."""
    enclosing: Mapping[StepKey, str]
    """The parent of the step's span, hex; it may be no step."""


NO_COLUMNS = RunColumns({}, frozenset(), {})


def run_columns(
    connection: Connection, run_id: str, wanted: Collection[StepKey], limit: int = MAX_DECISIONS
) -> RunColumns:
    """
    Return the readable decisions of these executions of a run.

    Where they are more than ``limit``, the smallest steps are read. Three statements by primary key.
    """
    key = run_key(run_id)
    day = select(runs.c.run_day).where(runs.c.run_key == key).scalar_subquery()
    of_run = (decisions.c.run_key == key, decisions.c.run_day == day)
    sizes: Counter[StepKey] = Counter()
    listed = select(decisions.c.step_id, decisions.c.attempt_key, decisions.c.item_count).where(*of_run)
    for step_id, attempt_key, count in connection.execute(listed):
        sizes[step_id, attempt_key] += count
    chosen, left = set(), limit
    for step in sorted(sizes.keys() & set(wanted), key=lambda step: (sizes[step], step)):
        left -= sizes[step]
        if left >= 0:
            chosen.add(step)
    unread = (sizes.keys() & set(wanted)) - chosen
    found: dict[StepKey, list[DecisionColumns]] = {}
    if chosen:
        chunks = connection.execute(
            select(decisions.c.step_id, decisions.c.attempt_key, decisions.c.data)
            .where(*of_run, readable(decisions), decisions.c.step_id.in_({step_id for step_id, _ in chosen}))
            .order_by(decisions.c.step_id, decisions.c.attempt_key, decisions.c.chunk_index),
            execution_options={"yield_per": _CHUNKS_AT_ONCE},
        )
        for step_id, attempt_key, data in chunks:
            if (step_id, attempt_key) not in chosen:
                continue
            try:
                found.setdefault((step_id, attempt_key), []).append(unpack(data))
            except UnknownCodec:
                unread.add((step_id, attempt_key))
    spans = connection.execute(
        select(steps.c.step_id, steps.c.attempt_key, steps.c.parent_span_id).where(
            steps.c.run_key == key, steps.c.run_day == day, steps.c.parent_span_id.is_not(None)
        )
    )
    return RunColumns(
        {step: parts for step, parts in found.items() if step not in unread},
        frozenset(unread),
        {(row.step_id, row.attempt_key): row.parent_span_id.hex() for row in spans},
    )
