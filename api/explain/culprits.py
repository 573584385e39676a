"""
Which step is the most likely to be at fault, with how much confidence, and on what evidence.

Every step is suspected by what of it is unusual and does not follow from the steps before. Candidates that
vanish and errors are signs by themselves; a gap in the counts needs no baseline. The confidence is a
logistic of two numbers, fitted to planted faults (decision 0033).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from api.explain.funnel import last_attempts
from api.explain.records import Conclusion, Culprit, Evidence, Finding, Material
from api.explain.traffic import telling, unlike_usual
from api.explain.unusual import Executed, Unusual, unusual
from api.explain.usual import MIN_RUNS, Usual
from store.queries.figures import Figures

LIMIT = 3.2
"""Suspicion below which no step is said to be at fault; four in a hundred healthy runs have more."""
FAILED, CERTAIN = 35.0, 30.0
"""Suspicion of a step that failed, and of one whose counts do not add up."""
SIGNS = ("step_error", "count_gap", "handover_gap")
STRONGEST = 25.0
"""Of a step that is only unlike the baseline."""
SUPPORT, SUPPORTING, SUPPORT_CAP = 0.1, 3, 6.0
"""So much of each of the next figures adds to the farthest one: a fault seldom shows in one alone."""
AFTER = 0.3
"""How much a step is less suspected for each deviation above 3 of one before it."""
OUTSIDE_DEVIATIONS, OUTSIDE_FACTOR = 6.0, math.log(2)
"""A first step that gives out so much more or less than ever makes a run of another kind."""
OTHER_TRAFFIC, BEYOND = 3.0, 1.5
"""Traffic that is so unlike the baseline, and how much farther a step must be to be suspected."""
SHOWN_EVIDENCE = 3
INTERCEPT, BY_SUSPICION, BY_LEAD = -3.2, 0.63, 0.75
MOST = 12.0
"""Suspicion and lead beyond this say no more."""
SUREST = 0.985
"""However far a figure is from the usual, the cause may lie elsewhere."""


class Ranked(NamedTuple):
    """What is concluded, and the steps from the most suspicious down."""

    conclusion: Conclusion
    culprits: Sequence[Culprit]


class Looked(NamedTuple):
    """A step of the run that is asked about, as it was last executed."""

    step_id: str
    name: str
    is_source: bool
    """Whether it makes its candidates."""
    findings: Sequence[int]
    """Positions of the findings that are signs by themselves."""
    failed: bool


def rank(material: Material, findings: Sequence[Finding], usual: Usual) -> Ranked:
    """All steps that anything speaks against, whatever is concluded; usual: over the material's baseline."""
    signs: dict[str, list[int]] = {}
    for number, finding in enumerate(findings):
        if finding.kind in SIGNS:
            signs.setdefault(finding.step_id, []).append(number)
    looked = [
        Looked(step.step_id, step.name, step.candidates_in is None, of_step, _failed(findings, of_step))
        for step in last_attempts(material.detail.steps)
        for of_step in (signs.get(step.step_id, ()),)
    ]
    return rank_steps(looked, material.habits.own, usual)


def _failed(findings: Sequence[Finding], numbers: Sequence[int]) -> bool:
    return any(findings[number].kind == "step_error" for number in numbers)


def rank_steps(
    steps: Sequence[Looked], own: Mapping[str, Figures], usual: Usual, limit: float = LIMIT
) -> Ranked:
    """
    own: figures of the run by name of the step. usual: those of the runs that it is held against.

    limit: suspicion below which no step is said to be at fault.
    """
    executed = [Executed(step.name, own.get(step.name, Figures(1, {}))) for step in steps]
    found = unusual(executed, usual)
    figures = [telling(of_step, step.is_source) for of_step, step in zip(found, steps, strict=True)]
    suspicion = [_suspicion(of_step, step) for of_step, step in zip(figures, steps, strict=True)]
    adjusted = _as_origin(suspicion)
    order = sorted(range(len(steps)), key=lambda at: -adjusted[at])
    culprits: list[Culprit] = []
    for place, at in enumerate(order):
        if not adjusted[at]:
            break
        rival = max((adjusted[other] for other in order if other != at), default=0.0)
        sure = _confidence(adjusted[at], rival)
        culprits.append(
            Culprit(
                step_id=steps[at].step_id,
                step=steps[at].name,
                confidence=sure if place == 0 else _lower(culprits, sure),
                suspicion=round(adjusted[at], 3),
                evidence=[_evidence(one) for one in figures[at][:SHOWN_EVIDENCE]],
                findings=steps[at].findings,
            )
        )
    traffic = [unlike_usual(of_step, step.is_source) for of_step, step in zip(found, steps, strict=True)]
    top = max(suspicion, default=0.0)
    if top >= CERTAIN:
        return Ranked("fault", culprits)
    if len(usual) < MIN_RUNS:
        return Ranked("no_baseline", culprits)
    if found and _is_outside(found[0]):
        return Ranked("outside_baseline", culprits)
    return Ranked("fault" if top >= _limit(limit, max(traffic, default=0.0)) else "nothing_unusual", culprits)


def _suspicion(found: Sequence[Unusual], step: Looked) -> float:
    if step.findings:
        return FAILED if step.failed else CERTAIN
    sizes = [abs(one.own) for one in found]
    if not sizes:
        return 0.0
    support = SUPPORT * sum(min(size, SUPPORT_CAP) for size in sizes[1 : 1 + SUPPORTING])
    return min(STRONGEST, sizes[0] + support)


def _as_origin(suspicion: Sequence[float]) -> list[float]:
    """Less for what comes after another suspicious step: later ones may follow from it."""
    before, adjusted = 0.0, []
    for figure in suspicion:
        # What failed did so itself, whatever it was given.
        lessened = 1.0 if figure >= FAILED else 1 + AFTER * max(0.0, before - 3)
        adjusted.append(figure / lessened)
        before = max(before, figure)
    return adjusted


def _limit(usual: float, traffic: float) -> float:
    """
    The suspicion from which on a step is said to be at fault.

    Of other things than ever, what comes later will differ, too, in ways that the baseline has no example
    of: only what is still farther from it counts.
    """
    return usual if traffic < OTHER_TRAFFIC else min(CERTAIN, max(usual, BEYOND * traffic))


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
    return round(min(SUREST, 1 / (1 + math.exp(-total))), 3)


def _lower(before: Sequence[Culprit], sure: float) -> float:
    """Of a step that is not the first: no more than what the ones before leave."""
    left = max(0.0, 1 - sum(culprit.confidence for culprit in before))
    return round(min(left, sure), 3)


def _evidence(one: Unusual) -> Evidence:
    kind, _, what = one.figure.partition(":")
    shown = (math.expm1(one.value), math.expm1(one.usual)) if kind == "amount" else (one.value, one.usual)
    return Evidence(what, kind, shown[0], shown[1], round(one.deviations, 2), round(one.own, 2), one.runs)
