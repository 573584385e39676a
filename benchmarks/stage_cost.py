"""
What each stage of the collector costs for a span, alone on one thread, from its bytes to COPY's values.

    python -m benchmarks.stage_cost [--rounds 30] [--batches 4] [--json]

CPU time in µs per span of ours: decode, extract, assemble, rows of runs, rows of steps, values in
COPY's form. Each round makes requests of 512 spans that nobody has seen before
(``benchmarks.load``) and takes ``--batches`` of them through one stage after the other as one
group, so that every stage meets them as cold as the writer's thread does. Beside them a foreign span.
No sockets and no database; medians with the extremes are printed.
"""

from __future__ import annotations

import argparse
import gc
import json
import time
from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Any, TypeVar

from benchmarks.load.payloads import SPANS, templates
from benchmarks.spread import Spread
from collector.decode.protobuf import ProtobufDecoder
from collector.extract.extraction import Extraction
from collector.extract.spans import extract_spans
from collector.extract.vocabulary import Vocabulary
from collector.inference.infer import SpanInference
from store.assemble import Work, assemble
from store.bounds import Reach
from store.kinds import Runs, Steps, day_of
from store.landing import by_column
from store.lone import render_lone
from store.rows import Batch
from store.statements import Item
from store.wire import Column

_WARM_UP_ROUNDS = 5
_INFERENCE = SpanInference()

Result = TypeVar("Result")


class Stages:
    """Times by stage, in µs per span."""

    def __init__(self) -> None:
        self.found: dict[str, list[float]] = {}

    def take(self, stage: str, spans: int, work: Callable[[], Result]) -> Result:
        """Do the work and note what it took."""
        began = time.thread_time()
        result = work()
        self.found.setdefault(stage, []).append((time.thread_time() - began) / spans * 1e6)
        return result


def measure(rounds: int, batches: int) -> dict[str, Spread]:
    """Take fresh requests through all stages, so often."""
    decoder = ProtobufDecoder(Vocabulary(_INFERENCE), _INFERENCE.needles)
    stages = Stages()
    gc.set_threshold(20_000, 20, 100)  # as the server does (cli/serve.py)
    for round_ in range(rounds + _WARM_UP_ROUNDS):
        if round_ == _WARM_UP_ROUNDS:
            stages = Stages()
        bodies = [_body("steps", round_, round_ * batches + serial) for serial in range(batches)]
        foreign = _body("foreign", round_, round_)
        # What the benchmark itself holds is nothing for the garbage collector to walk meanwhile.
        gc.collect()
        gc.freeze()
        _group(stages, decoder, bodies)
        stages.take("a foreign span", SPANS, lambda: _extract(decoder.decode_traces(foreign).records))  # noqa: B023
    return {stage: Spread.of(times) for stage, times in stages.found.items()}


def _group(stages: Stages, decoder: ProtobufDecoder, bodies: Sequence[bytes]) -> None:
    spans = SPANS * len(bodies)
    decoded = stages.take(
        "decode", spans, lambda: [list(decoder.decode_traces(body).records) for body in bodies]
    )
    batches = stages.take("extract", spans, lambda: [_extract(records) for records in decoded])
    work = stages.take("assemble", spans, lambda: assemble(batches))
    stages.take("rows of runs", spans, lambda: _run_columns(work))
    columns = stages.take("rows of steps", spans, lambda: _step_columns(work))
    stages.take("values", spans, lambda: _values(columns))


def _body(load: str, seed: int, serial: int) -> bytes:
    (template,) = templates(load, 1, seed=seed + 1)
    ((_, body),) = template.fresh(serial, time.time_ns())
    return body


def _extract(records: Any) -> Batch:
    extraction = Extraction(time.time_ns(), inference=_INFERENCE)
    extract_spans(records, extraction)
    return extraction.batch(0)


def _run_columns(work: Work) -> Sequence[Column]:
    items = [Item((run.key,), run.state, run.sources) for run in work.runs.values()]
    return by_column([Runs(Reach()).row(item) for item in sorted(items, key=itemgetter(0))])


def _step_columns(work: Work) -> Sequence[Column]:
    steps = sorted(work.steps.items(), key=itemgetter(0))
    # Every step of this load came once, as a terminal copy.
    lone = [entry for _, entry in steps if not isinstance(entry, Item)]
    return render_lone([key for key, _ in steps], lone, [day_of(time.time_ns() // 1000)] * len(steps))


def _values(columns: Sequence[Column]) -> None:
    filled = [place for place, column in enumerate(columns) if any(value is not None for value in column)]
    for start in range(0, len(columns[0]), SPANS):
        Steps.statements.copy.encode(columns, filled, slice(start, start + SPANS))


def main() -> None:
    """Read the options and measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--batches", type=int, default=4, help="requests of 512 spans to a group (default 4)")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout, no table")
    options = parser.parse_args()
    found = measure(options.rounds, options.batches)
    if options.json:
        print(json.dumps({stage: spread._asdict() for stage, spread in found.items()}))
        return
    print("µs of CPU per span: median (lowest–highest)")
    for stage, spread in found.items():
        print(f"{stage:16} {spread.shown('.2f')}")


if __name__ == "__main__":
    main()
