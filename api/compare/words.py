"""Findings about two groups in sentences."""

from __future__ import annotations

from collections.abc import Sequence

from api.compare.features import Feature
from api.compare.groups import MIN_RUNS, Finding
from api.compare.groups_gather import Answered


def finding_in_words(finding: Finding) -> str:
    """One sentence with the numbers of both groups."""
    feature, result = finding.feature, finding.result
    bad, good = (_value(feature, mean) for mean in (result.bad_mean, result.good_mean))
    return (
        f"{about(feature)}: {bad} of bad runs, {good} of good ones (n {result.bad_n:,} and {result.good_n:,})"
    )


def about(feature: Feature) -> str:
    """What the figure is."""
    place = "the run" if feature.step is None else f"step {feature.step}"
    if feature.pipeline is not None:
        place = f"{feature.pipeline}, {place}"
    if feature.field == "name":
        return f"{place} ran"
    if feature.scale == "is":
        return f"{place}, {feature.field} is {feature.word}"
    return f"{place}, {'mean share of ' if feature.scale == 'share' else 'mean '}{feature.field}"


def _value(feature: Feature, mean: float) -> str:
    return f"{mean:.4g}" if feature.scale == "level" else f"{100 * mean:.3g} %"


def summary(answered: Answered, level: float) -> Sequence[str]:
    """How many runs were compared and what stands out, a sentence each."""
    groups, matched = answered.groups, answered.matched
    by = f", matched by {', '.join(matched.matched_by)}" if matched.matched_by else ""
    said = [
        (
            f"{answered.bad:,} of {groups.bad_found:,} bad runs beside {answered.good:,} of "
            f"{groups.good_found:,} good ones{by}."
        )
    ]
    if groups.in_both:
        said.append(f"Left out as both bad and good: {groups.in_both:,}.")
    if matched.not_matched_by and answered.bad and answered.good:
        said.append(
            f"The groups hardly share a {' or '.join(matched.not_matched_by)}, so that is not held equal."
        )
    if min(answered.bad, answered.good) < MIN_RUNS:
        return [*said, f"Too few runs: {MIN_RUNS} of each group at least are needed."]
    findings = answered.comparison.findings
    found = [finding for finding in findings if finding.significant and not finding.defining]
    said.append(
        f"{len(found):,} of {answered.comparison.tests:,} figures differ; of those, at most "
        f"{100 * level:g} % are to be expected by chance."
    )
    return said + [finding_in_words(finding) + "." for finding in found[:5]]
