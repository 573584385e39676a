"""The filter language in the database: every operator against brute force on random rows."""

from __future__ import annotations

import operator
import random
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

import psycopg
import pytest

from store.queries.errors import InvalidParameter, QueryTimeout
from store.queries.filters import Filters, PageRequest, parse
from store.queries.language import And, Comparison, Node, Not, Or, Value, render
from store.queries.types import RunRecord, StepRecord
from store.queries.vocabulary import RUNS, STEP_TYPES, STEPS, Vocabulary
from store.reader import Reader
from tests.fixtures.reading import Shelf, run_copy, step_copy

ALL = PageRequest(limit=1000)
HOSTILE = ["o'brien", '" or 1 = 1', "a\\b", "50%", "_", "x;--", "größe😀", "a\nb"]
ORDER: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
TEXT: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "starts_with": str.startswith,
    "contains": operator.contains,
}
STEP_FIELDS = {
    "name": "text",
    "pipeline": "text",
    "model": "text",
    "step_type": "word",
    "status": "word",
    "inferred": "word",
    "started": "time",
    "drop_ratio": "number",
    "candidates_in": "number",
    "score_p50": "number",
    "index": "number",
    "attempt": "number",
    "metric.recall": "number",
    "metric.o'brien": "number",
    "reason.wrong type": "number",
    "reasoning.max_price": "number",
    "reasoning.model.top": "number",
    "input.limit": "number",
    "output.total": "number",
}
RUN_FIELDS = {
    "pipeline": "text",
    "entity": "text",
    "outcome": "text",
    "status": "word",
    "started": "time",
    "duration_ms": "number",
    "drop_ratio": "number",
    "steps_count": "number",
    "tag.market": "text",
    'tag."; drop': "text",
    "input.limit": "number",
    "output.best.score": "number",
}


def _maybe(draw: random.Random, value: Any) -> Any:
    return None if draw.random() < 0.3 else value


def _step(draw: random.Random, run_id: str, number: int) -> Any:
    return step_copy(
        run_id,
        f"s{number}",
        number + draw.random(),
        name=draw.choice(["by_price", "by_type", *HOSTILE]),
        step_type=draw.choice(STEP_TYPES),
        status=draw.choice(["ok", "ok", "error"]),
        pipeline=_maybe(draw, draw.choice(["shop", "listing"])),
        model=_maybe(draw, draw.choice(["m-1", "m-2"])),
        inferred=draw.random() < 0.5,
        candidates_in=_maybe(draw, draw.choice([0, 1, 10, 5000])),
        candidates_out=_maybe(draw, draw.choice([0, 1, 9])),
        reason_codes=("wrong type",),
        reason_counts=(draw.randrange(3),),
        score=(None, None, None, None, None, _maybe(draw, draw.choice([0.1, 0.9])), None),
        metrics={"recall": draw.choice([0.9, 0.5]), **({"o'brien": 1.0} if draw.random() < 0.5 else {})},
        reasoning=_maybe(
            draw, {"max_price": draw.choice([50, 0.9, "fifty"]), "model": {"top": draw.randrange(3)}}
        ),
        input=_maybe(draw, {"limit": draw.choice([1, 10, None])}),
        output=_maybe(draw, draw.choice([{"total": 3}, [1, 2], "text"])),
    )


@pytest.fixture
def shelved(shelf: Shelf) -> Shelf:
    """Forty runs of up to four random steps, the same in every test."""
    draw = random.Random(20250302)
    for number in range(40):
        run_id = f"r{number}"
        shelf.put(
            run_copy(
                run_id,
                number * 10,
                pipeline=draw.choice(["shop", "listing"]),
                entity=_maybe(draw, draw.choice(["P1", "P2", *HOSTILE])),
                tags={"market": draw.choice(["US", "DE"]), '"; drop': draw.choice(HOSTILE)},
                outcome=_maybe(draw, "matched"),
                input=_maybe(draw, {"limit": draw.choice([1, 10, "ten"])}),
                output=_maybe(draw, {"best": {"score": draw.choice([0.5, 0.9])}}),
            ),
            *(_step(draw, run_id, step) for step in range(draw.randrange(5))),
        )
    return shelf


def _at(document: Any, path: str) -> Any:
    for key in path.split("."):
        document = document.get(key) if isinstance(document, dict) else None
    return document if isinstance(document, int | float) else None


def _seen(row: StepRecord | RunRecord, name: str) -> Any:
    """What the row shows under a field's name; None where it has nothing."""
    family, _, rest = name.partition(".")
    if rest:
        sent = {"metric": "metrics", "reason": "reasons", "tag": "tags"}.get(family)
        return getattr(row, sent).get(rest) if sent else _at(getattr(row, family), rest)
    if name == "score_p50":
        return row.score.p50  # type: ignore[union-attr]  # of steps only
    if name == "inferred":
        return str(row.inferred).lower()  # type: ignore[union-attr]  # of steps only
    return getattr(row, "started_at" if name == "started" else name)


