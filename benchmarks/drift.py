"""
Does reason drift alarm when it should, and only then?

    python -m benchmarks.drift [--windows 1000] [--runs-per-hour 20] [--window 24] [--against 168] [--seed 1]

Histories are made with known truth: a pipeline of four steps with six reasons each, from frequent to one in
a thousand. Shares vary between candidates, between runs, between hours, and by the time of day; hours
without runs occur. A quiet window that gives any alarm is a false one. Shifts by 2 and by 1.2 begin at a
known hour in one reason; the delay is until the first of the windows, which move by an hour, that names
it. New and vanished reasons likewise.
"""

from __future__ import annotations

import argparse
import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from random import Random
from typing import NamedTuple

from api.drift.detect import detect
from store.queries.drift import PARTS, Executions, Given, History, Kind

STEPS = ("by_type", "by_price", "by_stock", "choose")
SHARES: Mapping[str, float] = {
    "wrong_type": 0.3,
    "too_dear": 0.12,
    "no_stock": 0.04,
    "duplicate": 0.01,
    "blocked": 0.003,
    "malformed": 0.001,
}
_START = datetime(2026, 1, 5, tzinfo=UTC)
_ALARMS = 10.0
"""Per 1,000 quiet windows, as is stated by default."""


class Spans(NamedTuple):
    """What is held against what, in hours."""

    window_h: int = 24
    against_h: int = 168

    @property
    def most_h(self) -> int:
        """Hours after which a shift that was not named counts as missed."""
        return 2 * self.window_h

    @property
    def onset_h(self) -> int:
        """When shifts begin."""
        return self.window_h + self.against_h


DAY = Spans()

Factor = Callable[[str, str, int], float]
"""Step, reason and hour to what the usual share is multiplied by."""


class Cell(NamedTuple):
    """One reason of one step in one hour."""

    steps: int
    candidates: int
    share_sum: float
    square_sum: float


Hours = Sequence[Mapping[tuple[str, str], Cell]]


def make_hours(random: Random, hours: int, runs_per_hour: float, factor: Factor) -> Hours:
    """Make the executions of each hour."""
    # Frequent reasons go up and down together by the time of day; each has a walk of its own beside it.
    walk = {(step, reason): 0.0 for step in STEPS for reason in SHARES}
    made = []
    for hour in range(hours):
        daily = 1 + 0.6 * math.sin(hour * math.tau / 24)
        runs = _poisson(random, runs_per_hour * daily)
        cells: dict[tuple[str, str], Cell] = {}
        for step in STEPS:
            for number, (reason, share) in enumerate(SHARES.items()):
                key = (step, reason)
                walk[key] = 0.6 * walk[key] + random.gauss(0, 0.12)
                level = share * math.exp(walk[key] + (0.2 * (daily - 1) if number % 2 else 0.0))
                cells[key] = _cell(random, runs, level * factor(step, reason, hour))
        made.append(cells)
    return made


def _cell(random: Random, runs: int, level: float) -> Cell:
    shares = []
    candidates = 0
    for _ in range(runs):
        taken_in = max(3, round(100 * 2 ** random.gauss(0, 0.8)))
        # Gamma with shape 3 makes runs vary by more than half of the level.
        own = min(0.9, level * random.gammavariate(3, 1 / 3))
        got = _binomial(random, taken_in, own)
        shares.append(got / taken_in)
        candidates += got
    return Cell(runs, candidates, math.fsum(shares), math.fsum(share * share for share in shares))


def _poisson(random: Random, mean: float) -> int:
    return max(0, round(random.gauss(mean, math.sqrt(mean)))) if mean > 30 else _few(random, mean)


def _few(random: Random, mean: float) -> int:
    limit, made, product = math.exp(-mean), 0, random.random()
    while product > limit:
        made, product = made + 1, product * random.random()
    return made


def _binomial(random: Random, of: int, share: float) -> int:
    mean = of * share
    if mean > 12:
        return min(of, max(0, round(random.gauss(mean, math.sqrt(mean * (1 - share))))))
    return min(of, _few(random, mean)) if mean else 0


