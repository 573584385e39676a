"""What a server refuses for its size, what hangs, and what a shutdown meets half done: kept, sent once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import grpc
import pytest

import xray_otel as xray
from tests.fixtures.otlp_receiver import GrpcReceiver, HttpReceiver, Receiver
from tests.fixtures.waiting import wait_until
from tests.xray_otel.test_spool import ROOT, Shed, assert_once, away, payload, record, segments, stored
from xray_otel import _setup
from xray_otel._columns import KEPT, Columns
from xray_otel._evidence import Evidence
from xray_otel._segments import Segment
from xray_otel._spool import Spool
from xray_otel._sync import main
from xray_otel._transport import HttpTransport, Payload, Signal
from xray_otel.settings import Settings

LIMIT_BYTES = 20_000
RUNS = 40
NOTHING = Payload(Signal.LOGS, b"")


def small(refusal: object) -> Any:
    """A server that takes small requests only."""
    return lambda request: refusal if request.ByteSize() > LIMIT_BYTES else None


def mixed() -> None:
    """Many small records, and one that is too large for any request."""
    for number in range(RUNS):
        record(number)
    with xray.run("r", run_id="large") as run:
        run.set_input("x" * 200)
        run.artifact("noise", os.urandom(LIMIT_BYTES))


def assert_all_but_the_large(receiver: Receiver, lost: dict[tuple[str, str], int]) -> None:
    received = receiver.received
    assert {span.name for span in received.spans("step")} == {f"s{number}" for number in range(RUNS)}
    assert len(received.events("xray.step.decisions")) == RUNS
    assert len(received.events("xray.run.start")) == len(received.spans("run")) == RUNS + 1
    assert lost == {("artifact", "refused"): 1}
    received.wait(lambda received: bool(received.events("xray.losses")))
    [report] = received.events("xray.losses")
    assert report.attributes["xray.run.id"] == "large"
    assert report.attributes["xray.losses.what"] == ["artifacts"]
    assert report.attributes["xray.losses.counts"] == [1]


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
def test_a_request_that_is_too_large_is_split(
    otlp_receiver: HttpReceiver, grpc_otlp_receiver: GrpcReceiver, protocol: Any
):
    """Only the record that is too large by itself is lost; all others arrive in smaller requests."""
    receiver = grpc_otlp_receiver if protocol == "grpc" else otlp_receiver
    receiver.answer = small(413 if protocol != "grpc" else grpc.StatusCode.RESOURCE_EXHAUSTED)
    xray.configure(endpoint=receiver.endpoint, protocol=protocol, flush_interval_ms=60_000)
    mixed()
    assert xray.flush(60)
    assert_all_but_the_large(receiver, _setup.client().pipeline.losses)


def test_a_stored_request_that_is_too_large_is_split(otlp_receiver: HttpReceiver, spool_dir: Path):
    """What lies on disk was encoded before anyone knew the server's limit; it arrives all the same."""
    away(otlp_receiver)
    xray.configure(endpoint=otlp_receiver.endpoint, flush_interval_ms=60_000)
    mixed()
    assert not xray.flush(0.5)
    stored()
    otlp_receiver.answer = small(413)
    assert xray.flush(60)
    assert xray.shutdown(20)  # sends the report, which else goes with the next success
    assert_all_but_the_large(otlp_receiver, _setup.client().pipeline.losses)
    wait_until(lambda: not segments(spool_dir), timeout_s=20, what="the spool is empty")


def test_sync_splits_what_is_too_large(otlp_receiver: HttpReceiver, spool_dir: Path, capsys):
    """``sync`` loses only the record that is too large by itself, and says so."""
    away(otlp_receiver)
    xray.configure(endpoint=otlp_receiver.endpoint, flush_interval_ms=60_000)
    mixed()
    xray.shutdown(2)
    otlp_receiver.answer = small(413)
    assert main(["sync", "--endpoint", otlp_receiver.endpoint]) == 1
    assert "lost: 1 of class artifact (refused)" in capsys.readouterr().err
    assert_all_but_the_large(otlp_receiver, {("artifact", "refused"): 1})


