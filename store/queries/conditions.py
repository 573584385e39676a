"""
One condition of a question, and the values that it may compare with: texts, numbers, integers, times.
"""

from __future__ import annotations

import operator
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import ColumnElement, DateTime, Double, Float, Numeric, Text, bindparam, literal
from sqlalchemy.types import TypeEngine

from store.queries.errors import InvalidParameter
from store.queries.outcome_terms import OutcomeTerm
from store.queries.vocabulary import Kind

MAX_TEXT_CHARS = 4096
_SIGNS = {"eq": "=", "gt": ">", "ge": ">=", "lt": "<", "le": "<="}
Value = str | int | Decimal | datetime
# RFC 3339, section 5.6. datetime.fromisoformat takes many more forms, some of them ambiguous.
_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)", re.ASCII)
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Condition:
    """One parameter, understood."""

    parameter: str
    field: str
    operator: str
    """Name of a function in ``operator``."""
    value: Value
    expression: ColumnElement[Any] | OutcomeTerm | None = None
    needs_funnel: bool = False
    name: str = ""
    """Of a family: what stands behind its prefix."""

    def holds(self, seen: Any) -> bool:
        """Compare a value of the row; what is no number never satisfies a number."""
        if isinstance(self.value, Decimal):
            if isinstance(seen, bool) or not isinstance(seen, int | float):
                return False
            # As a float, as SQL does it: 0.9 as sent is not the decimal 0.9, yet must equal it.
            return bool(getattr(operator, self.operator)(seen, float(self.value)))
        return bool(getattr(operator, self.operator)(seen, self.value))

    def clause(self, name: str | None = None) -> ColumnElement[bool]:
        """Return the condition in SQL; null on the left is never true. name: of a parameter without value."""
        assert self.expression is not None  # only decisions have none, and they are not asked in SQL
        if isinstance(self.expression, OutcomeTerm):
            return self.expression.holds(*self.asked())
        clause: ColumnElement[bool] = getattr(operator, self.operator)(
            self.expression, bound(self.value, self.expression.type, name)
        )
        return clause

    def asked(self) -> tuple[str, list[str | Decimal]]:
        """Return the comparison as ``outcome_terms`` takes it: what reads as a number is one as well."""
        if isinstance(self.value, Decimal):
            return _SIGNS[self.operator], [self.value]
        text = str(self.value)
        return "in", [text, *([Decimal(text)] if _is_number(text) else [])]


def bound(value: Value, type_: TypeEngine[Any], name: str | None = None) -> ColumnElement[Any]:
    """
    Return the value as a parameter of a statement, to be compared with a column of this type.

    name: of the parameter, which then has no value yet.
    """
    given, given_type = given_as(value, type_)
    return literal(given, given_type) if name is None else bindparam(name, type_=given_type)


def given_as(value: Value, type_: TypeEngine[Any]) -> tuple[Any, TypeEngine[Any]]:
    """Return what is given to the driver, and its type, to be compared with a column of this type."""
    if isinstance(value, datetime):
        return value, DateTime(timezone=True)
    if isinstance(value, str):
        return value, Text()
    if isinstance(type_, Float):
        return float(value), Double()
    # Decimal: integers beyond 2**53 and numbers in JSON compare exactly.
    return Decimal(value), Numeric()


def typed(kind: Kind, parameter: str, value: str) -> Value:
    """Return the value as one of the kind; raises ``InvalidParameter``."""
    if kind == "number":
        return parse_number(parameter, value)
    if kind == "integer":
        return parse_integer(parameter, value)
    if kind == "time":
        return parse_time(parameter, value)
    return parse_text(parameter, value)


def parse_text(parameter: str, value: str) -> str:
    """Return the text; raises ``InvalidParameter`` for one that no stored text can equal."""
    if not value or len(value) > MAX_TEXT_CHARS or "\x00" in value:
        raise InvalidParameter(
            parameter,
            f"{shown(parameter)} must be 1 to {MAX_TEXT_CHARS} characters without NUL, got {shown(value)}",
        )
    return value


def parse_number(parameter: str, value: str) -> Decimal:
    """Return the number; raises ``InvalidParameter`` for what is none, or beyond a double."""
    if _is_number(value):
        return Decimal(value)
    raise InvalidParameter(
        parameter, f"{shown(parameter)} must be a decimal number such as 0.9 or 100, got {shown(value)}"
    )


def _is_number(value: str) -> bool:
    if len(value) > 100 or not _NUMBER.fullmatch(value):
        return False
    number = Decimal(value)
    # The range of doubles: what lies outside cannot have been stored, and numeric would overflow.
    return not number or -330 < number.adjusted() < 308


def parse_integer(parameter: str, value: str) -> int:
    """Return the integer; raises ``InvalidParameter``."""
    if not re.fullmatch(r"\d{1,9}", value, re.ASCII):
        raise InvalidParameter(parameter, f"{parameter} must be an integer from 0, got {shown(value)}")
    return int(value)


def parse_time(parameter: str, value: str) -> datetime:
    """Return the instant in UTC; raises ``InvalidParameter`` unless it is RFC 3339 with an offset."""
    if _TIME.fullmatch(value):
        try:
            return datetime.fromisoformat(value.upper()).astimezone(UTC)
        except (ValueError, OverflowError):
            pass
    raise InvalidParameter(
        parameter,
        f"{shown(parameter)} must be an RFC 3339 time with offset such as 2025-01-31T12:00:00Z "
        f"(in a URL, + is written %2B), got {shown(value)}",
    )


def shown(sent: str) -> str:
    """Return what was sent, short and printable, for a message."""
    short = sent if len(sent) <= 80 else sent[:77] + "..."
    return "".join(char if char.isprintable() else "?" for char in short) or "nothing"
