"""The step at fault in one sentence: that of the first culprit, or by rule where there is no baseline."""

from __future__ import annotations

from collections.abc import Sequence

from api.explain.culprits import Ranked
from api.explain.records import Culprit, Finding, FindingKind, Suspect
from api.explain.words import evidence_in_words

DECISIVE: tuple[FindingKind, ...] = (
    "step_error",
    "count_gap",
    "handover_gap",
    "kept_without_value",
    "all_eliminated",
    "drop_ratio_unusual",
)
"""
Findings that name a step by themselves, the strongest first: what failed or lost candidates comes before
what decided wrongly, and that before what only looks different. A new reason or a field that is missing more
often supports another finding; alone it may have changed nothing.
"""


def suspect(findings: Sequence[Finding], order: Sequence[str], ranked: Ranked) -> Suspect | None:
    """
    What ``culprits`` says, with the findings that fit; the rule alone where too few runs say what is usual.

    order: step ids as the run has them. None when no step is shown to be at fault.
    """
    if ranked.conclusion == "no_baseline":
        return _by_rule(findings, order)
    if ranked.conclusion != "fault":
        return None
    culprit = ranked.culprits[0]
    return _by_rule(findings, order, culprit.step_id) or _by_figures(culprit, findings)


def _by_figures(culprit: Culprit, findings: Sequence[Finding]) -> Suspect:
    """What is farthest from the usual, in words."""
    fitting = [number for number, finding in enumerate(findings) if finding.step_id == culprit.step_id]
    text = "; ".join(evidence_in_words(one) for one in culprit.evidence[:1])
    return Suspect(culprit.step_id, culprit.step, text, tuple(fitting))


def _by_rule(findings: Sequence[Finding], order: Sequence[str], only: str | None = None) -> Suspect | None:
    """
    The step of the strongest finding; of equal ones the earliest step, since later ones may follow from it.

    only: id of the step to look at; None looks at all.
    """
    place = {step_id: position for position, step_id in enumerate(order)}
    candidates = [
        (DECISIVE.index(finding.kind), place.get(finding.step_id, len(order)), number)
        for number, finding in enumerate(findings)
        if finding.kind in DECISIVE and not finding.evidence.get("usual") and only in (None, finding.step_id)
    ]
    if not candidates:
        return None
    number = min(candidates)[2]
    decisive = findings[number]
    supporting = [
        other
        for other, finding in enumerate(findings)
        if other != number and (finding.step_id == decisive.step_id or _leads_to(finding, decisive, place))
    ]
    return Suspect(decisive.step_id, decisive.step, decisive.text, (number, *supporting))


def _leads_to(finding: Finding, decisive: Finding, place: dict[str, int]) -> bool:
    """A field that went missing in an earlier step may be what the later check lacked."""
    earlier = place.get(finding.step_id, 0) < place.get(decisive.step_id, 0)
    return finding.kind == "missing_field_rise" and decisive.kind == "kept_without_value" and earlier
