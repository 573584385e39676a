"""The answer about two groups of runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from api import schemas
from api.compare.groups import Finding
from api.compare.groups_gather import Answered
from api.compare.words import finding_in_words, summary


class GroupRuns(schemas.Answer):
    """How many runs of a group there are."""

    found: int = Field(description="Runs of which the expression holds, and the filters.")
    compared: int = Field(description="Those that were held against the other group.")


class GroupDifference(schemas.Answer):
    """One figure of the runs, held against each other."""

    pipeline: str | None = Field(description="Null where runs of one pipeline are compared.")
    step: str | None = Field(description="Name of the step; null for the run itself.")
    step_type: str | None
    field: str = Field(description="As in the filter language: reason.too_dear, drop_ratio, tag.market.")
    scale: Literal["is", "share", "level"] = Field(
        description="is: whether the field is the word; share: of the candidates that came in; "
        "level: as recorded."
    )
    word: str | None
    bad_n: int = Field(description="Bad runs that have the figure.")
    good_n: int
    bad_mean: float
    good_mean: float
    effect: float = Field(
        description="Probability that a bad run has the larger value less that of the smaller, -1 to 1; "
        "of is, the difference of the shares."
    )
    low: float = Field(description="Of the 95 % interval of effect.")
    high: float
    p_value: float
    q_value: float = Field(
        description="p_value corrected for the number of tests (Benjamini and Hochberg); of what differs by "
        "definition, for the number of such figures."
    )
    significant: bool
    defining: bool = Field(description="Its field stands in bad or good, so that it differs by definition.")
    text: str


class ComparisonCompleteness(schemas.Answer):
    """Of how much the answer speaks."""

    state: Literal["exact", "sampled"] = Field(
        description="sampled: of more runs than are compared a part was taken by the hashes of their ids."
    )
    untested: int = Field(
        description="Figures beyond the number that is tested, those that fewest runs have."
    )


class GroupComparison(schemas.Answer):
    """Where two groups of runs differ, the largest certain effect first. A run is the unit."""

    bad: GroupRuns
    good: GroupRuns
    in_both: int = Field(description="Runs that satisfy both expressions, which are left out.")
    matched_by: Sequence[str] = Field(description="What is equal between runs that are held together.")
    not_matched_by: Sequence[str] = Field(description="What the groups hardly share, so it could not be.")
    level: float
    tests: int = Field(description="Figures that were tested, beside those that differ by definition.")
    significant: int = Field(description="Of these, those that differ.")
    items: Sequence[GroupDifference]
    summary: Sequence[str]
    completeness: ComparisonCompleteness


def group_comparison(answered: Answered, level: float, limit: int) -> GroupComparison:
    """Return the answer. limit: differences that are shown."""
    comparison = answered.comparison
    whole = answered.bad == answered.groups.bad_found and answered.good == answered.groups.good_found
    return GroupComparison(
        bad=GroupRuns(found=answered.groups.bad_found, compared=answered.bad),
        good=GroupRuns(found=answered.groups.good_found, compared=answered.good),
        in_both=answered.groups.in_both,
        matched_by=answered.matched.matched_by,
        not_matched_by=answered.matched.not_matched_by,
        level=level,
        tests=comparison.tests,
        significant=sum(one.significant and not one.defining for one in comparison.findings),
        items=[_item(finding) for finding in comparison.findings[:limit]],
        summary=summary(answered, level),
        completeness=ComparisonCompleteness(
            state="exact" if whole else "sampled", untested=comparison.left_out
        ),
    )


def _item(finding: Finding) -> GroupDifference:
    values = finding.feature._asdict() | finding.result._asdict()
    values |= {name: getattr(finding, name) for name in ("q_value", "significant", "defining")}
    return GroupDifference.model_validate(values | {"text": finding_in_words(finding)})