def window(hours: Hours, end: int, spans: Spans) -> History:
    """The history of the window that ends with that hour."""
    width = spans.window_h // PARTS
    buckets = spans.against_h // width
    start = end - spans.onset_h
    executions: dict[tuple[str, int], int] = {}
    given: dict[tuple[str, str, int], Cell] = {}
    for hour in range(start, end):
        bucket = (hour - start) // width
        for (step, reason), cell in hours[hour].items():
            if reason == "wrong_type":
                executions[step, bucket] = executions.get((step, bucket), 0) + cell.steps
            before = given.get((step, reason, bucket), Cell(0, 0, 0.0, 0.0))
            given[step, reason, bucket] = _sum(before, cell)
    return History(
        _START + timedelta(hours=start),
        timedelta(hours=width),
        buckets,
        [Executions(_kind(step), at, steps, 0) for (step, at), steps in executions.items() if steps],
        [
            Given(_kind(step), at, reason, *cell[1:])
            for (step, reason, at), cell in given.items()
            if cell.candidates
        ],
    )


def _sum(one: Cell, other: Cell) -> Cell:
    return Cell(
        one.steps + other.steps,
        one.candidates + other.candidates,
        one.share_sum + other.share_sum,
        one.square_sum + other.square_sum,
    )


def _kind(step: str) -> Kind:
    return Kind("shop", step, "filter", "1", None, None)


def false_alarms(windows: int, runs_per_hour: float, seed: int, spans: Spans = DAY) -> int:
    """Quiet windows that gave an alarm."""
    found = 0
    per_history = 10
    for number in range(math.ceil(windows / per_history)):
        hours = spans.against_h + spans.window_h * per_history
        made = make_hours(Random(f"{seed}-quiet-{number}"), hours, runs_per_hour, lambda *_: 1.0)
        for turn in range(min(per_history, windows - number * per_history)):
            end = spans.against_h + spans.window_h * (turn + 1)
            found += bool(detect(window(made, end, spans), _ALARMS).drifts)
    return found


def delays(
    reason: str, factor: float, trials: int, runs_per_hour: float, seed: int, spans: Spans = DAY
) -> list[int | None]:
    """
    Hours until a shift was named; None: not within ``most_h``. factor: infinite for a reason that is new.
    """
    found: list[int | None] = []
    before, after = (0.0, 1.0) if math.isinf(factor) else (1.0, factor)

    def shifted(step: str, name: str, hour: int) -> float:
        if (step, name) != ("by_price", reason):
            return 1.0
        return after if hour >= spans.onset_h else before

    for number in range(trials):
        random = Random(f"{seed}-{reason}-{factor}-{number}")
        made = make_hours(random, spans.onset_h + spans.most_h, runs_per_hour, shifted)
        named = None
        for hour in range(1, spans.most_h + 1, max(1, spans.window_h // 24)):
            drifts = detect(window(made, spans.onset_h + hour, spans), _ALARMS).drifts
            if any((drift.place.step, drift.reason) == ("by_price", reason) for drift in drifts):
                named = hour
                break
        found.append(named)
    return found


def report(windows: int, runs_per_hour: float, seed: int, spans: Spans) -> list[str]:
    """Return the figures."""
    trials = max(3, windows // 50)
    alarms = false_alarms(windows, runs_per_hour, seed, spans)
    lines = [
        f"{runs_per_hour:g} runs per hour, {spans.window_h} h against {spans.against_h} h, 24 reasons",
        f"{windows} quiet windows: {alarms} with an alarm; {_ALARMS * windows / 1000:g} are stated",
    ]
    shifts = [(reason, factor) for reason in ("wrong_type", "no_stock", "blocked") for factor in (2.0, 1.2)]
    for reason, factor in (*shifts, ("no_stock", 0.0), ("duplicate", math.inf)):
        hours = delays(reason, factor, trials, runs_per_hour, seed, spans)
        named = [hour for hour in hours if hour is not None]
        what = {0.0: "vanished", math.inf: "new"}.get(factor, f"{factor:g} times")
        middle = f"after {statistics.median(named):g} h, at most {max(named)} h" if named else "never"
        shown = f"{reason} ({SHARES[reason]:g}) {what}"
        lines.append(f"{shown}: {len(named)} of {trials} named within {spans.most_h} h, {middle}")
    return lines


def main() -> None:
    """Read the options, simulate, report."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.drift",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--windows", type=int, default=1000, help="quiet ones; a fiftieth of it of each shift"
    )
    parser.add_argument("--runs-per-hour", type=float, default=20.0)
    parser.add_argument("--window", type=int, default=DAY.window_h, metavar="HOURS", help="a multiple of 6")
    parser.add_argument("--against", type=int, default=DAY.against_h, metavar="HOURS")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    spans = Spans(options.window, options.against)
    print("\n".join(report(options.windows, options.runs_per_hour, options.seed, spans)))


if __name__ == "__main__":
    main()
