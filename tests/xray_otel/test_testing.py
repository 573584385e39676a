"""``xray_otel.testing``: what a user's test sees is what would arrive at the server."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

import xray_otel as xray
from tests.fixtures.otlp_receiver import HttpReceiver
from xray_otel import _setup, testing

ROOT = Path(__file__).parents[2]


def recommend() -> None:
    with xray.run(
        "recommend", version="7", entity="case", tags={"shop": "de"}, input={"query": "case"}
    ) as run:
        with xray.step("search", type="search", capture="metrics_only") as step:
            step.counts(out=3)
        with xray.step("price", type="filter", why="budget", parents="s1") as step:
            step.reject("a", "too_dear", "99 is above 50", value=99, threshold=50)
            step.reject("b", "no_price", value=xray.MISSING)
            step.accept("c\x00", value=10.5, threshold=50, score=0.5)
            step.metric("rate", 0.25)
            step.artifact("prompt", "Is it?", name="p.txt")
        run.artifact("page", b"\x01")
        run.outcome("matched", "the cheapest")
        run.set_output(["c"])


@pytest.mark.parametrize("sampled", [True, False])
def test_everything_is_seen(sampled: bool):
    """Run, steps, decisions and artifacts come back as recorded, by spans and by events alike."""
    provider = TracerProvider(shutdown_on_exit=False)
    if not sampled:
        provider = TracerProvider(sampler=ALWAYS_OFF, shutdown_on_exit=False)
    xray.configure(endpoint="http://127.0.0.1:9", tracer_provider=provider)
    with testing.capture() as captured:
        recommend()
    run = captured.run("recommend")
    assert (run.version, run.entity, run.status, run.error) == ("7", "case", "completed", None)
    assert (run.tags, run.input, run.output) == ({"shop": "de"}, {"query": "case"}, ["c"])
    assert (run.outcome, run.outcome_reason) == ("matched", "the cheapest")
    assert [artifact.data for artifact in run.artifacts] == [b"\x01"]
    assert run.ended_ns is not None
    assert run.started_ns < run.steps[0].started_ns <= run.steps[-1].ended_ns <= run.ended_ns
    assert [(step.name, step.type, step.index) for step in run.steps] == [
        ("search", "search", 0),
        ("price", "filter", 1),
    ]
    assert (run.step("search").candidates_out, run.step("search").decisions) == (3, ())
    step = captured.step("price")
    assert step == run.step("price")
    assert (step.candidates_in, step.candidates_out, step.drop_ratio) == (3, 1, 2 / 3)
    assert step.counts == {"kept": 1, "eliminated": 2}
    assert step.reasons == {"too_dear": 1, "no_price": 1}
    assert (step.why, step.parents, step.metrics, step.status) == ("budget", ("s1",), {"rate": 0.25}, "ok")
    assert step.attributes["xray.pipeline.name"] == "recommend"
    assert step.decision("a") == testing.Decision(
        item_id="a",
        verdict="eliminated",
        reason="too_dear",
        reason_text="99 is above 50",
        score=None,
        value=99,
        threshold=50,
        value_missing=False,
        probability=None,
        checks=(),
    )
    assert step.decision("b").value_missing
    assert step.decision("c").score == 0.5  # as it arrives: without what the server cannot store
    assert step.items("eliminated") == ["a", "b"]
    assert step.items(reason="no_price") == ["b"]
    [artifact] = step.artifacts
    assert (artifact.kind, artifact.name, artifact.data) == ("prompt", "p.txt", "Is it?")
    assert captured.losses == {}
    with pytest.raises(dataclasses.FrozenInstanceError):
        step.name = "other"  # type: ignore[misc]


def test_failures_are_seen():
    """A crash shows on step and run; a running run is seen; attempts are told apart."""

    def pipeline() -> None:
        with xray.run("r"):
            for attempt in (1, 2):
                with xray.step("s", step_id="one", attempt=attempt):
                    assert captured.run("r").status == "running"
                    if attempt == 2:
                        raise LookupError("gone")

    with testing.capture() as captured, pytest.raises(LookupError):
        pipeline()
    assert (captured.run().status, captured.run().error) == ("crashed", "gone")
    assert captured.step("s", attempt=1).error is None
    assert (captured.step("s", attempt=2).status, captured.step("s", attempt=2).error) == ("error", "gone")
    with pytest.raises(AssertionError, match="there is 2 step 's' in run 'r'; there is 's', 's'"):
        captured.run("r").step("s")


def test_messages_say_what_there_is():
    """An assertion that finds nothing names what it could have found."""
    with testing.capture() as captured:
        recommend()
        with xray.step("alone"):
            pass
    with pytest.raises(AssertionError, match=r"there is no step 'prize' in run 'recommend'.* 'price'"):
        captured.run().step("prize")
    with pytest.raises(AssertionError, match="no decision on 'z'; it has 'a', 'b', 'c'"):
        captured.step("price").decision("z")
    with pytest.raises(AssertionError, match="no run of 'other' in captured; there is 'recommend'"):
        captured.run("other")
    assert captured.step("alone").run_id not in [run.run_id for run in captured.runs]


def test_misuse_raises_unless_told_otherwise():
    """In a test misuse raises where it happens; with ``best_effort`` it is counted as in production."""
    with testing.capture(), pytest.raises(xray.UsageError), xray.step("s", type="mystery"):
        pass
    with (
        testing.capture(mode="best_effort", level="metrics_only") as captured,
        xray.step("s", type="mystery") as step,
    ):
        step.reject("a", "dear")
    assert captured.failures == {"step": 1}
    assert (captured.step("s").reasons, captured.step("s").decisions) == ({"dear": 1}, ())


def test_the_client_is_what_it_was(otlp_receiver: HttpReceiver):
    """Nothing of the captured leaves the process, and what comes later does; also where it was disabled."""
    xray.configure(endpoint=otlp_receiver.endpoint)
    before = _setup.client()
    with testing.capture() as captured:
        recommend()
    assert len(captured.steps) == 2
    assert _setup.client() is before
    with xray.step("later"):
        pass
    xray.flush()
    assert [record.name for record in otlp_receiver.received.spans()] == ["later"]
    xray.configure(disabled=True)
    with testing.capture() as captured:
        recommend()
    assert len(captured.runs) == 1


def test_a_program_may_configure_meanwhile(otlp_receiver: HttpReceiver):
    """``configure()`` in the code under test counts, and still nothing leaves; afterwards it is undone."""
    xray.configure(endpoint=otlp_receiver.endpoint)
    before = _setup.client()
    with testing.capture() as captured:
        with xray.step("first"):
            pass
        xray.configure(endpoint=otlp_receiver.endpoint, mask_keys=["colour"], capture="metrics_only")
        with xray.step("second", type="filter", input={"colour": "red", "size": 7}) as step:
            step.accept("a")
    assert [step.name for step in captured.steps] == ["first", "second"]
    assert captured.step("second").input["size"] == 7
    assert captured.step("second").input["colour"] != "red"
    assert len(captured.step("second").decisions) == 1
    assert _setup.client() is before
    with xray.step("later", input={"colour": "red"}):
        pass
    xray.flush()
    [span] = otlp_receiver.received.spans()
    assert span.attributes["xray.step.input"] == '{"colour":"red"}'


PLUGIN = """
import xray_otel as xray
def test_it(xray_captured):
    with xray.run("r"):
        pass
    assert xray_captured.run("r").status == "completed"
"""


def test_the_fixture(tmp_path: Path):
    """The plugin gives the fixture ``xray_captured``."""
    (tmp_path / "test_it.py").write_text(PLUGIN)
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "xray_otel.pytest_plugin", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "1 passed" in result.stdout, result.stdout
