"""The decisions of all steps of a run, read at once, for answers that hold two runs against each other."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from sqlalchemy import Connection, select

from store.decisions import Decision, rows, unpack
from store.ids import run_key
from store.queries.derived import readable
from store.schema import decisions, runs

MAX_DECISIONS = 400_000
"""Of one run; what a run has beyond them is not read. 100,000 take 0.3 s of processor time."""

StepKey = tuple[str, str]
"""Id of the step and key of its attempt."""


class RunDecisions(NamedTuple):
    """What the steps of a run decided, as far as it was read."""

    by_step: Mapping[StepKey, Sequence[Decision]]
    """In the order judged."""
    unread: frozenset[StepKey]
    """Executions with decisions that were too many, or that cannot be unpacked; not in ``by_step``."""


def run_decisions(connection: Connection, run_id: str, limit: int = MAX_DECISIONS) -> RunDecisions:
    """
    Return the readable decisions of a run; of an unknown one nothing.

    Where they are more than ``limit``, the smallest steps are read. Two statements by primary key.
    """
    key = run_key(run_id)
    day = select(runs.c.run_day).where(runs.c.run_key == key).scalar_subquery()
    of_run = (decisions.c.run_key == key, decisions.c.run_day == day)
    sizes: defaultdict[StepKey, int] = defaultdict(int)
    closed: set[StepKey] = set()
    place = (decisions.c.step_id, decisions.c.attempt_key)
    listed = select(*place, decisions.c.item_count, readable(decisions)).where(*of_run)
    for step_id, attempt_key, count, opens in connection.execute(listed):
        sizes[step_id, attempt_key] += count
        if not opens:
            closed.add((step_id, attempt_key))
    affordable, left = set(), limit
    for step, size in sorted(sizes.items(), key=lambda entry: (entry[1], entry[0])):
        if step not in closed and size <= left:
            left -= size
            affordable.add(step)
    found: dict[StepKey, list[Decision]] = {step: [] for step in affordable}
    chunks = (
        select(*place, decisions.c.data)
        .where(*of_run, decisions.c.step_id.in_({step_id for step_id, _ in affordable}))
        .order_by(*place, decisions.c.chunk_index)
    )
    for step_id, attempt_key, data in connection.execute(chunks):
        if (made := found.get((step_id, attempt_key))) is not None:
            made += rows(unpack(data))
    return RunDecisions(found, frozenset(sizes.keys() - affordable))
