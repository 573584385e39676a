"""
Which checks hide others: where all checks of each candidate were made, how many candidates each of them
eliminated first, how many it alone would have, and how often two failed together.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol


class Checked(Protocol):
    """A decision, as far as this needs it."""

    @property
    def reason(self) -> str | None: ...
    @property
    def checks(self) -> Sequence[Mapping[str, object]] | None: ...
    @property
    def probability(self) -> float | None: ...


@dataclass(frozen=True, slots=True)
class MaskedCheck:
    """One check; numbers of candidates, of which a sample is weighted up."""

    check: str
    failed: float
    first: float
    """Those of which it was the first that failed, in the order recorded …"""
    alone: float
    """… and the only one: without it they would have gone on."""
    masked: float
    """Those that failed it behind another: ``failed`` less ``first``."""
    together: Mapping[str, float]
    """Other check to the candidates that failed both; without those that none did."""
    reasons: Mapping[str, float]
    """Reason that was given where it failed first."""


@dataclass(frozen=True, slots=True)
class Masked:
    """What the checks of a step hide."""

    checks: Sequence[MaskedCheck]
    """In the order in which they were made."""
    evaluated: int
    """Candidates of which all checks were recorded; the numbers are about them."""
    partly: int
    """Those of which only some were, as where a step stops at the first that fails."""
    unchecked: int
    """Those without checks."""
    estimated: bool
    """Whether candidates were weighted, because a sample was recorded."""


_Weights = defaultdict[str, float]


def masked_reasons(decisions: Sequence[Checked]) -> Masked:
    """Count the checks of one step's candidates."""
    listed = [_outcomes(one) for one in decisions]
    order = _order(listed)
    names = set(order)
    failed, first, alone = (_Weights(float) for _ in range(3))
    together = {name: _Weights(float) for name in order}
    reasons = {name: _Weights(float) for name in order}
    evaluated = partly = 0
    estimated = False
    for one, outcomes in zip(decisions, listed, strict=True):
        if not outcomes:
            continue
        if outcomes.keys() != names:
            partly += 1
            continue
        evaluated += 1
        weight = 1 / one.probability if one.probability else 1.0
        estimated |= weight != 1.0
        wrong = [name for name, passed in outcomes.items() if not passed]
        if not wrong:
            continue
        first[wrong[0]] += weight
        if one.reason is not None:
            reasons[wrong[0]][one.reason] += weight
        if len(wrong) == 1:
            alone[wrong[0]] += weight
        for name in wrong:
            failed[name] += weight
            for other in wrong:
                together[name][other] += weight
    made = [
        MaskedCheck(
            name,
            failed[name],
            first[name],
            alone[name],
            failed[name] - first[name],
            {other: together[name][other] for other in order if other != name and other in together[name]},
            dict(sorted(reasons[name].items())),
        )
        for name in order
    ]
    return Masked(made, evaluated, partly, sum(not outcomes for outcomes in listed), estimated)


def _outcomes(one: Checked) -> dict[str, bool]:
    """Check to whether it passed, in the order made; those that do not say are left out."""
    found: dict[str, bool] = {}
    for check in one.checks or ():
        name, passed = check.get("name"), check.get("passed")
        if isinstance(name, str) and isinstance(passed, bool):
            found[name] = passed
    return found


def _order(listed: Sequence[Mapping[str, bool]]) -> list[str]:
    """All checks, as the candidates with most of them have them; others behind, by name."""
    longest = max(listed, key=len, default={})
    rest = {name for outcomes in listed for name in outcomes} - longest.keys()
    return [*longest, *sorted(rest)]
