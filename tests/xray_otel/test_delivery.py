"""What is delivered and what is lost: overload, refusals, an absent server, exit and fork."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import grpc
import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsServiceRequest,
    ExportLogsServiceResponse,
)

import xray_otel as xray
from tests.fixtures.otlp_receiver import GrpcReceiver, HttpReceiver
from tests.fixtures.waiting import wait_until
from xray_otel import _setup

ROOT = Path(__file__).parents[2]


def losses() -> dict[tuple[str, str], int]:
    return _setup.client().pipeline.losses


def evidence(number: int) -> None:
    with xray.step(f"s{number}", type="filter") as step:
        step.record([f"{number}-{item}" for item in range(2000)], "E", "no", texts=f"text of {number}")


def test_overload_sheds_evidence_and_delivers_every_step(otlp_receiver: HttpReceiver):
    """With the server stalled and the budget full, evidence is lost and counted; no run or step is."""
    otlp_receiver.hold.clear()
    xray.configure(
        endpoint=otlp_receiver.endpoint,
        buffer_bytes=400_000,
        flush_interval_ms=1,
        export_timeout_s=30,
        offline="drop",
    )
    with xray.run("r") as run:
        for number in range(200):
            evidence(number)
            run.artifact("big", b"x" * 10_000)
    otlp_receiver.hold.set()
    assert xray.flush(20)
    received = otlp_receiver.received
    assert sorted(span.name for span in received.spans("step")) == sorted(
        f"s{number}" for number in range(200)
    )
    assert len(received.spans("run")) == len(received.events("xray.run.start")) == 1
    lost = losses()
    assert set(lost) <= {("decisions", "buffer_full"), ("artifact", "buffer_full")}
    assert len(received.events("xray.step.decisions")) + lost["decisions", "buffer_full"] == 200
    assert len(received.events("xray.artifact")) + lost["artifact", "buffer_full"] == 200
    assert lost["decisions", "buffer_full"] > 0


def test_an_outage_is_ridden_out(otlp_receiver: HttpReceiver):
    """What was recorded while the server said 503 arrives once when it is back."""
    otlp_receiver.answer = lambda request: 503
    xray.configure(endpoint=otlp_receiver.endpoint, flush_interval_ms=1)
    with xray.run("r"):
        evidence(1)
    assert not xray.flush(0.3)
    otlp_receiver.answer = lambda request: None
    assert xray.flush(10)
    assert len(otlp_receiver.received.spans()) == 2
    assert len(otlp_receiver.received.events("xray.step.decisions")) == 1
    assert losses() == {}


def test_the_servers_wish_to_wait_is_honoured(otlp_receiver: HttpReceiver):
    """A Retry-After of an overloaded server holds the next attempt back, whatever case it is written in."""
    tries: list[float] = []

    def answer(request):
        tries.append(time.monotonic())
        return (503, {"retry-after": "2"}) if len(tries) == 1 else None

    otlp_receiver.answer = answer
    xray.configure(endpoint=otlp_receiver.endpoint, flush_interval_ms=1)
    with xray.run("r"):
        pass
    otlp_receiver.received.wait(lambda received: len(received.spans("run")) == 1)
    assert tries[1] - tries[0] >= 1.9


def test_refused_evidence_takes_no_metrics_with_it(otlp_receiver: HttpReceiver):
    """When the server refuses a request with evidence for good, exactly that evidence counts as lost."""
    otlp_receiver.answer = lambda request: 413 if request.ByteSize() > 20_000 else None
    xray.configure(endpoint=otlp_receiver.endpoint)
    with xray.run("r"):
        evidence(1)
    assert xray.flush(10)
    assert len(otlp_receiver.received.spans()) == 2
    assert losses() == {("decisions", "refused"): 1}


@pytest.mark.parametrize("status", [302, 400, 404, 500])
def test_other_statuses_are_losses_not_success(otlp_receiver: HttpReceiver, status):
    """A redirect or an error that is not to be retried counts as lost, and nothing blocks."""
    otlp_receiver.answer = lambda request: status
    xray.configure(endpoint=otlp_receiver.endpoint)
    with xray.run("r"):
        pass
    assert xray.flush(10)
    assert losses() == {("run", "refused"): 2}


def test_partial_success_is_counted(otlp_receiver: HttpReceiver):
    """Records that the server rejects of a request it takes count as rejected."""

    def answer(request):
        if not isinstance(request, ExportLogsServiceRequest):
            return None
        response = ExportLogsServiceResponse()
        response.partial_success.rejected_log_records = 1
        response.partial_success.error_message = "unreadable"
        return response

    otlp_receiver.answer = answer
    xray.configure(endpoint=otlp_receiver.endpoint)
    with xray.run("r"):
        evidence(1)
    assert xray.flush(10)
    assert losses() == {("run", "rejected"): 1, ("decisions", "rejected"): 1}


def test_grpc_failures(grpc_otlp_receiver: GrpcReceiver):
    """UNAVAILABLE is tried again and delivered; INVALID_ARGUMENT is lost and counted."""
    answers = [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.INVALID_ARGUMENT]
    grpc_otlp_receiver.answer = lambda request: answers.pop(0) if answers else None
    xray.configure(endpoint=grpc_otlp_receiver.endpoint, protocol="grpc")
    with xray.run("r"):
        pass
    assert xray.flush(10)
    assert sum(losses().values()) in (1, 2)
    assert set(losses()) == {("run", "refused")}


def test_offline_drop(unused_endpoint: str):
    """With ``offline`` set to drop, what cannot be delivered is lost at once and counted."""
    xray.configure(endpoint=unused_endpoint, offline="drop", flush_interval_ms=1)
    with xray.run("r"):
        evidence(1)
    assert xray.flush(10)
    assert losses() == {("run", "offline"): 2, ("step", "offline"): 1, ("decisions", "offline"): 1}


def test_too_large_an_artifact(otlp_receiver: HttpReceiver):
    """Of an artifact beyond the limit, size and hash arrive, and the payload counts as lost."""
    xray.configure(endpoint=otlp_receiver.endpoint, artifact_bytes=100)
    with xray.run("r") as run:
        run.artifact("blob", b"x" * 101)
    assert xray.flush(10)
    [event] = otlp_receiver.received.events("xray.artifact")
    assert event.attributes["xray.artifact.size"] == 101
    assert "xray.artifact.data" not in event.attributes
    assert losses() == {("artifact", "too_large"): 1}


def test_after_shutdown_nothing_is_taken_in(otlp_receiver: HttpReceiver):
    """Shutdown is safe to call twice; what is recorded later is lost and counted."""
    xray.configure(endpoint=otlp_receiver.endpoint)
    assert xray.shutdown()
    assert xray.shutdown()
    with xray.run("r"):
        evidence(1)
    assert losses() == {("run", "shutdown"): 2, ("step", "shutdown"): 1, ("decisions", "shutdown"): 1}


def test_what_is_under_way_at_shutdown_counts_as_lost(otlp_receiver: HttpReceiver):
    """A request that fails after the shutdown's time was over is counted: nothing stays in between."""
    otlp_receiver.hold.clear()
    otlp_receiver.answer = lambda request: 503
    xray.configure(endpoint=otlp_receiver.endpoint, flush_interval_ms=1, offline="drop")
    with xray.run("r"):
        evidence(1)
    pipeline = _setup.client().pipeline
    assert not xray.shutdown(0.2)
    otlp_receiver.hold.set()
    wait_until(lambda: pipeline.pending == 0, timeout_s=10, what="everything is settled")
    assert losses() == {("run", "shutdown"): 2, ("step", "shutdown"): 1, ("decisions", "shutdown"): 1}


