"""The question of a comparison of groups: which runs are bad, which are good, and of which at all."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from store.queries.errors import InvalidParameter
from store.queries.filters import Filters, parse, unrepeated
from store.queries.language import And, Comparison, Node, Not, Or
from store.queries.language import parse as parse_expression
from store.queries.language_sql import ALIASES, STEP_PREFIX, Question, understand
from store.queries.vocabulary import RUNS

BAD, GOOD, LEVEL = "bad", "good", "level"


class GroupQuestion(NamedTuple):
    """What was asked."""

    shared: Filters
    """Of all runs that are compared."""
    bad: Question
    good: Question | None
    """None: those that are not bad."""
    defining: frozenset[str]
    """Fields of the two expressions, without ``step.``."""
    level: float
    limit: int


def parse_groups(sent: Iterable[tuple[str, str]], default_level: float) -> GroupQuestion:
    """Understand the parameters; raises ``InvalidParameter``."""
    given = unrepeated(sent)
    texts = {name: given.pop(name) for name in (BAD, GOOD) if name in given}
    level = _level(given.pop(LEVEL, str(default_level)))
    if "cursor" in given:
        raise InvalidParameter("cursor", "cursor is no parameter of this path, whose answer has no pages")
    filters, page = parse(RUNS, given.items())
    # Last: a parameter that nobody knows, perhaps bad misspelt, is named before the one that is missing.
    if BAD not in texts:
        raise InvalidParameter(BAD, 'bad is required: an expression such as outcome = "no_match"')
    questions = {name: _understood(name, text) for name, text in texts.items()}
    defining = frozenset(field for text in texts.values() for field in fields(parse_expression(text)))
    return GroupQuestion(filters, questions[BAD], questions.get(GOOD), defining, level, page.limit)


def fields(node: Node) -> Iterable[str]:
    """The names of the fields that an expression compares, without ``step.``."""
    if isinstance(node, Comparison):
        name = node.name.removeprefix(STEP_PREFIX)
        yield ALIASES.get(name, name)
    elif isinstance(node, Not):
        yield from fields(node.operand)
    elif isinstance(node, And | Or):
        for operand in node.operands:
            yield from fields(operand)


def _understood(name: str, text: str) -> Question:
    try:
        return understand(RUNS, text)
    except InvalidParameter as exc:
        # The language calls what it reads q; here it has another name.
        raise InvalidParameter(
            name, str(exc).replace("q, column", f"{name}, column", 1), exc.column
        ) from None


def _level(text: str) -> float:
    try:
        level = float(text)
    except ValueError:
        level = 0.0
    if not 0 < level <= 0.5:
        raise InvalidParameter(LEVEL, f"level must be a number above 0 and at most 0.5, got {text[:40]}")
    return level
