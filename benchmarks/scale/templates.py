"""
What the seeded rows are copied from: runs of several pipelines by the real writer, chunks by the real codec.

A step fills the columns that a span of the reference payload fills (15 attributes, see
``benchmarks/load/runs.py``); a filter adds what it reasoned by.
"""

from __future__ import annotations

import bisect
import itertools
import random
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from store.decisions import DecisionColumns, pack
from store.item_filter import build
from store.rows import Batch, RunCopy, StepCopy

STEPS_PER_RUN = 10
RUNS = 480
"""Templates; each is copied with ids, times and counts of its own."""
PIPELINES = ("competitor-selection", "ads", "moderation", "routing", "hiring", "fraud", "feed", "loans")
WEIGHTS = (30, 20, 14, 12, 9, 7, 5, 3)
VERSIONS = ("v1", "v2", "v3")
MARKETS = ("US", "DE", "JP", "BR")
DECIDED = 2
"""Index of the step that may have decisions."""
STEPS = (
    ("search_by_title", "search"),
    ("search_by_image", "search"),
    ("filter_by_price", "filter"),
    ("filter_by_rating", "filter"),
    ("rank_by_similarity", "rank"),
    ("filter_by_brand", "filter"),
    ("filter_by_stock", "filter"),
    ("is_a_competitor", "llm"),
    ("rank_by_relevance", "rank"),
    ("select_best", "select"),
)
REASONS = ("price_too_high", "rating_too_low", "brand_excluded", "out_of_stock", "no_image", "duplicate")
CATALOGUE = 100_000
"""Items that decisions are about."""
SELDOM = 50_000
"""Items beyond the catalogue, of which a chunk names one at most."""
_ERRORS = 0.02
_MILLISECOND_NS = 1_000_000


def item_id(number: int) -> str:
    """An id of 12 characters; ``CATALOGUE`` and above: seldom named."""
    return f"P{number * 2_654_435_761 % 2**44:011X}"


def batch(start_ns: int, seed: int) -> Batch:
    """All templates, begun at one instant; the run ids are their numbers."""
    random_ = random.Random(seed)
    runs: list[RunCopy] = []
    steps: list[StepCopy] = []
    for number in range(RUNS):
        pipeline = random_.choices(PIPELINES, WEIGHTS)[0]
        version = random_.choices(VERSIONS, (1, 2, 5))[0]
        run = _run(random_, number, start_ns, pipeline, version)
        runs.append(run)
        steps += _steps(random_, run, start_ns)
    return Batch(start_ns, runs=runs, steps=steps)


def _run(random_: random.Random, number: int, start_ns: int, pipeline: str, version: str) -> RunCopy:
    end = start_ns + random_.randrange(200, 3_000) * _MILLISECOND_NS
    failed = random_.random() < _ERRORS
    return RunCopy(
        str(number),
        True,
        status="crashed" if failed else "completed",
        start_ns=start_ns,
        end_ns=end,
        start_sent_ns=start_ns,
        end_sent_ns=end,
        trace_id=random_.randbytes(16),
        span_id=random_.randbytes(8),
        pipeline=pipeline,
        pipeline_version=version,
        service_name="shop",
        environment="production",
        entity="P00000",
        tags={"market": random_.choice(MARKETS), "tier": random_.choice(("free", "paid"))},
        input={"product": "Phone case", "reference_price": 24.9},
        output=None if failed else {"competitor": item_id(random_.randrange(CATALOGUE))},
        outcome=None if failed else "matched",
        error_type="TimeoutError" if failed else None,
        error_message="the index did not answer within 2 s" if failed else None,
        sent_hash=random_.getrandbits(63),
    )


