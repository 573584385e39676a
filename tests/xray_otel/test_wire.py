"""What arrives at an OTLP server, compared whole."""

from __future__ import annotations

import json
import zlib
from typing import Any, NamedTuple

import pytest

import xray_otel as xray
from tests.fixtures.otlp_receiver import HttpReceiver, Received, Record


def pipeline() -> xray.Run:
    with xray.run(
        "competitors", version="v3", entity="P1", input={"title": "case"}, tags={"market": "US"}, timeout_s=60
    ) as run:
        with xray.step("search", type="retrieval", top_k=10, why="by title") as step:
            step.record(["a", "b", "c"], "kept", scores=[0.5, 1.0, 0.0])
            step.sources({"index-1": 3, "index-2": 0})
        with run.step("price", type="filter", reasoning={"max": 50}, config={"max": 50}) as step:
            step.reasons("never")
            step.accept("a", value=12.5, threshold=50)
            step.reject("b", "price_too_high", text="too dear", value=99, threshold=50)
            step.reject({"id": "c"}, "price_unknown", value=xray.MISSING, threshold=50)
            step.metric("band", 2)
        with xray.step("pick", type="select") as step:
            step.select("a", "only_one", score=0.5)
            step.model("m-1", temperature=0.2)
        run.outcome("matched", reason="only one left")
        run.set_output({"winner": "a"})
    assert xray.flush()
    return run


def without(record: Record, *names: str) -> dict[str, object]:
    return {key: value for key, value in record.attributes.items() if key not in names}


def check(received: Received, run: xray.Run) -> None:
    identity = {
        "xray.pipeline.name": "competitors",
        "xray.pipeline.version": "v3",
        "xray.run.id": run.run_id,
    }
    start_fields = {
        "xray.run.entity": "P1",
        "xray.run.input": '{"title":"case"}',
        "xray.run.tag.market": "US",
        "xray.run.timeout_s": 60.0,
    }
    [start] = received.events("xray.run.start")
    assert start.attributes == start_fields | identity | {"xray.capture.level": "full"}
    [span] = received.spans("run")
    assert span.attributes == start_fields | identity | {
        "xray.span.kind": "run",
        "xray.run.status": "completed",
        "xray.run.outcome": "matched",
        "xray.run.outcome_reason": "only one left",
        "xray.run.output": '{"winner":"a"}',
    }
    step = received.step("price")
    own = identity | {
        "xray.span.kind": "step",
        "xray.capture.level": "full",
        "xray.step.attempt": 1,
    }
    assert without(step, "xray.step.id") == own | {
        "xray.step.index": 1,
        "xray.step.type": "filter",
        "xray.step.reasoning": '{"max":50}',
        "xray.config.fingerprint": step.attributes["xray.config.fingerprint"],
        "xray.candidates.in": 3,
        "xray.candidates.out": 1,
        "xray.candidates.kept": 1,
        "xray.candidates.eliminated": 2,
        "xray.reasons.codes": ["price_too_high", "price_unknown", "never"],
        "xray.reasons.counts": [1, 1, 0],
        "xray.decisions.recorded": 3,
        "xray.decisions.chunks": 1,
        "xray.metric.band": 2.0,
    }
    assert step.parent_id == span.span_id
    assert list(step.attributes)[-1] == "xray.span.kind"
    search = received.step("search")
    assert without(search, "xray.step.id") == own | {
        "xray.step.index": 0,
        "xray.step.type": "search",
        "xray.step.top_k": 10,
        "xray.step.why": "by title",
        "xray.candidates.out": 3,
        "xray.candidates.kept": 3,
        "xray.score.min": 0.0,
        "xray.score.max": 1.0,
        "xray.score.mean": 0.5,
        "xray.score.std": pytest.approx(0.40824829),
        "xray.score.p10": pytest.approx(0.1),
        "xray.score.p50": 0.5,
        "xray.score.p90": pytest.approx(0.9),
        "xray.sources.names": ["index-1", "index-2"],
        "xray.sources.counts": [3, 0],
        "xray.decisions.recorded": 3,
        "xray.decisions.chunks": 1,
    }
    pick = received.step("pick")
    assert pick.attributes["xray.selected.id"] == "a"
    assert pick.attributes["gen_ai.request.model"] == "m-1"
    assert pick.attributes["gen_ai.request.temperature"] == 0.2
    [event] = [e for e in received.events("xray.step.decisions") if e.span_id == step.span_id]
    text = event.attributes["xray.decisions.data"]
    assert without(event, "xray.decisions.data") == identity | {
        "xray.step.id": step.attributes["xray.step.id"],
        "xray.step.attempt": 1,
        "xray.chunk.index": 0,
        "xray.chunk.total": 1,
        "xray.chunk.count": 3,
        "xray.chunk.checksum": f"{zlib.crc32(text.encode()):08x}",
    }
    assert json.loads(text) == {
        "v": 1,
        "n": 3,
        "item": ["a", "b", "c"],
        "verdict": "KEE",
        "reasons": ["price_too_high", "price_unknown"],
        "reason": [None, 0, 1],
        "texts": ["too dear"],
        "text": [None, 0, None],
        "value": [12.5, 99, None],
        "threshold": 50,
        "missing": [2],
    }


