"""
Rows that are asked for by their keys, as a table whose columns are arrays among the parameters.

So a statement does not depend on how many there are: it is put together once, and its plan is kept.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import date
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, ColumnElement, Date, FromClause, Text, Uuid, and_, bindparam, column, func
from sqlalchemy.types import TypeEngine

from store.ids import run_key

Columns = Sequence[tuple[str, TypeEngine[Any]]]

RUN_KEY: Columns = (("run_key", Uuid()),)
STEP_KEY: Columns = (("run_key", Uuid()), ("run_day", Date()), ("step_id", Text()), ("attempt_key", Text()))

_PARAMETER = "wanted_{}"


def wanted(columns: Columns) -> FromClause:
    """Return the table of keys, named ``wanted``."""
    arrays = (bindparam(_PARAMETER.format(name), type_=ARRAY(type_)) for name, type_ in columns)
    table = func.unnest(*arrays).table_valued(*(column(*named) for named in columns), name="wanted")
    return table.render_derived()


def values(columns: Columns, keys: Sequence[Sequence[Any]]) -> dict[str, str]:
    """Return the parameters; keys: rows that begin with these columns."""
    return {
        _PARAMETER.format(name): array(key[position] for key in keys)
        for position, (name, _) in enumerate(columns)
    }


_FIRST, _LAST = "first_day", "last_day"
_RUNS, _RUN = "asked_runs", "asked_run"


def in_days(row: FromClause) -> ColumnElement[bool]:
    """
    Whether a row is of one of the days that are asked for.

    To be said of each partitioned table, although joins say it as well: as parameters the days are known
    before the plan is started, and of ten partitions nine are not even opened.
    """
    day = row.c.run_day
    return and_(day >= bindparam(_FIRST, type_=Date()), day <= bindparam(_LAST, type_=Date()))


def among(row: FromClause) -> ColumnElement[bool]:
    """Whether a row is of one of the runs that ``of_keys`` gives."""
    return and_(row.c.run_key == func.any(bindparam(_RUNS, type_=ARRAY(Uuid()))), in_days(row))


def of_keys(keys: Iterable[tuple[UUID, date]]) -> dict[str, Any]:
    """Return the parameters of ``among`` and ``in_days``, from run keys and their days."""
    days = dict(keys)
    return {_RUNS: array(days), **_days(days.values())}


def of_asked(row: FromClause) -> ColumnElement[bool]:
    """Whether a row is of the run that ``asked`` gives."""
    return and_(row.c.run_key == bindparam(_RUN, type_=Uuid()), in_days(row))


def asked(run_id: str, day: date) -> dict[str, Any]:
    """Return the parameters of ``of_asked``."""
    return {_RUN: run_key(run_id), **_days([day])}


def _days(days: Collection[date]) -> dict[str, date]:
    return {_FIRST: min(days), _LAST: max(days)}


def array(members: Iterable[object]) -> str:
    """Return an array as Postgres reads it; the driver would look at each member three times."""
    return "{" + ",".join([f'"{_escaped(str(member))}"' for member in members]) + "}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')
