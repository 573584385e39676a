"""Runs and steps around real code: exceptions, tasks, threads, decorators, providers."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

import xray_otel as xray
from tests.fixtures.otlp_receiver import HttpReceiver, Received


class Refusal(Exception):
    """An error of the pipeline's own."""


def test_an_exception_marks_step_and_run_and_goes_on_unchanged(traced: Received):
    """An exception passes through as the same object; the step has failed and the run has crashed."""
    error = Refusal("no\x00t now \ud800")

    def pipeline() -> None:
        with xray.run("r"), xray.step("s") as step:
            step.reject("a", "dear")
            raise error

    with pytest.raises(Refusal) as caught:
        pipeline()
    assert caught.value is error
    xray.flush()
    span = traced.step("s")
    assert (span.status, span.message) == (2, "not now ?")
    assert span.attributes["error.type"] == f"{Refusal.__module__}.Refusal"
    assert span.attributes["xray.candidates.eliminated"] == 1
    [run] = traced.spans("run")
    assert (run.status, run.attributes["xray.run.status"]) == (2, "crashed")


@pytest.mark.parametrize("error", [asyncio.CancelledError(), KeyboardInterrupt()])
def test_an_interruption_cancels_the_run(traced: Received, error):
    """Cancellation and interruption leave a cancelled run, not a crashed one."""
    with pytest.raises(type(error)), xray.run("r"):
        raise error
    xray.flush()
    [run] = traced.spans("run")
    assert (run.status, run.attributes["xray.run.status"]) == (0, "cancelled")


def test_concurrent_tasks_do_not_mix_runs(traced: Received):
    """Steps of runs that interleave on one event loop belong to their own run and parent."""

    async def one(name: str) -> str:
        async with xray.run(name, entity=name) as run:
            for step_name in ("first", "second"):
                async with xray.step(f"{name}-{step_name}") as step:
                    await asyncio.sleep(0)
                    step.accept(name)
                    assert xray.current_run() is run
                    assert xray.current_step() is step
                    await asyncio.sleep(0)
            return run.run_id

    async def both() -> list[str]:
        return await asyncio.gather(*(one(f"r{number}") for number in range(10)))

    run_ids = asyncio.run(both())
    xray.flush()
    runs = {span.name: span for span in traced.spans("run")}
    assert [runs[f"r{number}"].attributes["xray.run.id"] for number in range(10)] == run_ids
    for step in traced.spans("step"):
        run = runs[step.name.split("-")[0]]
        assert step.attributes["xray.run.id"] == run.attributes["xray.run.id"]
        assert step.parent_id == run.span_id


def test_steps_in_threads_belong_to_the_run_that_made_them(traced: Received):
    """``run.step`` in a pool's thread, where no context came along, is a child of its run."""
    barrier = threading.Barrier(8)

    def work(pair: tuple[xray.Run, int]) -> None:
        run, number = pair
        with run.step(f"{run.run_id}/{number}") as step:
            barrier.wait(10)
            step.accept("a")

    with (
        ThreadPoolExecutor(8) as pool,
        xray.run("r", run_id="one") as one,
        xray.run("r", run_id="two") as two,
    ):
        list(pool.map(work, [(run, number) for run in (one, two) for number in range(4)]))
    xray.flush()
    runs = {span.attributes["xray.run.id"]: span.span_id for span in traced.spans("run")}
    steps = traced.spans("step")
    assert len(steps) == 8
    for step in steps:
        run_id = step.name.split("/")[0]
        assert step.attributes["xray.run.id"] == run_id
        assert step.parent_id == runs[run_id]


