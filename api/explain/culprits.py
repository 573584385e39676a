"""
Which step is the most likely to be at fault, with how much confidence, and on what evidence.

Every step is suspected by what of it is unusual and does not follow from the steps before. Candidates that
vanish and errors are signs by themselves; a gap in the counts needs no baseline. The confidence is a
logistic of two numbers, fitted to planted faults (decision 0033).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from api.explain.funnel import last_attempts
from api.explain.records import Conclusion, Culprit, Evidence, Finding, Material
from api.explain.unusual import MIN_RUNS, Executed, Unusual, unusual
from store.queries.figures import Figures
from store.queries.types import StepRecord

LIMIT = 4.0
"""Suspicion below which no step is said to be at fault; two in a hundred healthy runs have more."""
CERTAIN = 30.0
"""Suspicion of a step that failed, or whose counts do not add up."""
SIGNS = ("step_error", "count_gap", "handover_gap")
STRONGEST = 25.0
"""Of a step that is only unlike the baseline."""
SUPPORT, SUPPORTING, SUPPORT_CAP = 0.1, 3, 6.0
"""So much of each of the next figures adds to the farthest one: a fault seldom shows in one alone."""
AFTER = 0.3
"""How much a step is less suspected for each deviation above 3 of one before it."""
OUTSIDE_DEVIATIONS, OUTSIDE_FACTOR = 6.0, math.log(2)
"""A first step that gives out so much more or less than ever makes a run of another kind."""
OTHER_TRAFFIC, BEYOND = 3.5, 1.5
"""A source that is so unlike the baseline, and how much farther a step must be to be suspected."""
SHOWN_EVIDENCE = 3
INTERCEPT, BY_SUSPICION, BY_LEAD = -2.4, 0.44, 0.41
MOST = 12.0
"""Suspicion and lead beyond this say no more."""


class Ranked(NamedTuple):
    """What is concluded, and the steps from the most suspicious down."""

    conclusion: Conclusion
    culprits: Sequence[Culprit]


def rank(material: Material, findings: Sequence[Finding]) -> Ranked:
    """All steps that anything speaks against, whatever is concluded."""
    steps = last_attempts(material.detail.steps)
    own, baseline = material.habits.own, material.habits.baseline
    executed = [Executed(step.name, own.get(step.name, Figures(1, {}))) for step in steps]
    found = unusual(executed, baseline)
    figures = [_telling(step, of_step) for step, of_step in zip(steps, found, strict=True)]
    signs = _signs(findings)
    suspicion = [
        CERTAIN if step.step_id in signs else _suspicion(of_step)
        for step, of_step in zip(steps, figures, strict=True)
    ]
    adjusted = _as_origin(suspicion)
    order = sorted(range(len(steps)), key=lambda at: -adjusted[at])
    culprits: list[Culprit] = []
    for place, at in enumerate(order):
        if not adjusted[at]:
            break
        rival = max((adjusted[other] for other in order if other != at), default=0.0)
        culprits.append(
            Culprit(
                step_id=steps[at].step_id,
                step=steps[at].name,
                confidence=_confidence(adjusted[at], rival)
                if place == 0
                else _lower(culprits, adjusted[at], rival),
                suspicion=round(adjusted[at], 3),
                evidence=[_evidence(one, len(baseline)) for one in figures[at][:SHOWN_EVIDENCE]],
                findings=signs.get(steps[at].step_id, ()),
            )
        )
    top = max(suspicion, default=0.0)
    if top < CERTAIN and len(baseline) < MIN_RUNS:
        return Ranked("no_baseline", culprits)
    if top < CERTAIN and found and _is_outside(found[0]):
        return Ranked("outside_baseline", culprits)
    return Ranked("fault" if top >= _limit(steps, found) else "nothing_unusual", culprits)


def _signs(findings: Sequence[Finding]) -> dict[str, list[int]]:
    """Step id to the positions of findings that are signs by themselves."""
    found: dict[str, list[int]] = {}
    for number, finding in enumerate(findings):
        if finding.kind in SIGNS:
            found.setdefault(finding.step_id, []).append(number)
    return found


def _telling(step: StepRecord, found: Sequence[Unusual]) -> list[Unusual]:
    """
    What speaks against the step itself.

    What a source gives out is its traffic: that other things are asked for is no fault of it. That one of
    its sources gives less is, unless others give more.
    """
    if step.candidates_in is not None:
        return list(found)
    more = any(one.figure.startswith("amount:from ") and one.own > 2 for one in found)
    return [
        one
        for one in found
        if not one.figure.startswith("level:")
        and not (one.figure.startswith("amount:from ") and (more or one.own > 0))
    ]


def _suspicion(found: Sequence[Unusual]) -> float:
    sizes = [abs(one.own) for one in found]
    if not sizes:
        return 0.0
    support = SUPPORT * sum(min(size, SUPPORT_CAP) for size in sizes[1 : 1 + SUPPORTING])
    return min(STRONGEST, sizes[0] + support)


def _as_origin(suspicion: Sequence[float]) -> list[float]:
    """Less for what comes after another suspicious step: later ones may follow from it."""
    before, adjusted = 0.0, []
    for figure in suspicion:
        adjusted.append(figure / (1 + AFTER * max(0.0, before - 3)))
        before = max(before, figure)
    return adjusted


def _limit(steps: Sequence[StepRecord], found: Sequence[Sequence[Unusual]]) -> float:
    """
    The suspicion from which on a step is said to be at fault.

    Where a source gives out other things than ever, what comes after it will differ, too, in ways that the
    baseline has no example of: only what is still farther from it counts.
    """
    traffic = max(
        (
            abs(one.own)
            for step, of_step in zip(steps, found, strict=True)
            if step.candidates_in is None
            for one in of_step
            if one.figure.startswith("level:") or (one.figure.startswith("amount:from ") and one.own > 0)
        ),
        default=0.0,
    )
    return LIMIT if traffic < OTHER_TRAFFIC else min(CERTAIN, max(LIMIT, BEYOND * traffic))


def _is_outside(first: Sequence[Unusual]) -> bool:
    """first: of the run's first step."""
    amount = next((one for one in first if one.figure == "amount:out"), None)
    return (
        amount is not None
        and abs(amount.deviations) > OUTSIDE_DEVIATIONS
        and abs(amount.value - amount.usual) > OUTSIDE_FACTOR
    )


def _confidence(own: float, rival: float) -> float:
    total = INTERCEPT + BY_SUSPICION * min(own, MOST) + BY_LEAD * max(-MOST, min(own - rival, MOST))
    return round(1 / (1 + math.exp(-total)), 3)


def _lower(before: Sequence[Culprit], own: float, rival: float) -> float:
    """Of a step that is not the first: no more than what the ones before leave."""
    left = max(0.0, 1 - sum(culprit.confidence for culprit in before))
    return round(min(left, _confidence(own, rival)), 3)


def _evidence(one: Unusual, runs: int) -> Evidence:
    kind, _, what = one.figure.partition(":")
    shown = (math.expm1(one.value), math.expm1(one.usual)) if kind == "amount" else (one.value, one.usual)
    return Evidence(what, kind, shown[0], shown[1], round(one.deviations, 2), round(one.own, 2), runs)
