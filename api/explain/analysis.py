"""Puts an explanation together from a run's record and its baseline; pure."""

from __future__ import annotations

from dataclasses import replace

from api.explain import funnel as funnels
from api.explain.audit import audit, usually_counting
from api.explain.culprits import rank
from api.explain.deciding import check_before_source
from api.explain.findings import SHOWN_ITEMS, find
from api.explain.records import AuditLine, Explanation, Items, Material
from api.explain.stories import runner_up, winner
from api.explain.summary import summary
from api.explain.suspect import suspect
from api.explain.usual import Usual


def explain(material: Material, usual: Usual | None = None) -> Explanation:
    """
    The explanation of one run; the same for the same material.

    usual: what was found out about the material's baseline, if that was kept (``Usuals``).
    """
    if usual is None:
        usual = Usual(material.habits.baseline)
    steps = material.detail.steps
    lines = funnels.funnel(steps, material.baseline)
    audited = audit(material.detail.run, steps, material.columns, usually_counting(material.baseline))
    selected = winner(material)
    rival = runner_up(material, selected)
    findings = find(material, audited, selected)
    ranked = check_before_source(rank(material, findings, usual), steps, findings)
    fault = suspect(findings, [line.step_id for line in lines], ranked)
    drop, deviation = funnels.largest_drop(lines), funnels.largest_deviation(lines)
    return Explanation(
        run=material.detail.run,
        baseline_runs=material.baseline.runs,
        funnel=lines,
        audit=[cut(line) for line in audited],
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


def cut(line: AuditLine) -> AuditLine:
    """The line with as many items as an answer shows."""
    return replace(line, vanished=_first(line.vanished), ghosts=_first(line.ghosts))


def _first(items: Items) -> Items:
    return Items(items.total, items.items[:SHOWN_ITEMS])
