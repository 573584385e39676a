"""Puts an explanation together from a run's record and its baseline; pure."""

from __future__ import annotations

from api.explain import funnel as funnels
from api.explain.audit import audit
from api.explain.culprits import rank
from api.explain.findings import find
from api.explain.records import Explanation, Material
from api.explain.stories import runner_up, winner
from api.explain.summary import summary
from api.explain.suspect import suspect


def explain(material: Material) -> Explanation:
    """The explanation of one run; the same for the same material."""
    steps = material.detail.steps
    lines = funnels.funnel(steps, material.baseline)
    audited = audit(steps)
    selected = winner(material)
    rival = runner_up(material, selected)
    findings = find(material, audited, selected)
    fault = suspect(findings, [line.step_id for line in lines])
    ranked = rank(material, findings)
    drop, deviation = funnels.largest_drop(lines), funnels.largest_deviation(lines)
    return Explanation(
        run=material.detail.run,
        baseline_runs=material.baseline.runs,
        funnel=lines,
        audit=audited,
        findings=findings,
        suspect=fault,
        conclusion=ranked.conclusion,
        culprits=ranked.culprits,
        winner=selected,
        runner_up=rival,
        largest_drop=drop,
        largest_deviation=deviation,
        first_error=funnels.first_error(steps),
        summary=summary(material, lines, findings, fault, selected, rival, (drop, deviation), ranked),
        completeness=material.detail.run.completeness,
    )
