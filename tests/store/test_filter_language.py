"""The filter language as text: what it takes, where it says it does not understand, and that it is data."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import and_
from sqlalchemy.dialects import postgresql

from store.queries.errors import InvalidParameter
from store.queries.filters import parse as parse_parameters
from store.queries.language import (
    MAX_CHARS,
    MAX_DEPTH,
    MAX_TERMS,
    And,
    Comparison,
    Node,
    Not,
    Or,
    Value,
    parse,
    render,
)
from store.queries.language_sql import understand
from store.queries.vocabulary import DECISIONS, RUNS, STEPS

# Half a surrogate pair is no character; all else is, the quotes, backslashes and NUL included.
ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
HOSTILE = st.sampled_from(
    [
        "'",
        '"',
        "\\",
        "';--",
        '" or 1 = 1 or name = "',
        "%s",
        "%(q)s",
        ":x",
        "$1",
        "{}",
        "\n",
        "/*",
        "é’",
        "😀",
    ]
)
TEXTS = ANY_TEXT | st.lists(HOSTILE | ANY_TEXT, max_size=4).map("".join)
NAMES = st.builds(
    lambda first, rest: ".".join([first, *rest]),
    st.from_regex(r"[a-z_][a-z0-9_]{0,8}", fullmatch=True),
    st.lists(TEXTS, max_size=2),
)
NUMBERS = st.decimals(allow_nan=False, allow_infinity=False).map(str) | st.integers().map(str)
VALUES = st.one_of(
    TEXTS.map(lambda text: Value("text", text)),
    NUMBERS.map(lambda text: Value("number", text)),
    st.sampled_from(["true", "false"]).map(lambda text: Value("boolean", text)),
)


def _comparison(operator: Any, values: st.SearchStrategy[tuple[Value, ...]]) -> st.SearchStrategy[Node]:
    return st.builds(Comparison, NAMES, st.just(operator), values)


COMPARISONS: st.SearchStrategy[Node] = st.one_of(
    *(_comparison(sign, st.tuples(VALUES)) for sign in ("=", "!=", "<", "<=", ">", ">=")),
    *(
        _comparison(word, st.tuples(TEXTS.map(lambda text: Value("text", text))))
        for word in ("starts_with", "contains")
    ),
    *(_comparison(word, st.lists(VALUES, min_size=1, max_size=4).map(tuple)) for word in ("in", "not in")),
    *(_comparison(word, st.just(())) for word in ("is null", "is not null")),
)
EXPRESSIONS: st.SearchStrategy[Node] = st.recursive(
    COMPARISONS,
    lambda inner: st.one_of(
        inner.map(Not),
        st.lists(inner, min_size=2, max_size=3).map(lambda parts: And(tuple(parts))),
        st.lists(inner, min_size=2, max_size=3).map(lambda parts: Or(tuple(parts))),
    ),
    max_leaves=8,
)


@given(EXPRESSIONS)
def test_an_expression_survives_its_text(node: Node) -> None:
    """What is rendered is parsed again as the same tree, whatever the names and texts in it are."""
    assert parse(render(node)) == node


@given(st.text(max_size=60) | st.text(alphabet="andorti(),=<>!\"'\\.01 x", max_size=60))
def test_any_text_is_understood_or_refused_at_a_place(text: str) -> None:
    """Whatever is sent, parsing ends in a tree that survives, or in a refusal that points into the text."""
    refused = None
    try:
        node = parse(text)
    except InvalidParameter as exc:
        refused = exc
    if refused is None:
        assert parse(render(node)) == node
    else:
        assert refused.parameter == "q"
        assert 1 <= (refused.column or 0) <= len(text) + 1
        assert str(refused).isprintable()


def _sql(vocabulary: Any, expression: str) -> tuple[str, list[Any]]:
    clauses = understand(vocabulary, expression).clauses
    compiled = and_(*clauses).compile(dialect=postgresql.dialect())
    return str(compiled), list(compiled.params.values())


@given(st.tuples(TEXTS, TEXTS, TEXTS).filter(lambda sent: all(s and "\x00" not in s for s in sent)))
def test_what_was_sent_is_never_sql(sent: tuple[str, str, str]) -> None:
    """The statement depends on the shape of the expression alone; names and values are its parameters."""
    key, value, other = (Value("text", text) for text in sent)

    def asked(key: str, value: Value, other: Value) -> str:
        return render(
            And(
                (
                    Comparison(f"tag.{key}", "=", (value,)),
                    Not(Comparison(f"step.reason.{key}", ">", (Value("number", "1"),))),
                    Or(
                        (
                            Comparison("pipeline", "contains", (value,)),
                            Comparison("step.name", "in", (value, other)),
                        )
                    ),
                )
            )
        )

    plain = Value("text", "x")
    statement, values = _sql(RUNS, asked(sent[0], value, other))
    assert statement == _sql(RUNS, asked("x", plain, plain))[0]
    assert {key.text, value.text, other.text} <= {text for text in values if isinstance(text, str)}


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("duration_ms>1", "duration_ms > 1"),
        ("NOT (status = 'error' OR index >= 2)\n AND Exists top_k", None),
        ("reason.'x'", None),
        ('name = "a\\u00e9\\ud83d\\ude00\\n"', 'name = "aé😀\\n"'),
        ("order = 1 and android = 2", "order = 1 and android = 2"),
        ("((((a = 1))))", "a = 1"),
        ("a = 1 and (b = 2 and c = 3)", "a = 1 and (b = 2 and c = 3)"),
        ("a = -.5e+3", "a = -.5e+3"),
        ('metric.at.10 < 1 or metric."at 10" < 1', 'metric.at.10 < 1 or metric."at 10" < 1'),
        ("source.index-1 in (1,2)", "source.index-1 in (1, 2)"),
    ],
)
def test_forms(text: str, canonical: str | None) -> None:
    """Spellings that people use have one canonical form; single quotes stand for texts, not for names."""
    if text.startswith("NOT"):
        canonical = 'not (status = "error" or index >= 2) and top_k is not null'
    if canonical is None:
        with pytest.raises(InvalidParameter):
            parse(text)
    else:
        assert render(parse(text)) == canonical


REFUSED = {
    "nothing": ("", 1, "an expression is expected"),
    "blank": ("  \n", 1, "an expression is expected"),
    "no operator": ("drop_ratio", 11, "got the end"),
    "word without quotes": ("status = error", 10, "texts stand in quotes"),
    "two equal signs": ("status == 1", 9, "got =; one = is enough"),
    "end missing": ('(status = "ok"', 15, "expected )"),
    "end too much": ('status = "ok")', 14, "got )"),
    "a per cent sign": (
        "drop_ratio > 90%",
        16,
        "expected one of: the end, and, or; got %; a share is written 0.9",
    ),
    "nothing behind a blank": ("drop_ratio > ", 13, "got the end"),
    "text without end": ('status = "ok', 10, "does not end"),
    "unknown escape": (r'name = "a\qb"', 10, "escapes"),
    "half a surrogate pair": (r'name = "\ud800"', 8, "surrogate"),
    "unknown field": ("duration_ms > 1 and colour = 3", 21, "colour is no field of steps"),
    "near miss": ("drop_rati > 1", 1, "did you mean drop_ratio?"),
    "a parameter's name": ("drop_ratio_gt > 1", 1, "write drop_ratio and an operator"),
    "text for a number": ('drop_ratio > "much"', 14, "a number, such as 0.9"),
    "number for a text": ("name = 3", 8, "a text in quotes"),
    "boolean for a number": ("top_k = true", 9, "a number"),
    "order of texts": ('name < "m"', 6, "compared by =, !=, in"),
    "part of a number": ('top_k contains "1"', 7, "compared by"),
    "part of a word": ('status contains "o"', 8, "compared by"),
    "word outside its vocabulary": ('step.type in ("filter", "fitler")', 25, "one of search, filter"),
    "number in a list of texts": ('name in ("a", 2)', 15, "a text in quotes"),
    "naive time": ('started > "2025-03-01T12:00:00"', 11, "RFC 3339"),
    "list of times": ('started in ("2025-03-01T12:00:00Z")', 1, "compared by"),
    "beyond a double": ("top_k > 1e400", 9, "decimal number"),
    "NUL in a text": (r'name = "a\u0000"', 8, "NUL"),
    "NUL in a name": (r'exists tag."a\u0000"', 8, "NUL"),
    "empty text": ('name = ""', 8, "1 to"),
    "family without a name": ("metric = 1", 1, "metric"),
    "family with an empty name": ('metric."" = 1', 1, "such as metric.recall"),
    "statistic of no field": ("field.price.median > 1", 1, "missing, mean, std, p50"),
    "nested too deep": ("not " * MAX_DEPTH + "top_k = 1", MAX_DEPTH * 4 + 1, "deep"),
    "too long": ("top_k = 1 " + " " * MAX_CHARS, MAX_CHARS + 1, "characters"),
    "too many": (f"top_k in ({', '.join('1' * MAX_TERMS)})", 1, "at most 200"),
}


@pytest.mark.parametrize(("text", "column", "words"), REFUSED.values(), ids=REFUSED)
def test_a_refusal_points_at_the_place(text: str, column: int, words: str) -> None:
    """The refusal names the parameter, where in it, and what would be accepted."""
    with pytest.raises(InvalidParameter) as refused:
        parse_parameters(STEPS, [("q", text)])
    assert (refused.value.parameter, words in str(refused.value)) == ("q", True), str(refused.value)
    if not text.startswith("not not"):
        assert refused.value.column == column, str(refused.value)
    assert f"column {refused.value.column}: " in str(refused.value)


def test_a_step_s_field_on_runs_is_named_with_its_prefix() -> None:
    """On runs the refusal of a bare step field says how it is asked for."""
    for name in ("step_type", "type", "metric.recall"):
        with pytest.raises(InvalidParameter, match=f"step.{name} asks for it of one step"):
            understand(RUNS, f'{name} = "filter"')
    for name in ("typ", "step.typ"):
        with pytest.raises(InvalidParameter, match=r"did you mean step\.type\?"):
            understand(RUNS, f'{name} = "filter"')
    with pytest.raises(InvalidParameter, match="entity is no field of steps"):
        understand(RUNS, 'step.entity = "P1"')


def test_it_asks_as_the_parameters_do() -> None:
    """An expression makes the conditions of the parameters of the same words, so the same indexes serve."""
    asked = "type = 'filter' and drop_ratio > 0.9 and started >= '2025-03-01T12:00:00Z' and tag.market = 'US'"
    sent = [
        ("step_type", "filter"),
        ("drop_ratio_gt", "0.9"),
        ("started_after", "2025-03-01T12:00:00Z"),
        ("tag.market", "US"),
    ]
    filters, _ = parse_parameters(STEPS, sent)
    compiled = and_(*filters.clauses()).compile(dialect=postgresql.dialect())
    assert _sql(STEPS, asked) == (str(compiled), list(compiled.params.values()))


def test_lists_without_the_language_refuse_it() -> None:
    """Candidates are compared unpacked, so their lists have no q."""
    with pytest.raises(InvalidParameter, match="q is no parameter"):
        parse_parameters(DECISIONS, [("q", "score > 1")])
