"""Asks the questions, of the reader in this process or of the API by REST, and takes the time."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, Protocol

import httpx

from benchmarks.scale.questions import Ask, Question
from store.queries.errors import QueryTimeout
from store.queries.filters import parse
from store.queries.metrics import parse_grouped
from store.queries.vocabulary import ITEM_HISTORY, RUNS, STEPS
from store.reader import Reader

_WARM = 12
"""Asked before the clock starts: connections, caches and prepared statements are then as in use."""
_PATIENCE_S = 20.0
"""A question whose answers take longer in all is asked less often."""
_FEWEST = 20


class Times(NamedTuple):
    """How long answers took, in ms."""

    p50: float
    p99: float
    longest: float
    number: int
    cancelled: int
    """Answers that the reader gave up on, not in the others."""


class Answers(Protocol):
    """Where a question is put."""

    def __call__(self, ask: Ask, cursor: str | None, /) -> Any:
        """The answer; raises ``QueryTimeout``."""
        ...


def by_reader(reader: Reader) -> Answers:
    """The store's own reading code, from the parameters as they come in a URL."""

    def answer(ask: Ask, cursor: str | None) -> Any:
        sent = [*ask.parameters, *([("cursor", cursor)] if cursor else [])]
        if ask.path == "/steps":
            return reader.steps(*parse(STEPS, sent))
        if ask.path == "/runs":
            return reader.runs(*parse(RUNS, sent))
        if ask.path == "/metrics/steps":
            return reader.step_metrics(*parse_grouped(sent))
        if ask.path.startswith("/items/"):
            return reader.item_history(ask.path.removeprefix("/items/"), *parse(ITEM_HISTORY, sent))
        found = reader.run_detail(ask.path.removeprefix("/runs/"))
        assert found is not None, ask
        return found

    return answer


@contextmanager
def by_rest(url: str) -> Iterator[Answers]:
    """An API that runs, over one connection."""
    with httpx.Client(base_url=url + "/api/v1", timeout=60.0, trust_env=False) as client:

        def answer(ask: Ask, cursor: str | None) -> Any:
            sent = [*ask.parameters, *([("cursor", cursor)] if cursor else [])]
            reply = client.get(ask.path, params=dict(sent))
            if reply.status_code == 503 or reply.status_code == 504:
                raise QueryTimeout(0)
            reply.raise_for_status()
            return reply.json()

        yield answer


def measure(
    question: Question, answers: Answers, seed: int, times: int | None = None, warm: int = _WARM
) -> Times:
    """Ask with parameters of its own each time, first ``warm`` times uncounted; equal seeds, equal ones."""
    random_ = random.Random(f"{seed} {question.name}")
    taken: list[float] = []
    cancelled = 0
    began = time.monotonic()
    for number in range(warm + (times or question.times)):
        if number - warm >= _FEWEST and time.monotonic() - began > _PATIENCE_S:
            break
        seconds = _timed(question.draw(random_), answers)
        if number >= warm:
            cancelled += seconds is None
            if seconds is not None:
                taken.append(seconds * 1000)
    return summary(taken, cancelled)


def _timed(ask: Ask, answers: Answers) -> float | None:
    """Seconds of the last page, as many further on as is said; None when it was cancelled."""
    cursor = None
    try:
        for _ in range(ask.follow):
            found = answers(ask, cursor)
            following = found["next_cursor"] if isinstance(found, dict) else found.next_cursor
            if following is None:
                break
            cursor = following
        before = time.perf_counter()
        answers(ask, cursor)
    except QueryTimeout:
        return None
    return time.perf_counter() - before


def summary(taken: Sequence[float], cancelled: int = 0) -> Times:
    """Percentiles of times in ms; nothing at all counts as infinitely long."""
    if len(taken) < 2:
        only = taken[0] if taken else float("inf")
        return Times(only, only, only, len(taken), cancelled)
    percentiles = statistics.quantiles(taken, n=100, method="inclusive")
    return Times(percentiles[49], percentiles[98], max(taken), len(taken), cancelled)
