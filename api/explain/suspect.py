"""Which step is at fault, if the findings show it."""

from __future__ import annotations

from collections.abc import Sequence

from api.explain.records import Finding, FindingKind, Suspect

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


def suspect(findings: Sequence[Finding], order: Sequence[str]) -> Suspect | None:
    """
    The step of the strongest finding; of equal ones the earliest step, since later ones may follow from it.

    order: step ids as the run has them. None when no finding is decisive.
    """
    place = {step_id: position for position, step_id in enumerate(order)}
    candidates = [
        (DECISIVE.index(finding.kind), place.get(finding.step_id, len(order)), number)
        for number, finding in enumerate(findings)
        if finding.kind in DECISIVE and not finding.evidence.get("usual")
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