def test_strict_mode_reports_an_undelivered_run(unused_endpoint: str):
    """In strict mode the exit of a run whose telemetry was not acknowledged raises DeliveryError."""
    xray.configure(endpoint=unused_endpoint, mode="strict", export_timeout_s=0.3)
    with pytest.raises(xray.DeliveryError) as caught, xray.run("r") as run:
        pass
    assert (caught.value.run_id, caught.value.lost, caught.value.pending) == (run.run_id, 0, 2)
    xray.configure(mode="best_effort", exit_timeout_s=0.1)


def python(code: str, **settings: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=os.environ | settings,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


BROKEN = """
import threading
import xray_otel as xray
threading.stack_size(2**45)  # no thread can start
with xray.run("r"):
    with xray.step("s", type="filter") as step:
        step.accept("a")
print("done")
"""


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"OTEL_SPAN_EVENT_COUNT_LIMIT": "many"},
        {"OTEL_PYTHON_TRACER_PROVIDER": "nonesuch"},
        {"OTEL_SERVICE_NAME": "caf\udce9"},
        {"XRAY_EXPORT_TIMEOUT_S": "soon"},
    ],
)
def test_a_broken_environment_does_not_reach_the_program(settings, unused_endpoint):
    """Bad settings of OpenTelemetry's or X-Ray's, or no thread to be had: the program runs to its end."""
    code = BROKEN if not settings else BROKEN.replace("threading.stack_size", "# ")
    result = python(code, XRAY_ENDPOINT=unused_endpoint, XRAY_EXIT_TIMEOUT_S="0.2", **settings)
    assert (result.returncode, result.stdout) == (0, "done\n"), result.stderr


