"""Whatever the host program hands over, its own work goes on and the wire stays clean."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import xray_otel as xray
from tests.fixtures.odd_values import anything, real
from tests.fixtures.otlp_receiver import HttpReceiver, Received
from xray_otel import _setup
from xray_otel._encode import json_text


def strings(tree: Any) -> Iterator[str]:
    """All strings of a JSON tree, keys included."""
    if isinstance(tree, str):
        yield tree
    elif isinstance(tree, dict):
        yield from tree
        tree = list(tree.values())
    if isinstance(tree, list):
        for entry in tree:
            yield from strings(entry)


@settings(deadline=None)
@given(value=anything, max_bytes=st.sampled_from([64, 2048, 16 * 1024]))
def test_any_value_becomes_bounded_json(value: Any, max_bytes: int):
    """json_text never raises; its text is valid JSON, clean and within the bound."""
    text = json_text(real(value), max_bytes)
    assert len(text.encode("utf-8")) <= max_bytes
    assert not any("\x00" in found for found in strings(json.loads(text)))


# Short as a table: one look shows what is covered.
# ruff: noqa: E501
CALLS = [
    *(lambda step, a, b, c, name=name: getattr(step, name)(a, b, c, b, a, c, key=None) for name in ("accept", "reject", "select", "not_select", "defer")),
    lambda step, a, b, c: step.accept(a, key=b),
    lambda step, a, b, c: step.reject(a, "no", checks=b),
    lambda step, a, b, c: step.score(a, b, c),
    lambda step, a, b, c: step.merge(a, into=b, reason=c),
    lambda step, a, b, c: step.record([a, b, c], b, c, a, b, c, a),
    lambda step, a, b, c: step.record([a, b, c], "K", [a, b, c], [b, c, a], [c, a, b], [a, b, c], [c, b, a]),
    lambda step, a, b, c: step.accept_all([a, b], c, scores=a, values=b),
    lambda step, a, b, c: step.reject_all([a, b], [b, c], thresholds=c),
    lambda step, a, b, c: step.filter([a, b, c], lambda item: True, key="id", value=lambda item: item.price, threshold=a),
    lambda step, a, b, c: step.filter([a, b, c], lambda item: xray.Reject(a, b, c, a, b)),
    lambda step, a, b, c: step.rank([a, b, c], score=lambda item: item, top_k=2),
    lambda step, a, b, c: step.select_best([a, b, c], score=lambda item: b),
    lambda step, a, b, c: step.counts(in_=a, out=b),
    lambda step, a, b, c: step.metric(a, b),
    lambda step, a, b, c: step.why(a),
    lambda step, a, b, c: (step.set_input(a), step.set_output(b), step.set_reasoning(c)),
    lambda step, a, b, c: step.reasons(a, b, c),
    lambda step, a, b, c: step.model(a, b),
    lambda step, a, b, c: step.sources({"s": a}),
    lambda step, a, b, c: step.sources(a),
    lambda step, a, b, c: step.record([a, b, c], [True, False, a], b, values=[b, c, a]),
    lambda step, a, b, c: step.record([a, b, c], a, b, values=b, thresholds=c),
    lambda step, a, b, c: step.follow(a, b, c),
    lambda step, a, b, c: step.follow(a, key=b),
    lambda step, a, b, c: step.fields([a, b, c], ["id", "price"]),
    lambda step, a, b, c: step.fields([a, b, c], ["id", a], b),
    lambda step, a, b, c: step.fields(a, b),
    lambda step, a, b, c: step.artifact(a, b, content_type=c, name=a),
]  # fmt: skip


@pytest.fixture(scope="module")
def sink():
    receiver = HttpReceiver()
    xray.configure(endpoint=receiver.endpoint, mode="best_effort", flush_interval_ms=50, buffer_bytes=2**28)
    yield receiver.received
    xray.shutdown(1)
    receiver.close()


def wire_is_clean(received: Received) -> None:
    for event in received.events("xray.step.decisions"):
        payload = json.loads(event.attributes["xray.decisions.data"])
        assert payload["n"] == len(payload["item"]) == len(payload["verdict"])
        assert all(type(item) is str for item in payload["item"])
        assert not any("\x00" in text for text in strings(payload))


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    calls=st.lists(st.tuples(st.integers(0, len(CALLS) - 1), anything, anything, anything), max_size=6),
    level=anything,
)
def test_no_value_raises_and_no_step_is_lost(sink: Received, calls: list[Any], level: Any):
    """With any values in any calls, nothing raises, the step arrives, and its decisions are well formed."""
    level = real(level)
    with xray.run("r", tags={"odd": level}) as run, xray.step("s", type="filter", capture=level) as step:
        for at, a, b, c in calls:
            CALLS[at](step, real(a), real(b), real(c))
    assert xray.flush(10)
    [span] = [s for s in sink.spans("step") if s.attributes["xray.run.id"] == run.run_id]
    assert span.attributes["xray.step.type"] == "filter"
    wire_is_clean(sink)
    lost = _setup.client().pipeline.losses
    assert set(lost) <= {("artifact", "too_large")}
    sink.records.clear()


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(a=anything, b=anything, c=anything)
def test_no_argument_of_run_or_step_raises(sink: Received, a: Any, b: Any, c: Any):
    """Any arguments of run and step are taken; a bad one loses itself, not the run or the step."""
    a, b, c = real(a), real(b), real(c)
    with xray.run(a, version=b, entity=c, input=a, tags=b, run_id=c, timeout_s=a) as run:
        run.outcome(a, b)
        run.tag(a, b)
        run.set_output(c)
        run.wait(until=a)
        run.artifact(a, b)
        with xray.step(
            a, type=b, why=c, input=a, reasoning=b, top_k=c, parents=a, step_id=b, attempt=c, config=a
        ):
            pass
    assert xray.flush(10)
    assert len([s for s in sink.spans("step") if s.attributes["xray.run.id"] == run.run_id]) == 1
    assert len([s for s in sink.spans("run") if s.attributes["xray.run.id"] == run.run_id]) == 1
    sink.records.clear()


def test_what_the_pipeline_raises_goes_through(sink: Received):
    """An error of the pipeline's own predicate is not swallowed."""
    with pytest.raises(ZeroDivisionError), xray.run("r"), xray.step("s") as step:
        step.filter([1], lambda item: item / 0)


