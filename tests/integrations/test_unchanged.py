"""Recording changes nothing: results, exceptions and the order of calls, with X-Ray on, off and away."""

from __future__ import annotations

import asyncio
import functools
import math
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import xray_otel as xray
from xray_otel.integrations._handlers import described

EXAMPLES = settings(
    max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


class Trouble(Exception):
    """What pipelines raise; its text cannot be had."""

    def __str__(self) -> str:
        raise RuntimeError("no text")


@dataclass(frozen=True, eq=False)
class Thing:
    """A candidate, of which some cannot be printed."""

    number: float
    is_shy: bool

    def __repr__(self) -> str:
        if self.is_shy:
            raise RuntimeError("cannot be printed")
        return f"Thing({self.number})"


@dataclass(frozen=True)
class Stage:
    """One step of a generated pipeline."""

    kind: str
    modulus: int
    top_k: int
    fails_at: int | None
    """Which call of the step's rule raises."""


THINGS = st.lists(
    st.builds(Thing, st.sampled_from([0.0, 1.0, 2.5, -3.0, math.inf, math.nan]), st.booleans()), max_size=12
)
KINDS = ["filter", "loop", "rank", "select", "decorated", "generator", "nested", "engine"]
STAGES = st.builds(
    Stage, st.sampled_from(KINDS), st.integers(2, 3), st.integers(0, 6), st.none() | st.integers(0, 8)
)
PIPELINES = st.tuples(THINGS, st.lists(STAGES, max_size=5))


class Rule:
    """What a stage asks of each candidate; notes every call."""

    def __init__(self, stage: Stage, calls: list[Any]) -> None:
        self._stage, self._calls, self._made = stage, calls, 0

    def _note(self, thing: Thing) -> None:
        self._calls.append((self._stage.kind, id(thing)))
        self._made += 1
        if self._made - 1 == self._stage.fails_at:
            raise Trouble(self._stage.kind)

    def keeps(self, thing: Thing) -> bool:
        self._note(thing)
        return not math.isfinite(thing.number) or int(thing.number) % self._stage.modulus == 0

    def score(self, thing: Thing) -> float:
        self._note(thing)
        return thing.number if math.isfinite(thing.number) else 0.0  # ``rank`` puts others last


def plain(stage: Stage, things: list[Thing], rule: Rule) -> list[Thing]:
    """The stage without X-Ray."""
    if stage.kind == "rank":
        return sorted(things, key=rule.score, reverse=True)[: stage.top_k]
    if stage.kind == "select":
        best = max(things, key=rule.score, default=None)
        return [] if best is None else [best]
    return [thing for thing in things if rule.keeps(thing)]


def recorded(stage: Stage, things: list[Thing], rule: Rule) -> list[Thing]:
    """The same stage, recorded in the ways that there are."""
    if stage.kind == "decorated":
        return xray.step(type="filter")(plain)(stage, things, rule)
    if stage.kind == "generator":

        @xray.step(type="filter")
        def each() -> Iterator[Thing]:
            yield from (thing for thing in things if rule.keeps(thing))

        return list(each())
    if stage.kind == "engine":
        run = xray.resume_run("engine's", pipeline="generated", engine="tests")
        with run, run.step("engine's", type="filter") as of_engine:
            kept = of_engine.filter(things, rule.keeps)
        run.finish()
        return kept
    with xray.step(stage.kind, type=stage.kind if stage.kind in ("rank", "select") else "filter") as step:
        if stage.kind == "rank":
            return step.rank(things, score=rule.score, top_k=stage.top_k)
        if stage.kind == "select":
            best = step.select_best(things, score=rule.score)
            return [] if best is None else [best]
        if stage.kind == "filter":
            return step.filter(things, rule.keeps, value=lambda thing: thing.number)
        if stage.kind == "nested":
            with xray.step("inner", type="filter", input=things):
                return plain(stage, things, rule)
        kept = []
        for thing in things:
            if rule.keeps(thing):
                step.accept(thing, value=thing.number)
                kept.append(thing)
            else:
                step.reject(thing, "no", value=thing)
        return kept


def outcome(work: Callable[[list[Any]], Any]) -> tuple[Any, ...]:
    """What came of it: the result or the exception, and the calls in their order."""
    calls: list[Any] = []
    try:
        result = work(calls)
    except Trouble as error:
        return "raised", error.args, error.__cause__, calls
    return "returned", [id(thing) for thing in result], None, calls


def through(
    stages: list[Stage], things: list[Thing], calls: list[Any], how: Callable[..., Any]
) -> list[Thing]:
    for stage in stages:
        things = how(stage, things, Rule(stage, calls))
    return things


def whole(stages: list[Stage], things: list[Thing], calls: list[Any]) -> list[Thing]:
    with xray.run("generated", entity="P1", input=things) as run:
        result = through(stages, things, calls, recorded)
        run.set_output(result)
        return result


async def whole_async(stages: list[Stage], things: list[Thing], calls: list[Any]) -> list[Thing]:
    @xray.step(type="custom")
    async def one(stage: Stage, given: list[Thing]) -> list[Thing]:
        await asyncio.sleep(0)
        return recorded(stage, given, Rule(stage, calls))

    async with xray.run("generated"):
        for stage in stages:
            things = await one(stage, things)
    return things


@pytest.fixture(params=["on", "off", "away"])
def xray_is(request, otlp_receiver, unused_endpoint, tmp_path, monkeypatch):
    """X-Ray in one of the states that a pipeline may meet it in."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))  # where undelivered records would be kept
    endpoint = unused_endpoint if request.param == "away" else otlp_receiver.endpoint
    xray.configure(endpoint=endpoint, disabled=request.param == "off", offline="drop", flush_interval_ms=20)
    yield request.param
    xray.shutdown(0.5)


@EXAMPLES
@given(PIPELINES)
def test_pipelines_are_unchanged(xray_is, pipeline):
    """Whatever the pipeline does, it does the same recorded."""
    things, stages = pipeline
    bare = outcome(lambda calls: through(stages, things, calls, plain))
    assert outcome(lambda calls: whole(stages, things, calls)) == bare


@EXAMPLES
@given(PIPELINES)
def test_async_pipelines_are_unchanged(xray_is, pipeline):
    things, stages = pipeline
    bare = outcome(lambda calls: through(stages, things, calls, plain))
    assert outcome(lambda calls: asyncio.run(whole_async(stages, things, calls))) == bare


def test_the_recorded_pipeline_is_recorded(otlp_receiver):
    """The comparison is with something: the generated pipelines do record."""
    xray.configure(endpoint=otlp_receiver.endpoint, flush_interval_ms=20)
    stages = [Stage(kind, 2, 3, None) for kind in KINDS]
    whole(stages, [Thing(float(number), False) for number in range(10)], [])
    assert xray.flush(10.0)
    names = {span.name for span in otlp_receiver.received.spans("step")}
    assert names == {"filter", "loop", "rank", "select", "plain", "each", "nested", "inner", "engine's"}


def test_an_engine_calls_what_it_was_given():
    """Of a decorated function the step is merged with the engine's; decorators around it are still called."""
    calls: list[str] = []

    def loud(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def call(*args: Any) -> Any:
            calls.append("loud")
            return function(*args)

        return call

    class Shop:
        @xray.step(type="filter")
        def cheap(self, prices: list[int]) -> list[int]:
            calls.append("cheap")
            return [price for price in prices if price < 3]

    shop = Shop()
    said, function = described(shop.cheap)
    assert (said["type"], said["name"], function([1, 5])) == ("filter", "cheap", [1])
    said, function = described(functools.partial(shop.cheap, [2, 7]))
    assert (said["type"], function()) == ("filter", [2])
    assert calls == ["cheap", "cheap"]
    outer = loud(Shop.cheap)
    assert described(outer) == ({}, outer)
    assert described(len) == ({}, len)


def test_the_programs_random_numbers_are_its_own(unused_endpoint):
    """A program that seeds ``random`` draws the same numbers, also while X-Ray tries again to deliver."""
    xray.configure(endpoint=unused_endpoint, offline="drop", flush_interval_ms=20, exit_timeout_s=0.1)
    random.seed(7)
    before = random.getstate()
    whole([Stage(kind, 2, 3, None) for kind in KINDS], [Thing(1.0, False)], [])
    xray.flush(1.0)
    assert random.getstate() == before
