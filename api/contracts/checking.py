"""Contracts held against what is stored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from fractions import Fraction
from math import inf
from time import monotonic

from api.contracts.declared import ENDED, Contract, FigureOfSteps, ItemReaches, ShareOfReason, joined
from api.contracts.judging import Bounds, Sign, State, judge, share
from store.queries.filters import Filters, PageRequest, parse
from store.queries.types import Page, RunRecord, StepRecord
from store.queries.types_decisions import JourneyStep
from store.queries.types_metrics import MetricsPage, StepMetrics
from store.queries.vocabulary import RUNS, STEPS
from store.reader import Reader

EVIDENCE = 20
MAX_RUNS = 500
"""Runs in which an item is followed, the newest; of others it is unknown whether it got there."""
CHECK_S = 25.0
"""How long all contracts of one request may take together: less than a command waits for its answer."""
_PAGE = 100
_NO_TIME = "there was no time to ask all of it; ask for less time or fewer contracts"


class _TooLong(Exception):
    """There is no time to ask further."""


@dataclass(frozen=True, slots=True)
class Scope:
    """Where contracts are checked, as parameters of ``/runs`` and ``/steps``."""

    started_after: datetime | None = None
    started_before: datetime | None = None
    pipeline: str | None = None

    def parameters(self) -> list[tuple[str, str]]:
        """As they are sent."""
        named = (
            ("started_after", self.started_after and self.started_after.isoformat()),
            ("started_before", self.started_before and self.started_before.isoformat()),
            ("pipeline", self.pipeline),
        )
        return [(name, value) for name, value in named if value]


@dataclass(frozen=True, slots=True)
class Violation:
    """A run, or a step of it, that speaks against a contract."""

    run_id: str
    step_id: str | None = None
    value: float | None = None
    """Of the step, where it has one."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of one contract."""

    contract: Contract
    state: State
    low: float | None
    """The figure, or its lower bound where the record cannot tell."""
    high: float | None
    n: int
    """Runs, steps or candidates that were judged."""
    unit: str
    unsure: int = 0
    """Of them, those of which the record cannot tell."""
    pending: int = 0
    """Runs beside them that still run."""
    evidence: Sequence[Violation] = ()
    because: str | None = None
    """Why it is unknown."""

    @property
    def limit(self) -> tuple[Sign, float]:
        """The sign and what it compares with."""
        sign, limit = self.contract.limit
        return sign, float(limit)


def check(reader: Reader, contract: Contract, scope: Scope, until: float = inf) -> Verdict:
    """
    Return whether the contract holds in the scope.

    until: by ``monotonic``; what asks many questions asks none after it, and the verdict is unknown.
    """
    try:
        _go_on(until)
        return _check(reader, contract, scope, until)
    except _TooLong:
        return not_checked(contract, _NO_TIME)


def _go_on(until: float) -> None:
    if monotonic() > until:
        raise _TooLong


def _check(reader: Reader, contract: Contract, scope: Scope, until: float) -> Verdict:
    if contract.share_of_runs is not None:
        return _share_of_runs(reader, contract, contract.share_of_runs.where, scope)
    if contract.figure is not None:
        return _figure(reader, contract, contract.figure, scope)
    if contract.share_of_reason is not None:
        return _share_of_reason(reader, contract, contract.share_of_reason, scope, until)
    assert contract.item is not None  # one of them is given
    return _item(reader, contract, contract.item, scope, until)


def not_checked(contract: Contract, because: str) -> Verdict:
    """Return the verdict on a contract whose check failed: unknown."""
    unit = {"figure": "steps", "share_of_reason": "candidates"}.get(contract.kind, "runs")
    return Verdict(contract, "unknown", None, None, n=0, unit=unit, because=because)


