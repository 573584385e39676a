"""The questions that are asked of the seeded tables, each with its bar; each time with other parameters."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple
from urllib.parse import quote

from benchmarks.scale import templates
from benchmarks.scale.seed import Seeded, run_id_of

_TYPES = ("search", "filter", "rank", "llm", "select")
_THRESHOLDS = ("0.9", "0.999", "0.99999")
_EXAMPLE = 'step.type = "filter" and drop_ratio > 0.9 and reasoning.threshold < 3 and tag.market = "US"'
PAGE = 100


class Ask(NamedTuple):
    """One question as the API takes it."""

    path: str
    parameters: tuple[tuple[str, str], ...] = ()
    follow: int = 0
    """How many pages to turn before the one that is timed."""


@dataclass(frozen=True, slots=True)
class Question:
    """A kind of question."""

    group: str
    """Word for ``--only``."""
    name: str
    bar_ms: float | None
    """p99 when nothing else runs."""
    draw: Callable[[random.Random], Ask]
    times: int = 200


def questions(seeded: Seeded) -> Iterator[Question]:
    """All of them."""
    window = _Windows(seeded)
    yield from _headlines(window)
    yield Question("run", "run with its steps", 10, lambda r: Ask(f"/runs/{window.run_id(r)}"))
    yield from _pages(window)
    yield from _metrics(window)
    yield from _items(window)
    yield from _filters(window)


class _Windows:
    """Times and ids within what was seeded."""

    def __init__(self, seeded: Seeded) -> None:
        self._seeded = seeded
        self._first = seeded.end - timedelta(days=seeded.days)

    def last(self, random_: random.Random, days: float) -> tuple[tuple[str, str], ...]:
        """The parameters of a window of so many days, anywhere in what was seeded."""
        spare = max(0.0, self._seeded.days - days)
        end = self._seeded.end - timedelta(days=random_.random() * spare)
        return _between(max(self._first, end - timedelta(days=days)), end)

    def day(self, random_: random.Random) -> tuple[tuple[str, str], ...]:
        """A whole UTC day."""
        start = self._first + timedelta(days=random_.randrange(self._seeded.days))
        return _between(start, start + timedelta(days=1))

    def all_days(self) -> tuple[tuple[str, str], ...]:
        """All of it."""
        return _between(self._first, self._seeded.end)

    def before(self, random_: random.Random) -> tuple[tuple[str, str], ...]:
        """Some instant to go back from."""
        return (("started_before", _shown(self._seeded.end - timedelta(days=29 * random_.random()))),)

    def run_id(self, random_: random.Random) -> str:
        """Id of a seeded run."""
        days, runs = self._seeded.days, self._seeded.runs
        day = random_.randrange(days)
        return run_id_of(day, random_.randrange(runs * (day + 1) // days - runs * day // days))


def _between(start: datetime, end: datetime) -> tuple[tuple[str, str], ...]:
    return (("started_after", _shown(start)), ("started_before", _shown(end)))


def _shown(at: datetime) -> str:
    return at.isoformat().replace("+00:00", "Z")


def _headlines(window: _Windows) -> Iterator[Question]:
    def draw(one_type: bool, threshold: str) -> Callable[[random.Random], Ask]:
        def asked(random_: random.Random) -> Ask:
            of_type = (("step_type", random_.choice(_TYPES)),) if one_type else ()
            return Ask("/steps", (*of_type, ("drop_ratio_gt", threshold), *window.last(random_, 7)))

        return asked

    for one_type in (True, False):
        for threshold in _THRESHOLDS:
            which = "one type" if one_type else "any type"
            name = f"newest 50 of {which} in 7 days, drop_ratio > {threshold}"
            yield Question("headline", name, 10, draw(one_type, threshold))


def _pages(window: _Windows) -> Iterator[Question]:
    limit = ("limit", str(PAGE))

    def deep(path: str, *more: tuple[str, str]) -> Callable[[random.Random], Ask]:
        return lambda random_: Ask(path, (limit, *more, *window.before(random_)), follow=2)

    yield Question("pages", f"runs, {PAGE} to a page, anywhere", 15, deep("/runs"))
    of_pipeline = ("pipeline", templates.PIPELINES[2])
    yield Question("pages", f"runs of a pipeline, {PAGE} to a page", 15, deep("/runs", of_pipeline))
    yield Question("pages", f"steps, {PAGE} to a page, anywhere", 15, deep("/steps"))
    yield Question("pages", f"steps of a type, {PAGE} to a page", 15, deep("/steps", ("step_type", "rank")))


def _metrics(window: _Windows) -> Iterator[Question]:
    def of_pipeline(random_: random.Random) -> Ask:
        pipeline = random_.choices(templates.PIPELINES, templates.WEIGHTS)[0]
        return Ask("/metrics/steps", (("pipeline", pipeline), ("group_by", "name"), *window.day(random_)))

    def of_all(random_: random.Random) -> Ask:
        return Ask("/metrics/steps", (("group_by", "pipeline,name"), *window.day(random_)))

    yield Question("metrics", "percentiles of a pipeline's day, by step", 20, of_pipeline, times=100)
    yield Question("metrics", "percentiles of all pipelines' day, by step", 120, of_all, times=30)


def _items(window: _Windows) -> Iterator[Question]:
    def draw(numbers: range) -> Callable[[random.Random], Ask]:
        def asked(random_: random.Random) -> Ask:
            item = templates.item_id(random_.choice(numbers))
            return Ask(f"/items/{quote(item)}", window.all_days())

        return asked

    catalogue = templates.CATALOGUE
    kinds = {
        "often named": range(100),
        "named now and then": range(catalogue // 2, catalogue),
        "seldom named": range(catalogue, catalogue + templates.SELDOM),
        "never named": range(10 * catalogue, 11 * catalogue),
    }
    for kind, numbers in kinds.items():
        yield Question("items", f"item history over 30 days, {kind}", 50, draw(numbers))


def _filters(window: _Windows) -> Iterator[Question]:
    def draw(path: str, *asked: tuple[str, str], days: float = 7) -> Callable[[random.Random], Ask]:
        return lambda random_: Ask(path, (*asked, *window.last(random_, days)))

    example = ("q", _EXAMPLE.replace("step.", ""))
    yield Question("filters", "steps by q= of type, drop, reasoning and tag", None, draw("/steps", example))
    runs_example = ("q", _EXAMPLE.replace("drop_ratio", "step.drop_ratio").replace("reas", "step.reas"))
    yield Question("filters", "runs by q= of the same, in a step", None, draw("/runs", runs_example))
    for threshold in _THRESHOLDS[:2]:
        asked = (("step.step_type", "filter"), ("step.drop_ratio_gt", threshold))
        name = f"runs with a filter step, drop_ratio > {threshold}"
        yield Question("filters", name, None, draw("/runs", *asked), times=60)


def words(every: Sequence[Question]) -> list[str]:
    """What ``--only`` takes of them."""
    return list(dict.fromkeys(question.group for question in every))