def _steps(random_: random.Random, run: RunCopy, start_ns: int) -> Iterator[StepCopy]:
    at = start_ns
    for index, (name, step_type) in enumerate(STEPS):
        end = at + int(random_.expovariate(1 / 40) * _MILLISECOND_NS) + _MILLISECOND_NS
        failed = random_.random() < _ERRORS
        entering = random_.randrange(1_000, 20_000)
        leaving = entering // 2
        yield StepCopy(
            run.run_id,
            name,
            "1",
            True,
            name,
            attempt=1,
            step_type=step_type,
            status="error" if failed else "ok",
            start_ns=at,
            end_ns=end,
            start_sent_ns=at,
            end_sent_ns=end,
            trace_id=run.trace_id,
            span_id=random_.randbytes(8),
            parent_span_id=run.span_id,
            step_index=index,
            pipeline=run.pipeline,
            pipeline_version=run.pipeline_version,
            service_name=run.service_name,
            environment=run.environment,
            candidates_in=entering,
            candidates_out=leaving,
            why="price band of 0.5 to 2 times the reference",
            error_type="ValueError" if failed else None,
            error_message="a price that is no number" if failed else None,
            sent_hash=random_.getrandbits(63),
            **_of_type(random_, step_type, leaving),
        )
        at = end


def _of_type(random_: random.Random, step_type: str, leaving: int) -> dict[str, Any]:
    if step_type == "filter":
        return {
            "kept": leaving,
            "eliminated": leaving,
            "reason_codes": tuple(random_.sample(REASONS, 2)),
            "reason_counts": (leaving // 2, leaving - leaving // 2),
            "reasoning": {"threshold": round(random_.uniform(0.5, 5), 1)},
        }
    if step_type == "search":
        return {
            "input": {"query": "phone case", "limit": 5000},
            "sources": {"index-1": leaving // 3, "index-2": leaving - leaving // 3},
            "metrics": {"recall": random_.random()},
        }
    if step_type == "rank":
        low, middle, high = sorted(random_.random() for _ in range(3))
        return {"scored": leaving, "score": (low, high, middle, None, None, None, None)}
    if step_type == "llm":
        return {
            "model": "small-model-2",
            "temperature": 0.2,
            "reasoning": {"question": "Is this a phone case?", "answers": ["yes", "no"]},
            "kept": leaving,
        }
    return {
        "selected": 1,
        "not_selected": leaving,
        "selected_id": item_id(random_.randrange(CATALOGUE)),
        "output": {"score": 0.91},
    }


class Chunk(NamedTuple):
    """The decisions of a step, in one chunk."""

    candidates: int
    kept: int
    data: bytes
    item_filter: bytes


_POPULARITY = list(itertools.accumulate(1 / (rank + 100) for rank in range(CATALOGUE)))


def chunks(seed: int, count: int) -> list[Chunk]:
    """Chunks of 20 to 1,000 candidates, small ones more often, of items that are not equally popular."""
    random_ = random.Random(seed)
    return [_chunk(random_) for _ in range(count)]


def _chunk(random_: random.Random) -> Chunk:
    size = int(20 * 50 ** random_.random())
    drawn = {bisect.bisect(_POPULARITY, random_.random() * _POPULARITY[-1]) for _ in range(size - 1)}
    numbers = [min(number, CATALOGUE - 1) for number in drawn] + [CATALOGUE + random_.randrange(SELDOM)]
    items = [item_id(number) for number in dict.fromkeys(numbers)]
    random_.shuffle(items)
    share = 0.1 * random_.random() if random_.random() < 0.15 else random_.uniform(0.1, 1)
    verdict = "K" + "".join("K" if random_.random() < share else "E" for _ in items[1:])
    return Chunk(len(items), verdict.count("K"), pack(_columns(random_, items, verdict)), build(items))


def _columns(random_: random.Random, items: Sequence[str], verdict: str) -> DecisionColumns:
    return DecisionColumns(
        count=len(items),
        item=items,
        verdict=verdict,
        reasons=REASONS,
        reason=[None if letter == "K" else random_.randrange(len(REASONS)) for letter in verdict],
        score=[round(random_.random(), 4) for _ in items],
    )
