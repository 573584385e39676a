"""The smallest change of one threshold, or of one number to keep, that turns a verdict."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from api.replay.comparing import Comparator, Number, Observation, is_number
from api.replay.engine import rerun, unchanged
from api.replay.facts import PASSING, Change, StepFacts
from api.replay.ordering import positions
from api.replay.result import Certainty, certainty_of, passes_at
from api.replay.rules import NoSuchRule, Rule, find_rule, rejected, rule_names
from store.decisions import Decision


@dataclass(frozen=True)
class Flip:
    """A change that turns what a step said of an item, proved by replaying it."""

    item_id: str
    step_id: str
    step: str
    change: Change
    rule: str | None
    comparator: str | None
    before: Number
    """The threshold, the number to keep, or 1 for a factor."""
    after: Number
    relative: float | None
    """Size of the change as a share of what it changes; None where that is 0."""
    passes: bool
    """Whether the item goes on from the step after it."""
    certainty: Certainty
    """Of the verdict of the step."""
    outcome: str
    """What becomes of the item in the end, ``unknown`` included."""
    outcome_certainty: Certainty


@dataclass(frozen=True)
class NoFlip:
    """Why there is none."""

    reason: str
    """several_rules, no_rule, repeated, not_judged, or a cause of ``causes.py``."""


def smallest_flip(steps: Sequence[StepFacts], step: StepFacts, item_id: str) -> Flip | NoFlip:
    """
    Return the smallest change that turns what the step said of the item.

    Of equal thresholds and values the nearest number is meant: where values at the limit pass, the value
    itself, else the next double to it. Certain ones go before assumed ones.
    """
    places = step.by_item.get(item_id, ())
    if len(places) != 1:
        return NoFlip("repeated" if places else "not_judged")
    place, found, causes = places[0], [], list[str]()
    passed = step.decisions[place].verdict in PASSING
    if step.trouble is not None:
        return NoFlip(step.trouble)
    for option in _options(step, place):
        if isinstance(option, NoFlip):
            causes.append(option.reason)
            continue
        change, rule, before, after = option
        flip = _proved(steps, step, item_id, change, rule, before, after, wanted=not passed)
        if isinstance(flip, Flip):
            found.append(flip)
        else:
            causes.append(flip.reason)
    if not found:
        return NoFlip(causes[0] if causes else "no_rule")
    return min(found, key=lambda flip: (flip.certainty != "certain", _size(flip)))


def _size(flip: Flip) -> float:
    return math.inf if flip.relative is None else flip.relative


_Option = tuple[Change, Rule | None, Number, Number]


def _options(step: StepFacts, place: int) -> Iterator[_Option | NoFlip]:
    decision = step.decisions[place]
    if decision.verdict == "not_selected" or (step.cuts and decision.verdict in PASSING):
        yield _of_number(step, place)
    if decision.verdict == "not_selected":
        return
    names: Sequence[str | None] = _rules_at_fault(decision) if rejected(decision) else rule_names(step)
    if rejected(decision) and len(names) > 1:
        yield NoFlip("several_rules")
        return
    for name in names:
        try:
            rule = find_rule(step, name, assume=True)
        except NoSuchRule:
            continue
        yield _of_threshold(step, rule, rule.observed[place])


def _rules_at_fault(decision: Decision) -> list[str | None]:
    """Names of the rules that the candidate failed."""
    if decision.checks:
        failed = [check["name"] for check in decision.checks if check.get("passed") is False]
        return list(dict.fromkeys(failed)) or [decision.reason]
    return [decision.reason or ""]


def _of_number(step: StepFacts, place: int) -> _Option | NoFlip:
    position = positions(step).get(place)
    keeps = sum(d.verdict in PASSING for d in step.decisions)
    if position is None or not keeps:
        return NoFlip("no_scores")
    after = position if step.decisions[place].verdict == "not_selected" else position - 1
    return Change(step.step_id, top_k=after), None, keeps, after


def _of_threshold(step: StepFacts, rule: Rule, observed: Observation | None) -> _Option | NoFlip:
    if observed is None or observed.passed is None:
        return NoFlip("not_evaluated")
    if not is_number(observed.value) or not is_number(observed.threshold):
        return NoFlip("missing_value" if observed.missing else "no_value")
    signs, value, limit = rule.comparator, observed.value, observed.threshold
    if signs.upper is None and not signs.exact:
        return NoFlip("no_comparator" if signs.signs else "contradiction")
    nearest = signs.just_failing if observed.passed else signs.just_passing
    if len(rule.thresholds) == 1:
        after = nearest(value)
        return Change(step.step_id, rule.name, threshold=after), rule, limit, after
    factor = _factor(signs, value, limit, wanted=not observed.passed)
    if factor is None:
        return NoFlip("own_thresholds")
    return Change(step.step_id, rule.name, scale=factor), rule, 1, factor


def _factor(signs: Comparator, value: Number, limit: Number, *, wanted: bool) -> float | None:
    """The factor nearest to 1 with which the candidate's own threshold lets it pass, or does not."""
    if signs.exact or limit == 0 or not math.isfinite(value / limit):
        return None
    factor = value / limit
    away = math.inf if factor > 1 or (factor == 1 and (signs.upper is wanted) is (limit > 0)) else -math.inf

    def turns(candidate: float) -> bool:
        return signs.results(value, limit * candidate) == {wanted}

    for _ in range(4):
        factor = math.nextafter(factor, -away)
    for _ in range(16):
        if turns(factor):
            return factor
        factor = math.nextafter(factor, away)
    return None


def _proved(
    steps: Sequence[StepFacts],
    step: StepFacts,
    item_id: str,
    change: Change,
    rule: Rule | None,
    before: Number,
    after: Number,
    *,
    wanted: bool,
) -> Flip | NoFlip:
    same = unchanged(steps, [change])
    certain, assumed = (rerun(steps, [change], assume, same) for assume in (False, True))
    known: Certainty
    if passes_at(certain, step.step_id, item_id) is wanted:
        known = "certain"
    elif passes_at(assumed, step.step_id, item_id) is wanted:
        known = "assumed"
    else:
        place = step.by_item[item_id][0]
        return NoFlip(assumed.steps[step.step_id].verdicts[place].cause or "no_rule")
    outcome, _, outcome_certainty, _ = certainty_of(certain.fates[item_id], assumed.fates[item_id])
    return Flip(
        item_id,
        step.step_id,
        step.name,
        change,
        rule.name if rule is not None else None,
        rule.comparator.text if rule is not None else None,
        before,
        after,
        abs(after - before) / abs(before) if before else None,
        wanted,
        known,
        outcome,
        outcome_certainty,
    )