def test_a_pipeline_over_http(otlp_receiver: HttpReceiver):
    """Runs, steps and decisions arrive by OTLP/HTTP exactly as they were recorded."""
    xray.configure(endpoint=otlp_receiver.endpoint, mode="strict", service_name="shop", environment="test")
    run = pipeline()
    check(otlp_receiver.received, run)
    resource = otlp_receiver.received.spans("run")[0].resource
    assert resource["service.name"] == "shop"
    assert resource["deployment.environment.name"] == "test"
    assert {r.resource["service.name"] for r in otlp_receiver.received.records} == {"shop"}


def test_a_pipeline_over_grpc(grpc_otlp_receiver: HttpReceiver):
    """Runs, steps and decisions arrive by OTLP/gRPC exactly as they were recorded."""
    xray.configure(endpoint=grpc_otlp_receiver.endpoint, protocol="grpc", mode="strict")
    check(grpc_otlp_receiver.received, pipeline())


def test_the_helpers_record_as_they_work(traced: Received):
    """filter, rank and select_best return what they would without X-Ray, and record every candidate."""
    prices: dict[str, Any] = {"a": 10, "b": 99, "c": None, "d": 20}

    def affordable(item: str) -> object:
        price = prices[item]
        if price is None:
            return xray.Reject("unknown", value=xray.MISSING)
        return (
            xray.Accept("fits", value=price) if price < 50 else xray.Reject("dear", value=price, threshold=50)
        )

    with xray.run("r"):
        with xray.step("filter", type="filter") as step:
            kept = step.filter(prices, affordable)
        with xray.step("rank", type="rank") as step:
            top = step.rank(kept, score=lambda item: -prices[item], top_k=1)
        with xray.step("best", type="select") as step:
            best = step.select_best(["a", "d"], score=prices.get)
    assert (kept, top, best) == (["a", "d"], ["a"], "d")
    xray.flush()
    payloads = [json.loads(e.attributes["xray.decisions.data"]) for e in traced.events("xray.step.decisions")]
    assert payloads == [
        {
            "v": 1, "n": 4, "item": ["a", "b", "c", "d"], "verdict": "KEEK",
            "reasons": ["fits", "dear", "unknown"], "reason": [0, 1, 2, 0],
            "value": [10, 99, None, 20], "threshold": [None, 50, None, None], "missing": [2],
        },
        {
            "v": 1, "n": 2, "item": ["a", "d"], "verdict": "KN",
            "reasons": ["below_top_k"], "reason": [None, 0], "score": [-10.0, -20.0],
            "rules": {"evaluation": "single"},
        },
        {
            "v": 1, "n": 2, "item": ["d", "a"], "verdict": "WN",
            "reasons": ["best_score", "lower_score"], "reason": [0, 1], "score": [20.0, 10.0],
            "rules": {"evaluation": "single"},
        },
    ]  # fmt: skip
    assert traced.step("rank").attributes["xray.step.top_k"] == 1


def test_items_that_are_tuples(traced: Received):
    """A named tuple with an id is known by it; any other tuple is an id itself."""

    class Product(NamedTuple):
        id: str
        price: int

    with xray.run("r"), xray.step("s", type="filter") as step:
        step.accept(Product("a", 1))
        step.accept(("b", 2))
    xray.flush()
    (event,) = traced.events("xray.step.decisions")
    assert json.loads(event.attributes["xray.decisions.data"])["item"] == ["a", "('b', 2)"]


def test_a_score_before_the_verdict_counts_once(traced: Received):
    """A candidate that is scored and then selected in one step is one decision with that score."""
    with xray.run("r"), xray.step("s", type="select") as step:
        for item, score in (("a", 0.1), ("b", 0.9)):
            step.score(item, score)
        step.select("b", "best")
    xray.flush()
    attributes = traced.step("s").attributes
    assert (attributes["xray.candidates.in"], attributes["xray.candidates.out"]) == (2, 2)
    [event] = traced.events("xray.step.decisions")
    payload = json.loads(event.attributes["xray.decisions.data"])
    assert (payload["item"], payload["verdict"], payload["score"]) == (["a", "b"], "SW", [0.1, 0.9])


