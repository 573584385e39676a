"""What a step that judges its candidates one by one would have said under changed rules."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cache
from typing import NamedTuple

from api.replay.comparing import Number, Observation, is_number
from api.replay.facts import PASSING, Change, StepFacts, once
from api.replay.rules import (
    Rule,
    checks_are_all,
    evaluated,
    evaluation,
    find_rule,
    is_sole,
    rejected,
    rule_names,
)
from store.decisions import Decision


class Verdict(NamedTuple):
    """A verdict, or None and the cause (``causes.py``) for which it is not known."""

    word: str | None
    cause: str | None = None

    @property
    def passes(self) -> bool | None:
        """Whether the candidate goes on; None: not known."""
        return None if self.word is None else self.word in PASSING


class _Result(NamedTuple):
    passed: bool | None
    cause: str | None = None


# One of each: of a hundred thousand candidates there are few different ones.
said = cache(Verdict)
_found = cache(_Result)


@once
def as_recorded(step: StepFacts) -> Sequence[Verdict]:
    """The verdicts that the step gave."""
    return [said(decision.verdict) for decision in step.decisions]


def rejudge(step: StepFacts, changes: Sequence[Change], assume: bool) -> Sequence[Verdict]:
    """
    Return the verdicts of the same candidates under changed rules, in the order of the decisions.

    assume: also what follows only if the step has no rules but those that the record shows. Raises
    ``NoSuchRule``.
    """
    return _rejudged(step, tuple(changes), assume=assume)


@once
def _rejudged(step: StepFacts, changes: Sequence[Change], *, assume: bool) -> Sequence[Verdict]:
    if assume:
        certain = _rejudged(step, changes, assume=False)
        if all(verdict.word is not None for verdict in set(certain)):
            return certain  # nothing is left to assume
    rules = [find_rule(step, change.rule, assume) for change in changes]
    results = [_results(step, rule, change, assume) for change, rule in zip(changes, rules, strict=True)]
    changed = {rule.name: rule for rule in rules}
    if all(_says_the_same(step, changed, rule, told) for rule, told in zip(rules, results, strict=True)):
        return as_recorded(step)
    if step.looks_at_others or step.cuts:
        return [said(None, "depends_on_others")] * len(step.decisions)
    if step.declared.item_independent is not True and not assume:
        # A quota, a budget, a list of duplicates: where one verdict turns, any other may.
        return [said(None, "not_declared")] * len(step.decisions)
    judge = _Judge(step, rules, assume)
    return [
        # Where each rule is known to say what it said, so does the step, however it joins them.
        judge.verdict(place, of_one) if any(of_one) else recorded
        for place, (recorded, *of_one) in enumerate(zip(as_recorded(step), *results, strict=True))
    ]


class _Judge:
    """One step under changed rules, of which each candidate's verdict stands by itself."""

    def __init__(self, step: StepFacts, rules: Sequence[Rule], assume: bool) -> None:
        self._step, self._rules = step, rules
        self._changed = {rule.name for rule in rules}
        self._by_checks = all(rule.by_checks for rule in rules)
        self._names = rule_names(step)
        self._declared = evaluation(step)
        self._conjunction = assume or self._declared is not None
        """Whether it is known that a candidate passes exactly if all rules let it."""
        self._all_checks = self._by_checks and self._conjunction and checks_are_all(step)
        if self._declared == "first_failure" and not step.passed and not assume:
            self._all_checks = False  # nobody came to the last rule
        words = step.verdicts & PASSING
        self._passing = said("kept") if len(words) != 1 else said(next(iter(words)))
        if len(words) > 1 and not assume:
            self._passing = said(None, "not_declared")
        """What the step says of those that newly go on."""
        self._one_rule = self._declared == "single" or (assume and is_sole(step))

    def verdict(self, place: int, changed: Sequence[_Result | None]) -> Verdict:
        """The verdict that follows from the results of the changed rules; None: as before."""
        decision = self._step.decisions[place]
        results = [
            _before(rule.observed[place]) if now is None else now
            for rule, now in zip(self._rules, changed, strict=True)
        ]
        if not self._conjunction:
            return said(None, "not_declared")
        if any(result.passed is False for result in results):
            return said(decision.verdict if rejected(decision) else "eliminated")
        others, cause = self._others(decision)
        if others is False:
            return said(decision.verdict)
        unknown = next((result for result in results if result.passed is None), None)
        if unknown is not None:
            return said(None, unknown.cause)
        if others is None:
            return said(None, cause)
        return self._passing if rejected(decision) else said(decision.verdict)

    def _others(self, decision: Decision) -> _Result:
        """Whether the candidate passes all rules that do not change."""
        if decision.verdict in PASSING:
            return _Result(True)
        if self._by_checks:
            rest = [check for check in decision.checks or () if check["name"] not in self._changed]
            if any(check.get("passed") is False for check in rest):
                return _Result(False)
            whole = self._all_checks and evaluated(decision, self._names)
            return _Result(True) if whole else _Result(None, "short_circuit")
        if any(rule.by_checks for rule in self._rules):
            return _Result(None, "short_circuit")  # its reason may stand for a check that changes
        if decision.reason in self._changed or (decision.reason is None and self._changed & {None, ""}):
            return _Result(True) if self._one_rule else _Result(None, "short_circuit")
        return _Result(False)


