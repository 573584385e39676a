"""
Who judged an item, in any run, newest step first.

The steps are walked along an index, a thousand at a time, and the filters of their chunks say which
chunks may name the item (``store/item_filter.py``); those are opened. What one question may cost is
bounded: a page also ends when it has looked at many steps, and its cursor goes on from there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, Row, Select, and_, case, func, or_, select, true, tuple_

from store.decisions import Decision, about, rows, unpack
from store.queries.chunks import readable, search
from store.queries.conditions import Condition
from store.queries.cursor import Cursors, SortKey, after
from store.queries.derived import STEP_ATTEMPT, of_run, of_step
from store.queries.filters import Filters, PageRequest
from store.queries.outcome_terms import ITEM
from store.queries.outcomes import of_item
from store.queries.types_decisions import ItemCompleteness, ItemDecision, ItemHistory
from store.schema import decisions, runs, steps

MAX_STEPS = 20_000
"""Steps looked at for one page: about half a second."""
MAX_CHUNKS = 500
"""Chunks opened for one page, where filters leave out what is in them."""
_STEPS_AT_ONCE = 1000
_CHUNKS_AT_ONCE = 16
"""A chunk is at most 256 KiB of text; reading ahead more would be thrown away on small pages."""
_INDEXED = frozenset({"started", "step_type"})
"""Fields along which the walk itself goes; others are compared step by step."""

_KEY = ("run_key", "step_id", "attempt_key")
_ORDER = (SortKey(steps.c.started_at, descending=True), *(SortKey(steps.c[name]) for name in _KEY))
_JUDGED_BY = ("candidates_in", "candidates_out", "decisions_recorded", "decisions_chunks", "capture_level")

_COUNTED = ("searched", "running", "sampled", "partial", "none")
"""Steps that were searched, and of them, by what they are seen as, those that cannot rule the item out."""

Position = Sequence[Any]
"""started_at, run_key, step_id, attempt_key of a step, then chunk and decision, null = the step is done."""


def item_history(
    connection: Connection, cursors: Cursors, item_id: str, filters: Filters, page: PageRequest
) -> ItemHistory:
    """
    Return what steps of all runs decided about the item, newest start first, ties by key.

    Steps that have not arrived while their decisions have are not found.
    """
    question = filters.identity(repr(("items", item_id)))
    position = None if page.cursor is None else cursors.decode(question, page.cursor)
    search = _Search(connection, item_id, filters, page.limit)
    resume = search.run(position)
    known = of_item(connection, {decision.run_id for decision in search.found}, item_id)
    return ItemHistory(
        item_id,
        [replace(decision, outcomes=known.get(decision.run_id, ())) for decision in search.found],
        None if resume is None else cursors.encode(question, resume),
        search.completeness(),
    )


class _Search:
    """One page: what was found, and what had to be passed over unseen."""

    def __init__(self, connection: Connection, item_id: str, filters: Filters, limit: int) -> None:
        self.found: list[ItemDecision] = []
        self._connection = connection
        self._item_id = item_id
        self._limit = limit
        of_step = [condition for condition in filters.own if condition.expression is not None]
        self._walked_by = [c.clause() for c in of_step if c.field in _INDEXED]
        self._asked_for = [c.clause() for c in of_step if c.field not in _INDEXED]
        self._of_decision = [c for c in filters.own if c.expression is None]
        self._seen: Counter[str] = Counter()
        self._chunks_opened = 0
        self._back_to: datetime | None = None

    def run(self, position: Position | None) -> Position | None:
        """Search behind the position; return where the next page begins, None when all was searched."""
        walked = 0
        while walked < MAX_STEPS and self._chunks_opened < MAX_CHUNKS:
            statement = _walk(self._item_id, self._walked_by, self._asked_for, position)
            found = self._connection.execute(statement.params({ITEM: self._item_id})).all()
            contents, counted = self._opened(found), dict.fromkeys(_COUNTED, 0)
            for row in found:
                for name, before in counted.items():
                    counted[name] = getattr(row, name)
                    self._seen[name] += counted[name] - before
                self._back_to = row.started_at
                stopped_at = self._step(row, contents, position)
                if stopped_at is not None:
                    return stopped_at
                position = (*_place(row), None, None)
                if self._chunks_opened >= MAX_CHUNKS:
                    return position
            if not found or found[-1].number < _STEPS_AT_ONCE:
                return None
            walked += _STEPS_AT_ONCE
        return position

    def completeness(self) -> ItemCompleteness:
        """Say how much of the record was searched, and where the item may have passed unseen."""
        searched, *unseen = (self._seen[name] for name in _COUNTED)
        running, sampled, partial, none = unseen
        return ItemCompleteness(
            state="partial" if any(unseen) else "exact",
            steps_searched=searched,
            searched_back_to=self._back_to,
            running=running,
            sampled=sampled,
            partial=partial,
            none=none,
        )

    def _step(
        self, row: Row[Any], contents: Iterator[Row[Any] | None], resumed: Position | None
    ) -> Position | None:
        """Collect the step's decisions about the item; return where the page is full, if it is."""
        shown = None
        if resumed is not None and resumed[4] is not None and str(row.run_key) == resumed[1]:
            same = (row.step_id, row.attempt_key) == (resumed[2], resumed[3])
            shown = (resumed[4], resumed[5]) if same else None
        if row.chunks is None:
            return None
        named, seen_as = False, row.seen_as
        for chunk_index in row.chunks:
            content = next(contents)
            if content is None:
                seen_as = "partial"
                continue
            for number, decision in enumerate(rows(about(unpack(content.data), {self._item_id}))):
                named = True
                if shown is not None and (chunk_index, number) <= shown:
                    continue
                if all(_holds(condition, decision) for condition in self._of_decision):
                    self.found.append(_item_decision(content, decision))
                if len(self.found) == self._limit:
                    return (*_place(row), chunk_index, number)
        self._seen["searched"] += 1
        if not named or seen_as == "running":
            self._seen[seen_as] += 1
        return None

    def _opened(self, found: Sequence[Row[Any]]) -> Iterator[Row[Any] | None]:
        """Yield the chunks that may name the item, in the order of the steps; None for an unreadable one."""
        wanted = [
            (row.run_key, row.run_day, row.step_id, row.attempt_key, chunk_index)
            for row in found
            for chunk_index in row.chunks or ()
        ]
        for start in range(0, len(wanted), _CHUNKS_AT_ONCE):
            some = wanted[start : start + _CHUNKS_AT_ONCE]
            opened = {
                (content.run_key, content.step_id, content.attempt_key, content.chunk_index): content
                for content in self._connection.execute(_contents(some))
            }
            for run_key, _, step_id, attempt_key, chunk_index in some:
                self._chunks_opened += 1
                yield opened.get((run_key, step_id, attempt_key, chunk_index))


