"""Runs: the filtered list, newest first, and one run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import (
    Connection,
    Select,
    select,
    true,
)

from store import schema
from store.kept import Kept, Rows, rows
from store.queries import bounds, losses, outcomes, steps
from store.queries.chunks import run_evidence
from store.queries.cursor import Cursors, SortKey, after
from store.queries.derived import RUN_FUNNEL, funnel
from store.queries.filters import Filters, PageRequest
from store.queries.keys import RUN_KEY, asked, in_days, of_asked, of_keys, values, wanted
from store.queries.records import NOTHING_LOST, run_record
from store.queries.shown import PLAINLY_SHOWN, SHOWN, day_of
from store.queries.status import RUN_DURATION_MS, RUN_ENDED_AT, clock, run_status
from store.queries.types import ListCompleteness, Page, RunDetail, RunRecord
from store.schema import runs

# As ix_runs_started is built: a page is a walk along the index.
_ORDER = (SortKey(runs.c.started_at, descending=True), SortKey(runs.c.run_key))
_FUNNEL, _EVIDENCE = funnel(runs, in_days), run_evidence(runs, in_days)


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
    statement = _satisfying(connection, filters).limit(page.limit + 1)
    if page.cursor is not None:
        statement = statement.where(after(_ORDER, cursors.decode(question, page.cursor)))
    clocked = clock(now, default_timeout_s)
    shown = statement.add_columns(runs.c.started_at, PLAINLY_SHOWN.label("shown"))
    found = connection.execute(shown, clocked).all()
    if not all(row.shown for row in found):
        found = connection.execute(shown.where(SHOWN), clocked).all()
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
    return _satisfying(connection, filters).where(SHOWN)


def _satisfying(connection: Connection, filters: Filters) -> Select[Any]:
    """Also those that are not ``SHOWN``."""
    days = []
    if filters.step:
        days = bounds.run_days(connection, schema.steps, "runs", bounds.window(filters.own))
    wanted = select(runs.c.run_key, runs.c.run_day).where(*filters.clauses(days))
    if filters.needs_funnel:
        wanted = wanted.join_from(runs, RUN_FUNNEL, true())
    return wanted.order_by(*(key.ordered() for key in _ORDER))


def runs_by_key(
    connection: Connection, keys: Sequence[Sequence[Any]], clocked: Mapping[str, Any]
) -> list[RunRecord]:
    """Return the runs with these keys, newest start first. keys: rows as of ``matching``."""
    if not keys:
        return []
    in_runs = of_keys((key, day) for key, day, *_ in keys)
    asked_for = {**clocked, **in_runs, **values(RUN_KEY, keys)}
    answers = rows(connection, (_SHOWN, asked_for), (losses.NAMED, in_runs), (outcomes.OF_RUNS, in_runs))
    return _shown(connection, *answers)


def one_run(
    connection: Connection, run_id: str, *, now: datetime, default_timeout_s: float
) -> RunRecord | None:
    """Return the run, or None when nothing of it has arrived."""
    day = day_of(connection, run_id)
    if day is None:
        return None
    of_run = asked(run_id, day)
    return _one(connection, rows(connection, *_about(of_run, clock(now, default_timeout_s))))


def run_detail(
    connection: Connection, run_id: str, *, now: datetime, default_timeout_s: float
) -> RunDetail | None:
    """Return the run with its first steps, or None when nothing of it has arrived."""
    day = day_of(connection, run_id)
    if day is None:
        return None
    of_run = asked(run_id, day)
    about = _about(of_run, clock(now, default_timeout_s))
    *answers, of_steps = rows(connection, *about, steps.first_of_run(of_run))
    return RunDetail(_one(connection, answers), steps.records(connection, of_steps, answers[1]))


def _about(of_run: Mapping[str, Any], clocked: Mapping[str, Any]) -> Sequence[tuple[Kept, Mapping[str, Any]]]:
    """What is asked of one run; of_run: ``keys.asked``."""
    return (_ONE, {**clocked, **of_run}), (losses.NAMED_OF_RUN, of_run), (outcomes.OF_RUN, of_run)


def _one(connection: Connection, answers: Sequence[Rows]) -> RunRecord:
    """The run from the answers to ``_about``."""
    (record,) = _shown(connection, *answers)
    return record


def _shown(connection: Connection, found: Rows, named: Rows, known: Rows) -> list[RunRecord]:
    lost, of_run = losses.of_runs(connection, found, named), outcomes.by_run(known)
    return [
        run_record(row, lost.get(row["run_key"], NOTHING_LOST), of_run.get(row["run_key"], ()))
        for row in found
    ]


def _records() -> Select[Any]:
    return (
        select(
            *(runs.c[name] for name in _COLUMNS),
            run_status(in_days).label("status"),
            RUN_ENDED_AT.label("ended_at"),
            RUN_DURATION_MS.label("duration_ms"),
            _FUNNEL.c.steps_count,
            _FUNNEL.c.candidates_in,
            _FUNNEL.c.candidates_out,
            _FUNNEL.c.drop_ratio,
            _EVIDENCE.c.grade.label("evidence"),
            _EVIDENCE.c.expired.label("decisions_expired"),
            _EVIDENCE.c.missing.label("chunks_missing"),
            _EVIDENCE.c.unreadable.label("chunks_unreadable"),
        )
        .join_from(runs, _FUNNEL, true())
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
_SHOWN = Kept(
    _records().where(runs.c.run_key == _KEYS.c.run_key).order_by(*(key.ordered() for key in _ORDER)),
    opens_few=True,
)
_ONE = Kept(_records().where(of_asked(runs)).limit(1), opens_few=True)


def _completeness(records: list[RunRecord]) -> ListCompleteness:
    running = sum(record.completeness.state == "running" for record in records)
    partial = sum(bool(record.completeness.missing) for record in records)
    return ListCompleteness("partial" if running or partial else "exact", running, partial)
