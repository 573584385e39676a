"""Which run a step belongs to: generators, pools, processes, and what a caller sent."""

from __future__ import annotations

import asyncio
import gc
import logging
import multiprocessing
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Generator, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import pytest
from opentelemetry import baggage, propagate, trace
from opentelemetry import context as otel_context
from opentelemetry.context import Context
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

import xray_otel as xray
from tests.fixtures.otlp_receiver import HttpReceiver, Received, Record

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def clean_context() -> Iterator[None]:
    """Each test begins and ends outside of any run: a leak would show in the next one."""
    before = otel_context.get_current()
    yield
    assert otel_context.get_current() == before


def run_ids(records: list[Record]) -> dict[str, str | None]:
    return {record.name: record.attributes.get("xray.run.id") for record in records}


@xray.step(type="search")
def numbers(count: int) -> Iterator[int]:
    for number in range(count):
        xray.current_step().accept(str(number))
        with xray.step(f"inner-{number}"):
            yield number


def test_a_generator_does_not_leak_its_step(traced: Received):
    """Two generators that interleave are steps of their own; the consumer stays outside of both."""
    with xray.run("r"):
        for first, second in zip(numbers(2), numbers(2), strict=True):
            assert first == second
            with xray.step(f"consumer-{first}"):
                pass
    xray.flush()
    [run] = traced.spans("run")
    steps = traced.spans("step")
    outer = [step for step in steps if step.name == "numbers"]
    assert [step.attributes["xray.candidates.kept"] for step in outer] == [2, 2]
    assert {step.parent_id for step in outer} == {run.span_id}
    for step in steps:
        if step.name.startswith("consumer"):
            assert step.parent_id == run.span_id
        if step.name.startswith("inner"):
            assert step.parent_id in {span.span_id for span in outer}


def test_a_generator_is_spoken_to_as_before(traced: Received):
    """Values sent, exceptions thrown and the returned value pass through a generator's step."""

    @xray.step("talk")
    def talk() -> Generator[str, str, str]:
        heard = yield "ready"
        try:
            yield f"heard {heard}"
        except KeyError:
            yield "caught"
        return "done"

    def outer() -> Generator[str, str, None]:
        result = yield from talk()
        yield f"returned {result}"

    with xray.run("r"):
        generator = outer()
        assert next(generator) == "ready"
        assert generator.send("this") == "heard this"
        assert generator.throw(KeyError()) == "caught"
        assert next(generator) == "returned done"
    xray.flush()
    assert traced.step("talk").status == 0


def test_an_abandoned_generator_ends_its_step(traced: Received):
    """A generator that is closed early has not failed; one whose body raises has."""

    @xray.step("closed")
    def closed() -> Iterator[int]:
        yield 1
        yield 2

    @xray.step("broken")
    def broken() -> Iterator[int]:
        yield 1
        raise LookupError("no more")

    with xray.run("r"):
        for _ in closed():
            break
        gc.collect()
        with pytest.raises(LookupError):
            list(broken())
    xray.flush()
    assert traced.step("closed").status == 0
    assert (traced.step("broken").status, traced.step("broken").message) == (2, "no more")


def test_async_generators_are_quiet(traced: Received, caplog: pytest.LogCaptureFixture):
    """Abandoned async generators, decorated or not, end without a line in the log and without a leak."""

    @xray.step("decorated")
    async def decorated() -> AsyncIterator[int]:
        for number in range(3):
            with xray.step("in-body"):
                yield number

    async def by_hand() -> AsyncIterator[int]:
        with xray.step("by-hand"):
            for number in range(3):
                yield number

    async def pipeline() -> None:
        with xray.run("r"):
            async for _ in decorated():
                with xray.step("consumer"):
                    await asyncio.sleep(0)
                break
            assert [number async for number in decorated()] == [0, 1, 2]

            async def reads_one() -> None:
                async for _ in by_hand():
                    break

            await asyncio.create_task(reads_one())
            gc.collect()
            await asyncio.sleep(0)

    with caplog.at_level(logging.DEBUG):
        asyncio.run(pipeline())
    xray.flush()
    assert [line for line in caplog.messages if "detach" in line or "context" in line] == []
    [run] = traced.spans("run")
    assert traced.step("consumer").parent_id == run.span_id
    assert len([step for step in traced.spans("step") if step.name == "decorated"]) == 2
    assert traced.step("by-hand").attributes["xray.run.id"] == run.attributes["xray.run.id"]


