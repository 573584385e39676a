"""Runs: the filtered list, newest first, and one run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    FromClause,
    RowMapping,
    Select,
    Text,
    Uuid,
    bindparam,
    cast,
    func,
    or_,
    select,
    true,
)

from store.engine import KEPT
from store.ids import run_key
from store.queries import bounds, outcomes
from store.queries.cursor import Cursors, SortKey, after
from store.queries.derived import RUN_FUNNEL, of_run, run_evidence
from store.queries.filters import Filters, PageRequest
from store.queries.keys import RUN_KEY, values, wanted
from store.queries.losses import of_runs
from store.queries.records import NOTHING_LOST, run_record
from store.queries.status import RUN_DURATION_MS, RUN_ENDED_AT, RUN_STATUS, clock
from store.queries.types import ListCompleteness, Page, RunRecord
from store.schema import artifacts, decisions, losses, runs, steps

# As ix_runs_started is built: a page is a walk along the index.
_ORDER = (SortKey(runs.c.started_at, descending=True), SortKey(runs.c.run_key))
_EVIDENCE = run_evidence(runs)


def _holds(table: FromClause) -> ColumnElement[bool]:
    return select(table.c.run_key).where(of_run(table, runs)).correlate(runs).exists()


SHOWN = or_(
    runs.c.content_hash.is_not(None),
    runs.c.start_copy.is_not(None),
    runs.c.wait_at.is_not(None),
    runs.c.run_id.is_distinct_from(func.replace(cast(runs.c.trace_ids[1], Text), "-", "")),
    *(_holds(table) for table in (steps, decisions, artifacts, losses)),
)
"""
Not a trace's own run of which nothing is left, because another run took its steps in (decision 0020).

In this order, so that of nearly every run one column is read.
"""


def list_runs(
    connection: Connection,
    cursors: Cursors,
    filters: Filters,
    page: PageRequest,
    *,
    now: datetime,
    default_timeout_s: float,
) -> Page[RunRecord]:
    """
    Return the runs that satisfy all filters, newest start first, ties by key.

    Without filters, or by pipeline: an index walk of ``limit`` rows. With ``step.`` filters: a semi-join
    with steps, driven by (step_type, drop_ratio) or by (started_at), whichever is rarer.
    """
    question = filters.identity("runs")
    statement = matching(connection, filters).add_columns(runs.c.started_at).limit(page.limit + 1)
    if page.cursor is not None:
        statement = statement.where(after(_ORDER, cursors.decode(question, page.cursor)))
    clocked = clock(now, default_timeout_s)
    found = connection.execute(statement, clocked).all()
    more, found = len(found) > page.limit, found[: page.limit]
    records = runs_by_key(connection, found, clocked)
    position = [found[-1].started_at, found[-1].run_key] if more else None
    return Page(
        records,
        None if position is None else cursors.encode(question, position),
        _completeness(records),
    )


def matching(connection: Connection, filters: Filters) -> Select[Any]:
    """Return the keys of the runs that satisfy all filters, newest start first; it needs ``clock``."""
    days = []
    if filters.step:
        days = bounds.run_days(connection, steps, "runs", bounds.window(filters.own))
    wanted = select(runs.c.run_key).where(*filters.clauses(days), SHOWN)
    if filters.needs_funnel:
        wanted = wanted.join_from(runs, RUN_FUNNEL, true())
    return wanted.order_by(*(key.ordered() for key in _ORDER))


def runs_by_key(
    connection: Connection, keys: Sequence[Sequence[Any]], clocked: Mapping[str, Any]
) -> list[RunRecord]:
    """Return the runs with these keys, newest start first. keys: rows as of ``matching``."""
    if not keys:
        return []
    rows = connection.execute(_SHOWN, {**clocked, **values(RUN_KEY, keys)}).mappings().all()
    return _with_losses(connection, rows)


def _with_losses(connection: Connection, rows: Sequence[RowMapping]) -> list[RunRecord]:
    lost = of_runs(connection, rows)
    known = outcomes.of_runs(connection, [(row["run_key"], row["run_day"]) for row in rows])
    return [
        run_record(row, lost.get(row["run_key"], NOTHING_LOST), known.get(row["run_key"], ())) for row in rows
    ]


def one_run(
    connection: Connection, run_id: str, *, now: datetime, default_timeout_s: float
) -> RunRecord | None:
    """Return the run, or None when nothing of it has arrived."""
    asked = {**clock(now, default_timeout_s), "asked_run": run_key(run_id)}
    row = connection.execute(_ONE, asked).mappings().first()
    # By its old name an erased run is unknown.
    return None if row is None or row["run_id"] != run_id else _with_losses(connection, [row])[0]


def _records() -> Select[Any]:
    return (
        select(
            *(runs.c[name] for name in _COLUMNS),
            RUN_STATUS.label("status"),
            RUN_ENDED_AT.label("ended_at"),
            RUN_DURATION_MS.label("duration_ms"),
            RUN_FUNNEL.c.steps_count,
            RUN_FUNNEL.c.candidates_in,
            RUN_FUNNEL.c.candidates_out,
            RUN_FUNNEL.c.drop_ratio,
            _EVIDENCE.c.grade.label("evidence"),
            _EVIDENCE.c.expired.label("decisions_expired"),
            _EVIDENCE.c.missing.label("chunks_missing"),
            _EVIDENCE.c.unreadable.label("chunks_unreadable"),
        )
        .join_from(runs, RUN_FUNNEL, true())
        .join(_EVIDENCE, true())
    )


_COLUMNS = (
    "run_key",
    "run_day",
    "run_id",
    "pipeline",
    "pipeline_version",
    "entity",
    "tags",
    "input",
    "output",
    "outcome",
    "outcome_reason",
    "error_type",
    "error_message",
    "schema_id",
    "schema_version",
    "service_name",
    "environment",
    "capture_level",
    "started_at",
    "trace_ids",
    "flags",
)
# Built once: putting a statement together takes longer than the database needs to answer it.
_KEYS = wanted(RUN_KEY)
_SHOWN = (
    _records()
    .where(runs.c.run_key == _KEYS.c.run_key)
    .order_by(*(key.ordered() for key in _ORDER))
    .execution_options(**KEPT)
)
_ASKED = bindparam("asked_run", type_=Uuid())
_ONE = _records().where(runs.c.run_key == _ASKED, SHOWN).limit(1).execution_options(**KEPT)


def _completeness(records: list[RunRecord]) -> ListCompleteness:
    running = sum(record.completeness.state == "running" for record in records)
    partial = sum(bool(record.completeness.missing) for record in records)
    return ListCompleteness("partial" if running or partial else "exact", running, partial)
