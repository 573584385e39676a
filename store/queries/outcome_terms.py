"""
``outcome.<name>`` in filters: a term about what may be there several times.

A run has one outcome of a name for itself and one for each item in it. A comparison holds when it does
of one of them; those that were withdrawn are not there. Numbers compare as numbers, and what is no
number satisfies none of these; true and false are the words. Decision 0039.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from sqlalchemy import (
    ARRAY,
    ColumnElement,
    FromClause,
    Numeric,
    Text,
    and_,
    bindparam,
    case,
    cast,
    exists,
    func,
    literal,
    not_,
    or_,
)

from store.queries.derived import of_run
from store.schema import outcomes, runs

EXAMPLE = "bad_match"
ITEM = "item_of_outcome"
"""The parameter of statements with terms of ``about_item``: the item that is asked about."""

_WHOLE = cast(literal([], ARRAY(Text)), ARRAY(Text))
_ORDERED: Mapping[str, Callable[[Any, Any], Any]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_WORD = {"lt": "<", "le": "<=", "gt": ">", "ge": ">=", "eq": "="}


@dataclass(frozen=True, slots=True, eq=False)
class OutcomeTerm:
    """The outcomes of one name, where they are asked for."""

    among: Callable[[FromClause], ColumnElement[bool]]
    """Which of them are meant; the table is ``outcomes`` under an alias."""
    name: str

    def there(self) -> ColumnElement[bool]:
        """Whether there is one."""
        return self._exists(lambda _: literal(True))

    def holds(self, word: str, values: Sequence[str | Decimal]) -> ColumnElement[bool]:
        """
        Whether there is one of which the comparison is true.

        word: of the filter language, or the name of a function in ``operator``. values: a number as
        ``Decimal``; several for ``in`` and ``not in``.
        """
        return self._exists(lambda row: compared(row, _WORD.get(word, word), values))

    def _exists(self, condition: Callable[[FromClause], ColumnElement[bool]]) -> ColumnElement[bool]:
        row = outcomes.alias()
        return exists().where(
            row.c.name == literal(self.name, Text),
            row.c.value.is_not(None),
            self.among(row),
            condition(row),
        )


def compared(row: FromClause, word: str, values: Sequence[str | Decimal]) -> ColumnElement[bool]:
    """Return the comparison of one outcome's value, in SQL."""
    text = row.c.value.op("#>>", return_type=Text())(_WHOLE)
    if word in ("=", "!=", "in", "not in"):
        same = or_(*(_is(row, text, value) for value in values))
        return same if word in ("=", "in") else not_(same)
    (value,) = values
    if word in _ORDERED:
        clause: ColumnElement[bool] = _ORDERED[word](_number(row, text), literal(value, Numeric))
        return func.coalesce(clause, False)
    is_text = func.jsonb_typeof(row.c.value) == "string"
    found = func.starts_with(text, value) if word == "starts_with" else func.strpos(text, value) > 0
    return and_(is_text, found)


def about_run(name: str) -> OutcomeTerm:
    """The outcomes of a run, its own and those of its items, in a statement on ``runs``."""
    return OutcomeTerm(lambda row: of_run(row, runs), name)


def about_item(name: str) -> OutcomeTerm:
    """The outcome of the item ``ITEM`` in a run, in a statement on ``runs``."""
    return OutcomeTerm(
        lambda row: and_(of_run(row, runs), row.c.item_id == bindparam(ITEM, type_=Text)), name
    )


def marked(names: Collection[str]) -> ColumnElement[bool]:
    """Whether a run, or an item in it, has an outcome of one of these names that is not false or 0."""
    row = outcomes.alias()
    return exists().where(
        of_run(row, runs), row.c.name.in_(sorted(names)), row.c.value.is_not(None), not_(_is_no(row))
    )


def _is_no(row: FromClause) -> ColumnElement[bool]:
    text = row.c.value.op("#>>", return_type=Text())(_WHOLE)
    return and_(func.jsonb_typeof(row.c.value) != "string", text.in_(("false", "0")))


def _is(row: FromClause, text: ColumnElement[Any], value: str | Decimal) -> ColumnElement[bool]:
    if isinstance(value, Decimal):
        return func.coalesce(_number(row, text) == literal(value, Numeric), False)
    clause: ColumnElement[bool] = text == literal(value, Text)
    return clause


def _number(row: FromClause, text: ColumnElement[Any]) -> ColumnElement[Any]:
    return case((func.jsonb_typeof(row.c.value) == "number", cast(text, Numeric)))
