"""How much of the evidence of steps and runs arrived and can be read: what their stored chunks amount to."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    ColumnElement,
    FromClause,
    Label,
    LargeBinary,
    Subquery,
    and_,
    case,
    cast,
    func,
    literal,
    null,
    or_,
    select,
    true,
    union_all,
)
from sqlalchemy.dialects.postgresql import aggregate_order_by

from store.decisions import CODEC
from store.item_filter import fingerprint
from store.queries.derived import Condition, anywhere, of_run, of_step
from store.schema import decisions, retention_floors, steps

_DECISIONS_FROM = (
    select(func.max(retention_floors.c.first_day))
    .where(or_(retention_floors.c.kind == "runs", retention_floors.c.kind == "decisions"))
    .scalar_subquery()
)


def expired(row: FromClause) -> ColumnElement[bool]:
    """Return whether retention has reached the decisions of a run or step."""
    return func.coalesce(row.c.run_day < _DECISIONS_FROM, False)


def readable(chunk: FromClause) -> ColumnElement[bool]:
    """Return whether a chunk can be unpacked: it was understood on arrival, and its codec is ours."""
    # Only the first byte is fetched: the column is stored out of line and uncompressed.
    return and_(chunk.c.data.is_not(None), func.substring(chunk.c.data, 1, 1) == literal(CODEC, LargeBinary))


_MAX_LOOKED_UP = 16
"""Items whose fingerprints are looked for one by one; for more, opening the chunk is quicker."""


def may_name(chunk: FromClause, item_ids: Collection[str]) -> ColumnElement[bool]:
    """Return whether a chunk may hold a decision about one of the items; false is certain."""
    if len(item_ids) > _MAX_LOOKED_UP:
        return true()
    stored = chunk.c.item_filter
    found = (func.position(literal(fingerprint(item), LargeBinary).op("IN")(stored)) > 0 for item in item_ids)
    return or_(stored.is_(None), *found)


def search(step: FromClause, item_id: str, wanted: ColumnElement[bool]) -> FromClause:
    """
    Judge a step as ``evidence`` does, with named: the chunks, ascending, that may name the item.

    wanted: whether to look for the item in this step; named is null where it is not to be found.
    Whether a chunk's codec is ours shows when it is opened: to ask all of them takes as long as the search.
    """
    chunk = decisions.alias()
    opens = chunk.c.data.is_not(None)
    in_order = aggregate_order_by(chunk.c.chunk_index, chunk.c.chunk_index)
    named = func.array_agg(in_order).filter(and_(opens, wanted, may_name(chunk, [item_id])))
    return _judged(step, chunk, opens, named.label("named"))


def evidence(step: FromClause, within: Condition = anywhere) -> FromClause:
    """
    Judge the stored chunks of a step: stored, missing, unreadable, error, grade, expired; one row, always.

    stored: decisions that can be read. missing, unreadable: chunks. grade: ``types.Evidence``. expired:
    whether retention is why there are none.
    """
    chunk = decisions.alias()
    return _judged(step, chunk, readable(chunk), within=within)


def _judged(
    step: FromClause,
    chunk: FromClause,
    opens: ColumnElement[bool],
    *more: Label[Any],
    within: Condition = anywhere,
) -> FromClause:
    why_not = func.coalesce(chunk.c.error, "packed by another version")
    expected = func.coalesce(step.c.decisions_chunks, func.max(chunk.c.chunk_total))
    found = (
        select(
            func.coalesce(func.sum(chunk.c.item_count).filter(opens), 0).cast(BigInteger).label("stored"),
            func.count(chunk.c.chunk_index).label("present"),
            func.count(chunk.c.chunk_index).filter(~opens).label("unreadable"),
            func.min(why_not).filter(~opens).label("error"),
            expected.label("expected"),
            *more,
        )
        .where(of_step(chunk, step), within(chunk))
        .correlate(step)
        .lateral()
    )
    judged = select(found, _missing(step, found).label("missing")).correlate(step).subquery()
    return (
        select(
            judged.c.stored,
            judged.c.missing,
            judged.c.unreadable,
            judged.c.error,
            _grade(step, judged, expired(step)).label("grade"),
            expired(step).label("expired"),
            *(judged.c[column.name] for column in more),
        )
        .correlate(step)
        .lateral()
    )


def _missing(step: FromClause, found: FromClause) -> ColumnElement[int]:
    # Nobody said how many chunks there are, and decisions are missing: at least one chunk is.
    unannounced = and_(
        found.c.unreadable == 0, func.coalesce(step.c.decisions_recorded > found.c.stored, False)
    )
    return case(
        (found.c.expected.is_not(None), func.greatest(found.c.expected - found.c.present, 0)),
        (unannounced, 1),
        else_=0,
    )


def _grade(step: FromClause, judged: FromClause, is_expired: ColumnElement[bool]) -> ColumnElement[str]:
    all_named = judged.c.stored >= func.coalesce(step.c.candidates_in, step.c.candidates_out, 0)
    return case(
        (and_(judged.c.stored == 0, is_expired), "none"),
        (judged.c.missing + judged.c.unreadable > 0, "partial"),
        (judged.c.stored == 0, "none"),
        (step.c.capture_level == "sampled", "sampled"),
        (all_named, "full"),
        else_="partial",
    )


STEP_EVIDENCE = evidence(steps)
"""Join with ``true()`` beside ``steps``."""


_STEP_KEY = ("run_key", "step_id", "attempt_key")
_SAID = ("decisions_chunks", "decisions_recorded", "candidates_in", "candidates_out", "capture_level")
_OF_CHUNK = ("chunk_index", "chunk_total", "item_count")


def _chunks_by_step(run: FromClause, within: Condition) -> Subquery:
    """
    The steps of a run, each with what ``_judged`` finds of its chunks.

    Not a look at the chunks for each step, nor a join, which may become one: both tables are read once.
    """
    step, chunk = steps.alias(), decisions.alias()
    of_steps = select(
        *(step.c[name] for name in (*_STEP_KEY, *_SAID)),
        *(cast(null(), chunk.c[name].type).label(name) for name in _OF_CHUNK),
        cast(null(), Boolean).label("opens"),
    ).where(of_run(step, run), within(step))
    of_chunks = select(
        *(chunk.c[name] for name in _STEP_KEY),
        *(cast(null(), step.c[name].type) for name in _SAID),
        *(chunk.c[name] for name in _OF_CHUNK),
        readable(chunk),
    ).where(of_run(chunk, run), within(chunk))
    row = union_all(of_steps.correlate(run), of_chunks.correlate(run)).subquery()
    return (
        select(
            *(func.max(row.c[name]).label(name) for name in _SAID),
            func.coalesce(func.sum(row.c.item_count).filter(row.c.opens), 0).cast(BigInteger).label("stored"),
            func.count(row.c.chunk_index).label("present"),
            func.count(row.c.chunk_index).filter(~row.c.opens).label("unreadable"),
            func.coalesce(func.max(row.c.decisions_chunks), func.max(row.c.chunk_total)).label("expected"),
        )
        .group_by(*(row.c[name] for name in _STEP_KEY))
        # Chunks whose step has not arrived are nobody's yet.
        .having(func.count() > func.count(row.c.chunk_index))
        .subquery()
    )


def run_evidence(run: FromClause, within: Condition = anywhere) -> FromClause:
    """
    Judge the evidence of all steps of a run: missing, unreadable (numeric), grade, expired; one row, always.

    Steps that neither took candidates nor recorded decisions (sources, model calls) do not count.
    """
    found = _chunks_by_step(run, within)
    judged = select(found, _missing(found, found).label("missing")).subquery()
    concerned = or_(judged.c.stored > 0, judged.c.decisions_recorded > 0, judged.c.candidates_in > 0)
    each = select(
        judged.c.missing,
        judged.c.unreadable,
        case((concerned, _grade(judged, judged, expired(run)))).label("grade"),
    )
    each_step = each.correlate(run).subquery()
    graded = {
        word: func.count().filter(each_step.c.grade == word)
        for word in ("full", "sampled", "partial", "none")
    }
    some = graded["full"] + graded["sampled"] + graded["partial"]
    grade = case(
        (some == 0, "none"),
        (graded["partial"] + graded["none"] > 0, "partial"),
        (graded["sampled"] > 0, "sampled"),
        else_="full",
    )
    return (
        select(
            func.coalesce(func.sum(each_step.c.missing), 0).label("missing"),
            func.coalesce(func.sum(each_step.c.unreadable), 0).label("unreadable"),
            grade.label("grade"),
            expired(run).label("expired"),
        )
        .correlate(run)
        .lateral()
    )
