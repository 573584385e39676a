"""The decisions of one step, candidate by candidate, unpacked only as far as a page needs."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from functools import partial
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import Connection, and_, select, true

from store.decisions import Decision, rows, unpack
from store.ids import run_key
from store.queries.chunks import STEP_EVIDENCE, readable
from store.queries.conditions import Condition
from store.queries.cursor import Cursors
from store.queries.derived import of_step, ordinals
from store.queries.filters import Filters, PageRequest
from store.queries.losses import of_steps
from store.queries.outcomes import items_of
from store.queries.records import NOTHING_LOST, sent_number, step_completeness
from store.queries.types import Evidence, Missing, StepCompleteness
from store.queries.types_decisions import DecisionPage, DecisionRecord
from store.queries.vocabulary import OUTCOME
from store.schema import decisions, runs, steps

_CHUNKS_AT_ONCE = 8
"""A chunk is at most 256 KiB of text; reading ahead more would be thrown away on small pages."""


class Attempt(NamedTuple):
    """One attempt of a step, as far as its decisions need it."""

    key: str
    number: int | None
    completeness: StepCompleteness


class Place(NamedTuple):
    """Where a decision lies in the record of its step."""

    attempt_key: str
    chunk_index: int
    offset: int


def list_decisions(
    connection: Connection, cursors: Cursors, run_id: str, step_id: str, filters: Filters, page: PageRequest
) -> DecisionPage | None:
    """
    Return the decisions of a step that satisfy all filters, in the order they were judged, attempt by
    attempt; None when neither the step nor decisions of it are known.
    """
    question = filters.identity(repr(("decisions", run_id, step_id)))
    key = run_key(run_id)
    attempts = attempts_of(connection, key, step_id)
    if not attempts:
        return None
    numbers, others = split(connection, key, filters)
    covered = [a for a in attempts if all(condition.holds(a.number) for condition in numbers)]
    start = None if page.cursor is None else Place(*cursors.decode(question, page.cursor))
    found: list[tuple[Place, DecisionRecord]] = []
    for place, record in walk(connection, key, step_id, covered, start):
        if all(holds(record) for holds in others):
            found.append((place, record))
            if len(found) > page.limit:
                break
    shown = found[: page.limit]
    return DecisionPage(
        [record for _, record in shown],
        cursors.encode(question, shown[-1][0]) if len(found) > page.limit else None,
        combined([attempt.completeness for attempt in covered]),
    )


def decision_record(decision: Decision, attempt: int | None) -> DecisionRecord:
    """Return the decision as it is answered."""
    return DecisionRecord(**decision._asdict(), attempt=attempt)


def combined(parts: Sequence[StepCompleteness]) -> StepCompleteness:
    """Return the completeness of several attempts as one."""
    if len(parts) == 1:
        return parts[0]
    recorded = [part.decisions_recorded for part in parts if part.decisions_recorded is not None]
    grades = {part.evidence for part in parts if part.evidence != "none"}
    grade: Evidence = "none"
    if grades:
        grade = "partial" if "partial" in grades else "sampled" if "sampled" in grades else "full"
    return StepCompleteness(
        metrics="running" if any(part.metrics == "running" for part in parts) else "exact",
        evidence=grade,
        decisions_recorded=sum(recorded) if recorded else None,
        decisions_stored=sum(part.decisions_stored for part in parts),
        missing=_added(missing for part in parts for missing in part.missing),
    )


def _added(found: Iterable[Missing]) -> list[Missing]:
    totals: dict[tuple[str, str], int] = {}
    for missing in found:
        name = (missing.cause, missing.what)
        totals[name] = totals.get(name, 0) + missing.count
    return [Missing(cause, what, count) for (cause, what), count in totals.items()]


def split(
    connection: Connection, key: UUID, filters: Filters
) -> tuple[list[Condition], list[Callable[[DecisionRecord], bool]]]:
    """Conditions on the attempt choose what is read; the others are compared candidate by candidate."""
    numbers = [condition for condition in filters.own if condition.field == "attempt"]
    others = [
        _of_item(items_of(connection, key, condition))
        if condition.field == OUTCOME
        else partial(_holds, condition)
        for condition in filters.own
        if condition.field != "attempt"
    ]
    return numbers, others


def _holds(condition: Condition, record: DecisionRecord) -> bool:
    return condition.holds(getattr(record, condition.field))


def _of_item(item_ids: Collection[str]) -> Callable[[DecisionRecord], bool]:
    return lambda record: record.item_id in item_ids


def attempts_of(connection: Connection, key: UUID, step_id: str) -> list[Attempt]:
    """Return the attempts of a step that are known, in order; none when the step is unknown."""
    found = STEP_EVIDENCE
    day = select(runs.c.run_day).where(runs.c.run_key == key).scalar_subquery()
    numbered = ordinals(lambda step: and_(step.c.run_key == key, step.c.run_day == day))
    known = connection.execute(
        select(
            steps.c.run_key,
            steps.c.run_day,
            steps.c.step_id,
            steps.c.attempt_key,
            steps.c.status,
            steps.c.decisions_recorded,
            numbered.c.attempt,
            found.c.grade.label("evidence"),
            found.c.expired.label("decisions_expired"),
            found.c.stored.label("decisions_stored"),
            found.c.missing.label("chunks_missing"),
            found.c.unreadable.label("chunks_unreadable"),
        )
        .join_from(steps, numbered, of_step(steps, numbered))
        .join(found, true())
        .where(steps.c.step_id == step_id)
    )
    stored = known.mappings().all()
    lost = of_steps(connection, stored)
    attempts = [
        Attempt(
            row["attempt_key"],
            row["attempt"],
            step_completeness(row, lost.get((key, step_id, row["attempt_key"]), NOTHING_LOST)),
        )
        for row in stored
    ]
    keys = {attempt.key for attempt in attempts}
    # Decisions may arrive before their step; they are shown, unnumbered unless the key is the number.
    ahead = connection.scalars(
        select(decisions.c.attempt_key)
        .where(decisions.c.run_key == key, decisions.c.run_day == day, decisions.c.step_id == step_id)
        .group_by(decisions.c.attempt_key)
    )
    awaited = StepCompleteness("running", "partial", None, 0)
    attempts += [Attempt(k, sent_number(k), awaited) for k in ahead if k not in keys]
    return sorted(attempts, key=lambda attempt: (attempt.number or 0, attempt.key))


def walk(
    connection: Connection, key: UUID, step_id: str, attempts: Sequence[Attempt], start: Place | None
) -> Iterator[tuple[Place, DecisionRecord]]:
    """Yield decisions with their places, behind ``start`` when there is one."""
    if start is not None:
        order = [attempt.key for attempt in attempts]
        attempts = attempts[order.index(start.attempt_key) :] if start.attempt_key in order else ()
    for attempt in attempts:
        resumed = start if start is not None and start.attempt_key == attempt.key else None
        first_chunk = 0 if resumed is None else resumed.chunk_index
        for chunk_index, data in _chunks(connection, key, step_id, attempt.key, first_chunk):
            for offset, decision in enumerate(rows(unpack(data))):
                place = Place(attempt.key, chunk_index, offset)
                if resumed is None or place > resumed:
                    yield place, decision_record(decision, attempt.number)


def _chunks(
    connection: Connection, key: UUID, step_id: str, attempt_key: str, first: int
) -> Iterator[tuple[int, bytes]]:
    """Yield the readable chunks of an attempt in order, a few per round trip."""
    day = select(runs.c.run_day).where(runs.c.run_key == key).scalar_subquery()
    while True:
        found = connection.execute(
            select(decisions.c.chunk_index, decisions.c.data)
            .where(
                decisions.c.run_key == key,
                decisions.c.run_day == day,
                decisions.c.step_id == step_id,
                decisions.c.attempt_key == attempt_key,
                decisions.c.chunk_index >= first,
                readable(decisions),
            )
            .order_by(decisions.c.chunk_index)
            .limit(_CHUNKS_AT_ONCE)
        ).all()
        yield from ((row.chunk_index, row.data) for row in found)
        if len(found) < _CHUNKS_AT_ONCE:
            return
        first = found[-1].chunk_index + 1