@pytest.mark.parametrize(
    ("misuse", "message"),
    [
        (lambda step: step.record(["a", "b"], "KEK"), "2 items and another number of verdicts"),
        (lambda step: step.record(["a"], ["maybe"]), "verdicts"),
        (lambda step: step.record(["a"], "K", scores=[1, 2]), "1 item and another number of scores"),
        (lambda step: step.counts(in_=-1), "in_ must be a whole number"),
        (lambda step: step.metric("m", "high"), "finite number"),
    ],
)
def test_strict_mode_raises_at_the_call(traced: Received, misuse, message):
    """In strict mode a call that cannot be recorded raises UsageError there."""
    with xray.run("r"), xray.step("s") as step, pytest.raises(xray.UsageError, match=message):
        misuse(step)


@pytest.mark.parametrize("arguments", [{"type": "fliter"}, {"attempt": 0}, {"capture": "all"}])
def test_strict_mode_raises_when_a_step_is_entered(traced: Received, arguments):
    """In strict mode a bad argument of a step raises UsageError at its ``with``."""
    with xray.run("r"), pytest.raises(xray.UsageError), xray.step("s", **arguments):
        pass


def test_disabled_records_nothing_and_changes_nothing(otlp_receiver: HttpReceiver):
    """When disabled the helpers work as ever and nothing is sent."""
    xray.configure(endpoint=otlp_receiver.endpoint, disabled=True)
    with xray.run("r") as run, run.step("s") as step:
        assert step.filter([1, 2], lambda item: item > 1) == [2]
        step.artifact("a", "b")
        run.outcome("x")
    assert xray.flush()
    assert otlp_receiver.received.records == []
