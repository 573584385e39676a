"""Steps: the filtered list across runs, newest first, and the steps of one run in order."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    FromClause,
    Integer,
    RowMapping,
    Select,
    Table,
    Uuid,
    and_,
    bindparam,
    func,
    select,
    true,
    tuple_,
)
from sqlalchemy.sql.visitors import iterate

from store.engine import KEPT
from store.ids import run_key
from store.queries import bounds
from store.queries.artifacts import of_one_step
from store.queries.cursor import Cursors, SortKey, after
from store.queries.derived import STEP_EVIDENCE, of_run, of_step, ordinals
from store.queries.filters import Filters, PageRequest
from store.queries.keys import STEP_KEY, values, wanted
from store.queries.losses import of_steps
from store.queries.records import NOTHING_LOST, step_record
from store.queries.types import ListCompleteness, Page, StepRecord
from store.schema import runs, steps

MAX_STEPS = 1000
"""How many steps of a run are answered in one piece."""

_ORDER = (
    SortKey(steps.c.started_at, descending=True),
    SortKey(steps.c.run_key),
    SortKey(steps.c.step_id),
    SortKey(steps.c.attempt_key),
)


def list_steps(
    connection: Connection, cursors: Cursors, filters: Filters, page: PageRequest
) -> Page[StepRecord]:
    """
    Return the steps of all runs that satisfy all filters, newest start first, ties by key.

    By type: a walk along (step_type, started_at); with a threshold on drop_ratio that few pass, the
    planner takes (step_type, drop_ratio, started_at) instead.
    """
    question = filters.identity("steps")
    statement = matching(filters).where(*in_window(connection, filters))
    statement = statement.add_columns(steps.c.started_at).limit(page.limit + 1)
    if page.cursor is not None:
        statement = statement.where(after(_ORDER, cursors.decode(question, page.cursor)))
    found = connection.execute(statement).all()
    more, found = len(found) > page.limit, found[: page.limit]
    last = found[-1] if more else None
    position = None if last is None else [last.started_at, last.run_key, last.step_id, last.attempt_key]
    return _page(steps_by_key(connection, found), cursors, question, position)


def matching(filters: Filters) -> Select[Any]:
    """Return the keys of the steps that satisfy all filters, newest start first, ties by key."""
    clauses = filters.clauses()
    matching = select(*(steps.c[name] for name, _ in STEP_KEY)).where(*clauses)
    if any(_reads(clause, runs) for clause in clauses):
        matching = matching.join_from(steps, runs, of_run(steps, runs))
    return matching.order_by(*(key.ordered() for key in _ORDER))


def in_window(connection: Connection, filters: Filters) -> list[ColumnElement[bool]]:
    """Return what else is true of the steps that satisfy the filters, so that fewer partitions are opened."""
    return bounds.run_days(connection, steps, "steps", bounds.window(filters.own))


def _reads(clause: ColumnElement[bool], table: Table) -> bool:
    return any(getattr(part, "table", None) is table for part in iterate(clause))


def steps_by_key(connection: Connection, keys: Sequence[Sequence[Any]]) -> list[StepRecord]:
    """Return the steps with these keys, newest start first; keys: rows as of ``matching``."""
    if not keys:
        return []
    return _with_losses(connection, connection.execute(_SHOWN, values(STEP_KEY, keys)).mappings().all())


def _shown(keys: FromClause) -> Select[Any]:
    # The places in their runs of these steps only, whatever the filters left out.
    of_shown = select(keys.c.run_key, keys.c.run_day)
    numbered = ordinals(lambda step: tuple_(step.c.run_key, step.c.run_day).in_(of_shown))
    return _records(numbered).join(keys, of_step(steps, keys)).order_by(*(key.ordered() for key in _ORDER))


def steps_of_run(connection: Connection, run_id: str, *, limit: int = MAX_STEPS) -> list[StepRecord]:
    """Return the first steps of a run in order; empty for an unknown run."""
    asked = {"asked_run": run_key(run_id), "asked_steps": limit}
    return _with_losses(connection, connection.execute(_FIRST_OF_RUN, asked).mappings().all())


def named_steps_of_run(
    connection: Connection, run_id: str, keys: Collection[tuple[str, str]]
) -> list[StepRecord]:
    """Return the steps of a run with these (step_id, attempt_key), in order; unknown ones are left out."""
    if not keys:
        return []
    named = _OF_RUN.where(tuple_(steps.c.step_id, steps.c.attempt_key).in_(list(keys)))
    rows = connection.execute(named, {"asked_run": run_key(run_id)}).mappings().all()
    return _with_losses(connection, rows)


def page_of_run(connection: Connection, cursors: Cursors, run_id: str, page: PageRequest) -> Page[StepRecord]:
    """Return a page of the steps of a run in order; empty for an unknown run."""
    question = repr(("steps of run", run_id))
    statement = _OF_RUN.limit(page.limit + 1)
    if page.cursor is not None:
        statement = statement.where(after(_RUN_ORDER, cursors.decode(question, page.cursor)))
    rows = connection.execute(statement, {"asked_run": run_key(run_id)}).mappings().all()
    more, rows = len(rows) > page.limit, rows[: page.limit]
    last = rows[-1] if more else None
    position = None if last is None else [last[name] for name in _RUN_ORDER_NAMES]
    return _page(_with_losses(connection, rows), cursors, question, position)


def _with_losses(connection: Connection, rows: Sequence[RowMapping]) -> list[StepRecord]:
    lost = of_steps(connection, rows)
    keys = ((row["run_key"], row["step_id"], row["attempt_key"]) for row in rows)
    return [step_record(row, lost.get(key, NOTHING_LOST)) for row, key in zip(rows, keys, strict=True)]


def _records(numbered: FromClause) -> Select[Any]:
    found, attached = STEP_EVIDENCE, _ARTIFACTS
    return (
        select(
            *(column for column in steps.c if column.name not in _OVERRIDDEN),
            _RUN.c.run_id,
            *(func.coalesce(steps.c[name], _RUN.c[name]).label(name) for name in _IDENTITY),
            numbered.c.index,
            numbered.c.attempt,
            numbered.c.sort_index,
            numbered.c.sort_started_at,
            numbered.c.sort_entering,
            numbered.c.sort_ended_at,
            found.c.grade.label("evidence"),
            found.c.expired.label("decisions_expired"),
            found.c.stored.label("decisions_stored"),
            found.c.missing.label("chunks_missing"),
            found.c.unreadable.label("chunks_unreadable"),
            found.c.error.label("chunk_error"),
            attached.c.artifacts,
        )
        .join_from(steps, numbered, of_step(steps, numbered))
        .join(_RUN, true())
        .join(found, true())
        .join(attached, true())
    )


_IDENTITY = ("pipeline", "pipeline_version", "service_name", "environment")
# LIMIT keeps the planner from joining steps by what they share with the run alone: for each step
# of a run it would walk through all others (1,500 steps: 1,030 ms in place of 45).
_RUN = (
    select(runs.c.run_id, *(runs.c[name] for name in _IDENTITY))
    .where(of_run(runs, steps))
    .limit(1)
    .correlate(steps)
    .lateral()
)
_OVERRIDDEN = frozenset(
    # Shown as derived, or what the merge keeps for itself.
    {"attempt", *_IDENTITY}
    | {"end_sent_ns", "content_hash", "start_copy", "filled", "receipt_filled", "sent_flags"}
    | {"deliveries", "received_at"}
)

_ARTIFACTS = of_one_step(steps)
# Built once: putting the statement together takes longer than the database needs to answer it.
_ASKED = bindparam("asked_run", type_=Uuid())
# The day as a subquery, so that only the run's partition is opened.
_ASKED_DAY = select(runs.c.run_day).where(runs.c.run_key == _ASKED).scalar_subquery()
_NUMBERED = ordinals(lambda step: and_(step.c.run_key == _ASKED, step.c.run_day == _ASKED_DAY))
_RUN_ORDER_NAMES = (
    "sort_index",
    "sort_started_at",
    "sort_entering",
    "sort_ended_at",
    "step_id",
    "attempt_key",
)
_RUN_ORDER = tuple(SortKey(_NUMBERED.c[name]) for name in _RUN_ORDER_NAMES)
_OF_RUN = _records(_NUMBERED).order_by(*(key.ordered() for key in _RUN_ORDER))
_FIRST_OF_RUN = _OF_RUN.limit(bindparam("asked_steps", type_=Integer)).execution_options(**KEPT)
_SHOWN = _shown(wanted(STEP_KEY)).execution_options(**KEPT)


def _page(
    records: list[StepRecord], cursors: Cursors, question: str, position: list[Any] | None
) -> Page[StepRecord]:
    running = sum(record.completeness.metrics == "running" for record in records)
    partial = sum(bool(record.completeness.missing) for record in records)
    return Page(
        records,
        None if position is None else cursors.encode(question, position),
        ListCompleteness("partial" if running or partial else "exact", running, partial),
    )
