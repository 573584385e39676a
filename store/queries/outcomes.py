"""Late outcomes of runs and items, for the answers about them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import date
from uuid import UUID

from sqlalchemy import ARRAY, Connection, Date, Uuid, and_, func, literal, select
from sqlalchemy.sql.expression import ColumnElement

from store.ids import run_key
from store.queries.conditions import Condition
from store.queries.outcome_terms import compared
from store.queries.types_outcomes import OutcomeRecord
from store.schema import outcomes, runs

SHOWN = 100
"""Outcomes of one run in an answer, its own first."""
_COLUMNS = tuple(outcomes.c[name] for name in ("name", "item_id", "value", "source", "observed_at"))


def of_runs(
    connection: Connection, keys: Iterable[tuple[UUID, date]], item_id: str | None = None
) -> Mapping[UUID, Sequence[OutcomeRecord]]:
    """Return the outcomes by run, the first ``SHOWN`` of each, or those of one item in them."""
    days: dict[UUID, date] = dict(keys)
    if not days:
        return {}
    asked: list[ColumnElement[bool]] = [
        outcomes.c.run_key == func.any(literal(list(days), ARRAY(Uuid()))),
        # Names the partitions: without it every week would be searched.
        outcomes.c.run_day == func.any(literal(sorted(set(days.values())), ARRAY(Date()))),
        outcomes.c.value.is_not(None),
    ]
    if item_id is not None:
        asked.append(outcomes.c.item_id == item_id)
    order = (outcomes.c.item_id, outcomes.c.name)
    number = func.row_number().over(partition_by=outcomes.c.run_key, order_by=order).label("number")
    found = select(outcomes.c.run_key, *_COLUMNS, number).where(*asked).subquery()
    rows = connection.execute(
        select(found).where(found.c.number <= SHOWN).order_by(found.c.run_key, found.c.number)
    )
    of_run: dict[UUID, list[OutcomeRecord]] = defaultdict(list)
    for row in rows:
        record = OutcomeRecord(row.name, row.item_id or None, row.value, row.source, row.observed_at)
        of_run[row.run_key].append(record)
    return of_run


def of_item(
    connection: Connection, run_ids: Collection[str], item_id: str
) -> Mapping[str, Sequence[OutcomeRecord]]:
    """Return the outcomes of an item by run id."""
    if not run_ids:
        return {}
    keys = [run_key(run_id) for run_id in run_ids]
    statement = select(runs.c.run_id, runs.c.run_key, runs.c.run_day).where(
        runs.c.run_key == func.any(literal(keys, ARRAY(Uuid())))
    )
    known = connection.execute(statement).all()
    found = of_runs(connection, [(row.run_key, row.run_day) for row in known], item_id)
    return {row.run_id: found[row.run_key] for row in known if row.run_key in found}


def items_of(connection: Connection, key: UUID, condition: Condition) -> frozenset[str]:
    """Return the items of a run of which a condition on ``outcome.<name>`` is true."""
    day = select(runs.c.run_day).where(runs.c.run_key == key).scalar_subquery()
    statement = select(outcomes.c.item_id).where(
        outcomes.c.run_key == key,
        outcomes.c.run_day == day,
        outcomes.c.name == condition.name,
        outcomes.c.value.is_not(None),
        and_(compared(outcomes, *condition.asked())),
    )
    return frozenset(connection.scalars(statement))
