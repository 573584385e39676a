"""How good the answers were."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise
from statistics import fmean
from typing import NamedTuple

from benchmarks.faults.answers import Reply
from benchmarks.faults.driving import Result
from benchmarks.faults.trials import SIZES

BINS = (0.0, 0.5, 0.7, 0.8, 0.9, 0.95, 1.0)
"""Limits of the bins of stated confidence."""


class Verdict(NamedTuple):
    """What one method says about one run."""

    alarm: bool
    """Whether it says that a step is at fault."""
    ranking: tuple[str, ...]
    """What it says when it must answer."""
    outside: bool = False
    """Whether it says that the run is unlike all that it knows."""


Method = Callable[[Reply], Verdict]


class Share(NamedTuple):
    """``right`` of ``n``; of none there is no share."""

    right: int
    n: int

    def __str__(self) -> str:
        return f"{100 * self.right / self.n:.1f}" if self.n else "-"


class Hits(NamedTuple):
    """How often the step at fault was named."""

    n: int
    top1: Share
    """First, and said to be at fault; a run that it calls usual is a miss."""
    top3: Share
    forced1: Share
    """First when it must answer."""
    forced3: Share


def explained(reply: Reply) -> Verdict:
    """What ``/explain`` says."""
    return Verdict(reply.conclusion == "fault", reply.ranking, reply.conclusion == "outside_baseline")


def methods(results: Sequence[Result]) -> Mapping[str, Callable[[Result], Verdict]]:
    """The methods that are compared, by name."""
    limits = change_limits(results)

    def simple(step: str | None, alarm: bool = True) -> Verdict:
        return Verdict(step is not None and alarm, () if step is None else (step,))

    return {
        "explain": lambda result: explained(result.reply),
        "largest drop ratio": lambda result: simple(result.reply.largest_drop),
        "largest change of drop ratio": lambda result: simple(
            result.reply.largest_change, result.reply.change > limits[result.trial.pipeline]
        ),
        "first error": lambda result: simple(result.reply.first_error),
    }


def change_limits(results: Sequence[Result]) -> dict[str, float]:
    """
    For each pipeline, the change of a drop ratio that 5 % of the usual healthy runs of the *other*
    pipelines exceed; infinite without others.
    """
    changes: defaultdict[str, list[float]] = defaultdict(list)
    for result in results:
        if result.trial.fault is None and result.trial.confounder == "none":
            changes[result.trial.pipeline].append(result.reply.change)
    limits = {}
    for pipeline in {result.trial.pipeline for result in results}:
        others = sorted(change for name, found in changes.items() if name != pipeline for change in found)
        limits[pipeline] = others[min(len(others) - 1, int(0.95 * len(others)))] if others else float("inf")
    return limits


def hits(results: Iterable[Result], method: Callable[[Result], Verdict]) -> Hits:
    """Over faulty runs."""
    places = [
        (verdict.alarm, verdict.ranking.index(step) if step in verdict.ranking else 99)
        for result in results
        if (step := result.trial.step) is not None
        for verdict in [method(result)]
    ]
    n = len(places)
    return Hits(
        n,
        Share(sum(alarm and place == 0 for alarm, place in places), n),
        Share(sum(alarm and place < 3 for alarm, place in places), n),
        Share(sum(place == 0 for _, place in places), n),
        Share(sum(place < 3 for _, place in places), n),
    )


def false_alarms(results: Iterable[Result], method: Callable[[Result], Verdict]) -> dict[str, Share]:
    """Confounder → alarms among its healthy runs; ``all`` for all."""
    found: defaultdict[str, list[bool]] = defaultdict(list)
    for result in results:
        if result.trial.fault is None:
            verdict, confounder = method(result), result.trial.confounder
            wrong = verdict.alarm or (verdict.outside and confounder not in SIZES)
            found[confounder].append(wrong)
            found["all"].append(wrong)
    return {name: Share(sum(wrong), len(wrong)) for name, wrong in found.items()}


class Bin(NamedTuple):
    """Answers of about the same stated confidence."""

    low: float
    high: float
    stated: float
    """Mean."""
    right: Share


def calibration(results: Iterable[Result]) -> list[Bin]:
    """Of all runs that were answered with a step and a confidence, healthy ones included; empty without."""
    stated: list[tuple[float, bool]] = [
        (result.reply.confidence, bool(result.reply.ranking) and result.reply.ranking[0] == result.trial.step)
        for result in results
        if result.reply.confidence is not None and result.reply.conclusion == "fault"
    ]
    made = []
    for low, high in pairwise(BINS):
        inside = [pair for pair in stated if low <= pair[0] < high or pair[0] == high == BINS[-1]]
        if inside:
            right = Share(sum(one for _, one in inside), len(inside))
            made.append(Bin(low, high, fmean(figure for figure, _ in inside), right))
    return made