def _share_of_runs(reader: Reader, contract: Contract, where: str, scope: Scope) -> Verdict:
    found = reader.share_of_runs(_runs(contract, scope), parse(RUNS, [("q", where)])[0])
    sign, limit = contract.limit
    bounds = share(found.matching, found.unsure, found.runs)
    state = judge(sign, limit, bounds)
    named = found.named_matching if sign == "at_most" else found.named_others
    return Verdict(
        contract,
        state,
        *_floats(bounds),
        n=found.runs,
        unit="runs",
        unsure=found.unsure,
        pending=found.pending,
        evidence=[Violation(run_id) for run_id in named] if state != "held" else (),
        because=_because(state, found.runs, found.unsure, "runs"),
    )


def _figure(reader: Reader, contract: Contract, asked: FigureOfSteps, scope: Scope) -> Verdict:
    page = reader.step_metrics(_steps(contract, scope))
    metrics = page.items[0] if page.items else None
    field, _, statistic = str(asked.of).partition(".")
    value = None if metrics is None else getattr(getattr(metrics, field), statistic)
    bounds = None if value is None else _around(value, field, statistic, page)
    sign, limit = contract.limit
    state = judge(sign, limit, bounds)
    n = 0 if metrics is None else metrics.steps
    because = _because(state, n if bounds else 0, 0, "steps")
    if state == "unknown" and bounds is not None:
        because = "the limit lies within the resolution of percentiles over long times; ask for less time"
    evidence = [] if state == "held" else _steps_beyond(reader, contract, field, scope)
    return Verdict(contract, state, *_floats(bounds), n=n, unit="steps", evidence=evidence, because=because)


def _around(value: float, field: str, statistic: str, page: Page[StepMetrics]) -> Bounds:
    """Percentiles from roll-ups are known within a resolution; means are exact."""
    resolution = page.resolution if isinstance(page, MetricsPage) else None
    if statistic == "mean" or resolution is None:
        return Bounds(value, value)
    part: float = getattr(resolution, field)
    reach = part if field == "drop_ratio" else abs(value) * part
    return Bounds(value - reach, value + reach)


def _steps_beyond(reader: Reader, contract: Contract, field: str, scope: Scope) -> list[Violation]:
    filters, _ = parse(STEPS, [*scope.parameters(), ("q", joined(contract.steps, contract.against))])
    found = reader.steps(filters, PageRequest(limit=EVIDENCE)).items
    return [Violation(step.run_id, step.step_id, _value(step, field)) for step in found]


def _value(step: StepRecord, field: str) -> float | None:
    value: float | None = step.score.mean if field == "score_mean" else getattr(step, field)
    return value


def _share_of_reason(
    reader: Reader, contract: Contract, asked: ShareOfReason, scope: Scope, until: float
) -> Verdict:
    filters = _steps(contract, scope)
    page = reader.step_metrics(filters)
    judged = page.items[0].candidates_in if page.items else None
    count = 0
    cursor: str | None = None
    while judged:
        _go_on(until)
        reasons = reader.reason_metrics(filters, page=PageRequest(limit=1000, cursor=cursor))
        count += sum(item.count for item in reasons.items if item.reason == asked.reason)
        cursor = reasons.next_cursor
        if cursor is None:
            break
    sign, limit = contract.limit
    bounds = share(count, 0, judged or 0)
    state = judge(sign, limit, bounds)
    evidence = [] if state == "held" else _steps_with(reader, contract, asked.reason, sign, limit, scope)
    return Verdict(
        contract,
        state,
        *_floats(bounds),
        n=judged or 0,
        unit="candidates",
        evidence=evidence,
        because=_because(state, judged or 0, 0, "candidates"),
    )


