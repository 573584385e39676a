"""Late outcomes of runs and items, for the answers about them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from uuid import UUID

from sqlalchemy import ARRAY, ColumnElement, Connection, Text, Uuid, and_, bindparam, func, literal, select

from store.ids import run_key
from store.kept import Kept, Rows, rows
from store.queries.conditions import Condition
from store.queries.keys import among, of_asked, of_keys
from store.queries.outcome_terms import compared
from store.queries.types_outcomes import OutcomeRecord
from store.schema import outcomes, runs

SHOWN = 100
"""Outcomes of one run in an answer, its own first."""


def by_run(found: Rows) -> Mapping[UUID, Sequence[OutcomeRecord]]:
    """Return the outcomes by run; found: rows of ``OF_RUNS``."""
    of_run: dict[UUID, list[OutcomeRecord]] = defaultdict(list)
    for row in found:
        record = OutcomeRecord(
            row["name"], row["item_id"] or None, row["value"], row["source"], row["observed_at"]
        )
        of_run[row["run_key"]].append(record)
    return of_run


def _first(*clauses: ColumnElement[bool]) -> Kept:
    """The first ``SHOWN`` outcomes of each run."""
    order = (outcomes.c.item_id, outcomes.c.name)
    number = func.row_number().over(partition_by=outcomes.c.run_key, order_by=order).label("number")
    columns = (outcomes.c[name] for name in ("run_key", "name", "item_id", "value", "source", "observed_at"))
    found = select(*columns, number).where(outcomes.c.value.is_not(None), *clauses).subquery()
    return Kept(select(found).where(found.c.number <= SHOWN).order_by(found.c.run_key, found.c.number))


OF_RUNS = _first(among(outcomes))
"""Of runs given by ``keys.of_keys``."""
OF_RUN = _first(of_asked(outcomes))
"""Of the run given by ``keys.asked``."""
_OF_ITEM = _first(among(outcomes), outcomes.c.item_id == bindparam("asked_item", type_=Text()))


def of_item(
    connection: Connection, run_ids: Collection[str], item_id: str
) -> Mapping[str, Sequence[OutcomeRecord]]:
    """Return the outcomes of an item by run id; runs that are unknown, or have none, are left out."""
    if not run_ids:
        return {}
    keys = [run_key(run_id) for run_id in run_ids]
    statement = select(runs.c.run_id, runs.c.run_key, runs.c.run_day).where(
        runs.c.run_key == func.any(literal(keys, ARRAY(Uuid())))
    )
    known = connection.execute(statement).all()
    if not known:
        return {}
    days = of_keys((row.run_key, row.run_day) for row in known)
    (found,) = rows(connection, (_OF_ITEM, {**days, "asked_item": item_id}))
    of_run = by_run(found)
    return {row.run_id: of_run[row.run_key] for row in known if row.run_key in of_run}


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