def test_a_resource_that_is_no_text_loses_nothing(otlp_receiver: HttpReceiver):
    """A service name of the environment that is no UTF-8 arrives cleaned, and everything with it."""
    result = python(PROGRAM, XRAY_ENDPOINT=otlp_receiver.endpoint, OTEL_SERVICE_NAME="caf\udce9")
    assert result.returncode == 0
    assert len(otlp_receiver.received.events("xray.run.start")) == 20
    assert otlp_receiver.received.events("xray.run.start")[0].resource["service.name"] == "caf?"


PROGRAM = """
import time
import xray_otel as xray
started = time.monotonic()
for number in range(20):
    with xray.run("r"):
        with xray.step("s", type="filter") as step:
            step.record([str(i) for i in range(1000)], "E", "no")
print(time.monotonic() - started)
"""


def test_an_absent_server_neither_slows_nor_holds_the_program(unused_endpoint: str):
    """Without a server the program runs at full speed, and its exit leaves everything on disk."""
    code = PROGRAM + "import atexit; atexit.register(lambda: None); print(time.monotonic())"
    result = python(code, XRAY_ENDPOINT=unused_endpoint)
    ended = time.monotonic()
    took, at_exit = (float(line) for line in result.stdout.split())
    assert result.returncode == 0, result.stderr
    assert took < 1.0
    assert ended - at_exit < 2.8
    # Of each run: its start, its span, its step's span and one chunk of decisions.
    assert result.stderr.splitlines()[-1].startswith(
        f"xray_otel shutdown: 80 records wait for {unused_endpoint} in "
    )
    assert len(result.stderr.splitlines()) <= 3


def test_the_exit_says_how_much_was_refused(otlp_receiver: HttpReceiver):
    """Of many refusals one line a minute is written; the last one has the records of all."""
    otlp_receiver.answer = lambda request: 403
    result = python(PROGRAM, XRAY_ENDPOINT=otlp_receiver.endpoint, XRAY_EXIT_TIMEOUT_S="30")
    assert result.returncode == 0, result.stderr
    assert result.stderr.splitlines()[-1].startswith("xray_otel shutdown: 80 records lost in all")


def test_exit_delivers_what_waits(otlp_receiver: HttpReceiver):
    """A program that just ends has delivered everything, without a call to flush."""
    result = python(PROGRAM, XRAY_ENDPOINT=otlp_receiver.endpoint, XRAY_FLUSH_INTERVAL_MS="60000")
    assert (result.returncode, result.stderr) == (0, "")
    assert len(otlp_receiver.received.spans("run")) == 20
    assert len(otlp_receiver.received.events("xray.step.decisions")) == 20


FORK = """
import os, sys
import xray_otel as xray
with xray.run("r", run_id="parent"):
    with xray.step("before"):
        pass
    child = os.fork()
    with xray.step("child" if child == 0 else "parent"):
        pass
    if child == 0:
        sys.exit(0)
    assert os.waitpid(child, 0)[1] == 0
"""


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
def test_a_forked_child_delivers_its_own(otlp_receiver, grpc_otlp_receiver, protocol):
    """After a fork each process delivers its own steps, none twice."""
    receiver = grpc_otlp_receiver if protocol == "grpc" else otlp_receiver
    result = python(FORK, XRAY_ENDPOINT=receiver.endpoint, XRAY_PROTOCOL=protocol)
    assert result.returncode == 0, result.stderr
    steps = sorted(span.name for span in receiver.received.spans("step"))
    assert steps == ["before", "child", "parent"]
    assert {span.attributes["xray.run.id"] for span in receiver.received.spans("step")} == {"parent"}
