"""Where two groups of runs differ, ranked, with how sure that is."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from api.compare.features import Feature, Features
from api.compare.statistics import Result, adjusted, compare

LEVEL = 0.05
"""Share of what is called significant that may be chance."""
MIN_RUNS = 8
"""Of each group: with fewer no figure could be significant after the correction."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One figure in which the groups differ, or may."""

    feature: Feature
    result: Result
    q_value: float
    """The false discovery rate at which it would still be called significant."""
    significant: bool
    defining: bool
    """Its field stands in the expressions that made the groups, so that it differs by definition."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """How two groups differ."""

    findings: Sequence[Finding]
    """Significant ones first, the largest certain effect first."""
    tests: int
    """Figures beside those that differ by definition."""
    left_out: int
    """Figures that were not tested."""


def compare_groups(
    bad_runs: Collection[Any],
    good_runs: Collection[Any],
    strata: Mapping[Any, int],
    found: Features,
    *,
    defining: Collection[str],
    level: float = LEVEL,
) -> Comparison:
    """
    Test each figure. bad_runs, good_runs: keys; strata: key to stratum; defining: fields of the expressions.

    The same rows give the same answer to the byte: sums are rounded, ties are broken by name.
    """
    if min(len(bad_runs), len(good_runs)) < MIN_RUNS:
        return Comparison((), 0, found.left_out)
    bad = frozenset(bad_runs)
    # By place: of each run the number of its stratum and its group, asked for hundreds of times.
    places = [(strata.get(key, -1), key not in bad) for key in found.keys]
    tested = []
    for feature, column in found.columns.items():
        result = _tested(feature, column, places)
        if result is not None:
            tested.append((feature, result))
    findings = []
    for by_definition in (False, True):
        # Corrected apart: differences that are certain beforehand would let others pass more easily.
        family = [one for one in tested if (one[0].field in defining) is by_definition]
        q_values = adjusted([result.p_value for _, result in family])
        findings += [
            Finding(feature, result, _rounded(q), q <= level, by_definition)
            for (feature, result), q in zip(family, q_values, strict=True)
        ]
    findings.sort(key=_rank)
    return Comparison(findings, sum(not finding.defining for finding in findings), found.left_out)


def _tested(
    feature: Feature, column: Mapping[int, float], places: Sequence[tuple[int, bool]]
) -> Result | None:
    strata: dict[int, tuple[list[float], list[float]]] = {}
    for place, value in column.items():
        stratum, good = places[place]
        if stratum not in strata:
            strata[stratum] = ([], [])
        strata[stratum][good].append(value)
    both = [groups for stratum, groups in sorted(strata.items()) if stratum >= 0 and all(groups)]
    if min(sum(len(groups[good]) for groups in both) for good in (0, 1)) < MIN_RUNS:
        return None
    made = compare(both, binary=feature.scale == "is")
    return Result(made.bad_n, made.good_n, *map(_rounded, made[2:]))


def _rounded(value: float) -> float:
    """Six digits: what lies behind may hang on the order of a sum."""
    return float(f"{value:.6g}")


def _rank(finding: Finding) -> tuple[Any, ...]:
    result = finding.result
    certain = max(0.0, result.low, -result.high)
    name = tuple("" if part is None else part for part in finding.feature)
    return (
        not finding.significant,
        finding.defining,
        -certain,
        result.p_value if not certain else 0.0,
        -abs(result.effect),
        name,
    )
