"""Which runs are shown, and the day of one that is asked for."""

from __future__ import annotations

from datetime import date

from sqlalchemy import ColumnElement, Connection, FromClause, Text, Uuid, bindparam, cast, func, or_, select

from store.ids import run_key
from store.kept import Kept, rows
from store.queries.derived import of_run
from store.schema import artifacts, decisions, losses, outcomes, runs, steps


def _holds(table: FromClause, *such: ColumnElement[bool]) -> ColumnElement[bool]:
    return select(table.c.run_key).where(of_run(table, runs), *such).correlate(runs).exists()


PLAINLY_SHOWN = or_(
    runs.c.content_hash.is_not(None),
    runs.c.start_copy.is_not(None),
    runs.c.wait_at.is_not(None),
    runs.c.run_id.is_distinct_from(func.replace(cast(runs.c.trace_ids[1], Text), "-", "")),
)
"""Nearly every run, by one column; planning the look into the tables takes longer than all else."""

SHOWN = or_(
    PLAINLY_SHOWN,
    *(_holds(table) for table in (steps, decisions, artifacts, losses)),
    _holds(outcomes, outcomes.c.value.is_not(None)),
)
"""
Not a trace's own run of which nothing is left, because another run took its steps in (decision 0020).

In this order, so that of nearly every run one column is read.
"""


def day_of(connection: Connection, run_id: str) -> date | None:
    """Return the ``run_day`` of a run; None when nothing of it has arrived, or it was erased."""
    asked = {"asked_run": run_key(run_id)}
    (found,) = rows(connection, (_DAY, asked))
    # By its old name an erased run is unknown.
    if not found or found[0]["run_id"] != run_id:
        return None
    if not found[0]["shown"]:
        (found,) = rows(connection, (_DAY_IF_SHOWN, asked))
    day: date | None = found[0]["run_day"] if found else None
    return day


_DAY = Kept(
    select(runs.c.run_id, runs.c.run_day, PLAINLY_SHOWN.label("shown")).where(
        runs.c.run_key == bindparam("asked_run", type_=Uuid())
    )
)
_DAY_IF_SHOWN = Kept(
    select(runs.c.run_day).where(runs.c.run_key == bindparam("asked_run", type_=Uuid()), SHOWN)
)
