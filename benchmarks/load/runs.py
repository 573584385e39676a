"""Runs of a pipeline as X-Ray's client sends them: eight steps with 15 attributes each, decisions."""

from __future__ import annotations

import random
import zlib
from typing import Any

import orjson
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from benchmarks.load.otlp import SERIAL, key_values, make_span, make_trace_id, times
from xray_otel import semconv

STEPS_PER_RUN = 8
CANDIDATES = 5_000
"""Decisions to a step."""


class Run:
    """Ids and spans of one run of a pipeline."""

    def __init__(self, random_: random.Random, number: int) -> None:
        self._random = random_
        self._id = f"0199a1b2-7c3d-7e4f-8a5b-{random_.getrandbits(24):06x}{number:02x}{SERIAL.decode()}"
        self._trace_id = make_trace_id(random_)
        self._root = SERIAL + f"r{number:03x}".encode()
        self._entering = random_.randrange(1_000, 20_000)

    def step(self, index: int, at: int) -> Span:
        """A step with 15 attributes; at: position in the request, for the span id."""
        name, step_type, own = _STEPS[index]
        entering, leaving = self._entering, self._random.randrange(1, self._entering)
        self._entering = leaving + 1
        attributes: dict[str, Any] = {
            semconv.STEP_TYPE: step_type,
            semconv.CANDIDATES_IN: entering,
            semconv.CANDIDATES_OUT: leaving,
            semconv.STEP_WHY: "price band of 0.5 to 2 times the reference",
            **own(self._random, entering, leaving),
            **self._identity(),
            semconv.STEP_ID: name,
            semconv.STEP_ATTEMPT: 1,
            semconv.STEP_INDEX: index,
            semconv.SPAN_KIND: "step",
        }
        assert len(attributes) == 15, (name, len(attributes))
        span_id = SERIAL + f"{at:04x}".encode()
        return make_span(self._random, name, self._trace_id, span_id, self._root, attributes)

    def span(self, at: int) -> Span:
        """The run's own span."""
        attributes: dict[str, Any] = {
            semconv.RUN_ENTITY: f"P{at:05}",
            f"{semconv.RUN_TAG_PREFIX}market": "US",
            semconv.RUN_INPUT: '{"product":"Phone case","reference_price":24.9}',
            semconv.RUN_OUTPUT: '{"competitor":"P0042"}',
            semconv.RUN_OUTCOME: "matched",
            **self._identity(),
            semconv.SPAN_KIND: "run",
        }
        return make_span(self._random, "competitor-selection", self._trace_id, self._root, b"", attributes)

    def chunk(self, index: int) -> LogRecord:
        """All decisions of a step in one chunk: item, verdict, reason, score."""
        data = orjson.dumps(_columns(self._random))
        attributes: dict[str, Any] = {
            semconv.DECISIONS_DATA: data.decode(),
            semconv.CHUNK_INDEX: 0,
            semconv.CHUNK_COUNT: CANDIDATES,
            semconv.CHUNK_CHECKSUM: f"{zlib.crc32(data):08x}",
            semconv.CHUNK_TOTAL: 1,
            **self._identity(),
            semconv.STEP_ID: _STEPS[index][0],
            semconv.STEP_ATTEMPT: 1,
        }
        return LogRecord(
            time_unix_nano=times(self._random)[1],
            event_name=semconv.EVENT_STEP_DECISIONS,
            attributes=key_values(attributes),
            trace_id=self._trace_id,
        )

    def _identity(self) -> dict[str, Any]:
        return {
            semconv.RUN_ID: self._id,
            semconv.PIPELINE_NAME: "competitor-selection",
            semconv.PIPELINE_VERSION: "v3",
        }


def _filter(random_: random.Random, entering: int, leaving: int) -> dict[str, Any]:
    first = random_.randrange(entering - leaving + 1)
    return {
        semconv.CANDIDATES_KEPT: leaving,
        semconv.CANDIDATES_ELIMINATED: entering - leaving,
        semconv.REASONS_CODES: ["price_too_high", "rating_too_low"],
        semconv.REASONS_COUNTS: [first, entering - leaving - first],
    }


def _search(random_: random.Random, _entering: int, leaving: int) -> dict[str, Any]:
    first = random_.randrange(leaving + 1)
    return {
        semconv.STEP_INPUT: '{"query":"phone case","limit":5000}',
        semconv.SOURCES_NAMES: ["index-1", "index-2"],
        semconv.SOURCES_COUNTS: [first, leaving - first],
        f"{semconv.METRIC_PREFIX}recall": random_.random(),
    }


def _rank(random_: random.Random, _entering: int, leaving: int) -> dict[str, Any]:
    low, middle, high = sorted(random_.random() for _ in range(3))
    return {
        semconv.CANDIDATES_SCORED: leaving,
        semconv.SCORE_MIN: low,
        semconv.SCORE_MEAN: middle,
        semconv.SCORE_MAX: high,
    }


def _llm(_random: random.Random, _entering: int, leaving: int) -> dict[str, Any]:
    return {
        semconv.GEN_AI_REQUEST_MODEL: "small-model-2",
        semconv.GEN_AI_REQUEST_TEMPERATURE: 0.2,
        semconv.STEP_REASONING: '{"question":"Is this a phone case?","answers":["yes","no"]}',
        semconv.CANDIDATES_KEPT: leaving,
    }


def _select(random_: random.Random, entering: int, _leaving: int) -> dict[str, Any]:
    return {
        semconv.CANDIDATES_SELECTED: 1,
        semconv.CANDIDATES_NOT_SELECTED: entering - 1,
        semconv.SELECTED_ID: f"P{random_.randrange(100_000):05}",
        semconv.STEP_OUTPUT: '{"score":0.91}',
    }


_STEPS = (
    ("search_by_title", "search", _search),
    ("filter_by_price", "filter", _filter),
    ("filter_by_rating", "filter", _filter),
    ("rank_by_similarity", "rank", _rank),
    ("filter_by_brand", "filter", _filter),
    ("is_a_competitor", "llm", _llm),
    ("rank_by_relevance", "rank", _rank),
    ("select_best", "select", _select),
)

_ITEM_CHARACTERS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_REASONS = ["price_too_high", "rating_too_low", "brand_excluded", "out_of_stock", "no_image", "duplicate"]


def _columns(random_: random.Random) -> dict[str, Any]:
    kept = [random_.random() < 0.01 for _ in range(CANDIDATES)]
    return {
        "v": 1,
        "n": CANDIDATES,
        "item": ["".join(random_.choices(_ITEM_CHARACTERS, k=12)) for _ in kept],
        "verdict": "".join("K" if keep else "E" for keep in kept),
        "reasons": _REASONS,
        "reason": [None if keep else random_.randrange(len(_REASONS)) for keep in kept],
        "score": [random_.random() for _ in kept],
    }
