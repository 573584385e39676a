"""Runs of step engines: nothing for replays, the same ids every time, and the program's spans left alone."""

from __future__ import annotations

import datetime
import threading

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ParentBased

import xray_otel as xray
from tests.fixtures.otlp_receiver import HttpReceiver, Received

RUN = "01JD5X6Z7Q8R9S0T1V2W3X4Y5Z"


def play(*, finish: bool = True) -> None:
    """What an engine has executed in one process."""
    with xray.resume_run(RUN, pipeline="select", engine="tests", entity="P1") as run:
        with run.step("cheap", key="cheap:0", attempt=2, type="filter") as step:
            step.filter([1, 5], lambda price: price < 3, key=str)
            for _ in range(2):
                with xray.step("look up"):
                    pass
        xray.current_run().outcome("matched")
        if finish:
            run.finish()


def test_a_replay_records_nothing(traced: Received):
    """Resuming a run, and leaving it, is no sign of it."""
    for _ in range(3):
        with xray.resume_run(RUN, pipeline="select"):
            pass
    assert xray.flush(10.0)
    assert traced.records == []


def test_a_repetition_has_the_same_ids(traced: Received):
    """The ids that ``derive_ids`` says, also of the steps inside, in every process."""
    play()
    play()
    assert xray.flush(10.0)
    ids = xray.derive_ids(RUN, "cheap:0", 2)
    assert {span.trace_id for span in traced.spans("step")} == {ids.trace_id}
    cheap = [span for span in traced.spans("step") if span.name == "cheap"]
    assert {(s.span_id, s.parent_id, s.attributes["xray.step.id"]) for s in cheap} == {
        (ids.span_id, ids.root_span_id, "cheap:0")
    }
    inside = [span.attributes for span in traced.spans("step") if span.name == "look up"]
    found = sorted((said["xray.step.id"], said["xray.step.attempt"]) for said in inside)
    assert found == [("cheap:0/look up", 2)] * 2 + [("cheap:0/look up:1", 2)] * 2
    ends = traced.spans("run")
    assert {end.span_id for end in ends} == {ids.root_span_id}
    assert {end.start_ns for end in ends} == {1_732_143_971_575_000_000}
    assert all(end.attributes["xray.run.final"] for end in ends)
    assert {end.attributes["xray.run.outcome"] for end in ends} == {"matched"}
    starts = traced.events("xray.run.start")
    assert [start.end_ns for start in starts] == [1_732_143_971_575_000_000] * 2


def test_steps_in_threads_are_of_the_run(traced: Received):
    """No context reaches them, and none is needed."""
    run = xray.resume_run(RUN, pipeline="select")

    def work() -> None:
        with run.step("apart"), xray.step("inside"):
            pass

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert xray.flush(10.0)
    found = sorted(span.attributes["xray.step.id"] for span in traced.spans("step"))
    assert found == ["apart", "apart/inside", "apart:1", "apart:1/inside"]
    assert {span.attributes["xray.run.id"] for span in traced.spans("step")} == {RUN}


def test_sampled_out(otlp_receiver: HttpReceiver):
    """A sampler that asks nobody drops the spans; all of it comes as events."""
    provider = TracerProvider(sampler=ALWAYS_OFF)
    xray.configure(endpoint=otlp_receiver.endpoint, mode="strict", tracer_provider=provider)
    play()
    assert xray.flush(10.0)
    received = otlp_receiver.received
    assert received.spans() == []
    assert [event.name for event in received.events("xray.step")] == ["xray.step"] * 3
    [end] = received.events("xray.run.end")
    assert (end.attributes["xray.run.status"], end.attributes["xray.run.final"]) == ("completed", True)