def test_threads_that_judge_for_one_step_do_not_mix_rows(traced: Received):
    """Four threads recording into one step lose nothing and tear no row."""
    with xray.run("r"), xray.step("s", type="filter") as step:

        def judge(part: int) -> None:
            for number in range(2500):
                step.reject(f"{part}-{number}", f"reason-{part}", value=part)

        threads = [threading.Thread(target=judge, args=(part,)) for part in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    xray.flush()
    attributes = traced.step("s").attributes
    assert attributes["xray.candidates.eliminated"] == 10_000
    assert sorted(attributes["xray.reasons.counts"]) == [2500] * 4


def test_decorators(traced: Received):
    """Decorated functions and coroutine functions are steps and runs of their names, once per call."""

    @xray.step(type="filter")
    def keep(items: list[int]) -> list[int]:
        step = xray.current_step()
        assert step is not None
        step.counts(in_=len(items), out=1)
        return items[:1]

    @xray.step("named")
    async def later() -> int:
        return 7

    @xray.run()
    async def pipeline() -> tuple[list[int], int]:
        return keep([1, 2]), await later()

    assert asyncio.run(pipeline()) == ([1], 7)
    assert asyncio.run(pipeline()) == ([1], 7)
    xray.flush()
    assert [span.name for span in traced.spans("step")] == ["keep", "named"] * 2
    assert [span.name for span in traced.spans("run")] == ["pipeline"] * 2
    assert len({span.attributes["xray.run.id"] for span in traced.spans()}) == 2


def test_nested_steps_are_children(traced: Received):
    """A step inside a step is a child of it and has the next index."""
    with xray.run("r"), xray.step("outer") as outer:
        with xray.step("inner"):
            pass
        assert xray.current_step() is outer
    xray.flush()
    assert traced.step("inner").parent_id == traced.step("outer").span_id
    assert traced.step("inner").attributes["xray.step.index"] == 1


def test_a_step_without_a_run(traced: Received):
    """A step outside of any run is sent without run id: its trace is the run."""
    with xray.step("alone", type="filter") as step:
        step.accept("a")
    xray.flush()
    assert "xray.run.id" not in traced.step("alone").attributes
    [event] = traced.events("xray.step.decisions")
    assert event.trace_id == traced.step("alone").trace_id


def test_spans_join_the_teams_trace(otlp_receiver: HttpReceiver):
    """With a team's provider, runs join its trace; its spans get the run id but are not taken."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    xray.configure(endpoint=otlp_receiver.endpoint, mode="strict", tracer_provider=provider)
    tracer = provider.get_tracer("team")
    with tracer.start_as_current_span("request"), xray.run("r") as run, xray.step("s"):
        with tracer.start_as_current_span("query"):
            pass
        with tracer.start_as_current_span("mine", attributes={"xray.step.type": "filter"}):
            pass
    xray.flush()
    spans = {span.name: span for span in exporter.get_finished_spans()}
    assert set(spans) == {"request", "r", "s", "query", "mine"}
    assert len({span.context.trace_id for span in spans.values()}) == 1
    assert spans["query"].attributes == {"xray.run.id": run.run_id}
    assert spans["request"].attributes == {}
    assert {span.name for span in otlp_receiver.received.spans()} == {"r", "s", "mine"}


def test_sampled_out_spans_become_events(otlp_receiver: HttpReceiver):
    """When the team's sampler drops the trace, run and step arrive as events with the same attributes."""
    provider = TracerProvider(sampler=ALWAYS_OFF, shutdown_on_exit=False)
    xray.configure(endpoint=otlp_receiver.endpoint, mode="strict", tracer_provider=provider)

    def pipeline() -> None:
        with xray.run("r"), xray.step("s", type="filter") as step:
            step.accept("a")
            raise Refusal("no")

    with pytest.raises(Refusal):
        pipeline()
    xray.flush()
    received = otlp_receiver.received
    assert received.spans() == []
    [event] = received.events("xray.step")
    assert event.attributes["xray.step.name"] == "s"
    assert event.attributes["xray.candidates.kept"] == 1
    assert (event.attributes["xray.step.status"], event.attributes["xray.step.error_message"]) == (
        "error",
        "no",
    )
    assert event.attributes["xray.step.start_unix_nano"] <= event.attributes["xray.step.end_unix_nano"]
    [end] = received.events("xray.run.end")
    assert end.attributes["xray.run.status"] == "crashed"
    assert len(received.events("xray.step.decisions")) == 1


def test_metric_attributes_outlive_the_span_limit(otlp_receiver: HttpReceiver):
    """A step whose span is flooded with 200 attributes of the team's keeps all of X-Ray's."""
    traced = otlp_receiver.received
    provider = TracerProvider(shutdown_on_exit=False)
    xray.configure(endpoint=otlp_receiver.endpoint, mode="strict", tracer_provider=provider)
    with xray.run("r"), xray.step("s", type="filter") as step:
        step.counts(in_=5000, out=30)
        for number in range(64):
            step.metric(f"m{number:03}", number)
        for number in range(200):
            trace.get_current_span().set_attribute(f"team.{number}", number)
    xray.flush()
    attributes = traced.step("s").attributes
    assert attributes["xray.candidates.in"] == 5000
    assert attributes["xray.metric.m063"] == 63.0
    assert {"xray.run.id", "xray.step.id", "xray.pipeline.name", "xray.span.kind"} <= set(attributes)


def test_a_run_that_waits(traced: Received):
    """``wait`` sends an event with the time when the run will go on."""
    with xray.run("r") as run:
        run.wait(until=1_800_000_000)
    xray.flush()
    [event] = traced.events("xray.run.wait")
    assert event.attributes["xray.run.wait.until_unix_nano"] == 1_800_000_000_000_000_000


def test_the_start_of_a_run_does_not_wait(otlp_receiver: HttpReceiver):
    """The start event arrives soon while the run goes on, although steps may wait much longer."""
    xray.configure(endpoint=otlp_receiver.endpoint, flush_interval_ms=60_000)
    with xray.run("warm"):
        pass
    xray.flush()
    with xray.run("r") as run:  # the test waits less for the event than a step would
        otlp_receiver.received.wait(lambda received: len(received.events("xray.run.start")) == 2)
    start = otlp_receiver.received.events("xray.run.start")[1]
    assert start.attributes["xray.run.id"] == run.run_id