def _steps_with(
    reader: Reader, contract: Contract, reason: str, sign: Sign, limit: Fraction, scope: Scope
) -> list[Violation]:
    """Of the newest steps that gave it, those that did too often; or too seldom, when that is what counts."""
    filters, _ = parse(STEPS, [*scope.parameters(), ("q", joined(contract.steps, contract.against))])
    found = reader.steps(filters, PageRequest(limit=1000)).items
    shares = [
        (Fraction(step.reasons.get(reason, 0), step.candidates_in), step)
        for step in found
        if step.candidates_in
    ]
    beyond = [(part, step) for part, step in shares if judge(sign, limit, Bounds(part, part)) == "violated"]
    return [Violation(step.run_id, step.step_id, float(part)) for part, step in beyond[:EVIDENCE]]


def _item(reader: Reader, contract: Contract, asked: ItemReaches, scope: Scope, until: float) -> Verdict:
    filters = _runs(contract, scope)
    yes, no, unsure, pending, cursor = 0, 0, 0, 0, None
    reached: list[Violation] = []
    missed: list[Violation] = []
    judged, cut_short = 0, None
    while judged + pending < MAX_RUNS and cut_short is None:
        page = reader.runs(filters, PageRequest(limit=_PAGE, cursor=cursor))
        for run in page.items:
            if run.status in ("running", "waiting"):
                pending += 1
                continue
            if monotonic() > until:
                cut_short = _NO_TIME
                break
            judged += 1
            came = _came(reader, run, asked)
            if came is None:
                unsure += 1
            elif came:
                yes += 1
                reached.append(Violation(run.run_id))
            else:
                no += 1
                missed.append(Violation(run.run_id))
        cursor = page.next_cursor
        if cursor is None:
            break
    sign, limit = contract.limit
    bounds = share(yes, unsure, judged)
    state = judge(sign, limit, bounds)
    because = _because(state, judged, unsure, "runs")
    certain = state == "violated" and limit == (1 if sign == "at_least" else 0)
    if cut_short is None and cursor is not None:
        cut_short = f"there are more than {MAX_RUNS} runs; ask for less time"
    if cut_short is not None and not certain:
        state, because = "unknown", cut_short
    named = reached if sign == "at_most" else missed
    return Verdict(
        contract,
        state,
        *_floats(bounds),
        n=judged,
        unit="runs",
        unsure=unsure,
        pending=pending,
        evidence=named[:EVIDENCE] if state != "held" else (),
        because=because,
    )


def _came(reader: Reader, run: RunRecord, asked: ItemReaches) -> bool | None:
    """Whether a step of the target judged the item; None where the record cannot tell."""
    journey = reader.journey(run.run_id, asked.id)
    if journey is not None:
        there = [_presence(step) for step in journey.steps if _is_target(step.step, asked)]
    else:
        detail = reader.run_detail(run.run_id)
        steps = detail.steps if detail is not None else ()
        there = [
            False if step.completeness.evidence == "full" else None
            for step in steps
            if _is_target(step, asked)
        ]
    if True in there:
        return True
    if None in there or run.status == "incomplete" or run.completeness.missing:
        return None
    return False


def _presence(step: JourneyStep) -> bool | None:
    return {"recorded": True, "absent": False}.get(step.presence)


def _is_target(step: StepRecord, asked: ItemReaches) -> bool:
    if asked.reaches.name is not None:
        return step.name == asked.reaches.name
    return step.step_type == asked.reaches.step_type


def _runs(contract: Contract, scope: Scope) -> Filters:
    question = [("q", contract.runs)] if contract.runs else []
    return parse(RUNS, [*scope.parameters(), *question])[0]


def _steps(contract: Contract, scope: Scope) -> Filters:
    return parse(STEPS, [*scope.parameters(), ("q", joined(contract.steps, ENDED))])[0]


def _floats(bounds: Bounds | None) -> tuple[float | None, float | None]:
    return (None, None) if bounds is None else (float(bounds.low), float(bounds.high))


def _because(state: State, n: int, unsure: int, unit: str) -> str | None:
    if state != "unknown":
        return None
    if n == 0:
        return f"no {unit} to judge"
    return f"the record of {unsure} of {n} {unit} cannot tell"
