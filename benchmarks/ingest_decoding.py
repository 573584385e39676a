"""What a foreign span costs in our own code, without what receives its bytes."""

from __future__ import annotations

import time

from benchmarks.load.payloads import Template, templates
from benchmarks.spread import Spread
from collector.decode.protobuf import ProtobufDecoder
from collector.extract.vocabulary import Vocabulary
from collector.settings import CollectorSettings
from store.settings import load

_ROUNDS = 40


def foreign_span_us() -> Spread:
    """CPU in µs: to decode requests of which 95 % are foreign, less the same without the foreign."""
    inference = load(CollectorSettings, {}).inference()
    decoder = ProtobufDecoder(Vocabulary(inference), inference.needles)
    mixed, ours = (templates(name, _ROUNDS) for name in ("mixed", "ours of mixed"))
    costs = []
    for round_, (more, less) in enumerate(zip(mixed, ours, strict=True)):
        pair = [(more, 1), (less, -1)]
        seconds = sum(
            sign * _seconds(decoder, one, round_) for one, sign in (pair if round_ % 2 else reversed(pair))
        )
        costs.append(seconds / more.counts.foreign * 1e6)
    # The first ones find cold caches.
    return Spread.of(costs[_ROUNDS // 4 :])


def _seconds(decoder: ProtobufDecoder, template: Template, serial: int) -> float:
    [(_, body)] = template.fresh(serial, time.time_ns())
    began = time.thread_time()
    # Records are read as they are asked for.
    found = sum(1 for _ in decoder.decode_traces(body).records)
    seconds = time.thread_time() - began
    assert found == template.counts.ours
    return seconds
