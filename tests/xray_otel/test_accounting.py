"""Whatever goes wrong on the way, a record is delivered or counted as lost, and nobody waits for it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsServiceRequest,
    ExportLogsServiceResponse,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event as SpanEvent
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider

import xray_otel as xray
from tests.fixtures.odd_values import Text
from tests.fixtures.otlp_receiver import HttpReceiver
from xray_otel import _setup, semconv
from xray_otel._buffer import Event, Priority
from xray_otel._client import connect
from xray_otel._guard import Guard
from xray_otel._otlp import estimate_bytes
from xray_otel._pipeline import Pipeline
from xray_otel._transport import Answer, Payload
from xray_otel.errors import SettingsError
from xray_otel.settings import Settings

ROOT = Path(__file__).parents[2]


def event(name: str = semconv.EVENT_RUN_START, **attributes: object) -> Event:
    return Event(name, 1, {semconv.RUN_ID: "run-1"} | attributes, Resource.get_empty())


def run_program(code: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=os.environ | environ,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_a_disk_that_fails_in_a_way_of_its_own_leaves_memory(otlp_receiver: HttpReceiver):
    """Whatever storing raises, records stay in memory and arrive, and the shutdown raises nothing."""
    otlp_receiver.answer = lambda request: 503
    settings = Settings(endpoint=otlp_receiver.endpoint, spool_dir="a\0b", flush_interval_ms=1)
    pipeline = Pipeline(settings, Guard("best_effort"), connect)
    pipeline.offer_event(Priority.RUN, event())
    assert not pipeline.flush(0.5)
    otlp_receiver.answer = lambda request: None
    assert pipeline.flush(20)
    assert len(otlp_receiver.received.events(semconv.EVENT_RUN_START)) == 1
    otlp_receiver.answer = lambda request: 503
    pipeline.offer_event(Priority.RUN, event())
    assert not pipeline.shutdown(0.5)
    assert pipeline.losses == {("run", "shutdown"): 1}
    assert pipeline.pending == 0


def test_a_stored_file_that_cannot_be_opened_holds_nothing_up(otlp_receiver: HttpReceiver, tmp_path: Path):
    """Neither what lies beside it nor what is recorded from then on: it says nothing of the server."""
    settings = Settings(endpoint=otlp_receiver.endpoint, spool_dir=str(tmp_path), flush_interval_ms=1)
    ended = Pipeline(settings, Guard("best_effort"), connect)
    otlp_receiver.answer = lambda request: 503
    ended.offer_event(Priority.RUN, event())
    assert not ended.shutdown(1)
    otlp_receiver.answer = lambda request: None
    otlp_receiver.received.records.clear()
    [folder] = tmp_path.iterdir()
    (folder / "0-00000000000000000000-1-00000000.spool1").mkdir()
    pipeline = Pipeline(settings, Guard("best_effort"), connect)
    pipeline.offer_event(Priority.RUN, event())
    received = otlp_receiver.received
    received.wait(lambda received: len(received.events(semconv.EVENT_RUN_START)) == 2, 20)
    for _ in range(3):
        pipeline.offer_event(Priority.RUN, event())
        assert pipeline.flush(20)
    assert [path.is_dir() for path in folder.iterdir()] == [True]
    assert pipeline.shutdown(20)


def test_a_path_that_can_be_none_is_no_setting(otlp_receiver: HttpReceiver):
    """A NUL cannot be part of a path: the default folder is used, and the mode strict says so."""
    with pytest.raises(SettingsError, match="XRAY_SPOOL_DIR"):
        xray.configure(endpoint=otlp_receiver.endpoint, spool_dir="a\0b", mode="strict")
    xray.configure(endpoint=otlp_receiver.endpoint, spool_dir="a\0b")
    assert "\0" not in _setup.client().settings.spool_dir


class OddTransport:
    """Answers something that nobody can work with."""

    def send(self, payload: Payload, timeout_s: float) -> Answer:
        return Answer(False, retryable=True, retry_after_s="soon")  # type: ignore[arg-type]

    def close(self) -> None:
        """Nothing is open."""


@pytest.mark.parametrize("offline", ["buffer", "drop"])
def test_what_the_sender_cannot_deal_with_is_lost_at_once(offline: Any):
    """An exception on the way costs the records that it is about, and nobody waits for them."""
    pipeline = Pipeline(
        Settings(offline=offline, flush_interval_ms=1), Guard("best_effort"), lambda _: OddTransport()
    )
    for _ in range(3):
        pipeline.offer_event(Priority.STEP, event(semconv.EVENT_STEP))
    assert pipeline.flush(20)
    assert pipeline.losses == {("step", "encoding"): 3}
    assert pipeline.pending == 0
    pipeline.shutdown(1)


class Unasked(dict[str, Any]):
    """Can be gone through, and does not answer."""

    def get(self, key: Any, default: Any = None) -> Any:
        raise RuntimeError("no value")


@pytest.mark.parametrize("attributes", [{semconv.RUN_ID: Text("run-1")}, Unasked({semconv.RUN_ID: "run-1"})])
def test_what_cannot_say_its_run_is_counted_without(otlp_receiver: HttpReceiver, attributes: dict[str, Any]):
    """A run id that cannot be a key, or that raises: the record counts all the same."""
    otlp_receiver.answer = lambda request: 400
    xray.configure(endpoint=otlp_receiver.endpoint, flush_interval_ms=1)
    pipeline = _setup.client().pipeline
    odd = Event(semconv.EVENT_STEP, 1, attributes, Resource.get_empty())
    pipeline.offer_event(Priority.STEP, odd)
    assert xray.flush(20)
    assert pipeline.losses == {("step", "refused"): 1}


def test_rejected_outcomes_are_told_from_their_runs(otlp_receiver: HttpReceiver):
    """What a server rejects of a request with outcomes counts as outcomes, up to as many as there were."""

    def answer(request: Any) -> Any:
        response = ExportLogsServiceResponse()
        if isinstance(request, ExportLogsServiceRequest):
            response.partial_success.rejected_log_records = 2
        return response

    otlp_receiver.answer = answer
    xray.configure(endpoint=otlp_receiver.endpoint, flush_interval_ms=60_000)
    pipeline = _setup.client().pipeline
    pipeline.offer_event(Priority.RUN, event())
    xray.outcome("run-1", "refund", True)
    assert xray.flush(20)
    assert pipeline.losses == {("outcome", "rejected"): 1, ("run", "rejected"): 1}


def test_nested_attributes_and_events_of_a_span_have_a_size(otlp_receiver: HttpReceiver):
    """The budget of bytes holds whatever form the attributes of the team's spans have."""
    deep: Any = "x" * 1000
    for _ in range(5000):
        deep = [deep]
    assert estimate_bytes({"a": {"b": ["x" * 1000, {"c": b"x" * 1000}]}}) > 2000
    assert 0 < estimate_bytes({"a": deep}) < 1_000_000
    otlp_receiver.answer = lambda request: 503
    settings = Settings(endpoint=otlp_receiver.endpoint, offline="drop", flush_interval_ms=60_000)
    pipeline = Pipeline(settings, Guard("best_effort"), connect)
    seen = [SpanEvent("exception", {"exception.stacktrace": "x" * 10_000}, 1) for _ in range(3)]
    pipeline.offer_span(Priority.STEP, ReadableSpan(name="s", events=seen), {})
    assert pipeline._buffer.size_bytes > 30_000
    pipeline.shutdown(0.1)


