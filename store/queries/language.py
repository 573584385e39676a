"""
The filter language as text: ``step_type = "filter" and drop_ratio > 0.9 and tag.market = "US"``.

``parse`` gives the expression as a tree and ``render`` the tree as text; both are pure and know no field.
What the fields are, and what an expression means in SQL, says ``store/queries/language_sql.py``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal, cast

from lark import Lark, Token, Tree
from lark.exceptions import UnexpectedCharacters, UnexpectedInput, UnexpectedToken

from store.queries.errors import InvalidParameter

PARAMETER = "q"
MAX_CHARS = 4096
MAX_DEPTH = 32
"""How deep ``and``, ``or`` and ``not`` may stand in each other."""
MAX_TERMS = 200
"""Comparisons, and values in lists, of one expression."""

Operator = Literal[
    "=", "!=", "<", "<=", ">", ">=", "in", "not in", "starts_with", "contains", "is null", "is not null"
]

_GRAMMAR = r"""
?start: any
?any: all (_OR all)+ -> or
    | all
?all: one (_AND one)+ -> and
    | one
?one: _NOT one -> not
    | "(" any ")"
    | comparison
?comparison: NAME COMPARED value -> compared
    | NAME WORD STRING -> compared
    | NAME _IN list -> in
    | NAME _NOT _IN list -> not_in
    | NAME _IS _NULL -> is_null
    | NAME _IS _NOT _NULL -> is_not_null
    | _EXISTS NAME -> is_not_null
list: "(" value ("," value)* ")"
?value: STRING | NUMBER | BOOLEAN

COMPARED: "<=" | ">=" | "!=" | "=" | "<" | ">"
WORD.2: /(starts_with|contains)(?![\w.-])/i
BOOLEAN.2: /(true|false)(?![\w.-])/i
_AND.2: /and(?![\w.-])/i
_OR.2: /or(?![\w.-])/i
_NOT.2: /not(?![\w.-])/i
_IN.2: /in(?![\w.-])/i
_IS.2: /is(?![\w.-])/i
_NULL.2: /null(?![\w.-])/i
_EXISTS.2: /exists(?![\w.-])/i
NAME: /[^\W\d]\w*(\.([\w-]+|"([^"\\]|\\.)*"))*/
NUMBER: /[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)(e[+-]?[0-9]+)?(?![\w.])/i
STRING: /"([^"\\]|\\.)*"|'([^'\\]|\\.)*'/s
%ignore /[ \t\r\n]+/
"""
_SEGMENT = re.compile(r'\.([\w-]+|"(?:[^"\\]|\\.)*")', re.DOTALL)
_ESCAPE = re.compile(r"\\(u[0-9a-fA-F]{4}|.)", re.DOTALL)
_ESCAPED = {'"': '"', "'": "'", "\\": "\\", "/": "/", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
_BARE = re.compile(r"[\w-]+")
_TERMINALS = {
    "NAME": "a field",
    "COMPARED": "a comparison (= != < <= > >=)",
    "WORD": "starts_with, contains",
    "STRING": 'a text in quotes ("US")',
    "NUMBER": "a number",
    "BOOLEAN": "true, false",
    "LPAR": "(",
    "RPAR": ")",
    "COMMA": "a comma",
    "$END": "the end",
}


@dataclass(frozen=True, slots=True)
class Value:
    """A value as it was written."""

    kind: Literal["text", "number", "boolean"]
    text: str
    """Of a text, its characters without quotes and escapes; of a boolean ``true`` or ``false``."""
    column: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Comparison:
    """One field compared with one value, with a list of them, or with nothing (``is null``)."""

    name: str
    """Segments joined by dots, without quotes: ``metric.recall``, ``reason.wrong type``."""
    operator: Operator
    values: tuple[Value, ...] = ()
    column: int = field(default=0, compare=False)
    """Where it begins in the text, from 1."""
    operator_column: int = field(default=0, compare=False)
    """That of the operator; where it is of several words, as ``column``."""


@dataclass(frozen=True, slots=True)
class Not:
    """Holds where the operand does not."""

    operand: Node


@dataclass(frozen=True, slots=True)
class And:
    """Two operands or more; all hold."""

    operands: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Or:
    """Two operands or more; one holds at least."""

    operands: tuple[Node, ...]


Node = Comparison | Not | And | Or


def refused(column: int, message: str) -> InvalidParameter:
    """Return the failure of an expression at a place, counted in characters from 1."""
    return InvalidParameter(PARAMETER, f"{PARAMETER}, column {column}: {message}", column)


def parse(text: str) -> Node:
    """Return the expression; raises ``InvalidParameter`` that points at the first place not understood."""
    if not text.strip():
        raise refused(1, 'an expression is expected, such as drop_ratio > 0.9 and step_type = "filter"')
    if len(text) > MAX_CHARS:
        raise refused(MAX_CHARS + 1, f"an expression has at most {MAX_CHARS:,} characters, got {len(text):,}")
    try:
        tree = _parser().parse(text)
    except UnexpectedInput as exc:
        raise _unexpected(text, exc) from None
    _check_size(tree)
    return _node(tree)


def render(node: Node) -> str:
    """Return the expression as text; parsed again it gives an equal tree."""
    if isinstance(node, Comparison):
        return _render_comparison(node)
    if isinstance(node, Not):
        return f"not {_operand(node.operand)}"
    word = " and " if isinstance(node, And) else " or "
    return word.join(map(_operand, node.operands))


@cache
def _parser() -> Lark:
    return Lark(_GRAMMAR, parser="lalr", propagate_positions=True, maybe_placeholders=False)


def _operand(node: Node) -> str:
    return f"({render(node)})" if isinstance(node, And | Or) else render(node)


def _render_comparison(node: Comparison) -> str:
    first, *rest = node.name.split(".")
    name = ".".join([first, *(part if _BARE.fullmatch(part) else _quoted(part) for part in rest)])
    if node.operator in ("is null", "is not null"):
        return f"{name} {node.operator}"
    values = ", ".join(_quoted(value.text) if value.kind == "text" else value.text for value in node.values)
    return (
        f"{name} {node.operator} ({values})"
        if node.operator.endswith("in")
        else f"{name} {node.operator} {values}"
    )


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _check_size(tree: Tree[Any]) -> None:
    """Refuse what is too large before anything recurses into it."""
    depths: dict[int, int] = {}
    terms = 0
    # From the leaves up.
    for part in tree.iter_subtrees():
        below = (depths[id(child)] for child in part.children if isinstance(child, Tree))
        depths[id(part)] = 1 + max(below, default=0)
        terms += len(part.children) if part.data == "list" else part.data not in ("and", "or", "not")
        if depths[id(part)] > MAX_DEPTH:
            raise refused(
                part.meta.start_pos + 1, f"and, or and not may stand in each other {MAX_DEPTH} deep"
            )
        if terms > MAX_TERMS:
            raise refused(1, f"an expression has at most {MAX_TERMS} comparisons and listed values")


def _node(tree: Tree[Any]) -> Node:
    children: list[Any] = tree.children
    kind = str(tree.data)
    if kind == "not":
        return Not(_node(children[0]))
    if kind in ("and", "or"):
        return (And if kind == "and" else Or)(tuple(map(_node, children)))
    name = children[0]
    operator, operands = kind.replace("_", " "), children[1:]
    place = name.start_pos
    if kind == "compared":
        operator, operands, place = str(children[1]).lower(), children[2:], children[1].start_pos
    elif kind in ("in", "not_in"):
        operands = operands[0].children
    values = tuple(map(_value, operands))
    return Comparison(_name(name), operator, values, name.start_pos + 1, place + 1)  # type: ignore[arg-type]  # one of them


def _name(token: Token) -> str:
    """Join the segments of a field's name, the quoted ones without their quotes."""
    first = str(token).partition(".")[0]
    parts = [first]
    for found in _SEGMENT.finditer(str(token), len(first)):
        quoted = found[1].startswith('"')
        assert token.start_pos is not None  # a token of the parser's
        parts.append(_unescaped(found[1], token.start_pos + found.start(1)) if quoted else found[1])
    return ".".join(parts)