def test_explicit_counts_win_over_recorded_ones(traced: Received):
    """What ``counts`` says stands, whatever was recorded."""
    with xray.run("r"), xray.step("s", type="filter") as step:
        step.accept("a")
        step.counts(in_=5000, out=30)
    xray.flush()
    attributes = traced.step("s").attributes
    assert (attributes["xray.candidates.in"], attributes["xray.candidates.out"]) == (5000, 30)


def test_large_steps_come_in_chunks(traced: Received):
    """60,000 decisions arrive complete and in order, in chunks of at most 256 KiB."""
    items = [f"item-{number:05d}" for number in range(60_000)]
    with xray.run("r"), xray.step("s", type="filter") as step:
        for item in items:
            step.reject(item, "no", text="in words, so that it takes some room")
    xray.flush(10)
    attributes = traced.step("s").attributes
    chunks = sorted(traced.events("xray.step.decisions"), key=lambda e: e.attributes["xray.chunk.index"])
    assert attributes["xray.decisions.chunks"] == len(chunks) > 3
    assert attributes["xray.candidates.eliminated"] == attributes["xray.decisions.recorded"] == 60_000
    assert max(len(e.attributes["xray.decisions.data"]) for e in chunks) <= 256 * 1024
    received = [item for e in chunks for item in json.loads(e.attributes["xray.decisions.data"])["item"]]
    assert received == items
    assert max(traced.sizes) <= 3_500_000


@pytest.mark.parametrize("level", ["metrics_only", "sampled"])
def test_counts_are_exact_at_every_capture_level(traced: Received, level):
    """Counts, reasons and score statistics do not depend on how much evidence is kept."""
    with xray.run("r"):
        for capture in ("full", level):
            with xray.step(capture, type="filter", capture=capture) as step:
                for number in range(5000):
                    if number % 100:
                        step.reject(f"i{number}", "rare" if number == 777 else "often", score=number / 7)
                    else:
                        step.accept(f"i{number}", score=number / 7)
    xray.flush()
    names = ("xray.candidates.", "xray.reasons.", "xray.score.")
    full, less = (
        {key: value for key, value in traced.step(name).attributes.items() if key.startswith(names)}
        for name in ("full", level)
    )
    assert full == less
    assert less["xray.reasons.counts"] == [4949, 1]
    payloads = [
        json.loads(e.attributes["xray.decisions.data"])
        for e in traced.events("xray.step.decisions")
        if e.span_id == traced.step(level).span_id
    ]
    if level == "metrics_only":
        assert payloads == []
        return
    [payload] = payloads
    assert {"i777", "i0", "i1", "i4999"} <= set(payload["item"])
    assert 60 <= payload["n"] <= 160
    assert sum(1 / p for p in payload["p"]) == pytest.approx(5000, rel=0.5)


def test_artifacts(traced: Received):
    """Artifacts of steps and runs arrive with size and hash; bytes stay bytes, objects become JSON."""
    with xray.run("r") as run, xray.step("s", type="llm") as step:
        step.artifact("prompt", "Größe?", name="prompt.txt")
        step.artifact("image", b"\x00\xff", content_type="image/png")
        run.artifact("config", {"a": 1})
    xray.flush()
    found = {e.attributes["xray.artifact.kind"]: e.attributes for e in traced.events("xray.artifact")}
    assert found["prompt"]["xray.artifact.data"] == "Größe?"
    assert found["prompt"]["xray.artifact.size"] == 8
    assert found["prompt"]["xray.step.id"] == step.step_id
    assert found["image"]["xray.artifact.data"] == b"\x00\xff"
    assert found["config"]["xray.artifact.data"] == '{"a":1}'
    assert "xray.step.id" not in found["config"]


def test_field_statistics(traced: Received):
    """``fields`` sends the share missing and the moments of numeric values, in parallel arrays."""
    items = [
        {"price": 10, "type": "case"},
        {"price": 20.0, "type": None},
        {"type": ""},
        {"price": float("nan")},
    ]
    with xray.run("r"), xray.step("s", type="search") as step:
        step.fields(items, ["price", "type"])
    xray.flush()
    attributes = traced.step("s").attributes
    assert attributes["xray.fields.names"] == ["price", "type"]
    assert attributes["xray.fields.missing"] == [0.5, 0.75]
    assert attributes["xray.fields.mean"][0] == 15.0
    assert attributes["xray.fields.std"][0] == 5.0
    assert attributes["xray.fields.p50"][0] == 15.0
    assert attributes["xray.fields.mean"][1] != attributes["xray.fields.mean"][1]
