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
    cast,
    func,
    or_,
    select,
    true,
)

from store.ids import run_key
from store.queries.cursor import Cursors, SortKey, after
from store.queries.derived import RUN_FUNNEL, of_run, run_evidence
from store.queries.filters import Filters, PageRequest
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
    wanted = matching(filters).limit(page.limit + 1)
    if page.cursor is not None:
        wanted = wanted.where(after(_ORDER, cursors.decode(question, page.cursor)))
    statement = _shown(wanted.subquery("wanted"))
    rows = connection.execute(statement, clock(now, default_timeout_s)).mappings().all()
    more, rows = len(rows) > page.limit, rows[: page.limit]
    records = _with_losses(connection, rows)
    position = [rows[-1]["started_at"], rows[-1]["run_key"]] if more else None
    return Page(
        records,
        None if position is None else cursors.encode(question, position),
        _completeness(records),
    )


def matching(filters: Filters) -> Select[Any]:
    """Return the keys of the runs that satisfy all filters, newest start first; it needs ``clock``."""
    wanted = select(runs.c.run_key).where(*filters.clauses(), SHOWN)
    if filters.needs_funnel:
        wanted = wanted.join_from(runs, RUN_FUNNEL, true())
    return wanted.order_by(*(key.ordered() for key in _ORDER))


def runs_by_key(connection: Connection, keys: FromClause, clocked: Mapping[str, Any]) -> list[RunRecord]:
    """Return the runs with these keys, newest start first. keys: a table with run_key; clocked: ``clock``."""
    return _with_losses(connection, connection.execute(_shown(keys), clocked).mappings().all())


def _shown(keys: FromClause) -> Select[Any]:
    return _records().where(runs.c.run_key == keys.c.run_key).order_by(*(key.ordered() for key in _ORDER))


def _with_losses(connection: Connection, rows: Sequence[RowMapping]) -> list[RunRecord]:
    lost = of_runs(connection, rows)
    return [run_record(row, lost.get(row["run_key"], NOTHING_LOST)) for row in rows]


def one_run(
    connection: Connection, run_id: str, *, now: datetime, default_timeout_s: float
) -> RunRecord | None:
    """Return the run, or None when nothing of it has arrived."""
    statement = _records().where(runs.c.run_key == run_key(run_id), SHOWN).limit(1)
    row = connection.execute(statement, clock(now, default_timeout_s)).mappings().first()
    if row is None:
        return None
    return run_record(row, of_runs(connection, [row]).get(row["run_key"], NOTHING_LOST))


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


def _completeness(records: list[RunRecord]) -> ListCompleteness:
    running = sum(record.completeness.state == "running" for record in records)
    partial = sum(bool(record.completeness.missing) for record in records)
    return ListCompleteness("partial" if running or partial else "exact", running, partial)