def test_a_run_may_be_a_generator(traced: Received):
    """A decorated generator is one run from its first item to its last."""

    @xray.run("stream")
    def stream() -> Iterator[str]:
        for number in range(2):
            with xray.step(f"s{number}"):
                yield xray.current_run().run_id

    assert len(set(stream())) == 1
    xray.flush()
    [run] = traced.spans("run")
    assert set(run_ids(traced.spans("step")).values()) == {run.attributes["xray.run.id"]}


def test_carry_takes_the_run_into_pools(traced: Received):
    """Of two runs that share a thread pool and an executor, each keeps its steps, nested ones included."""
    barrier = threading.Barrier(4)

    def work(name: str) -> str:
        barrier.wait(10)
        with xray.step(name):
            return xray.current_run().run_id

    async def one(name: str, pool: ThreadPoolExecutor) -> None:
        with xray.run("r", run_id=name), xray.step(f"{name}-outer"):
            loop = asyncio.get_running_loop()
            carried = xray.carry(work)
            found = await asyncio.gather(
                loop.run_in_executor(pool, carried, f"{name}-1"),
                loop.run_in_executor(pool, carried, f"{name}-2"),
            )
            assert list(found) == [name, name]

    async def both() -> None:
        with ThreadPoolExecutor(4) as pool:
            await asyncio.gather(one("one", pool), one("two", pool))
            assert pool.submit(lambda: xray.current_run().run_id not in ("one", "two")).result()

    asyncio.run(both())
    xray.flush()
    for step in traced.spans("step"):
        run_id = step.name.split("-")[0]
        assert step.attributes["xray.run.id"] == run_id
        if "outer" not in step.name:
            assert step.parent_id == traced.step(f"{run_id}-outer").span_id


def test_carry_of_a_coroutine_function(traced: Received):
    """A carried coroutine function sees the run also when another thread's loop runs it."""

    async def work() -> str:
        await asyncio.sleep(0)
        return xray.current_run().run_id

    with xray.run("r", run_id="one"), ThreadPoolExecutor(1) as pool:
        assert pool.submit(lambda carried: asyncio.run(carried()), xray.carry(work)).result() == "one"


def test_threads_mix_nothing(otlp_receiver: HttpReceiver):
    """Eight threads, each with runs of its own: every step arrives once, in its run, with its index."""
    count = int(os.environ.get("XRAY_TEST_STEPS_PER_THREAD", "250"))
    xray.configure(endpoint=otlp_receiver.endpoint, buffer_bytes=2**30)
    barrier = threading.Barrier(8)

    def work(thread: int) -> None:
        barrier.wait(30)
        with xray.run("r", run_id=f"run-{thread}"):
            for number in range(count):
                with xray.step(f"run-{thread}/{number}", type="filter") as step:
                    step.reject(str(number), "dear")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    assert xray.flush(120)
    found = {
        (step.name, step.attributes["xray.run.id"], step.attributes["xray.step.index"])
        for step in otlp_receiver.received.spans("step")
    }
    assert found == {
        (f"run-{thread}/{number}", f"run-{thread}", number) for thread in range(8) for number in range(count)
    }
    assert len(otlp_receiver.received.spans("step")) == len(found)
    assert len(otlp_receiver.received.events("xray.step.decisions")) == 8 * count


def pool_work(name: str) -> int:
    with xray.step(name) as step:
        step.accept("a")
    xray.flush(10)
    return os.getpid()


def start_here(endpoint: str) -> None:
    xray.configure(endpoint=endpoint)


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # of Python 3.12: there are threads
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_process_pools(otlp_receiver: HttpReceiver, method: str):
    """A pool's worker records into the run that sent the work, whichever it was forked in."""
    xray.configure(endpoint=otlp_receiver.endpoint)
    context = multiprocessing.get_context(method)
    with ProcessPoolExecutor(
        1, mp_context=context, initializer=start_here, initargs=(otlp_receiver.endpoint,)
    ) as pool:
        with xray.run("r", run_id="one"):
            pool.submit(xray.carry(pool_work), "of-one").result(60)
        with xray.run("r", run_id="two"):
            pool.submit(xray.carry(pool_work), "of-two").result(60)
            pool.submit(pool_work, "of-none").result(60)
    xray.flush()
    steps = otlp_receiver.received.spans("step")
    assert run_ids(steps) == {"of-one": "one", "of-two": "two", "of-none": None}
    assert [step for step in steps if "xray.step.index" in step.attributes] == []


