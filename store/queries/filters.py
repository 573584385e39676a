"""
From parameters as they were sent to conditions in SQL. Nothing is ignored in silence: what is not
understood is refused with its name and the accepted form.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import ColumnElement, DateTime, Double, Float, Numeric, Text, exists, literal
from sqlalchemy.types import TypeEngine

from store.queries.derived import of_run
from store.queries.errors import InvalidParameter
from store.queries.vocabulary import SUFFIXES, Family, Field, Kind, Vocabulary
from store.schema import runs, steps

DEFAULT_LIMIT = 50
MAX_LIMIT = 1000
MAX_TEXT_CHARS = 4096
Value = str | int | Decimal | datetime
_STEP_PREFIX = "step."
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
    expression: ColumnElement[Any] | None = None
    needs_funnel: bool = False

    def holds(self, seen: Any) -> bool:
        """Compare a value of the row; what is no number never satisfies a number."""
        if isinstance(self.value, Decimal):
            if isinstance(seen, bool) or not isinstance(seen, int | float):
                return False
            # As a float, as SQL does it: 0.9 as sent is not the decimal 0.9, yet must equal it.
            return bool(getattr(operator, self.operator)(seen, float(self.value)))
        return bool(getattr(operator, self.operator)(seen, self.value))

    def clause(self) -> ColumnElement[bool]:
        """Return the condition in SQL; null on the left is never true."""
        assert self.expression is not None  # only decisions have none, and they are not asked in SQL
        clause: ColumnElement[bool] = getattr(operator, self.operator)(
            self.expression, self._bound(self.expression.type)
        )
        return clause

    def _bound(self, type_: TypeEngine[Any]) -> ColumnElement[Any]:
        if isinstance(self.value, datetime):
            return literal(self.value, DateTime(timezone=True))
        if isinstance(self.value, str):
            return literal(self.value, Text)
        if isinstance(type_, Float):
            return literal(float(self.value), Double)
        # Decimal: integers beyond 2**53 and numbers in JSON compare exactly.
        return literal(Decimal(self.value), Numeric)


@dataclass(frozen=True, slots=True)
class Filters:
    """The conditions of one question; all hold together."""

    own: tuple[Condition, ...] = ()
    step: tuple[Condition, ...] = ()
    """On runs: one step satisfies all of these."""

    @property
    def needs_funnel(self) -> bool:
        """Whether a condition reads ``RUN_FUNNEL``."""
        return any(condition.needs_funnel for condition in self.own)

    def clauses(self) -> list[ColumnElement[bool]]:
        """Return the conditions in SQL, to be joined by AND."""
        clauses = [condition.clause() for condition in self.own]
        if self.step:
            one_step = exists().where(of_run(steps, runs), *(condition.clause() for condition in self.step))
            clauses.append(one_step.correlate(runs))
        return clauses

    def question(self, name: str) -> str:
        """Return the canonical text of the question that cursors are bound to."""
        sent = sorted((c.parameter, str(c.value)) for c in (*self.own, *self.step))
        return repr((name, sent))


@dataclass(frozen=True, slots=True)
class PageRequest:
    """How much of a list is asked for, and from where on."""

    limit: int = DEFAULT_LIMIT
    cursor: str | None = None


def parse(vocabulary: Vocabulary, sent: Iterable[tuple[str, str]]) -> tuple[Filters, PageRequest]:
    """
    Understand the parameters of a list.

    sent: names and values in the order sent. Raises ``InvalidParameter`` for the first that is unknown,
    repeated, or holds a value that is not accepted.
    """
    page, rest = take_page(sent)
    own, step = [], []
    for name, value in rest:
        if vocabulary.step is not None and name.startswith(_STEP_PREFIX):
            step.append(_condition(vocabulary.step, name, name.removeprefix(_STEP_PREFIX), value))
        else:
            own.append(_condition(vocabulary, name, name, value))
    return Filters(tuple(own), tuple(step)), page


def take_page(sent: Iterable[tuple[str, str]]) -> tuple[PageRequest, list[tuple[str, str]]]:
    """Take ``limit`` and ``cursor`` out of the parameters; refuses a parameter that was sent twice."""
    given = unrepeated(sent)
    limit = parse_limit(given.pop("limit", str(DEFAULT_LIMIT)))
    return PageRequest(limit, given.pop("cursor", None)), list(given.items())


def unrepeated(sent: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return the parameters by name; raises ``InvalidParameter`` for one that was sent twice."""
    given: dict[str, str] = {}
    for name, value in sent:
        if name in given:
            raise InvalidParameter(name, f"{shown(name)} must be given once; conditions on it do not add up")
        given[name] = value
    return given


