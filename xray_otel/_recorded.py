"""What ``xray_otel.testing`` shows: finished runs and steps, with what they said of their candidates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

Found = TypeVar("Found")

_SHOWN = 10
"""Names in a message."""


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What a step said about one candidate."""

    item_id: str
    verdict: str
    """``kept``, ``eliminated``, ``scored``, ``selected``, ``not_selected``, ``deferred`` or ``merged``."""
    reason: str | None
    """The reason's code."""
    reason_text: str | None
    score: float | None
    value: Any
    """What the rule observed; None also when it was not recorded."""
    threshold: Any
    """What the value was compared with."""
    value_missing: bool
    """Whether the value was looked for and absent."""
    probability: float | None
    """Of being in the sample; None when all are recorded."""
    checks: tuple[Mapping[str, Any], ...]
    """``name``, ``value``, ``threshold`` and ``passed`` of each check of several."""


@dataclass(frozen=True, kw_only=True)
class Artifact:
    """A payload of a step or run."""

    kind: str
    name: str | None
    content_type: str | None
    size_bytes: int
    sha256: str
    """Of the payload, in hex."""
    data: str | bytes | None
    """None when it was too large to be sent."""


@dataclass(frozen=True, kw_only=True)
class RecordedStep:
    """A finished step."""

    run_id: str
    """The trace id in hex for a step outside of any run, as the server has it."""
    step_id: str
    attempt: int
    """Counted from 1."""
    index: int | None
    """Position in its run, counted from 0; None where the run was started elsewhere."""
    name: str
    type: str
    status: str
    """``ok`` or ``error``."""
    error: str | None
    """Message of the exception that left it."""
    why: str | None
    input: Any
    output: Any
    reasoning: Any
    parents: tuple[str, ...]
    """Step ids."""
    candidates_in: int | None
    candidates_out: int | None
    counts: Mapping[str, int]
    """Candidates by verdict; exact whatever was captured."""
    reasons: Mapping[str, int]
    """Candidates by reason; exact whatever was captured."""
    metrics: Mapping[str, float]
    capture_level: str | None
    started_ns: int
    """Since the Unix epoch."""
    ended_ns: int
    decisions: tuple[Decision, ...]
    """In the order of judging; those that were captured."""
    artifacts: tuple[Artifact, ...]
    attributes: Mapping[str, Any]
    """Everything as it is sent, by the names of the conventions."""

    @property
    def drop_ratio(self) -> float | None:
        """(in - out) / in, as the server computes it; None when in is 0 or unknown, or out is more."""
        before, after = self.candidates_in, self.candidates_out
        return None if not before or after is None or after > before else (before - after) / before

    def decision(self, item_id: str) -> Decision:
        """The last decision on this item. Raises AssertionError naming those that there are."""
        for found in reversed(self.decisions):
            if found.item_id == item_id:
                return found
        there = listed([decision.item_id for decision in self.decisions])
        raise AssertionError(f"step {self.name!r} has no decision on {item_id!r}; it has {there}")

    def items(self, verdict: str | None = None, reason: str | None = None) -> list[str]:
        """Ids of the items with this verdict and reason, in the order of judging."""
        return [
            decision.item_id
            for decision in self.decisions
            if verdict in (None, decision.verdict) and reason in (None, decision.reason)
        ]


@dataclass(frozen=True, kw_only=True)
class RecordedRun:
    """A run with its finished steps."""

    run_id: str
    pipeline: str | None
    version: str | None
    entity: str | None
    status: str
    """``running``, ``completed``, ``crashed`` or ``cancelled``."""
    error: str | None
    """Message of the exception that left it."""
    outcome: str | None
    outcome_reason: str | None
    tags: Mapping[str, str]
    input: Any
    output: Any
    started_ns: int
    """Since the Unix epoch."""
    ended_ns: int | None
    """None while it runs."""
    steps: tuple[RecordedStep, ...]
    """In the order in which they began."""
    artifacts: tuple[Artifact, ...]
    attributes: Mapping[str, Any]
    """Everything as it is sent, by the names of the conventions."""

    def step(self, name: str, *, attempt: int | None = None) -> RecordedStep:
        """The one step of this name. Raises AssertionError when there is none or more than one."""
        return one_step(self.steps, name, attempt, f"run {self.pipeline!r}")


def one_step(steps: tuple[RecordedStep, ...], name: str, attempt: int | None, where: str) -> RecordedStep:
    found = [step for step in steps if step.name == name and attempt in (None, step.attempt)]
    what = f"step {name!r}" if attempt is None else f"attempt {attempt} of step {name!r}"
    return one(found, what, where, [step.name for step in steps])


def one(found: list[Found], what: str, where: str, names: list[str]) -> Found:
    if len(found) == 1:
        return found[0]
    number = "no" if not found else str(len(found))
    raise AssertionError(f"there is {number} {what} in {where}; there is {listed(names)}")


def listed(names: list[str]) -> str:
    if not names:
        return "nothing"
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(map(repr, names[:_SHOWN])) + more
