"""
For the tests of code that records: what it recorded, in memory, and without a server.

::

    from xray_otel import testing

    def test_dear_products_are_left_out():
        with testing.capture() as captured:
            recommend(product)
        step = captured.run("recommend").step("price filter")
        assert step.reasons == {"price_too_high": 2}
        assert step.decision("B07").threshold == 50.0

With pytest, the fixture ``xray_captured`` of ``xray_otel.pytest_plugin`` is the same for a
whole test. What is shown was encoded as for the server and decoded again: masked, cleaned, cut
and sampled as it would arrive there.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

from xray_otel import _setup
from xray_otel._client import Client
from xray_otel._transport import Answer, Payload
from xray_otel.settings import Capture, Mode, Settings

if TYPE_CHECKING:
    from xray_otel._captured import Wire

__all__ = ["Artifact", "Captured", "Decision", "RecordedRun", "RecordedStep", "capture"]

_FLUSH_TIMEOUT_S = 30.0
_SHOWN = 10


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
        there = _listed([decision.item_id for decision in self.decisions])
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
        return _one_step(self.steps, name, attempt, f"run {self.pipeline!r}")


class Captured:
    """What was recorded since ``capture()`` began; more each time that it is asked."""

    def __init__(self, received: _Memory) -> None:
        self._received = received
        self._last: Client | None = None

    @property
    def _client(self) -> Client:
        return self._last or _setup.client()  # configure() may have replaced it meanwhile

    @property
    def runs(self) -> tuple[RecordedRun, ...]:
        """All runs that have begun, the first to begin first."""
        return self._wire().recorded_runs()

    @property
    def steps(self) -> tuple[RecordedStep, ...]:
        """All steps that have ended, in runs and outside of any, the first to begin first."""
        return self._wire().recorded_steps()

    @property
    def losses(self) -> Mapping[tuple[str, str], int]:
        """What could not be sent, by (class, cause): ``{("artifact", "too_large"): 1}``."""
        self._flush()
        return dict(self._client.pipeline.losses)

    @property
    def failures(self) -> Mapping[str, int]:
        """Calls that were misused, by name; only in the mode ``best_effort``, in ``strict`` they raise."""
        return self._client.guard.failures

    def run(self, pipeline: str | None = None) -> RecordedRun:
        """The one run (of this pipeline). Raises AssertionError when there is none or more than one."""
        runs = self.runs
        found = [run for run in runs if pipeline in (None, run.pipeline)]
        what = "run" if pipeline is None else f"run of {pipeline!r}"
        return _one(found, what, "captured", [str(run.pipeline) for run in runs])

    def step(self, name: str, *, attempt: int | None = None) -> RecordedStep:
        """The one step of this name. Raises AssertionError when there is none or more than one."""
        return _one_step(self.steps, name, attempt, "all that was captured")

    def _wire(self) -> Wire:
        from xray_otel._captured import Wire  # it makes the classes of this module

        self._flush()
        return Wire(self._received.payloads())

    def _flush(self) -> None:
        if not self._client.pipeline.flush(_FLUSH_TIMEOUT_S):
            raise AssertionError(f"what was recorded could not be encoded within {_FLUSH_TIMEOUT_S:g} s")


@contextmanager
def capture(*, level: Capture = "full", mode: Mode = "strict") -> Iterator[Captured]:
    """
    Takes what the whole process records meanwhile, instead of sending it.

    level: ``XRAY_CAPTURE`` meanwhile. mode: ``strict`` raises misuse as UsageError where it
    happens, ``best_effort`` does what production does. All else stays as it was configured, the
    team's TracerProvider included, and what ``configure()`` says meanwhile counts, but for where
    to send to; it records also where X-Ray is disabled. Afterwards the client is what it was
    before. Not for two threads at once: a process has one client.

    Cost: as in production; each look at what was captured decodes all of it, 3 µs for a decision.
    """

    def adjust(settings: Settings) -> Settings:
        return replace(settings, capture=level, mode=mode, offline="drop", disabled=False)

    memory = _Memory()
    captured = Captured(memory)
    with _setup.standing_in(_setup.StandIn(adjust, lambda _: memory)):
        try:
            yield captured
        finally:
            captured._last = _setup.client()  # noqa: SLF001 - of the class above
            captured._last.pipeline.flush(_FLUSH_TIMEOUT_S)  # noqa: SLF001


class _Memory:
    """A transport that keeps what it is given."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._payloads: list[Payload] = []

    def send(self, payload: Payload, timeout_s: float) -> Answer:  # noqa: ARG002 - as the protocol has it
        with self._lock:
            self._payloads.append(payload)
        return Answer(True)

    def close(self) -> None:
        """Nothing is open."""

    def payloads(self) -> list[Payload]:
        with self._lock:
            return list(self._payloads)


Found = TypeVar("Found")


def _one_step(steps: tuple[RecordedStep, ...], name: str, attempt: int | None, where: str) -> RecordedStep:
    found = [step for step in steps if step.name == name and attempt in (None, step.attempt)]
    what = f"step {name!r}" if attempt is None else f"attempt {attempt} of step {name!r}"
    return _one(found, what, where, [step.name for step in steps])


def _one(found: list[Found], what: str, where: str, names: list[str]) -> Found:
    if len(found) == 1:
        return found[0]
    number = "no" if not found else str(len(found))
    raise AssertionError(f"there is {number} {what} in {where}; there is {_listed(names)}")


def _listed(names: list[str]) -> str:
    if not names:
        return "nothing"
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(map(repr, names[:_SHOWN])) + more