def _value(seen: Any, value: Value) -> Any:
    if value.kind == "number":
        return float(value.text)
    return datetime.fromisoformat(value.text) if isinstance(seen, datetime) else value.text


def _true(node: Comparison, seen: Any) -> bool:
    if node.operator in ("is null", "is not null"):
        return (seen is None) == (node.operator == "is null")
    if seen is None:
        return False
    values = [_value(seen, value) for value in node.values]
    if node.operator in ("in", "not in"):
        return (seen in values) == (node.operator == "in")
    return bool((TEXT if isinstance(seen, str) else ORDER)[node.operator](seen, values[0]))


def _holds(node: Node, row: StepRecord | RunRecord, steps: Sequence[StepRecord] = ()) -> bool:
    """
    Whether the expression is true of the row, by the definition alone: with one of the steps, or
    without any, it is true when ``step.`` speaks of that one, and ``not`` asks anew.
    """

    def with_step(part: Node, step: StepRecord | None) -> bool:
        if isinstance(part, And):
            return all(with_step(each, step) for each in part.operands)
        if isinstance(part, Or):
            return any(with_step(each, step) for each in part.operands)
        if isinstance(part, Not):
            return not _holds(part.operand, row, steps)
        if part.name.startswith("step.") and isinstance(row, RunRecord):
            return step is not None and _true(part, _seen(step, part.name.removeprefix("step.")))
        return _true(part, _seen(row, part.name.removeprefix("step.")))

    return any(with_step(node, step) for step in (*steps, None))


def _literals(kind: str, seen: Sequence[Any], draw: random.Random) -> list[Value]:
    """Values that occur, so that > and >= differ, and some that do not."""
    present = sorted({value for value in seen if value is not None}) or ["none" if kind != "number" else 0]
    chosen = [draw.choice(present) for _ in range(3)]
    if kind == "time":
        return [Value("text", value.isoformat()) for value in chosen]
    if kind == "number":
        return [Value("number", repr(value)) for value in (*chosen[:2], draw.choice([0, -1, 0.9]))]
    parts = [value[: draw.randint(1, len(value))] if kind == "part" else value for value in chosen]
    return [Value("text", value) for value in parts]


def _comparison(draw: random.Random, name: str, kind: str, seen: Sequence[Any], sign: str) -> Comparison:
    values = _literals("part" if sign in ("starts_with", "contains") else kind, seen, draw)
    count = 0 if sign.startswith("is ") else 3 if sign.endswith("in") else 1
    return Comparison(name, sign, tuple(values[:count]))  # type: ignore[arg-type]  # one of the operators


SIGNS = {
    "text": (*TEXT, "in", "not in", "is null", "is not null"),
    "word": ("=", "!=", "in", "not in", "is null", "is not null"),
    "number": (*ORDER, "in", "not in", "is null", "is not null"),
    "time": (*ORDER, "is null", "is not null"),
}


def _asked(vocabulary: Vocabulary, node: Node) -> tuple[Filters, PageRequest]:
    return parse(vocabulary, [("q", render(node)), ("limit", "1000")])


def test_every_operator_on_every_kind_of_field(shelved: Shelf, reader: Reader) -> None:
    """Each field, compared by each operator it takes, and its negation, selects exactly its rows."""
    draw = random.Random(1)
    steps, runs = reader.steps(page=ALL).items, reader.runs(page=ALL).items
    told_apart = 0
    for name, kind in STEP_FIELDS.items():
        for sign in SIGNS[kind]:
            node: Node = _comparison(draw, name, kind, [_seen(step, name) for step in steps], sign)
            node = node if draw.random() < 0.7 else Not(node)
            wanted = [step for step in steps if _holds(node, step)]
            assert reader.steps(*_asked(STEPS, node)).items == wanted, render(node)
            told_apart += 0 < len(wanted) < len(steps)
    for name, kind in RUN_FIELDS.items():
        for sign in SIGNS[kind]:
            node = _comparison(draw, name, kind, [_seen(run, name) for run in runs], sign)
            node = node if draw.random() < 0.7 else Not(node)
            found = [run for run in runs if _holds(node, run)]
            assert reader.runs(*_asked(RUNS, node)).items == found, render(node)
            told_apart += 0 < len(found) < len(runs)
    assert told_apart > 120, "the data must be able to tell the rows apart"


