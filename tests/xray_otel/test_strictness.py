"""What strict mode refuses, and what best effort only counts and logs."""

from __future__ import annotations

import logging
import threading
from datetime import datetime
from typing import Any

import pytest

import xray_otel as xray
from tests.fixtures.otlp_receiver import HttpReceiver, Received
from xray_otel import _setup


class Unnamed:
    """An item without an id."""


@pytest.mark.parametrize(
    "misuse",
    [
        lambda step: step.accept({"asin": "B1"}),
        lambda step: step.accept(Unnamed()),
        lambda step: step.record([{"id": "a"}], "K", key="asin"),
        lambda step: step.filter([Unnamed()], bool),
        lambda step: step.model("m", temperature="warm"),
        lambda step: step.sources({"index": "many"}),
        lambda step: step.sources(["index"]),
        lambda step: step.sources({str(n): n for n in range(300)}),
        lambda step: step.fields(None, ["price"]),
        lambda step: step.fields([], map(str, range(70))),
        lambda step: step.reasons(*map(str, range(300))),
        lambda step: step.score("a", "high"),
        lambda step: step.accept("a", score="high"),
        lambda step: step.record(["a"], "K", scores=["high"]),
        lambda step: step.accept("a", checks=[("price", 5, 4, False)]),
        lambda step: step.accept("a", checks={"name": "price"}),
        lambda step: step.accept("a", checks=[{"name": "price"}, {"value": 1}]),
        lambda step: step.accept("a", checks=[{"name": "price", "pased": True}]),
        lambda step: step.accept("a", checks=[{"name": str(n)} for n in range(40)]),
        lambda step: xray.current_run().wait("tomorrow"),  # type: ignore[arg-type]
        lambda step: xray.current_run().wait(datetime(2030, 1, 1)),  # noqa: DTZ001 - the point of the test
        lambda step: xray.carry(5),  # type: ignore[arg-type]
    ],
)
def test_strict_mode_refuses(traced: Received, misuse: Any):
    """In strict mode what cannot be recorded as it stands raises UsageError, at the call."""
    with xray.run("r"), xray.step("s") as step, pytest.raises(xray.UsageError):
        misuse(step)


def test_strict_mode_refuses_a_top_k_that_is_no_number(traced: Received):
    """top_k is checked when the step is entered."""
    with xray.run("r"), pytest.raises(xray.UsageError), xray.step("s", top_k="ten"):  # type: ignore[arg-type]
        pass


def test_what_is_said_outside_of_a_step_is_not_lost_silently(traced: Received):
    """Forgetting the ``with``, or speaking to a step that has ended, raises in strict mode."""
    with xray.run("r"):
        forgotten = xray.step("forgotten")
        with pytest.raises(xray.UsageError, match="does not record"):
            forgotten.accept("a")
        with xray.step("ended") as step:
            pass
        for say in (
            lambda: step.reject("a", "late"),
            lambda: step.filter(["a"], bool),
            lambda: step.metric("m", 1),
            lambda: step.artifact("prompt", "text"),
            lambda: xray.current_step().why("nobody listens"),
        ):
            with pytest.raises(xray.UsageError, match="does not record"):
                say()
    with pytest.raises(xray.UsageError, match="does not record"):
        xray.current_run().outcome("late")


def test_misuse_is_named_as_it_was_called(otlp_receiver: HttpReceiver, caplog: pytest.LogCaptureFixture):
    """In best effort a message is one line and names the public method, and what cannot be is counted."""
    xray.configure(endpoint=otlp_receiver.endpoint)
    with caplog.at_level(logging.WARNING, "xray_otel"), xray.run("r") as run:
        with xray.step("s") as step:
            step.metric("speed", "fast\nvery")  # type: ignore[arg-type]
            step.sources("many")  # type: ignore[arg-type]
            step.accept("a", checks=[{"name": "price", "pased": True}])
            step.score("a", "high")  # type: ignore[arg-type]
            for number in range(300):
                step.reject("b", f"differs by {number}")
        run.wait("tomorrow")  # type: ignore[arg-type]
    [line] = [record.getMessage() for record in caplog.records]
    assert line.startswith("xray_otel step.metric: UsageError: metric 'speed' must be a finite number")
    assert "\n" not in line
    # Of the step: checks, the score, the reasons beyond those that are counted.
    assert _setup.client().guard.failures == {"step.metric": 1, "step.sources": 1, "step": 3, "run": 1}
    xray.flush()
    assert len(otlp_receiver.received.events("xray.run.wait")) == 1


