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
from dataclasses import replace

from xray_otel import _setup
from xray_otel._captured import Wire
from xray_otel._client import Client
from xray_otel._recorded import Artifact, Decision, RecordedRun, RecordedStep, one, one_step
from xray_otel._transport import Answer, Payload
from xray_otel.settings import Capture, Mode, Settings

__all__ = ["Artifact", "Captured", "Decision", "RecordedRun", "RecordedStep", "capture"]

_FLUSH_TIMEOUT_S = 30.0


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
        return one(found, what, "captured", [str(run.pipeline) for run in runs])

    def step(self, name: str, *, attempt: int | None = None) -> RecordedStep:
        """The one step of this name. Raises AssertionError when there is none or more than one."""
        return one_step(self.steps, name, attempt, "all that was captured")

    def _wire(self) -> Wire:
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
