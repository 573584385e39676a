"""What a step that judges its candidates one by one would have said under changed rules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from api.replay.comparing import Number, Observation, is_number, side
from api.replay.facts import PASSING, Change, StepFacts
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


def as_recorded(step: StepFacts) -> list[Verdict]:
    """The verdicts that the step gave."""
    made: dict[str, Verdict] = {}
    return [made.get(d.verdict) or made.setdefault(d.verdict, Verdict(d.verdict)) for d in step.decisions]


def rejudge(step: StepFacts, changes: Sequence[Change], assume: bool) -> list[Verdict]:
    """
    Return the verdicts of the same candidates under changed rules, in the order of the decisions.

    assume: also what follows only if the step has no rules but those that the record shows. Raises
    ``NoSuchRule``.
    """
    rules = [(change, find_rule(step, change.rule, assume)) for change in changes]
    results = [
        {rule.name: _result(step, rule, change, place, assume) for change, rule in rules}
        for place in range(len(step.decisions))
    ]
    if all(_same(step, rules, place, of_one) for place, of_one in enumerate(results)):
        return as_recorded(step)
    if step.looks_at_others or step.cuts:
        return [Verdict(None, "depends_on_others")] * len(results)
    if step.declared.item_independent is not True and not assume:
        # A quota, a budget, a list of duplicates: where one verdict turns, any other may.
        return [Verdict(None, "not_declared")] * len(results)
    judge = _Judge(step, [rule for _, rule in rules], assume)
    return [judge.verdict(place, of_one) for place, of_one in enumerate(results)]


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
        self._one_rule = self._declared == "single" or (assume and is_sole(step))

    def verdict(self, place: int, results: Mapping[str | None, _Result]) -> Verdict:
        """The verdict that follows from the results of the changed rules."""
        decision = self._step.decisions[place]
        if all(_unturned(rule.observed[place], results[rule.name]) for rule in self._rules):
            return Verdict(decision.verdict)
        if not self._conjunction:
            return Verdict(None, "not_declared")
        if any(result.passed is False for result in results.values()):
            return Verdict(decision.verdict if rejected(decision) else "eliminated")
        others, cause = self._others(decision)
        if others is False:
            return Verdict(decision.verdict)
        unknown = next((result for result in results.values() if result.passed is None), None)
        if unknown is not None:
            return Verdict(None, unknown.cause)
        if others is None:
            return Verdict(None, cause)
        return Verdict("kept" if rejected(decision) else decision.verdict)

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
        if decision.reason in self._changed or (decision.reason is None and self._changed & {None, ""}):
            return _Result(True) if self._one_rule else _Result(None, "short_circuit")
        return _Result(False)


def _unturned(before: Observation | None, now: _Result) -> bool:
    """Whether the rule is known to say what it said: then so does the step, however it joins its rules."""
    return before is not None and before.passed is not None and now.passed is before.passed


def _same(
    step: StepFacts,
    rules: Sequence[tuple[Change, Rule]],
    place: int,
    results: Mapping[str | None, _Result],
) -> bool:
    """Whether each changed rule says of the candidate what it said."""
    for _, rule in rules:
        before, now = rule.observed[place], results[rule.name].passed
        if before is None or before.passed is None:
            # Rejected by another rule; that this one would change has no bearing while that one stands.
            if step.decisions[place].verdict in PASSING or now is not None:
                return False
        elif now is not before.passed:
            return False
    return True


def _result(step: StepFacts, rule: Rule, change: Change, place: int, assume: bool) -> _Result:
    if change.remove:
        return _Result(True)
    before = rule.observed[place]
    if before is None or before.passed is None:
        return _Result(None, "not_evaluated")
    if change.threshold is not None and len(rule.thresholds) > 1:
        return _Result(None, "own_thresholds")
    if _stays(before, rule, change):
        return _Result(before.passed)
    if before.missing and step.declared.missing is not None:
        fails = step.declared.missing == "fails"
        return _Result(None, "contradiction") if before.passed is fails else _Result(before.passed)
    if not rule.known(step, assume):
        return _Result(None, "no_comparator" if rule.comparator.signs else "contradiction")
    limit = before.threshold if is_number(before.threshold) else rule.threshold
    if limit is None:
        return _Result(None, "no_value")
    now: Number = limit * change.scale if change.scale is not None else _given(change)
    if now == limit:
        return _Result(before.passed)
    if is_number(before.value) and is_number(before.threshold):
        said = rule.comparator.results(before.value, now)
        return _Result(next(iter(said))) if len(said) == 1 else _Result(None, "at_the_limit")
    return _without_value(before, rule, loosened=(now > limit) is rule.comparator.upper)


def _stays(before: Observation, rule: Rule, change: Change) -> bool:
    """Whether the threshold does not move past the value, nor to it or away from it."""
    value, limit = before.value, before.threshold
    if not rule.comparator.by_side or not is_number(value) or not is_number(limit):
        return False
    now = limit * change.scale if change.scale is not None else _given(change)
    return value != limit and side(value, now) == side(value, limit)


def _without_value(before: Observation, rule: Rule, *, loosened: bool) -> _Result:
    """A rule that is loosened rejects nobody whom it let pass, whatever it made of the value."""
    if rule.comparator.upper is not None and before.passed is loosened:
        return _Result(before.passed)
    return _Result(None, "missing_value" if before.missing else "no_value")


def _given(change: Change) -> Number:
    assert change.threshold is not None  # a change says one of them
    return change.threshold
