"""Reads what the comparison of two groups needs, and makes it."""

from __future__ import annotations

from dataclasses import dataclass

from api.compare.features import features
from api.compare.groups import Comparison, compare_groups
from api.compare.matching import Matched, match
from store.queries.group_questions import GroupQuestion
from store.queries.groups import Groups
from store.reader import Reader

MAX_STEPS = 30_000
"""Executions of steps that are read; they take a second and a half."""


@dataclass(frozen=True, slots=True)
class Answered:
    """A comparison with the runs that it is about."""

    groups: Groups
    matched: Matched
    bad: int
    """Runs that were compared."""
    good: int
    comparison: Comparison


def answer_groups(reader: Reader, question: GroupQuestion) -> Answered:
    """Raises what ``Reader`` raises."""
    groups = reader.find_groups(question.shared, question.bad, question.good)
    matched = match(groups)
    facts = reader.group_facts(matched.bad, matched.good, MAX_STEPS)
    comparison = compare_groups(
        [member.run_key for member in facts.bad],
        [member.run_key for member in facts.good],
        matched.strata,
        features(facts.runs, facts.steps),
        defining=question.defining,
        level=question.level,
    )
    return Answered(groups, matched, len(facts.bad), len(facts.good), comparison)
