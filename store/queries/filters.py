"""
From parameters as they were sent to conditions in SQL. Nothing is ignored in silence: what is not
understood is refused with its name and the accepted form.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from sqlalchemy import ColumnElement, exists

from store.queries.conditions import Condition, Value, given_as, shown, typed
from store.queries.derived import of_run
from store.queries.errors import InvalidParameter
from store.queries.language import PARAMETER as QUESTION
from store.queries.language_sql import Question, understand
from store.queries.vocabulary import SUFFIXES, Family, Field, Kind, Vocabulary
from store.schema import runs, steps

DEFAULT_LIMIT = 50
MAX_LIMIT = 1000
_STEP_PREFIX = "step."
_NAME = "given_{}"


@dataclass(frozen=True, slots=True)
class Filters:
    """The conditions of one question; all hold together."""

    own: tuple[Condition, ...] = ()
    step: tuple[Condition, ...] = ()
    """On runs: one step satisfies all of these."""
    question: Question | None = None
    """``q``, in the filter language; holds beside the conditions."""

    @property
    def needs_funnel(self) -> bool:
        """Whether a condition reads ``RUN_FUNNEL``."""
        asked = self.question is not None and self.question.needs_funnel
        return asked or any(condition.needs_funnel for condition in self.own)

    def clauses(self, of_step: Sequence[ColumnElement[bool]] = ()) -> list[ColumnElement[bool]]:
        """Return the conditions in SQL, to be joined by AND; of_step: holds of every step of such a run."""
        clauses = [condition.clause() for condition in self.own]
        if self.step:
            asked = (condition.clause() for condition in self.step)
            one_step = exists().where(of_run(steps, runs), *asked, *of_step)
            clauses.append(one_step.correlate(runs))
        if self.question is not None:
            clauses.extend(self.question.clauses)
        return clauses

    def form(self) -> tuple[Hashable, dict[str, Any]] | None:
        """
        Return what ``named`` depends on, and the values of its parameters.

        None where the statement itself depends on values.
        """
        if self.step or self.question is not None:
            return None
        form, values = [], {}
        for position, condition in enumerate(self.own):
            if not isinstance(condition.expression, ColumnElement):
                return None
            form.append((condition.field, condition.name, condition.operator, type(condition.value)))
            given, _ = given_as(condition.value, condition.expression.type)
            values[_NAME.format(position)] = given
        return tuple(form), values

    def named(self) -> list[ColumnElement[bool]]:
        """Return ``clauses`` with parameters that have no values, but the names that ``form`` gives."""
        return [condition.clause(_NAME.format(position)) for position, condition in enumerate(self.own)]

    def identity(self, name: str) -> str:
        """Return the canonical text of the list asked for, which its cursors are bound to."""
        sent = sorted((c.parameter, str(c.value)) for c in (*self.own, *self.step))
        if self.question is not None:
            sent.append((QUESTION, self.question.text))
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
    own, step, question = [], [], None
    for name, value in rest:
        if vocabulary.language and name == QUESTION:
            question = understand(vocabulary, value)
        elif vocabulary.step is not None and name.startswith(_STEP_PREFIX):
            step.append(_condition(vocabulary.step, name, name.removeprefix(_STEP_PREFIX), value))
        else:
            own.append(_condition(vocabulary, name, name, value))
    return Filters(tuple(own), tuple(step), question), page


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
    # The long ones first: a name may end like none of them.
    for suffix, function in sorted(SUFFIXES[family.kind].items(), key=lambda pair: -len(pair[0])):
        name = rest.removesuffix(suffix)
        if name and (not suffix or name != rest):
            if "\x00" in name:
                raise InvalidParameter(parameter, f"{shown(parameter)} must not contain NUL characters")
            try:
                expression = family.expression(name)
            except ValueError as exc:
                raise InvalidParameter(parameter, f"{shown(parameter)} must be {exc}") from None
            meant = typed("number" if family.kind == "outcome" and suffix else family.kind, parameter, value)
            return Condition(parameter, family.prefix, function, meant, expression, name=name)
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
        message += _perhaps(vocabulary, name)
        message += f"; accepted are limit, cursor, {', '.join(_forms(vocabulary))}"
    return InvalidParameter(parameter, message)


def _perhaps(vocabulary: Vocabulary, name: str) -> str:
    """``; did you mean step_type?`` for ``type`` or a slip of the pen; empty when nothing is near."""
    fields = {field.name for field in vocabulary.fields}
    near = [f"step_{name}"] if f"step_{name}" in fields else get_close_matches(name, sorted(fields), 1)
    return f"; did you mean {near[0]}?" if near else ""


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
    if vocabulary.language:
        yield QUESTION


def _value(field: Field, parameter: str, value: str) -> Value:
    if field.words and value not in field.words:
        raise InvalidParameter(
            parameter, f"{parameter} must be one of {', '.join(field.words)}, got {shown(value)}"
        )
    return typed(field.kind, parameter, value)
