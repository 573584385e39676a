"""Filters: what is accepted, and that each selects exactly the rows that satisfy it."""

from __future__ import annotations

import operator
import random
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from store.queries.conditions import parse_number, parse_time
from store.queries.errors import InvalidParameter
from store.queries.filters import PageRequest, parse
from store.queries.types import RunRecord, StepRecord
from store.queries.vocabulary import DECISIONS, RUNS, STEP_TYPES, STEPS, SUFFIXES, Vocabulary
from store.reader import Reader
from tests.fixtures.reading import START, Shelf, chunk, run_copy, step_copy

ALL = PageRequest(limit=1000)
SCORES = ("min", "max", "mean", "std", "p10", "p50", "p90")
COUNTS = ("kept", "eliminated", "scored", "selected", "not_selected", "deferred", "merged")


def _maybe(draw: random.Random, value: Any) -> Any:
    return None if draw.random() < 0.25 else value


def _random_step(draw: random.Random, run_id: str, number: int) -> Any:
    entering = _maybe(draw, draw.choice([0, 1, 10, 5000]))
    return step_copy(
        run_id,
        f"s{number}",
        number + draw.random(),
        end_ns=None if draw.random() < 0.1 else int(START.timestamp() * 1e9) + draw.randrange(10**11),
        name=draw.choice(["by_price", "by_type", "best"]),
        step_type=draw.choice(STEP_TYPES),
        status=draw.choice(["ok", "ok", "error"]),
        attempt_key=(attempt := str(draw.randint(1, 3))),
        attempt=int(attempt),
        step_index=_maybe(draw, number),
        pipeline=_maybe(draw, draw.choice(["shop", "listing"])),
        candidates_in=entering,
        candidates_out=_maybe(draw, draw.choice([0, 1, 9, 30])),
        reason_codes=("too_dear", "wrong type"),
        reason_counts=(draw.randrange(5), draw.randrange(5000)),
        score=tuple(_maybe(draw, draw.choice([0.0, 0.1, 0.9, 1.0])) for _ in SCORES),
        metrics={"recall": draw.choice([0.9, 0.5, -1.0]), "at.10": float(draw.randrange(3))},
        fields={"price": {"missing": draw.choice([0.0, 0.5]), "mean": 3.5, "std": None, "p50": 3.0}},
        sources={"index-1": draw.randrange(400)},
        reasoning={"max_price": draw.choice([50, 0.9, "fifty", None]), "model": {"top": draw.randrange(3)}},
        model=_maybe(draw, "m-1"),
        temperature=_maybe(draw, draw.choice([0.0, 0.2])),
        top_k=_maybe(draw, draw.choice([10, 30])),
        decisions_recorded=_maybe(draw, draw.randrange(3)),
        **{name: _maybe(draw, draw.randrange(20)) for name in COUNTS},
    )


@pytest.fixture
def shelved(shelf: Shelf) -> Shelf:
    """Twenty runs of up to six random steps, the same in every test."""
    draw = random.Random(20250301)
    for number in range(20):
        run_id = f"r{number}"
        shelf.put(
            run_copy(
                run_id,
                number * 10,
                pipeline=draw.choice(["shop", "listing", "sorting"]),
                pipeline_version=draw.choice(["v1", "v2"]),
                entity=f"P{draw.randrange(3)}",
                tags={"market": draw.choice(["US", "DE"]), "a.b": "c"},
                outcome=draw.choice(["matched", "none"]),
            ),
            *(_random_step(draw, run_id, step) for step in range(draw.randrange(7))),
        )
    return shelf


def _step_value(step: StepRecord, name: str) -> Any:
    """What a parameter of this name is compared with, read off the answer."""
    family, _, rest = name.partition(".")
    if rest:
        return {
            "metric": lambda: step.metrics.get(rest),
            "reason": lambda: step.reasons.get(rest),
            "source": lambda: step.sources.get(rest),
            "field": lambda: step.fields["price"].get(rest.removeprefix("price.")),
            "reasoning": lambda: _reasoning(step.reasoning, rest),
        }[family]()
    if name.startswith("score_"):
        return getattr(step.score, name.removeprefix("score_"))
    if name in COUNTS:
        return getattr(step.counts, name)
    return getattr(step, name)