def test_entered_twice(traced: Received):
    """Entering a run or step again is refused, and the first time goes on."""
    with xray.run("r") as run, xray.step("s") as step:
        for again in (run, step):
            with pytest.raises(xray.UsageError, match="entered twice"):
                again.__enter__()
        step.accept("a")
        run.tag("k", "v")
    xray.flush()
    assert traced.step("s").attributes["xray.candidates.kept"] == 1
    assert traced.spans("run")[0].attributes["xray.run.tag.k"] == "v"


@pytest.mark.parametrize("disabled", [True, False])
def test_code_outside_of_any_step_may_speak(otlp_receiver: HttpReceiver, disabled: bool):
    """current_step() and current_run() are always there: off or outside they record nothing."""
    xray.configure(endpoint=otlp_receiver.endpoint, disabled=disabled)
    xray.current_step().metric("m", 1.0)
    xray.current_run().tag("k", "v")
    if disabled:
        with xray.run("r"), xray.step("s"):
            xray.current_step().why("no crash when X-Ray is off")
    failures = _setup.client().guard.failures
    assert bool(failures) is not disabled


def test_concurrent_strict_runs_do_not_blame_each_other(otlp_receiver: HttpReceiver):
    """A run whose telemetry is acknowledged ends well while other threads go on recording."""
    xray.configure(endpoint=otlp_receiver.endpoint, mode="strict", flush_interval_ms=1)
    errors: list[BaseException] = []

    def work() -> None:
        try:
            for _ in range(10):
                with xray.run("r"), xray.step("s") as step:
                    step.accept("a")
        except BaseException as error:  # noqa: BLE001 - a thread hands over what it met
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []


class Recording(logging.Handler):
    """A handler of the host's that is instrumented itself."""

    def emit(self, record: logging.LogRecord) -> None:
        with xray.step("log"):
            pass


class Broken(logging.Handler):
    """A handler of the host's that raises."""

    def emit(self, record: logging.LogRecord) -> None:
        raise RuntimeError("disk full")


@pytest.mark.parametrize("handler", [Recording(), Broken()])
def test_the_hosts_log_handlers_can_do_no_harm(otlp_receiver: HttpReceiver, handler: logging.Handler):
    """A handler that records steps itself does not block; one that raises does not reach the pipeline."""
    xray.configure(endpoint=otlp_receiver.endpoint, buffer_bytes=65_536, flush_interval_ms=60_000)
    logger = logging.getLogger("xray_otel")
    logger.addHandler(handler)

    def overfill() -> None:
        with xray.run("r") as run:
            for _ in range(10):
                run.artifact("big", b"x" * 20_000)

    worker = threading.Thread(target=overfill, daemon=True)
    try:
        worker.start()
        worker.join(10)
        assert not worker.is_alive()
    finally:
        logger.removeHandler(handler)
    assert _setup.client().pipeline.losses["artifact", "buffer_full"] > 0


def test_a_finalizer_may_record(traced: Received):
    """Code that runs on the thread that is just filling the buffer can record itself."""
    changed = _setup.client().pipeline._changed

    def work() -> None:
        with changed, xray.run("r"):
            pass

    worker = threading.Thread(target=work, daemon=True)
    worker.start()
    worker.join(10)
    assert not worker.is_alive()
