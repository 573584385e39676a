"""
What an expression of the filter language means: its fields from the vocabulary, its conditions in SQL.

A comparison with a field that a row does not have is false, ``!=`` and ``not in`` too; ``not`` is plain
logic, so ``not drop_ratio > 0.9`` holds of steps without a drop ratio. On runs the ``step.`` terms outside
any ``not`` speak of one and the same step, and ``not`` asks anew: no step of the run makes what stands
under it true (decision 0031).
"""

from __future__ import annotations

import difflib
import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, and_, exists, false, func, not_, or_

from store.queries.conditions import bound, parse_number, parse_text, shown, typed
from store.queries.derived import RUN_FUNNEL, of_run
from store.queries.errors import InvalidParameter
from store.queries.language import And, Comparison, Node, Not, Or, Value, parse, refused, render
from store.queries.outcome_terms import OutcomeTerm
from store.queries.vocabulary import SUFFIXES, Kind, Vocabulary
from store.schema import runs, steps

STEP_PREFIX = "step."
_NUMERIC = ("<", "<=", ">", ">=")
ALIASES = {"type": "step_type", "started_at": "started"}
"""Other words for a field: ``step.type``, and the key of the answer that shows it."""

_EQUAL = ("=", "!=", "in", "not in")
_ORDERED = ("=", "!=", "<", "<=", ">", ">=")
_NULL = ("is null", "is not null")
OPERATORS: Mapping[Kind, tuple[str, ...]] = {
    "text": (*_EQUAL, "starts_with", "contains"),
    "number": (*_ORDERED, "in", "not in"),
    "integer": (*_ORDERED, "in", "not in"),
    "time": _ORDERED,
    "outcome": (*_ORDERED, "in", "not in", "starts_with", "contains"),
}
"""What a field of each kind can be compared by; besides, each may be null. Closed vocabularies: ``WORDS``."""
WORD_OPERATORS = _EQUAL
MAX_CONDITIONS = 1_000
"""
Comparisons in SQL of one expression, of which the text has ``MAX_TERMS`` at most: where all parts about
steps may also hold without a step, a ``not`` in them is written twice, and what is in it again.
"""

_FUNCTIONS: Mapping[str, Callable[[Any, Any], Any]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "starts_with": func.starts_with,
    "contains": lambda column, text: func.strpos(column, text) > 0,
}
_EXAMPLES: Mapping[Kind, str] = {
    "text": 'a text in quotes, such as "shop"',
    "number": "a number, such as 0.9",
    "integer": "a whole number from 0, such as 3",
    "time": 'an RFC 3339 time in quotes, such as "2025-01-31T12:00:00Z"',
    "outcome": 'true, false, a number or a text in quotes, such as "wrong size"',
}


@dataclass(frozen=True, slots=True, eq=False)
class Question:
    """An expression, understood."""

    text: str
    """The expression in its canonical form."""
    clauses: tuple[ColumnElement[bool], ...]
    """In SQL, about rows of the list; to be joined by AND."""
    needs_funnel: bool
    """Whether a condition reads ``RUN_FUNNEL``."""


class _Meant(NamedTuple):
    """A field's name, understood."""

    kind: Kind
    words: tuple[str, ...]
    expression: ColumnElement[Any] | OutcomeTerm
    needs_funnel: bool


def understand(vocabulary: Vocabulary, text: str) -> Question:
    """Return the question; raises ``InvalidParameter`` that points at what is not understood."""
    node = parse(text)
    compiler = _Compiler(vocabulary)
    # One by one, so that the planner sees what it can start an index at.
    parts = compiler.split(node)
    return Question(render(node), tuple(parts), compiler.needs_funnel)


