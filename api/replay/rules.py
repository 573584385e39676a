"""The rules of a step: what each said of every candidate, from reasons or from checks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from api.replay.comparing import Comparator, Number, Observation, comparator, is_number
from api.replay.facts import PASSING, StepFacts, once
from store.decisions import Decision


class NoSuchRule(ValueError):
    """The step has no rule of this name, or several and none was named; the text says which there are."""


_UNRECORDED = object()
_MOST_CHECKS = 32
"""Of a candidate with so many, the client may have left out others."""


@dataclass(frozen=True)
class Rule:
    """One rule of a step."""

    name: str | None
    """Reason or name of the check; None where the only rule has rejected nobody and is not declared."""
    by_checks: bool
    observed: Sequence[Observation | None]
    """Per decision; None: nothing is known of what it says."""
    comparator: Comparator
    thresholds: frozenset[Number]

    @property
    def threshold(self) -> Number | None:
        """The threshold of all candidates, None where there are several or none."""
        return next(iter(self.thresholds)) if len(self.thresholds) == 1 else None

    def known(self, assume: bool) -> bool:
        """Whether the comparator is known as well as the level asks for."""
        return bool(self.comparator.signs) and (assume or self.comparator.declared)


@once
def rule_names(step: StepFacts) -> list[str]:
    """Names of the rules, recorded or declared: of checks where there are any, else of reasons."""
    return list(_check_names(step)) or sorted(_rejecting(step) | set(step.declared.comparators))


@once
def _check_names(step: StepFacts) -> Mapping[str, None]:
    """Names of checks, in the order in which they come up."""
    return {check["name"]: None for d in step.decisions if d.checks for check in d.checks}


def find_rule(step: StepFacts, name: str | None, assume: bool) -> Rule:
    """Return the rule of this name, or the only one. Raises ``NoSuchRule``."""
    names = rule_names(step)
    if name is None:
        if len(names) > 1:
            raise NoSuchRule(f"step {step.name} has several rules; name one of {', '.join(names)}")
        name = names[0] if names else None
    checks = _check_names(step)
    if checks and name not in checks:
        name = _check_of_reason(step, name) or name
    if name in checks:
        return _rule(step, name, by_checks=True, assume=False)
    if name is None or name in names or name in _rejecting(step):
        # Of a single rule nothing is left to assume.
        return _rule(step, name, by_checks=False, assume=assume and not is_single(step))
    raise NoSuchRule(f"step {step.name} has no rule {name}; it has {', '.join(names) or 'none'}")


@once
def _rule(step: StepFacts, name: str | None, *, by_checks: bool, assume: bool) -> Rule:
    observed = _of_checks(step, name) if by_checks else _of_reason(step, name, assume)
    thresholds = [observation.threshold for observation in observed if observation is not None]
    return Rule(
        name,
        by_checks,
        observed,
        comparator(observed, step.declared.comparators.get(name or "")),
        frozenset(threshold for threshold in thresholds if is_number(threshold)),
    )


@once
def evaluation(step: StepFacts) -> str | None:
    """How the rules judge, as the step declares it and the record does not contradict."""
    said = step.declared.evaluation
    if said == "single":
        return said if len(_shown(step)) <= 1 else None
    checked = any(decision.checks for decision in step.decisions)
    return said if not checked or checks_are_all(step) else None


def _shown(step: StepFacts) -> set[str]:
    """Names of all rules that record and declarations tell of, those of rejections without a check too."""
    named = {*rule_names(step), *step.declared.comparators, *step.declared.missing_by_rule}
    if not _check_names(step):
        return named
    return named | {d.reason or "" for d in step.decisions if rejected(d) and not _failed(d)}


def _failed(decision: Decision) -> bool:
    return any(check.get("passed") is False for check in decision.checks or ())


def is_single(step: StepFacts) -> bool:
    """Whether the step declares one rule, and the record does not show two."""
    return evaluation(step) == "single"


@once
def is_sole(step: StepFacts) -> bool:
    """Whether the record shows one rule at most; it may have others that rejected nobody."""
    names = _rejecting(step) | set(step.declared.comparators)
    return step.declared.evaluation in (None, "single") and len(names) <= 1


def rejected(decision: Decision) -> bool:
    """Whether the candidate was removed by a rule."""
    return decision.verdict == "eliminated"


@once
def checks_are_all(step: StepFacts) -> bool:
    """Whether the checks of each candidate account for its verdict, so that no rule stands beside them."""
    return all(_accounts(decision) for decision in step.decisions)


def evaluated(decision: Decision, names: Sequence[str]) -> bool:
    """Whether each of these checks was made of the candidate once, with a known result."""
    made = [check["name"] for check in decision.checks or () if check.get("passed") is not None]
    return len(made) == len(set(made)) and set(made) >= set(names)


def _accounts(decision: Decision) -> bool:
    if not decision.checks or len(decision.checks) >= _MOST_CHECKS:
        return False
    said = [check.get("passed") for check in decision.checks]
    failed = False in said
    return failed if rejected(decision) else decision.verdict in PASSING and not failed and None not in said


@once
def _rejecting(step: StepFacts) -> set[str]:
    """Reasons of rejections, those included that it can give and did not; '' for one without a reason."""
    given = {d.reason or "" for d in step.decisions if rejected(d)}
    of_others = {d.reason for d in step.decisions if not rejected(d)}
    return given | (step.reasons - of_others)


def _check_of_reason(step: StepFacts, reason: str | None) -> str | None:
    """The check that failed wherever this reason was given, when it is one."""
    failed = [
        [check["name"] for check in d.checks or () if check.get("passed") is False]
        for d in step.decisions
        if rejected(d) and d.reason == reason
    ]
    names = {name for of_one in failed for name in of_one}
    return names.pop() if len(names) == 1 and all(failed) else None


def _of_checks(step: StepFacts, name: str | None) -> list[Observation | None]:
    nulls_missing = name in step.declared.missing_by_rule
    found: list[Observation | None] = []
    for decision in step.decisions:
        made: list[Any] = [check for check in decision.checks or () if check["name"] == name]
        if len(made) != 1:
            found.append(None)
            continue
        get = made[0].get
        value, threshold = get("value", _UNRECORDED), get("threshold")
        missing = nulls_missing and value is None and is_number(threshold)
        value = None if value is _UNRECORDED else value
        found.append(Observation(get("passed"), value, threshold, missing))
    return found


def _of_reason(step: StepFacts, name: str | None, assume: bool) -> list[Observation | None]:
    mine = _thresholds(step, lambda d: d.reason == name or (name == "" and d.reason is None))
    others = _thresholds(step, lambda d: d.reason != name)
    single, sole = is_single(step), is_sole(step)
    # Of rules that nobody declared, one that fails need not remove a candidate.
    silent = Observation(True if assume or evaluation(step) else None)
    found: list[Observation | None] = []
    for d in step.decisions:
        if d.verdict not in PASSING:
            own = rejected(d) and (d.reason or "") == (name or "")
            found.append(Observation(False, d.value, d.threshold, d.value_missing) if own else None)
            continue
        same = not mine or len(mine) > 1 or d.threshold in mine or not is_number(d.threshold)
        told = single or (name is not None and d.reason == name)
        if not told and assume:
            told = (sole and same) or (d.threshold in mine and d.threshold not in others)
        found.append(Observation(True, d.value, d.threshold, d.value_missing) if told else silent)
    return found


def _thresholds(step: StepFacts, of: Callable[[Decision], bool]) -> set[Any]:
    return {d.threshold for d in step.decisions if rejected(d) and of(d) and is_number(d.threshold)}
