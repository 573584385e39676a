"""An outage under load, and many threads: nothing is lost, doubled or mixed, or the ledger says what."""

from __future__ import annotations

import os
import threading
import time
from collections import Counter

import pytest

import xray_otel as xray
from tests.fixtures.otlp_receiver import HttpReceiver, Received
from tests.fixtures.waiting import wait_until
from xray_otel import _setup

OUTAGE_S = float(os.environ.get("XRAY_TEST_CHAOS_S", "2"))
"""How long the server is away."""
CANDIDATES = 20
THREADS = 8
STEPS = 10_000 if "XRAY_TEST_CHAOS_S" in os.environ else 1_000
"""Steps of each thread."""


def load(receiver: HttpReceiver) -> int:
    """Records runs at a steady rate while the server goes away and comes back; returns how many."""
    outage = threading.Thread(target=go_away, args=(receiver,))
    outage.start()
    recorded = 0
    while outage.is_alive():
        with xray.run("r"), xray.step("s", type="filter") as step:
            step.record([f"{recorded}-{item}" for item in range(CANDIDATES)], "E", "no")
        recorded += 1
        time.sleep(0.005)
    return recorded


def go_away(receiver: HttpReceiver) -> None:
    receiver.received.wait(lambda received: len(received.spans("run")) > 3)
    receiver.answer = lambda request: 503
    time.sleep(OUTAGE_S)
    receiver.answer = lambda request: None
    seen = len(receiver.received.records)
    receiver.received.wait(lambda received: len(received.records) > seen, timeout_s=30)


def missing(received: Received, recorded: int) -> dict[str, int]:
    """What was recorded and did not arrive, in the words of ``xray.losses.what``."""
    candidates = sum(e.attributes["xray.chunk.count"] for e in received.events("xray.step.decisions"))
    return {
        "runs": 2 * recorded - len(received.events("xray.run.start")) - len(received.spans("run")),
        "steps": recorded - len(received.spans("step")),
        "decisions": recorded * CANDIDATES - candidates,
    }


def reported(received: Received) -> Counter[str]:
    """What the client reported as lost; the same report counts once, as on the server."""
    reports = {event.attributes["xray.losses.report_id"]: event for event in received.events("xray.losses")}
    found: Counter[str] = Counter()
    for event in reports.values():
        pairs = zip(event.attributes["xray.losses.what"], event.attributes["xray.losses.counts"], strict=True)
        for what, count in pairs:
            found[what] += count
    return found


def test_buffer_loses_and_doubles_nothing(otlp_receiver: HttpReceiver):
    """Everything that was recorded while the server was away arrives, each record once."""
    xray.configure(endpoint=otlp_receiver.endpoint, flush_interval_ms=50)
    recorded = load(otlp_receiver)
    assert xray.flush(60)
    received = otlp_receiver.received
    assert missing(received, recorded) == {"runs": 0, "steps": 0, "decisions": 0}
    assert set(Counter(span.span_id for span in received.spans()).values()) == {1}
    assert _setup.client().pipeline.losses == {}
    assert reported(received) == {}


def test_drop_reports_the_exact_number(otlp_receiver: HttpReceiver):
    """What was dropped is reported by run and kind once the server is back: arrived and lost add up."""
    xray.configure(endpoint=otlp_receiver.endpoint, flush_interval_ms=50, offline="drop")
    recorded = load(otlp_receiver)
    assert xray.shutdown(60)
    received = otlp_receiver.received
    lost = missing(received, recorded)
    assert min(lost.values()) > 0
    assert reported(received) == lost
    causes = {
        cause for event in received.events("xray.losses") for cause in event.attributes["xray.losses.causes"]
    }
    assert causes == {"client_policy"}
    told = {event.attributes["xray.run.id"] for event in received.events("xray.losses")}
    complete = {span.attributes["xray.run.id"] for span in received.spans("run")} - told
    assert complete <= {event.attributes["xray.run.id"] for event in received.events("xray.run.start")}


def test_a_lost_outcome_is_counted_as_such(otlp_receiver: HttpReceiver, unused_endpoint: str):
    """A late outcome is neither start nor end of its run, in the ledger and in the client's own count."""
    xray.configure(endpoint=unused_endpoint, offline="drop", flush_interval_ms=1)
    xray.outcome("run-1", "refund", True)
    with xray.run("r", run_id="run-2"):
        pass
    assert xray.flush(10)
    pipeline = _setup.client().pipeline
    assert pipeline.losses == {("outcome", "offline"): 1, ("run", "offline"): 2}
    reports = {report.get("xray.run.id"): report for report in pipeline._buffer.ledger.take()}
    assert reports["run-1"]["xray.losses.what"] == ["outcomes"]
    assert reports["run-2"]["xray.losses.what"] == ["runs"]


def test_a_report_that_was_not_acknowledged_keeps_its_id(otlp_receiver: HttpReceiver):
    """A report of losses is sent again under the same id, so that the server counts it once."""
    ids: list[str] = []

    def answer(request: object) -> int | None:
        text = request.SerializeToString()  # type: ignore[attr-defined]
        if b"xray.losses.report_id" not in text:
            return 400 if b"xray.artifact" in text else None
        at = text.index(b"xray.losses.report_id")
        ids.append(text[at : at + 70].decode("ascii", "ignore"))
        return 503 if len(ids) < 3 else None

    for offline in ("buffer", "drop"):
        ids.clear()
        otlp_receiver.answer = answer
        xray.configure(endpoint=otlp_receiver.endpoint, flush_interval_ms=1, offline=offline)
        with xray.run("r") as run:
            run.artifact("refused", b"x")

        def sent() -> bool:
            with xray.run("again"):
                pass
            return len(ids) >= 3

        wait_until(sent, timeout_s=30, what="the report is sent three times", every_s=0.2)
        assert len(set(ids[:3])) == 1
        xray.shutdown(5)


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
def test_threads_lose_and_mix_nothing(otlp_receiver, grpc_otlp_receiver, protocol):
    """Eight threads with a run each, all recording at once: every step arrives, in its run and in order."""
    receiver = grpc_otlp_receiver if protocol == "grpc" else otlp_receiver
    xray.configure(endpoint=receiver.endpoint, protocol=protocol, flush_interval_ms=50)

    def work(thread: int) -> None:
        with xray.run("r", run_id=f"thread-{thread}"):
            for number in range(STEPS):
                with xray.step(f"{thread}/{number}", type="filter") as step:
                    step.counts(in_=number, out=thread)

    threads = [threading.Thread(target=work, args=(thread,)) for thread in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert xray.flush(300)
    steps = receiver.received.spans("step")
    assert Counter(span.name for span in steps) == Counter(
        f"{thread}/{number}" for thread in range(THREADS) for number in range(STEPS)
    )
    for span in steps:
        thread, number = span.name.split("/")
        assert span.attributes["xray.run.id"] == f"thread-{thread}"
        assert span.attributes["xray.step.index"] == int(number)
    assert _setup.client().pipeline.losses == {}
