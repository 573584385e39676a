"""Contracts and what became of them, as REST answers."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import Field

from api.contracts.checking import Scope, Verdict
from api.schemas import Answer

ContractState = Literal["held", "violated", "unknown"]


class Limit(Answer):
    """What the figure is compared with."""

    sign: Literal["at_most", "below", "at_least", "above"]
    value: float


class Violation(Answer):
    """A run, or a step of it, that speaks against the contract."""

    run_id: str
    step_id: str | None
    value: float | None = Field(description="Of the step, where it has one.")


class ContractVerdict(Answer):
    """What became of one contract."""

    id: str
    about: str | None
    kind: Literal["share_of_runs", "figure", "share_of_reason", "item"]
    state: ContractState = Field(description="unknown: the stored record cannot tell; it is never guessed.")
    said: str = Field(description="The verdict in words.")
    limit: Limit
    low: float | None = Field(description="The figure, or its lower bound where the record cannot tell.")
    high: float | None
    n: int = Field(description="Runs, steps or candidates that were judged.")
    unit: Literal["runs", "steps", "candidates"]
    unsure: int = Field(description="Of them, those of which the record cannot tell.")
    pending: int = Field(description="Runs beside them that still run.")
    because: str | None = Field(description="Why it is unknown.")
    evidence: list[Violation] = Field(description="The newest that speak against it, at most 20.")
    started_after: datetime | None
    started_before: datetime | None


class ContractCheck(Answer):
    """What became of the contracts, in their order."""

    state: ContractState = Field(description="violated when one is; else unknown when one is; else held.")
    items: list[ContractVerdict]


class CheckedContract(Answer):
    """One result of the continuous check."""

    checked_at: datetime
    state: ContractState
    result: ContractVerdict


class StoredContract(Answer):
    """A contract that is checked every five minutes on the runs of its window."""

    contract_id: str
    document: dict[str, Any] = Field(description="As it was put.")
    created_at: datetime
    updated_at: datetime
    next_check_at: datetime = Field(
        description="Some seconds later, where a server looks after the database."
    )
    results: list[CheckedContract] = Field(
        description="The latest first; of lists the latest one. Before updated_at: of what was replaced."
    )


class ContractList(Answer):
    """The contracts by id."""

    items: list[StoredContract]


def verdict(found: Verdict, scope: Scope) -> ContractVerdict:
    """Return the verdict as it is answered."""
    sign, limit = found.limit
    return ContractVerdict(
        id=found.contract.id,
        about=found.contract.about,
        kind=found.contract.kind,  # type: ignore[arg-type]
        state=found.state,
        said=in_words(found),
        limit=Limit(sign=sign, value=limit),
        low=found.low,
        high=found.high,
        n=found.n,
        unit=found.unit,  # type: ignore[arg-type]
        unsure=found.unsure,
        pending=found.pending,
        because=found.because,
        evidence=[Violation.model_validate(each) for each in found.evidence],
        started_after=scope.started_after,
        started_before=scope.started_before,
    )


def overall(states: list[str]) -> ContractState:
    """Return the state of several contracts together."""
    return "violated" if "violated" in states else "unknown" if "unknown" in states else "held"


def in_words(found: Verdict) -> str:
    """Return the verdict as a sentence, such as ``6 % of 100 runs, at most 5 %``."""
    sign, limit = found.limit
    figure = found.contract.figure
    shown = _number if figure is not None else _percent
    wanted = f"{sign.replace('_', ' ')} {shown(limit)}"
    if found.low is None or found.high is None:
        return f"{found.because}; {wanted} is asked for"
    known = shown(found.low)
    if found.low != found.high:
        known = f"{shown(found.low)} to {shown(found.high)}"
    what = f"{figure.of} is {known} over" if figure is not None else f"{known} of"
    unit = found.unit if found.n != 1 else found.unit[:-1]
    said = f"{what} {found.n:,} {unit}, {wanted}"
    return said if found.because is None else f"{said}: {found.because}"


def _percent(value: float) -> str:
    return f"{100 * value:.4g} %"


def _number(value: float) -> str:
    return f"{value:.6g}"
