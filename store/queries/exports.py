"""
All rows that satisfy a question, batch by batch: the same records as the lists', in the same order.

The keys come through a cursor of the database, the records of a batch by their keys, all in one
snapshot; what is in memory does not grow with the answer. Each statement keeps the statement timeout.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import fields
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    Connection,
    FromClause,
    Integer,
    Row,
    Select,
    Uuid,
    column,
    func,
    literal,
    select,
)

from store.decisions import rows, unpack
from store.ids import run_key
from store.queries.chunks import readable
from store.queries.decisions import decision_record
from store.queries.filters import Filters
from store.queries.keys import STEP_KEY
from store.queries.runs import matching as matching_runs
from store.queries.runs import runs_by_key
from store.queries.status import clock
from store.queries.steps import in_window, steps_by_key
from store.queries.steps import matching as matching_steps
from store.queries.types import RunRecord, StepRecord
from store.queries.types_decisions import DecisionRecord, ItemDecision
from store.schema import decisions, runs

BATCH_ROWS = 500
_CHUNKS_AT_ONCE = 8
_DECISION_FIELDS = tuple(field.name for field in fields(DecisionRecord))


def every_run(
    connection: Connection, filters: Filters, *, now: datetime, default_timeout_s: float
) -> Iterator[list[RunRecord]]:
    """Yield the runs that satisfy all filters, newest start first."""
    clocked = clock(now, default_timeout_s)
    for keys in _batches(connection, matching_runs(connection, filters), BATCH_ROWS, clocked):
        yield runs_by_key(connection, keys, clocked)


def every_step(connection: Connection, filters: Filters) -> Iterator[list[StepRecord]]:
    """Yield the steps that satisfy all filters, newest start first."""
    wanted = matching_steps(filters).where(*in_window(connection, filters))
    for keys in _batches(connection, wanted, BATCH_ROWS):
        yield steps_by_key(connection, keys)


def every_decision(connection: Connection, filters: Filters) -> Iterator[list[ItemDecision]]:
    """
    Yield the decisions, chunk by chunk, of the steps that satisfy the filters on steps, newest start first.

    What the filters ask of decisions (those without an expression) is compared after unpacking.
    """
    asked = [condition for condition in filters.own if condition.expression is None]
    of_steps = Filters(
        tuple(condition for condition in filters.own if condition.expression is not None),
        question=filters.question,
    )
    for batch in every_step(connection, of_steps):
        found = [step for step in batch if step.completeness.decisions_stored]
        if not found:
            continue
        entities = _entities(connection, found)
        for step, data in _chunks(connection, found):
            named = _of_step(step, entities[step.run_id])
            records = (decision_record(decision, step.attempt) for decision in rows(unpack(data)))
            yield [
                ItemDecision(**named, **{name: getattr(record, name) for name in _DECISION_FIELDS})
                for record in records
                if all(condition.holds(getattr(record, condition.field)) for condition in asked)
            ]


def _batches(
    connection: Connection, statement: Select[Any], size: int, values: dict[str, Any] | None = None
) -> Iterator[Sequence[Row[Any]]]:
    # yield_per: a named cursor of the database, and that many rows of it in memory.
    with connection.execute(statement, values, execution_options={"yield_per": size}) as found:
        yield from found.partitions()


def _table(keys: Sequence[Sequence[Any]], columns: Sequence[tuple[str, Any]]) -> FromClause:
    """Return the keys as a table, with their place from 1."""
    arrays = (
        literal([row[position] for row in keys], ARRAY(type_)) for position, (_, type_) in enumerate(columns)
    )
    named = (column(name, type_) for name, type_ in columns)
    table = func.unnest(*arrays).table_valued(*named, with_ordinality="place", name="wanted")
    return table.render_derived()


def _chunks(connection: Connection, found: Sequence[StepRecord]) -> Iterator[tuple[StepRecord, bytes]]:
    """Yield the readable chunks of the steps, in the order of the steps and their chunks."""
    keys = [(run_key(step.run_id), step.step_id, step.attempt_key) for step in found]
    wanted = _table(keys, tuple(part for part in STEP_KEY if part[0] != "run_day"))
    statement = (
        select(wanted.c.place.cast(Integer), decisions.c.data)
        .join_from(wanted, runs, wanted.c.run_key == runs.c.run_key)
        .join(
            decisions,
            (decisions.c.run_day == runs.c.run_day)
            & (decisions.c.run_key == wanted.c.run_key)
            & (decisions.c.step_id == wanted.c.step_id)
            & (decisions.c.attempt_key == wanted.c.attempt_key),
        )
        .where(readable(decisions))
        .order_by(wanted.c.place, decisions.c.chunk_index)
    )
    for batch in _batches(connection, statement, _CHUNKS_AT_ONCE):
        yield from ((found[row.place - 1], row.data) for row in batch)


def _entities(connection: Connection, found: Sequence[StepRecord]) -> dict[str, str | None]:
    keys: list[UUID] = sorted({run_key(step.run_id) for step in found})
    asked = select(runs.c.run_id, runs.c.entity).where(
        runs.c.run_key == func.any(literal(keys, ARRAY(Uuid())))
    )
    return {row.run_id: row.entity for row in connection.execute(asked)}


def _of_step(step: StepRecord, entity: str | None) -> dict[str, Any]:
    names = ("run_id", "pipeline", "pipeline_version", "step_id", "name", "step_type", "started_at")
    return {name: getattr(step, name) for name in names} | {"entity": entity}
