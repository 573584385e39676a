"""
Rows that are asked for by their keys, as a table whose columns are arrays among the parameters.

So a statement does not depend on how many there are: it is put together once, and its plan is kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ARRAY, Date, FromClause, Text, Uuid, bindparam, column, func
from sqlalchemy.types import TypeEngine

Columns = Sequence[tuple[str, TypeEngine[Any]]]

RUN_KEY: Columns = (("run_key", Uuid()),)
STEP_KEY: Columns = (("run_key", Uuid()), ("run_day", Date()), ("step_id", Text()), ("attempt_key", Text()))

_PARAMETER = "wanted_{}"


def wanted(columns: Columns) -> FromClause:
    """Return the table of keys, named ``wanted``."""
    arrays = (bindparam(_PARAMETER.format(name), type_=ARRAY(type_)) for name, type_ in columns)
    table = func.unnest(*arrays).table_valued(*(column(*named) for named in columns), name="wanted")
    return table.render_derived()


def values(columns: Columns, keys: Sequence[Sequence[Any]]) -> dict[str, list[Any]]:
    """Return the parameters; keys: rows that begin with these columns."""
    return {
        _PARAMETER.format(name): [key[position] for key in keys] for position, (name, _) in enumerate(columns)
    }
