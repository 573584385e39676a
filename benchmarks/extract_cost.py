"""
What a span costs from the bytes of its request to its row, in the collector's own code.

    python -m benchmarks.extract_cost [--rounds 30] [--json]

CPU time of one thread in µs per span: decode and extract, of requests of 512 spans that nobody
has seen before (``benchmarks.load``), all of X-Ray, 5 % and none of it; in both encodings; with
nobody's names but ours, and with those of gen_ai, OpenInference and a team looked for as well.
As the reference, in the same round, what the standard message takes to parse the same bytes.
Rounds visit the cases in a new order each; medians with the extremes are printed.
"""

from __future__ import annotations

import argparse
import base64
import gc
import json
import random
import time
from collections.abc import Sequence
from typing import NamedTuple

import orjson
from google.protobuf.json_format import MessageToDict
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from benchmarks.load.payloads import SPANS, templates
from benchmarks.spread import Spread
from collector.decode.otlp_json import JsonDecoder
from collector.decode.protobuf import ProtobufDecoder
from collector.extract.extraction import Extraction
from collector.extract.foreign import Inference
from collector.extract.spans import extract_spans
from collector.extract.vocabulary import Vocabulary
from collector.inference.infer import SpanInference

TRAFFIC = {"all of X-Ray": "steps", "5 % of X-Ray": "mixed", "none of X-Ray": "foreign"}
_WARM_UP_ROUNDS = 5


class Case(NamedTuple):
    """One way in."""

    encoding: str
    names: str
    """Whose names are read."""
    decoder: ProtobufDecoder | JsonDecoder
    inference: Inference | None


class Cost(NamedTuple):
    """What a span of one traffic costs, in µs of CPU."""

    traffic: str
    encoding: str
    names: str
    decode: Spread
    both: Spread
    """Decode and extract as the collector does them, one record after the other."""
    reference: Spread
    """To parse the standard message from protobuf."""


def cases() -> list[Case]:
    """Both encodings, without and with other names than ours."""
    found = []
    inferences: tuple[tuple[str, Inference | None], ...] = (("ours", None), ("all", SpanInference()))
    for names, inference in inferences:
        vocabulary, needles = Vocabulary(inference), inference.needles if inference else ()
        found += [
            Case("protobuf", names, ProtobufDecoder(vocabulary, needles), inference),
            Case("JSON", names, JsonDecoder(vocabulary, needles), inference),
        ]
    return found


def measure(rounds: int) -> list[Cost]:
    """Measure every case on every traffic."""
    ways = cases()
    decodes: dict[tuple[str, Case], list[float]] = {}
    boths: dict[tuple[str, Case], list[float]] = {}
    references: dict[str, list[float]] = {}
    order = random.Random(1)
    for round_ in range(rounds + _WARM_UP_ROUNDS):
        for traffic, load in order.sample(sorted(TRAFFIC.items()), len(TRAFFIC)):
            (template,) = templates(load, 1, seed=round_ + 1)
            ((_, body),) = template.fresh(2 * round_, time.time_ns())
            ((_, other),) = template.fresh(2 * round_ + 1, time.time_ns())
            in_json, other_in_json = _as_json(body), _as_json(other)
            # What the benchmark itself holds is nothing for the garbage collector to walk meanwhile.
            gc.collect()
            gc.freeze()
            for case in order.sample(ways, len(ways)):
                protobuf = case.encoding == "protobuf"
                decode = _decode_seconds(case, body if protobuf else in_json)
                both = _both_seconds(case, other if protobuf else other_in_json)
                if round_ >= _WARM_UP_ROUNDS:
                    decodes.setdefault((traffic, case), []).append(decode)
                    boths.setdefault((traffic, case), []).append(both)
            if round_ >= _WARM_UP_ROUNDS:
                references.setdefault(traffic, []).append(_reference_seconds(body))
    return [
        Cost(
            traffic,
            case.encoding,
            case.names,
            _per_span(decodes[traffic, case]),
            _per_span(boths[traffic, case]),
            _per_span(references[traffic]),
        )
        for traffic in TRAFFIC
        for case in ways
    ]


def _decode_seconds(case: Case, body: bytes) -> float:
    began = time.thread_time()
    for _ in case.decoder.decode_traces(body).records:
        pass
    return time.thread_time() - began


def _both_seconds(case: Case, body: bytes) -> float:
    extraction = Extraction(time.time_ns(), inference=case.inference)
    began = time.thread_time()
    extract_spans(case.decoder.decode_traces(body).records, extraction)
    return time.thread_time() - began


def _reference_seconds(body: bytes) -> float:
    began = time.thread_time()
    ExportTraceServiceRequest.FromString(body)
    return time.thread_time() - began


def _per_span(seconds: Sequence[float]) -> Spread:
    return Spread.of(each / SPANS * 1e6 for each in seconds)


def _as_json(body: bytes) -> bytes:
    """The request in OTLP/JSON; protobuf's own mapping is right but for the ids."""
    request = MessageToDict(ExportTraceServiceRequest.FromString(body))
    for group in request["resourceSpans"]:
        for scope in group["scopeSpans"]:
            for span in scope["spans"]:
                for name in ("traceId", "spanId", "parentSpanId"):
                    if name in span:
                        span[name] = base64.b64decode(span[name]).hex()
    return orjson.dumps(request)


def report(costs: list[Cost]) -> None:
    """Print the table."""
    print("µs of CPU per span: median (lowest–highest)")
    print(
        f"{'traffic':14} {'encoding':9} {'names':6}"
        + "".join(f"{title:22}" for title in ("decode", "with extract", "standard parse"))
    )
    for cost in costs:
        print(
            f"{cost.traffic:14} {cost.encoding:9} {cost.names:6}"
            + "".join(f"{spread.shown('.2f'):22}" for spread in cost[3:])
        )


def main() -> None:
    """Read the options and measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--json", action="store_true", help="one JSON array on stdout, no table")
    options = parser.parse_args()
    costs = measure(options.rounds)
    if options.json:
        print(json.dumps([cost._asdict() for cost in costs], default=lambda spread: spread._asdict()))
    else:
        report(costs)


if __name__ == "__main__":
    main()
