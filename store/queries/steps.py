"""Steps: the filtered list across runs, newest first, and the steps of one run in order."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Connection,
    FromClause,
    Integer,
    Select,
    Table,
    and_,
    bindparam,
    exists,
    func,
    or_,
    select,
    true,
    tuple_,
)
from sqlalchemy.sql.visitors import iterate

from store.kept import Forms, Kept, Rows, rows
from store.queries import bounds, losses
from store.queries.artifacts import of_one_step
from store.queries.chunks import evidence
from store.queries.cursor import Cursors, SortKey, after, given_position
from store.queries.derived import of_run, of_step, ordinals
from store.queries.filters import Filters, PageRequest
from store.queries.keys import STEP_KEY, asked, in_days, of_asked, of_keys, values, wanted
from store.queries.records import NOTHING_LOST, Row, step_record
from store.queries.shown import day_of
from store.queries.types import ListCompleteness, Page, StepRecord
from store.schema import runs, steps

MAX_STEPS = 1000
"""How many steps of a run are answered in one piece."""

_ORDER_NAMES = ("started_at", "run_key", "step_id", "attempt_key")
_ORDER = tuple(SortKey(steps.c[name], descending=name == "started_at") for name in _ORDER_NAMES)


def list_steps(
    connection: Connection, cursors: Cursors, filters: Filters, page: PageRequest
) -> Page[StepRecord]:
    """
    Return the steps of all runs that satisfy all filters, newest start first, ties by key.

    By type: a walk along (step_type, started_at); with a threshold on drop_ratio that few pass, the
    planner takes (step_type, drop_ratio, started_at) instead.
    """
    question = filters.identity("steps")
    start = None if page.cursor is None else cursors.decode(question, page.cursor)
    found = _found(connection, filters, start, page.limit + 1)
    more, found = len(found) > page.limit, found[: page.limit]
    position = [found[-1][name] for name in _ORDER_NAMES] if more else None
    keys = [tuple(row[name] for name, _ in STEP_KEY) for row in found]
    return _page(steps_by_key(connection, keys), cursors, question, position)


def _found(
    connection: Connection, filters: Filters, start: Sequence[Any] | None, limit: int
) -> Sequence[Row]:
    """The first keys behind ``start``, with started_at."""
    days = bounds.kept_days(connection, "steps", bounds.window(filters.own))
    form = filters.form()

    def build() -> Select[Any]:
        clauses = filters.clauses() if form is None else filters.named()
        statement = (
            _matching(clauses).where(*bounds.within(steps, days, named=True)).add_columns(steps.c.started_at)
        )
        if start is not None:
            statement = statement.where(after(_ORDER, start, named=True))
        return statement.limit(bindparam("asked_limit", type_=Integer))

    given = {"asked_limit": limit, **bounds.given_days(days)}
    if start is not None:
        given |= given_position(_ORDER, start)
    if form is None:
        return connection.execute(build(), given).mappings().all()
    # Which parameters there are says whether there is a start, and how many ranges of days.
    return _FORMS.rows(connection, (form[0], *given), build, {**given, **form[1]})


_FORMS = Forms(most=256)


def matching(filters: Filters) -> Select[Any]:
    """Return the keys of the steps that satisfy all filters, newest start first, ties by key."""
    return _matching(filters.clauses())


def _matching(clauses: Sequence[ColumnElement[bool]]) -> Select[Any]:
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
    in_runs = of_keys((key, day) for key, day, *_ in keys)
    shown = {**in_runs, **values(STEP_KEY, keys)}
    found, named = rows(connection, (_SHOWN, shown), (losses.NAMED, in_runs))
    if any(row["unnumbered"] for row in found):
        (numbered,) = rows(connection, (_NUMBERS, shown))
        numbers = {_key(row): row for row in numbered}
        found = [{**row, **numbers[_key(row)]} for row in found]
    return records(connection, found, named)


def _shown(keys: FromClause) -> Select[Any]:
    # Where every step of a run says its place and attempt, the others of the run need not be read.
    other = steps.alias()
    unnumbered = exists().where(
        of_run(other, steps), in_days(other), or_(other.c.step_index.is_(None), other.c.attempt.is_(None))
    )
    as_sent = (steps.c.step_index.label("index"), steps.c.attempt, unnumbered.label("unnumbered"))
    shown = _statement(steps.join(keys, of_step(steps, keys)), *as_sent)
    return shown.order_by(*(key.ordered() for key in _ORDER))


def _numbers(keys: FromClause) -> Select[Any]:
    # The places in their runs of these steps only, whatever the filters left out.
    of_shown = select(keys.c.run_key, keys.c.run_day)
    numbered = ordinals(
        lambda step: and_(tuple_(step.c.run_key, step.c.run_day).in_(of_shown), in_days(step))
    )
    columns = (numbered.c[name] for name in ("run_key", "step_id", "attempt_key", "index", "attempt"))
    return select(*columns).join(keys, of_step(numbered, keys))


def steps_of_run(connection: Connection, run_id: str, *, limit: int = MAX_STEPS) -> list[StepRecord]:
    """Return the first steps of a run in order; empty for an unknown run."""
    day = day_of(connection, run_id)
    if day is None:
        return []
    of_run = asked(run_id, day)
    found, named = rows(connection, first_of_run(of_run, limit), (losses.NAMED_OF_RUN, of_run))
    return records(connection, found, named)


def first_of_run(of_run: Mapping[str, Any], limit: int = MAX_STEPS) -> tuple[Kept, Mapping[str, Any]]:
    """Return the statement that gives rows for ``records``, and its parameters; of_run: ``keys.asked``."""
    return _FIRST_OF_RUN, {**of_run, "asked_steps": limit}


def named_steps_of_run(
    connection: Connection, run_id: str, keys: Collection[tuple[str, str]]
) -> list[StepRecord]:
    """Return the steps of a run with these (step_id, attempt_key), in order; unknown ones are left out."""
    day = day_of(connection, run_id) if keys else None
    if day is None:
        return []
    named = _OF_RUN.where(tuple_(steps.c.step_id, steps.c.attempt_key).in_(list(keys)))
    return records(connection, connection.execute(named, asked(run_id, day)).mappings().all())


def page_of_run(
    connection: Connection, cursors: Cursors, run_id: str, page: PageRequest
) -> Page[StepRecord] | None:
    """Return a page of the steps of a run in order; None for an unknown run."""
    day = day_of(connection, run_id)
    if day is None:
        return None
    question = repr(("steps of run", run_id))
    statement = _OF_RUN.limit(page.limit + 1)
    if page.cursor is not None:
        statement = statement.where(after(_RUN_ORDER, cursors.decode(question, page.cursor)))
    found = connection.execute(statement, asked(run_id, day)).mappings().all()
    more, found = len(found) > page.limit, found[: page.limit]
    last = found[-1] if more else None
    position = None if last is None else [last[name] for name in _RUN_ORDER_NAMES]
    return _page(records(connection, found), cursors, question, position)


def records(connection: Connection, found: Sequence[Row], named: Rows | None = None) -> list[StepRecord]:
    """Return the steps; named: runs that the ledger of losses names, if it has been asked."""
    lost = losses.of_steps(connection, found, named)
    if not lost:
        return [step_record(row) for row in found]
    return [step_record(row, lost.get(_key(row), NOTHING_LOST)) for row in found]


def _key(row: Row) -> tuple[UUID, str, str]:
    return row["run_key"], row["step_id"], row["attempt_key"]


def _statement(asked: FromClause, *numbers: ColumnElement[Any]) -> Select[Any]:
    """What ``records`` takes; asked: ``steps`` and what says which; numbers: columns index, attempt, more."""
    found, attached = evidence(steps, in_days), of_one_step(steps, in_days)
    return (
        select(
            *(column for column in steps.c if column.name not in _OVERRIDDEN),
            _RUN.c.run_id,
            *(func.coalesce(steps.c[name], _RUN.c[name]).label(name) for name in _IDENTITY),
            *numbers,
            found.c.grade.label("evidence"),
            found.c.expired.label("decisions_expired"),
            found.c.stored.label("decisions_stored"),
            found.c.missing.label("chunks_missing"),
            found.c.unreadable.label("chunks_unreadable"),
            found.c.error.label("chunk_error"),
            attached.c.artifacts,
        )
        .select_from(asked)
        .join(_RUN, true())
        .join(found, true())
        .join(attached, true())
        .where(in_days(steps))
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

_NUMBERED = ordinals(of_asked)
_RUN_ORDER_NAMES = (
    "sort_index",
    "sort_started_at",
    "sort_entering",
    "sort_ended_at",
    "step_id",
    "attempt_key",
)
_RUN_ORDER = tuple(SortKey(_NUMBERED.c[name]) for name in _RUN_ORDER_NAMES)
_OF_RUN = _statement(
    steps.join(_NUMBERED, of_step(steps, _NUMBERED)),
    *(_NUMBERED.c[name] for name in ("index", "attempt", *_RUN_ORDER_NAMES[:4])),
).order_by(*(key.ordered() for key in _RUN_ORDER))
_FIRST_OF_RUN = Kept(_OF_RUN.limit(bindparam("asked_steps", type_=Integer)), opens_few=True)
_SHOWN = Kept(_shown(wanted(STEP_KEY)), opens_few=True)
_NUMBERS = Kept(_numbers(wanted(STEP_KEY)), opens_few=True)


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