class _Compiler:
    """Makes SQL of one expression."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self._conditions = 0
        self.needs_funnel = False

    def split(self, node: Node) -> list[ColumnElement[bool]]:
        """Return conditions on a row that hold together when the expression does."""
        if not isinstance(node, And):
            return [self._of_row(node)]
        clauses = [self._of_row(part) for part in node.operands if not self._speaks_of_step(part)]
        together = [part for part in node.operands if self._speaks_of_step(part)]
        if together:
            clauses.append(self._one_step(together))
        return clauses

    def _of_row(self, node: Node) -> ColumnElement[bool]:
        if isinstance(node, Not):
            # A comparison with null counts as false, or NOT would keep the null.
            return not_(func.coalesce(self._of_row(node.operand), false()))
        if isinstance(node, Or):
            return or_(*map(self._of_row, node.operands))
        if isinstance(node, And):
            return and_(*self.split(node))
        return self._one_step([node]) if self._speaks_of_step(node) else self._comparison(node)

    def _one_step(self, parts: list[Node]) -> ColumnElement[bool]:
        """One step makes all parts true; or they hold without any, where each has a way around steps."""
        of_one = and_(*map(self._of_step, parts))
        # RUN_FUNNEL stands beside runs where the list is asked for it.
        found = exists().where(of_run(steps, runs), of_one).correlate(runs, RUN_FUNNEL)
        around = self._all_without_step(parts)
        return found if around is None else or_(found, around)

    def _of_step(self, node: Node) -> ColumnElement[bool]:
        """Return the condition on one step and its run."""
        if isinstance(node, And | Or):
            joined = and_ if isinstance(node, And) else or_
            return joined(*map(self._of_step, node.operands))
        return self._of_row(node) if isinstance(node, Not) else self._comparison(node)

    def _without_step(self, node: Node) -> ColumnElement[bool] | None:
        """Return the condition under which the expression holds of no step at all; None: under none."""
        if not self._speaks_of_step(node):
            return self._of_row(node)
        if isinstance(node, Or):
            ways = [way for part in node.operands if (way := self._without_step(part)) is not None]
            return or_(*ways) if ways else None
        return self._all_without_step(node.operands) if isinstance(node, And) else None

    def _all_without_step(self, parts: Iterable[Node]) -> ColumnElement[bool] | None:
        ways = []
        # Those about steps first: when one has no way, nothing was made in vain.
        for part in sorted(parts, key=self._speaks_of_step, reverse=True):
            way = self._without_step(part)
            if way is None:
                return None
            ways.append(way)
        return and_(*ways)

    def _speaks_of_step(self, node: Node) -> bool:
        if isinstance(node, Comparison):
            return self._vocabulary.step is not None and node.name.startswith(STEP_PREFIX)
        return not isinstance(node, Not) and any(map(self._speaks_of_step, node.operands))

    def _comparison(self, node: Comparison) -> ColumnElement[bool]:
        self._conditions += 1
        if self._conditions > MAX_CONDITIONS:
            raise refused(1, f"the nots repeat what is about steps more than {MAX_CONDITIONS:,} times")
        meant = _meant(self._vocabulary, node)
        self.needs_funnel |= meant.needs_funnel
        column = meant.expression
        if isinstance(column, OutcomeTerm):
            return _of_outcome(column, node)
        if node.operator in _NULL:
            return column.is_(None) if node.operator == "is null" else column.is_not(None)
        accepted = WORD_OPERATORS if meant.words else OPERATORS[meant.kind]
        if node.operator not in accepted:
            forms = ", ".join((*accepted, *_NULL))
            raise refused(node.operator_column, f"{shown(node.name)} is compared by {forms}")
        values = [bound(_typed(node.name, meant, value), column.type) for value in node.values]
        if node.operator in ("in", "not in"):
            return column.in_(values) if node.operator == "in" else column.not_in(values)
        clause: ColumnElement[bool] = _FUNCTIONS[node.operator](column, *values)
        return clause


def _of_outcome(term: OutcomeTerm, node: Comparison) -> ColumnElement[bool]:
    word = node.operator
    if word in _NULL:
        return term.there() if word == "is not null" else not_(term.there())
    values: list[str | Decimal] = []
    for value in node.values:
        number = value.kind == "number"
        if word in _NUMERIC and not number:
            raise refused(value.column, f"{word} compares with {_EXAMPLES['number']}")
        try:
            values.append((parse_number if number else parse_text)(shown(node.name), value.text))
        except InvalidParameter as exc:
            raise refused(value.column, str(exc)) from None
    return term.holds(word, values)


def _typed(name: str, meant: _Meant, value: Value) -> Any:
    text_kinds = ("text", "time")
    fits = (value.kind == "text") == (meant.kind in text_kinds)
    if meant.words:
        if value.text not in meant.words or value.kind == "number":
            one_of = ", ".join(meant.words)
            raise refused(value.column, f"{name} is one of {one_of}; got {shown(value.text)}")
        return value.text
    if not fits or value.kind == "boolean":
        raise refused(value.column, f"{shown(name)} is compared with {_EXAMPLES[meant.kind]}")
    try:
        return typed(meant.kind, shown(name), value.text)
    except InvalidParameter as exc:
        raise refused(value.column, str(exc)) from None


def _meant(vocabulary: Vocabulary, node: Comparison) -> _Meant:
    asked, name = vocabulary, node.name
    if name.startswith(STEP_PREFIX):
        # On lists of steps the prefix says what holds anyway.
        asked, name = vocabulary.step or vocabulary, name.removeprefix(STEP_PREFIX)
    if "\x00" in name:
        raise refused(node.column, "a name holds no NUL characters")
    for family in asked.families:
        if name.startswith(family.prefix + "."):
            return _of_family(family.prefix, name, asked, node)
    named = {field.name: field for field in asked.fields if field.expression is not None}
    field = named.get(name) or named.get(ALIASES.get(name, ""))
    if field is None:
        raise _unknown(vocabulary, asked, name, list(named), node)
    assert field.expression is not None  # chosen so
    return _Meant(field.kind, field.words, field.expression, field.needs_funnel)


def _of_family(prefix: str, name: str, asked: Vocabulary, node: Comparison) -> _Meant:
    family = next(family for family in asked.families if family.prefix == prefix)
    rest = name.removeprefix(prefix + ".")
    if not rest:
        raise refused(node.column, f"a name is expected behind {prefix}., such as {prefix}.{family.example}")
    try:
        expression = family.expression(rest)
        assert expression is not None  # only decisions have none, and no expression speaks of them
        return _Meant(family.kind, (), expression, False)
    except ValueError as exc:
        raise refused(node.column, f"{shown(node.name)} must be {exc}") from None


def _unknown(
    vocabulary: Vocabulary, asked: Vocabulary, name: str, known: list[str], node: Comparison
) -> InvalidParameter:
    known = [*known, *(f"{family.prefix}.<name>" for family in asked.families)]
    message = f"{shown(node.name)} is no field of {asked.rows}"
    suffix = next((s for suffixes in SUFFIXES.values() for s in suffixes if s and name.endswith(s)), None)
    if suffix is not None and name.removesuffix(suffix) in known:
        message += f"; write {name.removesuffix(suffix)} and an operator, as in drop_ratio > 0.9"
    elif vocabulary.step is not None and asked is vocabulary and _is_of(vocabulary.step, name):
        message += f"; {STEP_PREFIX}{name} asks for it of one step of the run"
    elif near := _near(asked, name, known):
        message += f"; did you mean {STEP_PREFIX if node.name.startswith(STEP_PREFIX) else ''}{near}?"
    elif vocabulary.step is not None and (near := _near(vocabulary.step, name)):
        message += f"; did you mean {STEP_PREFIX}{near}?"
    else:
        message += f"; known are {', '.join(known)}"
    return refused(node.column, message)


def _near(vocabulary: Vocabulary, name: str, known: Sequence[str] = ()) -> str | None:
    fields = {field.name for field in vocabulary.fields}
    words = [*fields, *known, *(alias for alias, field in ALIASES.items() if field in fields)]
    return next(iter(difflib.get_close_matches(name, sorted(set(words)), n=1)), None)


def _is_of(vocabulary: Vocabulary, name: str) -> bool:
    named = {field.name for field in vocabulary.fields}
    families = tuple(family.prefix + "." for family in vocabulary.families)
    return name in named or ALIASES.get(name) in named or name.startswith(families)