def test_what_overflows_while_a_request_hangs_goes_to_disk(otlp_receiver: HttpReceiver, spool_dir: Path):
    """With a request under way that is not answered, more than fits in memory is recorded; none is lost."""
    otlp_receiver.hold.clear()
    budget_bytes = 400_000
    xray.configure(
        endpoint=otlp_receiver.endpoint, buffer_bytes=budget_bytes, flush_interval_ms=1, export_timeout_s=60
    )
    pipeline = _setup.client().pipeline
    buffer, courier = pipeline._buffer, pipeline._courier
    record(0)
    wait_until(lambda: courier.line.in_exchange, timeout_s=20, what="a request is under way")
    for number in range(1, 40):
        record(number, candidates=5_000)
        wait_until(
            lambda: buffer.size_bytes * 2 <= budget_bytes, timeout_s=15, what="there is room in memory again"
        )
    assert segments(spool_dir)
    otlp_receiver.hold.set()
    assert xray.flush(60)
    assert_once(otlp_receiver.received, range(40))
    assert _setup.client().pipeline.losses == {}


def test_a_write_under_way_at_the_shutdown_is_not_repeated(otlp_receiver: HttpReceiver, spool_dir: Path):
    """What the sender is just putting on disk when the client is shut down lies there once."""
    away(otlp_receiver)
    courier = _setup.client().pipeline._courier
    spool = courier._spool
    assert spool is not None
    ended: list[bool] = []
    shutdown = threading.Thread(target=lambda: ended.append(xray.shutdown(6)))
    with spool._lock:  # the disk is slow
        record(1)
        wait_until(lambda: courier.writers == 1, timeout_s=20, what="the sender writes")
        shutdown.start()
        wait_until(lambda: courier.taken_over, timeout_s=20, what="the shutdown takes over")
    shutdown.join(20)
    assert ended == [False]
    otlp_receiver.answer = lambda request: None
    assert main(["sync", "--endpoint", otlp_receiver.endpoint]) == 0
    assert_once(otlp_receiver.received, [1])


def test_a_request_under_way_at_the_close_is_not_sent_again(otlp_receiver: HttpReceiver):
    """Closing ends a request on a kept-alive connection; it is not taken for one that the server closed."""
    transport = HttpTransport(Settings(endpoint=otlp_receiver.endpoint))
    assert transport.send(NOTHING, 10).delivered
    entered, go = threading.Event(), threading.Event()

    def answer(request: object) -> None:
        entered.set()
        go.wait(20)

    otlp_receiver.answer = answer
    answers: list[bool] = []
    sender = threading.Thread(target=lambda: answers.append(transport.send(NOTHING, 20).delivered))
    sender.start()
    assert entered.wait(20)
    transport.close()
    sender.join(10)
    assert answers == [False]
    go.set()
    otlp_receiver.received.wait(lambda received: len(received.sizes) == 2)
    # And after the close, which another thread may not have heard of, no connection is left open.
    assert not transport.send(NOTHING, 10).delivered
    assert transport._connection is None
    assert len(otlp_receiver.received.sizes) == 2


def test_a_port_for_grpc_is_named(grpc_otlp_receiver: GrpcReceiver):
    """Who mixes up the two ports hears of it, and not the bytes that came back."""
    transport = HttpTransport(Settings(endpoint=grpc_otlp_receiver.endpoint))
    answer = transport.send(NOTHING, 20)
    assert (answer.delivered, answer.retryable) == (False, True)
    assert answer.message.endswith("set XRAY_PROTOCOL=grpc")
    assert answer.message.isprintable()


def test_a_child_does_not_keep_the_parents_segments(tmp_path: Path):
    """A descriptor that a fork copied in the wrong moment holds no lock once the parent lets go."""
    spool = Spool(tmp_path, 10**8, Shed())
    path = spool.append(0, payload(1), ())
    assert path is not None
    copied = os.dup(spool._writing[0]._descriptor)  # shares the lock, as a forked child's does
    try:
        spool.seal()
        claimed = Segment.claim(path)
        assert claimed is not None
        claimed.close()
    finally:
        os.close(copied)