def _before(observed: Observation | None) -> _Result:
    return _found(None if observed is None else observed.passed)


def _says_the_same(
    step: StepFacts, changed: Mapping[str | None, Rule], rule: Rule, results: Sequence[_Result | None]
) -> bool:
    """Whether a changed rule says of each candidate what it said, or was not heard and need not be."""
    return all(
        now is None
        or (
            now.passed is None
            and ((before := rule.observed[place]) is None or before.passed is None)
            and _rejected_by_another(step.decisions[place], place, changed, rule)
        )
        for place, now in enumerate(results)
    )


def _rejected_by_another(
    decision: Decision, place: int, changed: Mapping[str | None, Rule], rule: Rule
) -> bool:
    """
    Whether another rule is known to have rejected the candidate: while that one stands, this one has no
    bearing. One that changes, too, must have said so once, as then it is known whether it still does.
    """
    if not rejected(decision):
        return False  # merged or deferred: the rule may have passed it before, and might not now
    if not rule.by_checks:
        return (decision.reason or "") != (rule.name or "")
    for check in decision.checks or ():
        other = changed.get(check["name"])
        heard = other is None or ((said := other.observed[place]) is not None and said.passed is False)
        if check.get("passed") is False and other is not rule and heard:
            return True
    return False


def _results(step: StepFacts, rule: Rule, change: Change, assume: bool) -> list[_Result | None]:
    """What the changed rule says, per decision; None: it is known to say what it said."""
    several = change.threshold is not None and len(rule.thresholds) > 1
    known = rule.known(assume)
    by_side = rule.comparator.by_side and (known or assume) and not several
    found: list[_Result | None] = []
    for before in rule.observed:
        passed = None if before is None else before.passed
        if before is None or passed is None:
            found.append(_found(True) if change.remove else _found(None, "not_evaluated"))
            continue
        value, limit = before.value, before.threshold
        if by_side and not change.remove and is_number(value) and is_number(limit):
            now = _moved(change, limit)
            if value != limit and value != now and (value > limit) is (value > now):
                found.append(None)  # the threshold does not move past the value
                continue
        if change.remove:
            result = _found(True)
        elif several:
            result = _found(None, "own_thresholds")
        else:
            result = _result(step, rule, change, before, passed, known=known, assume=assume)
        found.append(None if result.passed is passed else result)
    return found


def _result(
    step: StepFacts,
    rule: Rule,
    change: Change,
    before: Observation,
    passed: bool,
    *,
    known: bool,
    assume: bool,
) -> _Result:
    # A limit that was not recorded may have been the candidate's own.
    limit = rule.threshold if before.threshold is None and assume else before.threshold
    now = _moved(change, limit) if is_number(limit) else None
    if now is not None and not math.isfinite(now):
        return _found(None, "no_value")  # a value that is recorded as missing may be as infinite
    if before.missing and step.declared.of_missing(rule.name) == ("passes" if passed else "fails"):
        return _found(passed)
    if not known:
        return _found(None, "no_comparator" if rule.comparator.signs else "contradiction")
    if now is None or not is_number(limit):
        return _found(None, "no_value")
    if now == limit:
        return _found(before.passed)
    if is_number(before.value) and is_number(before.threshold):
        results = rule.comparator.results(before.value, now)
        return _found(next(iter(results))) if len(results) == 1 else _found(None, "at_the_limit")
    return _without_value(before, rule, loosened=(now > limit) is rule.comparator.upper)


def _without_value(before: Observation, rule: Rule, *, loosened: bool) -> _Result:
    """A rule that is loosened rejects nobody whom it let pass, whatever it made of the value."""
    if rule.comparator.upper is not None and before.passed is loosened:
        return _found(before.passed)
    return _found(None, "missing_value" if before.missing else "no_value")


def _moved(change: Change, limit: Number) -> Number:
    if change.scale is not None:
        return limit * change.scale
    assert change.threshold is not None  # a change says one of them
    return change.threshold
