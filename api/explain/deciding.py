"""Which of the steps that stand out decided: the source of damaged data, or the check that let it through."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from api.explain.culprits import Ranked
from api.explain.records import Finding
from store.queries.types import StepRecord


def check_before_source(ranked: Ranked, steps: Sequence[StepRecord], findings: Sequence[Finding]) -> Ranked:
    """
    The ranking, with a check in front of the source that it follows from.

    Where a source gives out more items without a value than usual and a check that looks for one let the
    winner pass, the check comes first: what a source gives out is its data, and the check decided without.
    """
    culprits = list(ranked.culprits)
    sources = {step.step_id for step in steps if step.candidates_in is None}
    if not culprits or culprits[0].step_id not in sources:
        return ranked
    lacking = {one.step_id for one in findings if one.kind == "missing_field_rise"}
    passed = {
        one.step_id
        for one in findings
        if one.kind == "kept_without_value" and not one.evidence["usual"] and one.evidence["baseline_n"]
    }
    source = culprits[0]
    check = next((one for one in culprits if one.step_id in passed), None)
    if source.step_id not in lacking or check is None:
        return ranked
    others = [one for one in culprits if one not in (source, check)]
    first = replace(check, confidence=source.confidence)
    return ranked._replace(culprits=[first, replace(source, confidence=check.confidence), *others])