def test_a_child_lets_the_parents_segments_be(tmp_path: Path):
    """After a fork the child neither writes, frees nor deletes what the parent has open."""
    spool = Spool(tmp_path, 10**8, Shed())
    mine = spool.append(0, payload(1), ())
    child = os.fork()
    if child == 0:
        code = 1
        try:
            spool.reset_after_fork()
            theirs = spool.append(0, payload(2), ())
            found = [int(frame.payload.data[:6]) for one in spool.claim() for frame in one.frames()]
            code = 0 if theirs != mine and found == [2] else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert Segment.claim(mine) is None  # type: ignore[arg-type]
    assert spool.append(0, payload(3), ()) == mine
    spool.seal()
    claimed = Segment.claim(mine)  # type: ignore[arg-type]
    assert claimed is not None
    assert [int(frame.payload.data[:6]) for frame in claimed.frames()] == [1, 3]
    claimed.close()


def test_lost_evidence_is_counted_in_candidates():
    """When a chunk cannot be handed over, what was in it and behind it is counted, not what left before."""
    evidence = Evidence("full", 50, "seed", ())
    evidence.recorder.add(Columns([f"{number}-{'x' * 200}" for number in range(5_000)], KEPT * 5_000))
    sent: list[int] = []

    def send(chunk: Any, index: int, total: int | None) -> None:
        if index == 2:
            raise MemoryError
        sent.append(json.loads(chunk.text)["n"])

    with pytest.raises(MemoryError):
        evidence.finish(send)
    assert len(sent) == 2
    assert evidence.lost == 5_000 - sum(sent)


def test_a_stored_request_under_way_at_the_shutdown_is_not_repeated(
    otlp_receiver: HttpReceiver, spool_dir: Path
):
    """A shutdown hears the answer to what another process left, which else would be sent a second time."""
    name = otlp_receiver.endpoint.replace(":", "%3A").replace("/", "%2F")
    left = Spool(spool_dir / name, 10**8, Shed())
    left.append(0, NOTHING, ())
    left.seal()
    entered, go = threading.Event(), threading.Event()

    def answer(request: Any) -> None:
        if not request.ByteSize():  # what was left
            entered.set()
            go.wait(20)

    otlp_receiver.answer = answer
    xray.configure(endpoint=otlp_receiver.endpoint, flush_interval_ms=1)
    record(1)
    assert entered.wait(20)
    courier = _setup.client().pipeline._courier
    shutdown = threading.Thread(target=xray.shutdown, args=(20,))
    shutdown.start()
    wait_until(lambda: courier.taken_over, timeout_s=20, what="the shutdown takes over")
    go.set()
    shutdown.join(20)
    assert main(["sync", "--endpoint", otlp_receiver.endpoint]) == 0
    assert otlp_receiver.received.sizes.count(0) == 1
    assert segments(spool_dir) == []


LAZY = """
import sys
import xray_otel as xray
xray.configure()
before = set(sys.modules)
with xray.run("r"), xray.step("s", type="filter") as step:
    step.accept("a")
assert xray.flush(20)
print(sorted(set(sys.modules) - before))
"""


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
def test_the_sender_imports_nothing(
    otlp_receiver: HttpReceiver, grpc_otlp_receiver: GrpcReceiver, protocol: str
):
    """A process forked while a thread imports a module has half of it; so threads of X-Ray's import none."""
    receiver = grpc_otlp_receiver if protocol == "grpc" else otlp_receiver
    result = subprocess.run(
        [sys.executable, "-c", LAZY],
        cwd=ROOT,
        env=os.environ | {"XRAY_ENDPOINT": receiver.endpoint, "XRAY_PROTOCOL": protocol},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (result.returncode, result.stdout) == (0, "[]\n"), result.stderr
