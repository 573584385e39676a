"""
Are estimates over sampled decisions honest?

    python -m benchmarks.sampling [--replicates 5000] [--candidates 10000] [--json]

A filter step is captured ``sampled`` again and again, each time in another run, so that
other candidates are drawn; the client's own sampling and encoding, the collector's parser
and the server's estimator are used as they are. Count, total and mean of the values, over
all decisions and over some (one verdict, values above a limit), are compared with those of
the full log: the bias of the mean estimate, and how often the 95 % interval holds the truth.
One reason occurs once in each log and must always be kept.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import statistics
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import NamedTuple

from collector.decisions import parse
from store.decisions import Decision, rows
from store.estimates import Estimates, Observed, estimate
from xray_otel._capture import sample
from xray_otel._columns import Columns, tidy
from xray_otel._decisions import encode

SAMPLE_SIZE = 50
LIMIT = 50.0
RARE = "never_seen_before"

Question = Callable[[Decision], float | None]
"""What is added up of a decision, None when it does not count."""


def _value(decision: Decision) -> float | None:
    return decision.value if isinstance(decision.value, float) else None


QUESTIONS: dict[str, Question] = {
    "all values": _value,
    "values of eliminated": lambda d: _value(d) if d.verdict == "eliminated" else None,
    "values above 100": lambda d: found if (found := _value(d)) is not None and found > 100 else None,
    "scores": lambda d: d.score,
}


def log(candidates: int, seed: int) -> Columns:
    """The full log: skewed prices, four reasons of different frequency, scores, some values missing."""
    random_ = random.Random(seed)
    columns = Columns([f"B{random_.getrandbits(40):010X}" for _ in range(candidates)], "")
    reasons: list[str | None] = []
    values: list[float | None] = []
    for _ in range(candidates):
        value = random_.lognormvariate(3.6, 0.7)
        draw = random_.random()
        reason = "price_too_high" if value > LIMIT else "out_of_stock" if draw < 0.1 else None
        if draw > 0.97:
            reason = "no_price"
        reasons.append(reason)
        values.append(None if reason == "no_price" else value)
    reasons[candidates // 3] = RARE
    columns.verdicts = "".join("K" if reason is None else "E" for reason in reasons)
    columns.reasons, columns.values = reasons, values
    columns.thresholds = [LIMIT] * candidates
    columns.scores = [random_.betavariate(2, 5) for _ in range(candidates)]
    columns.plain = True
    tidy(columns)
    return columns


def decisions(columns: Columns) -> Iterator[Decision]:
    """What a reader sees of the columns after they went over the wire."""
    for chunk in encode(columns):
        yield from rows(parse(chunk.text.encode()).columns)


def asked(kept: list[Decision], question: Question) -> Estimates:
    """The answer from what was kept."""
    return estimate(
        Observed((d.verdict, d.reason), 1.0 if d.probability is None else d.probability, question(d))
        for d in kept
    )


class Result(NamedTuple):
    """About one figure of one question."""

    question: str
    figure: str
    truth: float
    bias: float
    """(mean estimate - truth) / truth."""
    bias_error: float
    """Standard error of ``bias``: what the number of replicates leaves to chance."""
    coverage: float
    """Share of the 95 % intervals that hold the truth."""
    half_width: float
    """Mean half width of the interval, as share of the truth."""


def replicate(candidates: int, replicates: int, seed: int = 11) -> list[Result]:
    """
    All figures, of the samples that answer with an interval. Raises AssertionError when a count of a
    pair or the rare reason is off.
    """
    full = log(candidates, seed)
    whole = list(decisions(full.slice(0, candidates)))
    truths = {name: asked(whole, question) for name, question in QUESTIONS.items()}
    exact = {pair: float(count) for pair, count in _pairs(whole).items()}
    found: dict[tuple[str, str], list[tuple[float, bool, float]]] = defaultdict(list)
    for number in range(replicates):
        sampled = sample(full.slice(0, candidates), SAMPLE_SIZE, f"run-{seed}-{number}")
        kept = list(decisions(sampled))
        assert any(decision.reason == RARE for decision in kept)
        for pair, weight in _pairs(kept).items():
            assert math.isclose(weight, exact[pair], rel_tol=1e-9), (pair, weight, exact[pair])
        for name, question in QUESTIONS.items():
            for figure, guess in asked(kept, question)._asdict().items():
                truth = getattr(truths[name], figure).value
                if guess is None or guess.low is None:
                    continue  # too few were kept to tell
                held = guess.low - 1e-9 * truth <= truth <= guess.high + 1e-9 * truth
                found[name, figure].append((guess.value, held, (guess.high - guess.low) / 2))
        if number % max(1, replicates // 10) == 0:
            print(f"replicate {number} of {replicates}: {len(kept)} of {candidates} kept", file=sys.stderr)
    results = []
    for (name, figure), guesses in found.items():
        truth = getattr(truths[name], figure).value
        values = [value for value, _, _ in guesses]
        results.append(
            Result(
                name,
                figure,
                truth,
                statistics.fmean(values) / truth - 1,
                statistics.stdev(values) / truth / math.sqrt(len(values)),
                statistics.fmean(held for _, held, _ in guesses),
                statistics.fmean(half for _, _, half in guesses) / truth,
            )
        )
    return results


def _pairs(kept: list[Decision]) -> dict[tuple[str, str | None], float]:
    """How many decisions of each pair of verdict and reason the kept ones stand for."""
    weights: dict[tuple[str, str | None], list[float]] = defaultdict(list)
    for decision in kept:
        weights[decision.verdict, decision.reason].append(1 / (decision.probability or 1.0))
    return {pair: math.fsum(found) for pair, found in weights.items()}


def main() -> None:
    """Read the options and measure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--replicates", type=int, default=5_000)
    parser.add_argument("--candidates", type=int, default=10_000)
    parser.add_argument("--json", action="store_true", help="one JSON array on stdout, no table")
    options = parser.parse_args()
    results = replicate(options.candidates, options.replicates)
    if options.json:
        print(json.dumps([result._asdict() for result in results], indent=2))
        return
    print(f"{options.replicates} samples of {options.candidates} decisions, {SAMPLE_SIZE} of each pair")
    print(
        f"{'question':22} {'figure':6} {'truth':>12} {'bias %':>8} {'+-':>6}"
        f" {'covered %':>9} {'half width %':>12}"
    )
    for r in results:
        print(
            f"{r.question:22} {r.figure:6} {r.truth:12,.2f} {r.bias * 100:8.3f} {r.bias_error * 100:6.3f}"
            f" {r.coverage * 100:9.1f} {r.half_width * 100:12.2f}"
        )


if __name__ == "__main__":
    main()