def _reasoning(reasoning: Any, path: str) -> Any:
    value = reasoning["model"]["top"] if path == "model.top" else reasoning.get(path)
    return value if isinstance(value, int | float) else None


def _numeric(vocabulary: Vocabulary) -> list[str]:
    return [field.name for field in vocabulary.fields if field.kind == "number"]


STEP_NUMBERS = [
    *_numeric(STEPS),
    "metric.recall",
    "metric.at.10",
    "metric.unheard_of",
    "reason.too_dear",
    "reason.wrong type",
    "source.index-1",
    "field.price.missing",
    "field.price.std",
    "reasoning.max_price",
    "reasoning.model.top",
]


def _thresholds(values: Sequence[Any]) -> Iterator[str]:
    """Values that occur, so that > and >= differ, and some between and beyond."""
    seen = sorted({value for value in values if value is not None})
    yield from (repr(value) for value in seen[:: max(1, len(seen) // 4)])
    yield from ("-1", "0.9", "1e3")


def _holds(function: Callable[[Any, Any], bool], seen: Any, threshold: str) -> bool:
    return seen is not None and function(seen, float(threshold))


@pytest.mark.parametrize("suffix", SUFFIXES["number"])
def test_every_number_of_a_step(shelved: Shelf, reader: Reader, suffix: str) -> None:
    """Each numeric field, compared with each operator, selects exactly the steps that satisfy it."""
    function = getattr(operator, SUFFIXES["number"][suffix])
    everything = reader.steps(page=ALL).items
    assert len(everything) > 50
    for name in STEP_NUMBERS:
        for threshold in _thresholds([_step_value(step, name) for step in everything]):
            found = reader.steps(*parse(STEPS, [(name + suffix, threshold), ("limit", "1000")])).items
            wanted = [s for s in everything if _holds(function, _step_value(s, name), threshold)]
            assert found == wanted, (name + suffix, threshold)


@pytest.mark.parametrize("suffix", SUFFIXES["number"])
def test_every_number_of_a_run(shelved: Shelf, reader: Reader, suffix: str) -> None:
    """Each numeric field of runs, compared with each operator, selects exactly the runs that satisfy it."""
    function = getattr(operator, SUFFIXES["number"][suffix])
    everything = reader.runs(page=ALL).items
    for name in _numeric(RUNS):
        for threshold in _thresholds([getattr(run, name) for run in everything]):
            found = reader.runs(*parse(RUNS, [(name + suffix, threshold), ("limit", "1000")])).items
            wanted = [run for run in everything if _holds(function, getattr(run, name), threshold)]
            assert found == wanted, (name + suffix, threshold)


def test_one_step_satisfies_all_step_filters(shelved: Shelf, reader: Reader) -> None:
    """On runs, step. filters select the runs that have one step which satisfies them all."""
    steps = reader.steps(page=ALL).items
    every_run = [run.run_id for run in reader.runs(page=ALL).items]
    draw = random.Random(7)
    told_apart = 0
    for _ in range(60):
        step_type, status = draw.choice(STEP_TYPES), draw.choice(["ok", "error"])
        name, threshold = draw.choice(STEP_NUMBERS), draw.choice(["0", "0.1", "0.9", "1", "10"])
        sent = [("step.step_type", step_type), ("step.status", status), (f"step.{name}_gte", threshold)]
        held = [
            (
                step.run_id,
                step.step_type == step_type,
                step.status == status,
                _holds(operator.ge, _step_value(step, name), threshold),
            )
            for step in steps
        ]
        together = {run_id for run_id, *each in held if all(each)}
        apart = set.intersection(*({row[0] for row in held if row[test]} for test in (1, 2, 3)))
        told_apart += together != apart
        found = [run.run_id for run in reader.runs(*parse(RUNS, [*sent, ("limit", "1000")])).items]
        assert found == [run_id for run_id in every_run if run_id in together], sent
    assert told_apart > 5, "the data must be able to tell one step from several"


WORDS_OF_A_RUN: dict[tuple[str, str], Callable[[RunRecord], bool]] = {
    ("pipeline", "shop"): lambda run: run.pipeline == "shop",
    ("pipeline_version", "v2"): lambda run: run.pipeline_version == "v2",
    ("entity", "P1"): lambda run: run.entity == "P1",
    ("outcome", "matched"): lambda run: run.outcome == "matched",
    ("tag.market", "US"): lambda run: run.tags["market"] == "US",
    ("tag.a.b", "c"): lambda run: True,
    ("tag.a.b", "d"): lambda run: False,
    ("tag.none", "x"): lambda run: False,
    ("started_after", "2025-03-01T12:01:00Z"): lambda run: run.started_at >= START + timedelta(seconds=60),
    ("started_before", "2025-03-01T13:01:00+01:00"): lambda run: (
        run.started_at < START + timedelta(seconds=60)
    ),
}


@pytest.mark.parametrize("sent", WORDS_OF_A_RUN, ids="=".join)
def test_words_and_times_of_a_run(shelved: Shelf, reader: Reader, sent: tuple[str, str]) -> None:
    """Texts, tags and time bounds (the first inclusive, the second exclusive) select exactly their runs."""
    everything = reader.runs(page=ALL).items
    found = reader.runs(*parse(RUNS, [sent])).items
    assert found == [run for run in everything if WORDS_OF_A_RUN[sent](run)]


def test_a_step_has_the_pipeline_of_its_run(shelved: Shelf, reader: Reader) -> None:
    """A step that was sent without a pipeline is shown and found under that of its run."""
    pipeline_of = {run.run_id: run.pipeline for run in reader.runs(page=ALL).items}
    everything = reader.steps(page=ALL).items
    for name in ("shop", "listing", "sorting"):
        found = reader.steps(*parse(STEPS, [("pipeline", name), ("limit", "1000")])).items
        assert found == [step for step in everything if step.pipeline == name]
    borrowed = [step for step in everything if step.pipeline == "sorting"]
    assert borrowed
    assert all(pipeline_of[step.run_id] == "sorting" for step in borrowed)


def test_steps_are_found_by_words_of_their_run(shelved: Shelf, reader: Reader) -> None:
    """Entity and tags of the run select its steps."""
    runs = {run.run_id: run for run in reader.runs(page=ALL).items}
    sent = [("entity", "P1"), ("tag.market", "US"), ("limit", "1000")]
    found = {(s.run_id, s.step_id) for s in reader.steps(*parse(STEPS, sent)).items}
    wanted = {
        (step.run_id, step.step_id)
        for step in reader.steps(page=ALL).items
        if runs[step.run_id].entity == "P1" and runs[step.run_id].tags["market"] == "US"
    }
    assert found == wanted
    assert found


def test_every_number_of_a_decision(shelf: Shelf, reader: Reader) -> None:
    """Each field of a decision selects exactly the candidates that satisfy it; words are no numbers."""
    scores = [0.9, None, 0.5, 1.0]
    values = [12.5, "wood", True, 99]
    shelf.put(
        run_copy("r"),
        step_copy("r", "s"),
        chunk(
            "r", "s", ["a", "b", "c", "d"], "KEEW", score=scores, value=values, threshold=50, probability=0.5
        ),
    )
    everything = reader.decisions("r", "s").items  # type: ignore[union-attr]
    for name in _numeric(DECISIONS):
        for suffix, function in SUFFIXES["number"].items():
            for threshold in ("0.5", "0.9", "50", "12.5"):
                page = reader.decisions("r", "s", *parse(DECISIONS, [(name + suffix, threshold)]))
                assert page is not None
                wanted = [
                    d
                    for d in everything
                    if type(getattr(d, name)) in (int, float)
                    and getattr(operator, function)(getattr(d, name), float(threshold))
                ]
                assert page.items == wanted, (name + suffix, threshold)


REFUSED = {
    "unknown": [("colour", "red")],
    "unknown of a step": [("step.colour", "red")],
    "field of a step without its prefix": [("step_type", "filter")],
    "field of a run with the prefix of steps": [("step.entity", "P1")],
    "number that is none": [("duration_ms_gt", "fast")],
    "not a number": [("drop_ratio_gt", "nan")],
    "infinite": [("drop_ratio_gt", "inf")],
    "beyond a double": [("drop_ratio_gt", "1e400")],
    "underscore in a number": [("drop_ratio_gt", "1_0")],
    "empty number": [("drop_ratio_gt", "")],
    "number without an operator": [("drop_ratio", "0.9")],
    "word outside the vocabulary": [("status", "done")],
    "word outside the vocabulary of a step": [("step.step_type", "ranking")],
    "naive time": [("started_after", "2025-03-01T12:00:00")],
    "malformed time": [("started_after", "yesterday")],
    "time of no day": [("started_after", "2025-02-30T12:00:00Z")],
    "time out of range": [("started_after", "0001-01-01T00:00:00+14:00")],
    "plus that became a blank": [("started_after", "2025-03-01T12:00:00 00:00")],
    "started without a side": [("started", "2025-03-01T12:00:00Z")],
    "limit of none": [("limit", "0")],
    "limit beyond the maximum": [("limit", "1001")],
    "limit that is no number": [("limit", "many")],
    "limit in other digits": [("limit", "٣")],
    "sent twice": [("pipeline", "a"), ("pipeline", "b")],
    "empty text": [("pipeline", "")],
    "NUL in a text": [("pipeline", "a\x00b")],
    "NUL in a name": [("tag.a\x00b", "c")],
    "tag without a key": [("tag.", "c")],
    "metric without an operator": [("step.metric.recall", "1")],
    "metric without a name": [("step.metric._gt", "1")],
    "unknown statistic of a field": [("step.field.price.median_gt", "1")],
}


@pytest.mark.parametrize("sent", REFUSED.values(), ids=REFUSED.keys())
def test_what_is_not_understood_is_refused(sent: list[tuple[str, str]]) -> None:
    """Nothing is ignored in silence: the refusal names the parameter, and what would be accepted."""
    with pytest.raises(InvalidParameter) as refused:
        parse(RUNS, sent)
    assert refused.value.parameter == sent[0][0]
    assert str(refused.value).isprintable()
    assert sent[0][0].replace("\x00", "?") in str(refused.value)


@given(st.text(max_size=40), st.text(max_size=40))
def test_any_parameter_is_understood_or_refused(name: str, value: str) -> None:
    """Whatever is sent, parsing ends in filters or in a refusal."""
    for vocabulary in (RUNS, STEPS, DECISIONS):
        refused = None
        try:
            parse(vocabulary, [(name, value)])
        except InvalidParameter as exc:
            refused = exc
        assert refused is None or refused.parameter == name


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_every_double_is_a_number(value: float) -> None:
    """Any finite double can be asked for, as Python, JSON and JavaScript write it."""
    if value == 0 or 1e-320 < abs(value) < 1e308:
        assert float(parse_number("x_gt", repr(value))) == value


OFFSETS = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))


@given(st.datetimes(min_value=datetime(2, 1, 1), max_value=datetime(9998, 1, 1), timezones=OFFSETS))  # noqa: DTZ001
def test_every_time_with_an_offset_is_a_time(value: datetime) -> None:
    """Any instant written as RFC 3339 is understood as that instant."""
    assert parse_time("started_after", value.isoformat()) == value


@pytest.mark.parametrize(
    ("name", "meant"), [("type", "step_type"), ("drop_ration", None), ("statu", "status")]
)
def test_a_name_that_is_nearly_one(name, meant):
    """A word from the commands or a slip of the pen is answered with the name that was meant."""
    with pytest.raises(InvalidParameter) as refused:
        parse(STEPS, [(name, "x")])
    assert f"did you mean {meant or 'drop_ratio'}?" in str(refused.value)