def parse_limit(value: str) -> int:
    """Return the page size; raises ``InvalidParameter``."""
    if not re.fullmatch(r"[+-]?\d{1,9}", value, re.ASCII) or not 1 <= int(value) <= MAX_LIMIT:
        raise InvalidParameter("limit", f"limit must be 1 to {MAX_LIMIT}, got {shown(value)}")
    return int(value)


def _condition(vocabulary: Vocabulary, parameter: str, name: str, value: str) -> Condition:
    family = next((f for f in vocabulary.families if name.startswith(f.prefix + ".")), None)
    if family is not None:
        return _family_condition(family, parameter, name.removeprefix(family.prefix + "."), value)
    for field in vocabulary.fields:
        for suffix, function in SUFFIXES[field.kind].items():
            if name == field.name + suffix:
                typed = _value(field, parameter, value)
                return Condition(parameter, field.name, function, typed, field.expression, field.needs_funnel)
    raise _unknown(vocabulary, parameter, name)


def _family_condition(family: Family, parameter: str, rest: str, value: str) -> Condition:
    for suffix, function in SUFFIXES[family.kind].items():
        name = rest.removesuffix(suffix)
        if name and (not suffix or name != rest):
            if "\x00" in name:
                raise InvalidParameter(parameter, f"{shown(parameter)} must not contain NUL characters")
            try:
                expression = family.expression(name)
            except ValueError as exc:
                raise InvalidParameter(parameter, f"{shown(parameter)} must be {exc}") from None
            return Condition(
                parameter, family.prefix, function, _typed(family.kind, parameter, value), expression
            )
    accepted = ", ".join(f"{family.prefix}.<name>{suffix}" for suffix in SUFFIXES[family.kind])
    raise InvalidParameter(parameter, f"{shown(parameter)} must have the form {accepted}")


def _unknown(vocabulary: Vocabulary, parameter: str, name: str) -> InvalidParameter:
    field = next((f for f in vocabulary.fields if f.name == name), None)
    if field is not None:
        accepted = ", ".join(field.name + suffix for suffix in SUFFIXES[field.kind])
        return InvalidParameter(parameter, f"{parameter} is compared by {accepted}")
    message = f"{shown(parameter)} is no parameter of this list of {vocabulary.rows}"
    if vocabulary.step is not None and any(
        f.name + suffix == name for f in vocabulary.step.fields for suffix in SUFFIXES[f.kind]
    ):
        message += f"; {_STEP_PREFIX}{name} asks for it of one step of the run"
    else:
        message += f"; accepted are limit, cursor, {', '.join(_forms(vocabulary))}"
    return InvalidParameter(parameter, message)


def _forms(vocabulary: Vocabulary) -> Iterable[str]:
    named: Sequence[tuple[str, Kind]] = [
        *((field.name, field.kind) for field in vocabulary.fields),
        *((f"{family.prefix}.<name>", family.kind) for family in vocabulary.families),
    ]
    for name, kind in named:
        suffixes = SUFFIXES[kind]
        yield name if "" in suffixes else f"{name}{'|'.join(suffixes)}"
    if vocabulary.step is not None:
        yield "step.<field>"


def _value(field: Field, parameter: str, value: str) -> Value:
    if field.words and value not in field.words:
        raise InvalidParameter(
            parameter, f"{parameter} must be one of {', '.join(field.words)}, got {shown(value)}"
        )
    return _typed(field.kind, parameter, value)


def _typed(kind: Kind, parameter: str, value: str) -> Value:
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
    if len(value) <= 100 and _NUMBER.fullmatch(value):
        number = Decimal(value)
        # The range of doubles: what lies outside cannot have been stored, and numeric would overflow.
        if not number or -330 < number.adjusted() < 308:
            return number
    raise InvalidParameter(
        parameter, f"{shown(parameter)} must be a decimal number such as 0.9 or 100, got {shown(value)}"
    )


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