FORK = """
import os, sys
import xray_otel as xray
with xray.run("r", run_id="parent"):
    with xray.step("s", type="filter") as step:
        step.accept("a")
        child = os.fork()
        if child == 0:
            step.record([f"c{number}" for number in range(20_000)], "kept")  # as many as leave at once
            with xray.step("in the child", type="filter") as own:
                own.accept("a")
            sys.exit(3)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 3
        step.reject("b", "too_dear")
"""


@pytest.mark.parametrize("mode", ["best_effort", "strict"])
def test_what_is_open_at_a_fork_is_ended_by_its_own_process(otlp_receiver: HttpReceiver, mode: str):
    """A child that leaves through the ``with`` of its parent says nothing of the parent's run and step."""
    result = run_program(FORK, XRAY_ENDPOINT=otlp_receiver.endpoint, XRAY_MODE=mode)
    assert result.returncode == 0, result.stderr
    received = otlp_receiver.received
    assert [span.attributes["xray.run.status"] for span in received.spans("run")] == ["completed"]
    assert Counter(span.name for span in received.spans("step")) == {"s": 1, "in the child": 1}
    assert received.step("s").attributes["xray.candidates.in"] == 2
    assert len(received.events(semconv.EVENT_STEP_DECISIONS)) == 2


INTERRUPTED = """
import os, signal, threading
import xray_otel as xray
interrupt = []
def mask(text):
    if interrupt and interrupt.pop():
        os.kill(os.getpid(), signal.SIGTERM)  # while the exit writes what waits to the disk
    return text
xray.configure(mask=mask)
threading.stack_size(2**45)  # no thread can start, so that it is the exit that writes
for number in range(20):
    with xray.run("r"), xray.step(f"s{number}", type="filter") as step:
        step.accept("a")
interrupt.append(True)
"""