@pytest.mark.parametrize("sampler", [None, ParentBased(ALWAYS_OFF)], ids=["all", "none"])
def test_the_programs_spans_stay_as_they_are(otlp_receiver: HttpReceiver, sampler):
    """A request's span is the parent of what the program does in a step, sampled or not, as without X-Ray."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider(sampler=sampler)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    xray.configure(endpoint=otlp_receiver.endpoint, mode="strict", tracer_provider=provider)
    tracer = provider.get_tracer("program")
    with tracer.start_as_current_span("request") as request:
        run = xray.resume_run(RUN, pipeline="select")
        with run, run.step("cheap"), tracer.start_as_current_span("query") as query:
            assert query.get_span_context().trace_id == request.get_span_context().trace_id
            assert query.is_recording() == request.is_recording()
        run.finish()
    names = {span.name for span in exporter.get_finished_spans() if span.name in ("request", "query")}
    assert names == ({"request", "query"} if sampler is None else set())
    assert xray.flush(10.0)
    [step] = otlp_receiver.received.spans("step") or otlp_receiver.received.events("xray.step")
    assert step.attributes["xray.run.id"] == RUN


def test_what_cannot_be(traced: Received):
    """A status that is none, or no number where one is due, is refused where misuse raises."""
    run = xray.resume_run(RUN, pipeline="select")
    with pytest.raises(xray.UsageError, match="cancelled, completed, crashed"):
        run.finish("done")
    with pytest.raises(xray.UsageError, match="timeout_s"):
        xray.resume_run(RUN, timeout_s=-1).wait()


def test_a_run_that_was_left_can_be_finished(traced: Received):
    """With or without ``with``, and more than once."""
    run = xray.resume_run(RUN, pipeline="select")
    for _ in range(2):
        with run, run.step("cheap"):
            pass
    run.finish()
    assert xray.flush(10.0)
    assert [span.attributes["xray.step.id"] for span in traced.spans("step")] == ["cheap", "cheap:1"]
    assert len(traced.spans("run")) == 1


def test_disabled(otlp_receiver: HttpReceiver):
    """Nothing is recorded, and nothing is different."""
    xray.configure(endpoint=otlp_receiver.endpoint, disabled=True)
    play()
    assert xray.flush(10.0)
    assert otlp_receiver.received.records == []


class Mute:
    """An object that cannot say what it is."""

    def __str__(self) -> str:
        raise RuntimeError("no text")

    __repr__ = __str__
    __hash__ = None  # type: ignore[assignment]


@pytest.mark.parametrize(
    "odd",
    [Mute(), None, -1, float("nan"), 10**400, "\ud800", b"\xff", [], datetime.datetime(1, 1, 1)],  # noqa: DTZ001
)
def test_odd_arguments_harm_nothing(otlp_receiver: HttpReceiver, odd):
    """Whatever an engine or a program gives as id, key, attempt, time or status, the step's body runs."""
    xray.configure(endpoint=otlp_receiver.endpoint)
    run = xray.resume_run(odd, pipeline=odd, engine=odd, started_at=odd, tags=odd)
    ran = []
    with run, run.step(odd, key=odd, attempt=odd, index=odd, type=odd):
        ran.append(1)
    run.wait(odd)
    run.finish(odd, started_at=odd, final=odd)
    run.finish()
    assert ran == [1]
    assert xray.flush(10.0)
    assert len(otlp_receiver.received.spans("step")) == 1
    assert len(otlp_receiver.received.spans("run")) == 1


def test_masked_ids_stay_apart(otlp_receiver: HttpReceiver):
    """An id that the mask would change leaves hashed: the same run in every process, each step its own."""
    xray.configure(
        endpoint=otlp_receiver.endpoint, mode="strict", mask_patterns=[r"\w+@[\w.]+", r"order-\d+"]
    )
    for _ in range(2):
        with xray.resume_run("order-17", pipeline="mail") as run:
            for name in ("ann", "bob"):
                with run.step("tell", key=f"{name}@shop.example"), xray.step("inside"):
                    pass
            run.finish(error=ValueError("ann@shop.example"))
    assert xray.flush(10.0)
    spans = otlp_receiver.received.spans("step")
    assert len({span.attributes["xray.step.id"] for span in spans}) == 4
    runs = [*spans, *otlp_receiver.received.spans("run")]
    [run_id] = {span.attributes["xray.run.id"] for span in runs}
    assert run_id == run.run_id
    said = str([span.attributes for span in runs])
    assert "@shop" not in said
    assert "order-17" not in said


def test_a_schema_is_followed(otlp_receiver: HttpReceiver):
    """As by any run: that of ``configure``, or its own."""
    known = xray.Schema("shop", "3", input={"product": "string"})
    xray.configure(endpoint=otlp_receiver.endpoint, schema=known)
    for schema in (None, xray.Schema("shop", "4", input={"product": "string"})):
        with xray.resume_run(RUN, schema=schema):
            pass  # a replay
        run = xray.resume_run(RUN, pipeline="select", input={"product": 1}, schema=schema)
        with run, run.step("cheap", type="filter"):
            pass
        run.finish()
    assert xray.flush(10.0)
    received = otlp_receiver.received
    assert [event.attributes["xray.schema.version"] for event in received.events("xray.schema")] == ["3", "4"]
    for records in (received.events("xray.run.start"), received.spans("run")):
        assert [record.attributes["xray.schema.version"] for record in records] == ["3", "4"]
        assert all(record.attributes["xray.schema.violations"] for record in records)