def _place(row: Row[Any]) -> tuple[Any, ...]:
    return (row.started_at, row.run_key, row.step_id, row.attempt_key)


def _walk(
    item_id: str,
    walked_by: Sequence[ColumnElement[bool]],
    asked_for: Sequence[ColumnElement[bool]],
    position: Position | None,
) -> Select[Any]:
    """
    Return of the next steps those that may name the item, and the last one, in order.

    chunks: those that may name it. seen_as: what its absence would say. number: of the step on this walk.
    ``_COUNTED``: how many steps that cannot name it came up to here, in all and as which they are seen.
    """
    step = (
        select(
            *(steps.c[name] for name in (*_KEY, "run_day", "started_at", "status", *_JUDGED_BY)),
            and_(true(), *asked_for).label("asked"),
        )
        .select_from(steps.join(runs, of_run(steps, runs)) if asked_for else steps)
        .where(*walked_by)
        .order_by(*(key.ordered() for key in _ORDER))
        .limit(_STEPS_AT_ONCE)
    )
    if position is not None:
        step = step.where(_behind(position))
    walked = step.subquery("walked")
    judged = search(walked, item_id, walked.c.asked)
    concerned = or_(judged.c.stored > 0, walked.c.decisions_recorded > 0, walked.c.candidates_in > 0)
    seen_as = case((walked.c.status == "running", "running"), (concerned, judged.c.grade), else_="full")
    order: dict[str, Any] = {
        "order_by": (walked.c.started_at.desc(), *(walked.c[name] for name in _KEY)),
    }
    passed_over = and_(walked.c.asked, judged.c.named.is_(None))
    searched, *unseen = _COUNTED
    seen = (
        select(
            *(walked.c[name] for name in (*_KEY, "run_day", "started_at")),
            judged.c.named.label("chunks"),
            seen_as.label("seen_as"),
            func.row_number().over(**order).label("number"),
            func.count().over().label("last"),
            func.count().filter(passed_over).over(**order).label(searched),
            *(
                func.count().filter(and_(passed_over, seen_as == word)).over(**order).label(word)
                for word in unseen
            ),
        )
        .select_from(walked.join(judged, true()))
        .subquery()
    )
    return (
        select(seen)
        .where(or_(seen.c.chunks.is_not(None), seen.c.number == seen.c.last))
        .order_by(seen.c.number)
    )


def _behind(position: Position) -> ColumnElement[bool]:
    started_at, run_key, step_id, attempt_key, chunk_index, _ = position
    behind = after(_ORDER, (str(started_at), str(run_key), step_id, attempt_key))
    if chunk_index is None:
        return behind
    same = and_(
        steps.c.run_key == UUID(str(run_key)),
        steps.c.step_id == step_id,
        steps.c.attempt_key == attempt_key,
    )
    # Implied by the rest; stated because an index scan can start there.
    return and_(steps.c.started_at <= datetime.fromisoformat(str(started_at)), or_(behind, same))


def _contents(wanted: Sequence[tuple[Any, ...]]) -> Select[Any]:
    key = (decisions.c.run_key, decisions.c.run_day, decisions.c.step_id, decisions.c.attempt_key)
    return (
        select(
            *(decisions.c[name] for name in (*_KEY, "chunk_index", "data")),
            runs.c.run_id,
            runs.c.entity,
            func.coalesce(steps.c.pipeline, runs.c.pipeline).label("pipeline"),
            func.coalesce(steps.c.pipeline_version, runs.c.pipeline_version).label("pipeline_version"),
            steps.c.name,
            steps.c.step_type,
            steps.c.started_at,
            # Numbering reads all steps of the run; most senders number them themselves.
            case((steps.c.attempt.is_not(None), steps.c.attempt), else_=STEP_ATTEMPT).label("attempt"),
        )
        .join_from(decisions, steps, of_step(decisions, steps))
        .join(runs, of_run(decisions, runs))
        .where(tuple_(*key, decisions.c.chunk_index).in_(wanted), readable(decisions))
    )


def _holds(condition: Condition, decision: Decision) -> bool:
    return condition.holds(getattr(decision, condition.field))


def _item_decision(content: Row[Any], decision: Decision) -> ItemDecision:
    return ItemDecision(
        **decision._asdict(),
        attempt=content.attempt,
        run_id=content.run_id,
        pipeline=content.pipeline,
        pipeline_version=content.pipeline_version,
        entity=content.entity,
        step_id=content.step_id,
        name=content.name,
        step_type=content.step_type,
        started_at=content.started_at,
    )