def test_a_signal_while_the_exit_stores_loses_nothing(
    otlp_receiver: HttpReceiver, unused_endpoint: str, spool_dir: Path
):
    """SIGTERM in the middle of the exit's own writing: the rest is written before the process ends."""
    result = run_program(INTERRUPTED, XRAY_ENDPOINT=unused_endpoint, XRAY_EXIT_TIMEOUT_S="20")
    assert result.returncode == -15, result.stderr
    [folder] = spool_dir.iterdir()
    folder.rename(spool_dir / otlp_receiver.endpoint.replace(":", "%3A").replace("/", "%2F"))
    synced = subprocess.run(
        [sys.executable, "-m", "xray_otel", "sync", "--endpoint", otlp_receiver.endpoint],
        cwd=ROOT,
        capture_output=True,
        timeout=120,
        check=False,
    )
    assert synced.returncode == 0, synced.stderr
    names = {span.name for span in otlp_receiver.received.spans("step")}
    assert names == {f"s{number}" for number in range(20)}
    assert len(otlp_receiver.received.events(semconv.EVENT_STEP_DECISIONS)) == 20


def test_a_class_that_cannot_say_its_name_loses_no_step(otlp_receiver: HttpReceiver):
    """An exception of a class that raises when it is asked for its name marks its step as failed."""

    class Nameless(type):
        def __getattribute__(cls, name: str) -> Any:
            if name in ("__qualname__", "__module__"):
                raise RuntimeError("no name")
            return super().__getattribute__(name)

    class Failure(Exception, metaclass=Nameless):
        pass

    xray.configure(endpoint=otlp_receiver.endpoint, flush_interval_ms=1)
    with pytest.raises(Failure), xray.run("r"), xray.step("s"):
        raise Failure
    assert xray.flush(20)
    assert otlp_receiver.received.step("s").attributes[semconv.ERROR_TYPE]
    assert otlp_receiver.received.spans("run")[0].attributes["xray.run.status"] == "crashed"


class Failing(SpanProcessor):
    """A processor of the team's that raises, out of the end of every span."""

    def on_end(self, span: ReadableSpan) -> None:
        raise RuntimeError("no")


@pytest.mark.parametrize("order", ["before", "after"])
def test_a_processor_that_fails_costs_what_is_counted(otlp_receiver: HttpReceiver, order: str):
    """What a processor of the team's keeps from X-Ray by an exception counts as lost, and nothing else."""
    provider = TracerProvider()
    if order == "before":
        provider.add_span_processor(Failing())
    xray.configure(endpoint=otlp_receiver.endpoint, flush_interval_ms=1, tracer_provider=provider)
    if order == "after":
        provider.add_span_processor(Failing())
    with xray.run("r", run_id="run-1"), xray.step("s", type="filter") as step:
        step.accept("a")
    assert xray.flush(20)
    received, losses = otlp_receiver.received, _setup.client().pipeline.losses
    if order == "after":
        assert len(received.spans("step")) == len(received.spans("run")) == 1
        assert losses == {}
    else:
        assert losses == {("step", "encoding"): 1, ("run", "encoding"): 1}
        received.wait(lambda received: len(received.events(semconv.EVENT_LOSSES)) > 0)
        assert {e.attributes[semconv.RUN_ID] for e in received.events(semconv.EVENT_LOSSES)} == {"run-1"}