CHILD = """
import xray_otel as xray
with xray.join_run() as run:
    with xray.step("in-child"):
        pass
    run.tag("a", "b")
print(run.run_id)
"""


def test_the_environment_of_a_program(otlp_receiver: HttpReceiver):
    """A program that gets the run by its environment records into it, and describes nothing of it."""
    xray.configure(endpoint=otlp_receiver.endpoint)
    with xray.run("r") as run:
        environment = dict(os.environ, XRAY_ENDPOINT=otlp_receiver.endpoint)
        xray.inject(environment)
        result = subprocess.run(
            [sys.executable, "-c", CHILD],
            cwd=ROOT,
            env={key.upper(): value for key, value in environment.items()},
            capture_output=True,
            text=True,
            check=True,
        )
    assert result.stdout.strip() == run.run_id
    assert "started elsewhere" in result.stderr
    xray.flush()
    received = otlp_receiver.received
    assert received.step("in-child").attributes["xray.run.id"] == run.run_id
    assert len(received.spans("run")) == len(received.events("xray.run.start")) == 1


def test_baggage_of_a_caller(traced: Received):
    """A step outside of any run belongs to the run in the baggage; an own run stays its own."""
    token = otel_context.attach(baggage.set_baggage("xray.run.id", "callers"))
    try:
        assert xray.current_run().run_id == "callers"
        with xray.step("of-caller"), xray.step("nested"):
            assert xray.current_run().run_id == "callers"
        with xray.run("own", run_id="own"):
            assert baggage.get_baggage("xray.run.id") == "own"
            with xray.step("of-own"):
                pass
    finally:
        otel_context.detach(token)
    xray.flush()
    assert run_ids(traced.spans("step")) == {"of-caller": "callers", "nested": "callers", "of-own": "own"}
    assert len(traced.spans("run")) == 1


@pytest.mark.parametrize("value", ["", "a b", "x" * 129, "a;b", "ü", "a\n", 7])
def test_baggage_is_not_trusted(traced: Received, value: object):
    """What has not the form of a run id is passed over."""
    token = otel_context.attach(baggage.set_baggage("xray.run.id", value))
    try:
        with xray.step("s"):
            pass
    finally:
        otel_context.detach(token)
    xray.flush()
    assert "xray.run.id" not in traced.step("s").attributes


@pytest.mark.parametrize(
    ("setting", "sends", "accepts"),
    [("on", True, True), ("send", True, False), ("accept", False, True), ("off", False, False)],
)
def test_baggage_can_be_switched_off(traced: Received, setting, sends, accepts):
    """The setting says whether run ids go out and whether those that come in are believed."""
    xray.configure(baggage=setting, endpoint=xray_endpoint())
    outer = baggage.set_baggage("other", "kept", baggage.set_baggage("xray.run.id", "callers"))
    token = otel_context.attach(outer)
    try:
        assert (xray.current_run().run_id == "callers") is accepts
        with xray.run("r") as run:
            assert baggage.get_baggage("xray.run.id") == (run.run_id if sends else None)
            assert next(iter(baggage.get_all())) == ("xray.run.id" if sends else "other")
            assert baggage.get_baggage("other") == "kept"
            carrier: dict[str, str] = {}
            xray.inject(carrier)
            assert (run.run_id in carrier["baggage"]) is sends
    finally:
        otel_context.detach(token)


def xray_endpoint() -> str:
    from xray_otel import _setup

    return _setup.client().settings.endpoint


