"""
What an answer of ``/runs/{run_id}/explain`` says about the step at fault.

Read are ``conclusion`` (one of ``Conclusion``) and ``culprits``, steps by descending suspicion with their
``confidence`` from 0 to 1, also when the conclusion is that there is no fault. An answer without them is
read by ``suspect``, and by ``findings`` and the largest deviation where it must answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

Conclusion = Literal["fault", "nothing_unusual", "outside_baseline", "no_baseline"]


class Reply(NamedTuple):
    """One way to answer."""

    conclusion: Conclusion
    ranking: tuple[str, ...]
    """Names of steps, the most suspicious first; what it says when it must answer."""
    confidence: float | None
    """That the first is at fault, as stated."""
    largest_drop: str | None = None
    """Simple answers from the same record: the step with the largest drop ratio,"""
    largest_change: str | None = None
    """the one whose drop ratio is farthest from the pipeline's median,"""
    change: float = 0.0
    """and how far it is;"""
    suspicion: tuple[float, ...] = ()
    """Of the steps of the ranking, for tuning."""
    first_error: str | None = None
    """the first step that ended in error."""


def reply(answered: Mapping[str, Any]) -> Reply:
    """The answer of X-Ray, and those of simple rules from the funnel in it."""
    lines = [line for line in answered["funnel"] if line["drop_ratio"] is not None]
    changes = [
        (abs(line["drop_ratio"] - line["baseline_drop_ratio"]), line["step"])
        for line in lines
        if line["baseline_drop_ratio"] is not None
    ]
    drop = max(lines, key=lambda line: line["drop_ratio"], default=None)
    change, changed = max(changes, key=lambda pair: pair[0], default=(0.0, None))
    error = answered["first_error"]
    conclusion, ranking, confidence = _culprits(answered)
    suspicion = tuple(culprit["suspicion"] for culprit in answered.get("culprits", ()))
    return Reply(
        conclusion,
        ranking,
        confidence,
        largest_drop=None if drop is None else drop["step"],
        largest_change=changed,
        change=change,
        suspicion=suspicion,
        first_error=None if error is None else error["step"],
    )


def _culprits(answered: Mapping[str, Any]) -> tuple[Conclusion, tuple[str, ...], float | None]:
    culprits = answered.get("culprits")
    if culprits is not None:
        ranking = tuple(culprit["step"] for culprit in culprits)
        return answered["conclusion"], ranking, culprits[0]["confidence"] if culprits else None
    suspect, deviation = answered["suspect"], answered["largest_deviation"]
    named = [] if suspect is None else [suspect["step"]]
    named += [finding["step"] for finding in answered["findings"]]
    named += [] if deviation is None else [deviation["step"]]
    return "nothing_unusual" if suspect is None else "fault", tuple(dict.fromkeys(named)), None