def _value(token: Token) -> Value:
    assert token.start_pos is not None  # a token of the parser's
    column = token.start_pos + 1
    if token.type == "STRING":
        return Value("text", _unescaped(str(token), token.start_pos), column)
    if token.type == "NUMBER":
        return Value("number", str(token), column)
    return Value("boolean", str(token).lower(), column)


def _unescaped(quoted: str, start: int) -> str:
    """start: where the opening quote stands in the text, from 0."""

    def meant(found: re.Match[str]) -> str:
        sent = found[1]
        if len(sent) == 5:
            return chr(int(sent[1:], 16))
        if sent not in _ESCAPED:
            known = r"\" \' \\ \/ \b \f \n \r \t \uXXXX"
            raise refused(start + found.start() + 2, f"a text may hold the escapes {known}")
        return _ESCAPED[sent]

    text = _ESCAPE.sub(meant, quoted[1:-1])
    try:
        # Two escapes that are one character, as JSON writes those beyond U+FFFF.
        return text.encode("utf-16", "surrogatepass").decode("utf-16")
    except UnicodeDecodeError:
        raise refused(start + 1, "a text holds half a surrogate pair, which no stored text does") from None


def _unexpected(text: str, exc: UnexpectedInput) -> InvalidParameter:
    accepted, place = _stopped(text, exc)
    column, got = place + 1, text.rstrip()[place:]
    if got[:1] in ("'", '"') and isinstance(exc, UnexpectedCharacters):
        return refused(column, f"a text begins with {got[0]} and does not end")
    known = [word for terminal, word in _TERMINALS.items() if terminal in accepted]
    known += sorted(name[1:].lower() for name in accepted if re.match(r"_[A-Z]", name))
    wanted = known[0] if len(known) == 1 else f"one of: {', '.join(known)}"
    message = f"expected {wanted}; got {_beginning(got)}"
    if "STRING" in accepted and re.match(r"\w", got):
        message += "; texts stand in quotes"
    elif got.startswith("%"):
        message += "; a share is written 0.9, not 90%"
    elif got.startswith("=") and text[:place].endswith("="):
        message += "; one = is enough"
    return refused(column, message)


def _stopped(text: str, exc: UnexpectedInput) -> tuple[Collection[str], int]:
    """Return the terminals that were acceptable, and where in the text something else stands."""
    if isinstance(exc, UnexpectedToken):
        at_end = exc.token.type == "$END" or exc.token.start_pos is None
        return exc.accepts or exc.expected, len(text.rstrip()) if at_end else int(exc.token.start_pos)
    assert isinstance(exc, UnexpectedCharacters)  # the third kind, UnexpectedEOF, is of other parsers
    place = cast(int, exc.pos_in_stream)
    before = _parser().parse_interactive(text[:place])  # the lexer alone allows a ")" where none is open
    before.exhaust_lexer()
    accepted: Collection[str] = before.accepts()  # type: ignore[no-untyped-call]
    return accepted, place


def _beginning(text: str) -> str:
    """Return the first word of what was not expected, printable."""
    found = re.match(r"\w[\w.-]{0,39}|.", text, re.DOTALL)
    if found is None:
        return "the end"
    return found[0] if found[0].isprintable() else "a control character"