@pytest.mark.parametrize("whole", [True, False])
def test_inject_and_join_by_headers(traced: Received, whole: bool):
    """Headers carry the run, in any case of their names, also with propagators that know no baggage."""
    usual = propagate.get_global_textmap()
    if not whole:
        propagate.set_global_textmap(TraceContextTextMapPropagator())
    try:
        headers = {"baggage": "a=1"}
        with xray.run("r", run_id="mine"):
            xray.inject(headers)
        assert headers["baggage"] == ("xray.run.id=mine" if whole else "xray.run.id=mine,a=1")
        joins_by(headers, traced)
    finally:
        propagate.set_global_textmap(usual)


class BrokenPropagator(TraceContextTextMapPropagator):
    def inject(self, *_: object, **__: object) -> None:
        raise LookupError("no header today")

    def extract(self, *_: object, **__: object) -> Context:
        raise LookupError("no header today")


def test_a_broken_propagator_does_not_lose_the_run(traced: Received):
    """A carried function reaches the other process, and its run with it; a named run is joined."""
    xray.configure(endpoint=xray_endpoint())
    usual = propagate.get_global_textmap()
    propagate.set_global_textmap(BrokenPropagator())
    try:
        with xray.run("r", run_id="mine"):
            sent = pickle.dumps(xray.carry(pool_work))
        pickle.loads(sent)("carried")
        with xray.join_run({}, run_id="named"), xray.step("named"):
            pass
    finally:
        propagate.set_global_textmap(usual)
    xray.flush()
    assert run_ids(traced.spans("step")) == {"carried": "mine", "named": "named"}


def test_a_full_baggage_keeps_the_run(traced: Received):
    """With more entries than propagators send, the run id is among those that are sent."""
    context = otel_context.get_current()
    for number in range(200):
        context = baggage.set_baggage(f"entry-{number}", "x" * 60, context)
    token = otel_context.attach(context)
    try:
        carrier: dict[str, str] = {}
        with xray.run("r", run_id="mine"):
            propagate.inject(carrier)
    finally:
        otel_context.detach(token)
    # First, because propagators and services that keep to 8,192 bytes cut the end off.
    assert carrier["baggage"].startswith("xray.run.id=mine,")


def joins_by(headers: dict[str, str], traced: Received) -> None:
    with xray.join_run({key.title(): value for key, value in headers.items()}) as joined:
        assert joined.run_id == xray.current_run().run_id == "mine"
        with xray.step("joined"):
            pass
    with xray.join_run(run_id="named"), xray.step("named"):
        pass

    @xray.join_run(run_id="named")
    def decorated() -> str:
        return xray.current_run().run_id

    assert decorated() == "named"
    xray.flush()
    assert run_ids(traced.spans("step")) == {"joined": "mine", "named": "named"}
    assert len(traced.spans("run")) == 1


def test_there_may_be_no_run_to_join(traced: Received):
    """Joining nothing raises in strict mode only; else the steps inside stay outside of any run."""
    with pytest.raises(xray.UsageError, match="no run to join"), xray.join_run({}):
        pass
    xray.configure(endpoint=xray_endpoint())
    with xray.join_run({"baggage": "xray.run.id=a%20b"}) as run, xray.step("alone"), run.step("its"):
        assert run.run_id == ""
    xray.flush()
    assert run_ids(traced.spans("step")) == {"alone": None, "its": None}


@pytest.mark.parametrize("carrier", [5, {1: 2}, {"baggage": 5}, {"traceparent": None}, object()])
def test_a_strange_carrier_does_no_harm(traced: Received, carrier):
    """Whatever is given for headers, the program goes on, and its step is recorded outside of any run."""
    xray.configure(endpoint=xray_endpoint())
    xray.inject(carrier)
    with xray.join_run(carrier), xray.step("s"):
        pass
    xray.flush()
    assert run_ids(traced.spans("step")) == {"s": None}


def test_spans_of_the_team_are_stamped_by_baggage(otlp_receiver: HttpReceiver):
    """In a called service the team's spans carry the caller's run id."""
    provider = TracerProvider(shutdown_on_exit=False)
    xray.configure(endpoint=otlp_receiver.endpoint, tracer_provider=provider)
    context = baggage.set_baggage("xray.run.id", "callers")
    span = provider.get_tracer("team").start_span("query", context)
    assert span.attributes == {"xray.run.id": "callers"}  # type: ignore[attr-defined]
    span.end()
    assert trace.get_current_span() is trace.INVALID_SPAN