def test_any_expression_on_runs_and_their_steps(shelved: Shelf, reader: Reader) -> None:
    """Terms of runs and steps in and, or and not, in any nesting, select by the definition."""
    draw = random.Random(2)
    steps, runs = reader.steps(page=ALL).items, reader.runs(page=ALL).items
    of_run = {run.run_id: [step for step in steps if step.run_id == run.run_id] for run in runs}
    seen = {
        f"step.{name}": (kind, [_seen(step, name) for step in steps]) for name, kind in STEP_FIELDS.items()
    }
    seen |= {name: (kind, [_seen(run, name) for run in runs]) for name, kind in RUN_FIELDS.items()}
    # Numbers of places and attempts are counted per row: a minute for what the test above has seen.
    names = [name for name in seen if name not in ("step.index", "step.attempt")]

    def expression(depth: int) -> Node:
        if depth == 0 or draw.random() < 0.2:
            name = draw.choice(names)
            kind, values = seen[name]
            return _comparison(draw, name, kind, values, draw.choice(SIGNS[kind]))
        if draw.random() < 0.25:
            return Not(expression(depth - 1))
        parts = tuple(expression(depth - 1) for _ in range(draw.choice([2, 2, 3])))
        return And(parts) if draw.random() < 0.5 else Or(parts)

    told_apart = 0
    for _ in range(120):
        node = expression(draw.choice([1, 2, 2, 3]))
        wanted = [run.run_id for run in runs if _holds(node, run, of_run[run.run_id])]
        found = [run.run_id for run in reader.runs(*_asked(RUNS, node)).items]
        assert found == wanted, render(node)
        told_apart += 0 < len(wanted) < len(runs)
    assert told_apart > 40, "the data must be able to tell the runs apart"


def test_one_step_and_no_step(shelf: Shelf, reader: Reader) -> None:
    """Terms of steps joined by and speak of one step; under not, of none of the run's."""
    shelf.put(
        run_copy("apart"),
        step_copy("apart", "a", 1, step_type="filter", status="ok"),
        step_copy("apart", "b", 2, step_type="rank", status="error"),
        run_copy("together", 1),
        step_copy("together", "a", 3, step_type="filter", status="error"),
        run_copy("none", 2, pipeline="empty"),
    )

    def asked(text: str) -> list[str]:
        return [run.run_id for run in reader.runs(*parse(RUNS, [("q", text)])).items]

    assert asked('step.type = "filter" and step.status = "error"') == ["together"]
    assert asked('step.type = "filter" and (step.status = "error" or step.status = "running")') == [
        "together"
    ]
    assert asked('step.type = "filter" and not step.status = "error"') == []
    assert asked('step.type = "filter" and not (step.type = "filter" and step.status = "error")') == ["apart"]
    assert asked('step.type = "filter" and step.status != "error"') == ["apart"]
    assert asked('not step.status = "error"') == ["none"]
    assert asked('step.type = "rank" or pipeline = "empty"') == ["none", "apart"]
    assert asked('(step.type = "rank" or pipeline = "empty") and status = "completed"') == ["none", "apart"]


def test_pages_belong_to_their_expression(shelved: Shelf, reader: Reader) -> None:
    """Cursors go on in the same question, however it was spelt, and in no other."""
    everything = [
        s.step_id for s in reader.steps(*parse(STEPS, [("q", "top_k is null"), ("limit", "1000")])).items
    ]
    filters, page = parse(STEPS, [("q", "not  EXISTS top_k"), ("limit", "7")])
    seen: list[str] = []
    found = reader.steps(filters, page)
    while True:
        seen += [step.step_id for step in found.items]
        if found.next_cursor is None:
            break
        found = reader.steps(filters, PageRequest(7, found.next_cursor))
    assert seen == everything
    cursor = reader.steps(filters, page).next_cursor
    with pytest.raises(Exception, match="cursor must be the next_cursor"):
        reader.steps(parse(STEPS, [("q", "top_k is not null")])[0], PageRequest(7, cursor))


def test_a_question_that_reads_everything_is_bounded(database_url: str, shelf: Shelf) -> None:
    """An expression that no row satisfies and no index helps ends at the statement timeout, and says so."""
    shelf.put(run_copy("r"))
    with psycopg.connect(database_url, autocommit=True) as connection:
        columns = [
            name
            for (name,) in connection.execute(
                "SELECT column_name FROM information_schema.columns WHERE table_name = 'runs' "
                "AND table_schema = 'public' AND column_name NOT IN ('run_key', 'run_id')"
            )
        ]
        named = ", ".join(columns)
        connection.execute(
            f"INSERT INTO runs (run_key, run_id, {named}) "
            f"SELECT gen_random_uuid(), 'copy-' || i, {named} FROM runs, generate_series(1, 50000) AS i"
        )
    reader = Reader.open(database_url, statement_timeout_ms=50)
    try:
        with pytest.raises(QueryTimeout, match="50 ms; narrow it with started_after"):
            reader.runs(*parse(RUNS, [("q", "drop_ratio > 1")]))
    finally:
        reader.close()


def test_nots_about_steps_do_not_multiply() -> None:
    """An expression of few words whose SQL would double with each of its nots is refused, and at once."""
    expression = "step.kept = 1"
    for _ in range(9):
        expression = f"(step.kept = 2 or not ({expression})) and (step.kept = 3 or entity = 'P1')"
    with pytest.raises(InvalidParameter, match="repeat") as refused:
        parse(RUNS, [("q", expression)])
    assert refused.value.parameter == "q"
    usual = "step.kept = 1"
    for _ in range(9):
        usual = f"step.kept > 2 and not ({usual})"
    parse(RUNS, [("q", usual)])
