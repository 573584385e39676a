"""
The loss ledger: what was recorded and is not stored, by run and cause.

An entry stands until what it names is stored after all: a chunk that one collector shed may have come in
through another. Of several entries about one thing a single one stands, so that a thing is counted
once: stored, or lost for one cause. What nobody gives a cause for (``chunk_missing``) is no entry; it
follows from the steps and is listed when one run is asked for. Decision 0015.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    DateTime,
    FromClause,
    Select,
    Text,
    Uuid,
    and_,
    case,
    cast,
    exists,
    func,
    literal,
    null,
    or_,
    select,
    true,
    tuple_,
    union_all,
)

from store.kept import Kept, Rows, rows
from store.losses import CAUSES
from store.queries.chunks import STEP_EVIDENCE
from store.queries.cursor import Cursors, SortKey, after
from store.queries.derived import of_run, of_step
from store.queries.errors import InvalidParameter
from store.queries.filters import Filters, PageRequest
from store.queries.keys import among, of_asked, of_keys
from store.queries.records import CHUNK_MISSING, CHUNKS, EXPIRED, Lost, loss_record
from store.queries.types import ListCompleteness, Missing, Page
from store.queries.types_losses import LossRecord, LossTotal, LossTotals
from store.schema import artifacts, decisions, losses, runs, sender_losses, steps

_NO_RUN = UUID(int=0)
"""Stands in the order for the run of a loss that belongs to none."""


_Runs = Mapping[UUID, date]
"""Run key to run day."""


def standing(loss: FromClause, asked: _Runs | None = None) -> ColumnElement[bool]:
    """
    Return whether the entry counts: what it names is not stored, nor lost for a cause that goes first.

    asked: the runs in question; the planner does not see by itself that no other partitions matter.
    """
    chunk, artifact, other = decisions.alias(), artifacts.alias(), losses.alias()
    # Each looks for one row by its whole key; inside an OR, lest the planner join whole tables instead.
    chunk_came = exists().where(
        of_step(chunk, loss), chunk.c.chunk_index == cast(_last(loss, "[0-9]{1,10}"), BigInteger)
    )
    artifact_came = exists().where(
        of_run(artifact, loss), artifact.c.artifact_key == cast(_last(loss, "[0-9a-f]{32}"), Uuid)
    )
    # What is acknowledged is stored or shed: "shed" goes before a refusal that another collector gave.
    told_already = exists().where(
        of_run(other, loss),
        other.c.what == loss.c.what,
        other.c.subject == loss.c.subject,
        other.c.cause.in_(CAUSES),
        or_(other.c.cause == "shed", other.c.cause < loss.c.cause),
    )
    if asked is not None:
        days = set(asked.values())
        chunk_came = chunk_came.where(chunk.c.run_day.in_(days))
        artifact_came = artifact_came.where(artifact.c.run_day.in_(days))
        told_already = told_already.where(other.c.run_day.in_(days))
    return and_(
        or_(loss.c.what != "decisions", ~chunk_came),
        or_(loss.c.what != "artifacts", ~artifact_came),
        or_(loss.c.cause == "shed", ~_names_a_thing(loss), ~told_already),
    )


def _last(loss: FromClause, form: str) -> ColumnElement[str]:
    """Return the last part of the subject (``store.losses``), null unless it has the form."""
    return func.substring(loss.c.subject, f"/({form})$", type_=Text)


def _names_a_thing(loss: FromClause) -> ColumnElement[bool]:
    # Ids of senders' reports have no slash, and one report has several causes.
    return func.strpos(loss.c.subject, "/") > 0


def of_steps(
    connection: Connection, found: Sequence[Any], named: Rows | None = None
) -> Mapping[tuple[UUID, str, str], Lost]:
    """
    Return the standing losses of steps by (run_key, step_id, attempt_key); those without any are left out.

    found: mappings with run_key, run_day, step_id and attempt_key. named: what ``NAMED`` gave for their
    runs, if it has been asked.
    """
    with_losses = _with_losses(connection, found, named)
    if not with_losses:
        return {}
    steps_asked = losses.c.step_id.in_({row["step_id"] for row in found})
    return _by_step(connection.execute(_standing_of(with_losses).where(steps_asked)))


def of_runs(connection: Connection, found: Sequence[Any], named: Rows | None = None) -> Mapping[UUID, Lost]:
    """
    Return the standing losses of runs by run_key, those of their steps among them.

    found: mappings with run_key and run_day; named: as of ``of_steps``. ``chunks`` are only those that
    their steps would miss.
    """
    with_losses = _with_losses(connection, found, named)
    if not with_losses:
        return {}
    by_step = _by_step(connection.execute(_standing_of(with_losses)))
    totals: dict[UUID, dict[tuple[str, str], int]] = defaultdict(lambda: defaultdict(int))
    for (key, _, _), lost in by_step.items():
        for entry in lost.entries:
            totals[key][entry.cause, entry.what] += entry.count
    explained = _explained(connection, with_losses, by_step)
    return {key: Lost(explained.get(key, 0), _entries(found)) for key, found in totals.items()}


def _with_losses(connection: Connection, found: Sequence[Any], named: Rows | None) -> _Runs:
    """Those of the runs that the ledger names at all: nearly always none, which must cost next to nothing."""
    if not found:
        return {}
    days = {row["run_key"]: row["run_day"] for row in found}
    if named is None:
        (named,) = rows(connection, (NAMED, of_keys(days.items())))
    return {row["run_key"]: days[row["run_key"]] for row in named if row["run_key"] in days}


NAMED = Kept(select(losses.c.run_key).where(among(losses)).distinct())
"""Of runs given by ``keys.of_keys``, those that the ledger names."""
NAMED_OF_RUN = Kept(select(losses.c.run_key).where(of_asked(losses)).limit(1))
"""The run given by ``keys.asked``, if the ledger names it."""


def _standing_of(asked: _Runs) -> Select[Any]:
    days = set(asked.values())
    counted = func.count().filter(_names_a_thing(losses), losses.c.what == "decisions")
    key = (losses.c.run_key, losses.c.step_id, losses.c.attempt_key, losses.c.cause, losses.c.what)
    return (
        select(*key, func.sum(losses.c.lost).label("lost"), counted.label("chunks"))
        .where(losses.c.run_key.in_(asked), losses.c.run_day.in_(days), standing(losses, asked))
        .group_by(*key)
    )


def _by_step(found: Iterable[Any]) -> dict[tuple[UUID, str, str], Lost]:
    entries: dict[Any, dict[tuple[str, str], int]] = defaultdict(lambda: defaultdict(int))
    chunks: dict[Any, int] = defaultdict(int)
    for row in found:
        key = (row.run_key, row.step_id, row.attempt_key)
        entries[key][row.cause, row.what] += int(row.lost)
        chunks[key] += row.chunks
    return {key: Lost(chunks[key], _entries(totals)) for key, totals in entries.items()}


def _entries(totals: Mapping[tuple[str, str], int]) -> list[Missing]:
    return [Missing(cause, what, count) for (cause, what), count in sorted(totals.items())]


def _explained(
    connection: Connection, asked: _Runs, by_step: Mapping[tuple[UUID, str, str], Lost]
) -> Mapping[UUID, int]:
    """Chunks that the steps of each run miss and the ledger accounts for."""
    concerned = [key for key, lost in by_step.items() if lost.chunks]
    if not concerned:
        return {}
    found = STEP_EVIDENCE
    missed = connection.execute(
        select(steps.c.run_key, steps.c.step_id, steps.c.attempt_key, found.c.missing)
        .join_from(steps, found, true())
        .where(
            tuple_(steps.c.run_key, steps.c.step_id, steps.c.attempt_key).in_(concerned),
            steps.c.run_day.in_(set(asked.values())),
        )
    )
    explained: dict[UUID, int] = defaultdict(int)
    for key, step_id, attempt_key, missing in missed:
        explained[key] += min(missing, by_step[key, step_id, attempt_key].chunks)
    return explained


def list_losses(
    connection: Connection, cursors: Cursors, filters: Filters, page: PageRequest
) -> Page[LossRecord]:
    """
    Return the losses that satisfy all filters, the latest first, ties by run and what was lost.

    Without filters a walk along the times of receipt. Raises ``InvalidParameter`` for
    ``cause=chunk_missing`` without ``run_id``.
    """
    question = filters.identity("losses")
    start = None if page.cursor is None else cursors.decode(question, page.cursor)
    # Each kind stops by itself: the planner does not stop inside a union.
    parts = [_first(kind, filters, start, page.limit + 1).subquery() for kind in _kinds(filters)]
    whole = union_all(*(select(part) for part in parts)).subquery()
    found = connection.execute(_first(whole, Filters(), None, page.limit + 1)).mappings().all()
    more, found = len(found) > page.limit, found[: page.limit]
    position = [found[-1][key] for key in _ORDER] if more else None
    return Page(
        [loss_record(row) for row in found],
        None if position is None else cursors.encode(question, position),
        ListCompleteness("exact"),
    )


def loss_totals(connection: Connection, filters: Filters, *, now: datetime) -> LossTotals:
    """
    Return how much was lost by cause and kind, of the losses that satisfy all filters.

    The whole ledger would be read each time: without ``run_id`` or ``received_after`` only its last days.
    """
    bounded = any(condition.parameter in ("run_id", "received_after") for condition in filters.own)
    since = None if bounded else now - TOTALS_WINDOW
    parts = [
        select(found).where(
            *_where(found, filters), *(() if since is None else (found.c.received_at >= since,))
        )
        for found in _kinds(filters)
    ]
    whole = union_all(*parts).subquery()
    totals = (
        select(whole.c.cause, whole.c.what, func.sum(whole.c.lost), func.count())
        .group_by(whole.c.cause, whole.c.what)
        .order_by(whole.c.cause, whole.c.what)
    )
    items = [LossTotal(cause, what, int(lost), n) for cause, what, lost, n in connection.execute(totals)]
    return LossTotals(items, since)


def _first(found: FromClause, filters: Filters, start: Sequence[Any] | None, limit: int) -> Select[Any]:
    order = [SortKey(found.c[_ORDER[0]], descending=True), *(SortKey(found.c[name]) for name in _ORDER[1:])]
    chosen = select(found).where(*_where(found, filters))
    if start is not None:
        chosen = chosen.where(after(order, start))
    return chosen.order_by(*(key.ordered() for key in order)).limit(limit)


def _where(found: FromClause, filters: Filters) -> list[ColumnElement[bool]]:
    return [
        replace(condition, expression=found.c[_COLUMN_OF.get(condition.field, condition.field)]).clause()
        for condition in filters.own
    ]


def _kinds(filters: Filters) -> list[FromClause]:
    """What losses are looked for in: the ledger, reports without a run, the missing chunks of a run."""
    if any(condition.field == "run_id" for condition in filters.own):
        return [_LEDGER, _CHUNKS_MISSING]
    if any(condition.field == "cause" and condition.value == CHUNK_MISSING for condition in filters.own):
        raise InvalidParameter("cause", f"cause={CHUNK_MISSING} is found by reading one run: give its run_id")
    return [_LEDGER, _OF_NO_RUN]


TOTALS_WINDOW = timedelta(days=7)
_ORDER = ("received_at", "run_key", "cause", "what", "subject")
_COLUMN_OF = {"started": "started_at", "received": "received_at"}
_IN_RUN = (runs.c.run_id, runs.c.pipeline, runs.c.service_name, runs.c.started_at)

_LEDGER = (
    select(
        losses.c.received_at,
        losses.c.run_key,
        losses.c.cause,
        losses.c.what,
        losses.c.subject,
        losses.c.lost,
        losses.c.step_id,
        losses.c.attempt_key,
        *_IN_RUN,
    )
    .join_from(losses, runs, of_run(losses, runs))
    .where(standing(losses))
    .subquery()
)
_OF_NO_RUN = select(
    sender_losses.c.received_at,
    literal(_NO_RUN, Uuid).label("run_key"),
    sender_losses.c.cause,
    sender_losses.c.what,
    sender_losses.c.report_id.label("subject"),
    sender_losses.c.lost,
    cast(null(), Text).label("step_id"),
    cast(null(), Text).label("attempt_key"),
    cast(null(), Text).label("run_id"),
    sender_losses.c.pipeline,
    sender_losses.c.service_name,
    cast(null(), DateTime(timezone=True)).label("started_at"),
).subquery()


def _chunks_missing() -> FromClause:
    accounted = (
        select(func.count())
        .where(of_step(losses, steps), losses.c.what == "decisions", _names_a_thing(losses), standing(losses))
        .correlate(steps)
        .scalar_subquery()
    )
    unexplained = STEP_EVIDENCE.c.missing - accounted
    return (
        select(
            steps.c.received_at,
            steps.c.run_key,
            case((STEP_EVIDENCE.c.expired, EXPIRED), else_=CHUNK_MISSING).label("cause"),
            literal(CHUNKS, Text).label("what"),
            func.concat(steps.c.step_id, "/", steps.c.attempt_key).label("subject"),
            unexplained.cast(BigInteger).label("lost"),
            steps.c.step_id,
            steps.c.attempt_key,
            *_IN_RUN,
        )
        .join_from(steps, runs, of_run(steps, runs))
        .join(STEP_EVIDENCE, true())
        .where(unexplained > 0)
        .subquery()
    )


_CHUNKS_MISSING = _chunks_missing()
