"""Programs that were instrumented for somebody else: their spans are steps, with candidates and marked."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import Tracer

from tests.fixtures import otlp_json
from tests.fixtures.foreign_spans import (
    GEN_AI_CHAT,
    GEN_AI_RETRIEVAL,
    OPENINFERENCE_RERANKER,
    OPENINFERENCE_RETRIEVER,
    WOOD_STAND,
)
from tests.fixtures.services import ServiceProcess, StartService
from tests.fixtures.waiting import wait_until

ROOT = Path(__file__).parents[2]


class JsonExporter(SpanExporter):
    """Sends OTLP/JSON over HTTP, as opentelemetry-js does."""

    def __init__(self, endpoint: str) -> None:
        self._client = httpx.Client(base_url=endpoint, timeout=30.0, trust_env=False)
        self.said: list[str] = []
        """Answers that were more than a plain success; the SDK would swallow an exception."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        answer = self._client.post(
            "/v1/traces",
            content=otlp_json.encode(encode_spans(spans)),
            headers={"content-type": "application/json"},
        )
        if answer.status_code != 200 or answer.json() != {}:
            self.said.append(answer.text)
        return SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        self._client.close()


def send(service: ServiceProcess, by: str, pipeline: Callable[[Tracer], None]) -> str:
    """Run a pipeline by opentelemetry-sdk alone; nothing may be refused. Return its trace id in hex."""
    if by == "grpc":
        return send_by(OTLPSpanExporter(endpoint=service.otlp_grpc, insecure=True, timeout=30), pipeline)
    exporter = JsonExporter(service.otlp_http)
    trace_id = send_by(exporter, pipeline)
    assert exporter.said == []
    return trace_id


def send_by(exporter: SpanExporter, pipeline: Callable[[Tracer], None]) -> str:
    provider = TracerProvider(resource=Resource.create({"service.name": "rag"}))
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracer = provider.get_tracer("rag")
    with tracer.start_as_current_span("POST /answer") as request:
        pipeline(tracer)
    provider.shutdown()
    return f"{request.get_span_context().trace_id:032x}"


def spans(*named: tuple[str, Mapping[str, Any]]) -> Callable[[Tracer], None]:
    """A pipeline of spans, one after the other."""

    def run(tracer: Tracer) -> None:
        for name, attributes in named:
            with tracer.start_as_current_span(name, attributes=dict(attributes)):
                pass

    return run


def candidates(
    service: ServiceProcess, run_id: str, step: Mapping[str, Any]
) -> list[tuple[str, str, Any, Any]]:
    found = service.get(f"/runs/{run_id}/steps/{step['step_id']}/decisions")
    return [(one["item_id"], one["verdict"], one["reason"], one["score"]) for one in found["items"]]


RAG = spans(
    ("chain", {"openinference.span.kind": "CHAIN", "input.value": "laptop stand"}),
    ("retrieve", OPENINFERENCE_RETRIEVER),
    ("embed", {"gen_ai.operation.name": "embeddings", "gen_ai.request.model": "e-1"}),
    ("rerank", OPENINFERENCE_RERANKER),
    ("chat m-1", GEN_AI_CHAT),
)


@pytest.mark.parametrize("by", ["grpc", "json"])
def test_a_rag_program_shows_up_as_search_rank_and_llm(module_xray_up: ServiceProcess, by: str):
    run_id = send(module_xray_up, by, RAG)

    run = module_xray_up.get(f"/runs/{run_id}")

    steps = run["steps"]
    assert [(step["name"], step["step_type"], step["inferred"]) for step in steps] == [
        ("retrieve", "search", True),
        ("rerank", "rank", True),
        ("chat m-1", "llm", True),
    ]
    search, rank, llm = steps
    assert (search["candidates_in"], search["candidates_out"]) == (None, 3)
    assert candidates(module_xray_up, run_id, search) == [
        ("B01", "kept", None, 0.91),
        (WOOD_STAND, "kept", None, 0.5),
        ("B03", "kept", None, 0.4),
    ]
    assert (rank["candidates_in"], rank["candidates_out"], rank["top_k"], rank["model"]) == (3, 1, 1, "ce-1")
    assert rank["reasons"] == {"not_in_output": 2}
    assert rank["drop_ratio"] == pytest.approx(2 / 3)
    assert candidates(module_xray_up, run_id, rank) == [
        ("B03", "kept", None, 0.99),
        ("B01", "not_selected", "not_in_output", None),
        (WOOD_STAND, "not_selected", "not_in_output", None),
    ]
    assert (llm["model"], llm["temperature"], llm["top_k"]) == ("m-1", 0.2, None)
    assert llm["metrics"] == {"input_tokens": 12, "output_tokens": 3}
    assert llm["input"] == [{"role": "user", "parts": [{"type": "text", "content": "hi"}]}]
    assert llm["reasoning"]["finish_reasons"] == ["stop"]
    assert not any(step["flags"] for step in steps)


@pytest.mark.parametrize("by", ["grpc", "json"])
def test_the_documents_of_a_retrieval_are_its_candidates(module_xray_up: ServiceProcess, by: str):
    run_id = send(module_xray_up, by, spans(("retrieval catalogue", GEN_AI_RETRIEVAL)))

    (step,) = module_xray_up.get(f"/runs/{run_id}")["steps"]

    assert (step["step_type"], step["inferred"], step["candidates_out"], step["top_k"]) == (
        "search",
        True,
        3,
        10,
    )
    assert [item for item, *_ in candidates(module_xray_up, run_id, step)] == ["B01", WOOD_STAND, "B03"]
    assert step["input"] == {"query": "laptop stand"}


@pytest.mark.parametrize("told", ["after", "before"])
def test_they_join_the_run_that_their_trace_names(module_xray_up: ServiceProcess, told: str):
    """The run has an id of its own, which the instrumented clients inside it know nothing of."""
    run_id = f"named-{told}"

    def told_after(tracer: Tracer) -> None:
        with tracer.start_as_current_span("rag", attributes=named):
            spans(("rerank", OPENINFERENCE_RERANKER), ("chat m-1", GEN_AI_CHAT))(tracer)

    def told_before(tracer: Tracer) -> None:
        spans(("rag", named), ("rerank", OPENINFERENCE_RERANKER), ("chat m-1", GEN_AI_CHAT))(tracer)

    named = {"xray.run.id": run_id, "xray.pipeline.name": "rag"}
    trace_id = send(module_xray_up, "grpc", told_after if told == "after" else told_before)

    wait_until(
        lambda: module_xray_up.get(f"/runs/{run_id}")["steps_count"] == 2,
        timeout_s=30.0,
        what="the steps to join their run",
    )
    run = module_xray_up.get(f"/runs/{run_id}")
    assert (run["pipeline"], run["status"], run["trace_ids"]) == ("rag", "completed", [trace_id])
    rank, llm = run["steps"]
    assert [(step["name"], step["run_id"], step["inferred"]) for step in (rank, llm)] == [
        ("rerank", run_id, True),
        ("chat m-1", run_id, True),
    ]
    assert [item for item, *_ in candidates(module_xray_up, run_id, rank)] == ["B03", "B01", WOOD_STAND]
    assert "rerank" in str(module_xray_up.get(f"/runs/{run_id}/explain")["summary"])
    assert trace_id not in [run["run_id"] for run in module_xray_up.get("/runs?limit=1000")["items"]]


def test_the_journey_of_a_document_goes_through_both_steps(module_xray_up: ServiceProcess):
    run_id = send(module_xray_up, "grpc", RAG)

    journey = module_xray_up.get(f"/runs/{run_id}/items/{WOOD_STAND}")

    assert "retrieve" in str(journey)
    assert "not_in_output" in str(journey)


def test_a_stamped_run_id_is_kept(module_xray_up: ServiceProcess):
    attributes = {**GEN_AI_CHAT, "xray.run.id": "stamped-by-baggage"}
    send(module_xray_up, "grpc", spans(("chat m-1", attributes)))

    (step,) = module_xray_up.get("/runs/stamped-by-baggage")["steps"]

    assert (step["step_type"], step["inferred"]) == ("llm", True)


@pytest.mark.parametrize("by", ["grpc", "json"])
def test_an_explicit_step_takes_what_it_leaves_open(module_xray_up: ServiceProcess, by: str):
    said = {"xray.step.type": "llm", "xray.step.input": '"mine"', "xray.metric.input_tokens": 99}
    run_id = send(module_xray_up, by, spans(("ask", {**said, **GEN_AI_CHAT})))

    (step,) = module_xray_up.get(f"/runs/{run_id}")["steps"]

    assert (step["inferred"], step["model"], step["temperature"]) == (False, "m-1", 0.2)
    assert (step["input"], step["output"], step["reasoning"]) == ("mine", None, None)
    assert step["metrics"] == {"input_tokens": 99, "output_tokens": 3}


@pytest.mark.parametrize("by", ["grpc", "json"])
def test_span_events_are_decisions(module_xray_up: ServiceProcess, by: str):
    def pipeline(tracer: Tracer) -> None:
        with tracer.start_as_current_span("by price", attributes={"xray.step.type": "filter"}) as step:
            for number in range(20):
                verdict = {"xray.decision.verdict": "kept"}
                if number >= 5:
                    verdict = {"xray.decision.verdict": "eliminated", "xray.decision.reason": "too_dear"}
                step.add_event("xray.decision", {"xray.decision.item_id": f"B{number}", **verdict})
                step.add_event("something else")

    run_id = send(module_xray_up, by, pipeline)

    (step,) = module_xray_up.get(f"/runs/{run_id}")["steps"]
    assert (step["candidates_in"], step["candidates_out"], step["inferred"]) == (20, 5, False)
    assert step["reasons"] == {"too_dear": 15}
    assert candidates(module_xray_up, run_id, step)[4:6] == [
        ("B4", "kept", None, None),
        ("B5", "eliminated", "too_dear", None),
    ]
    assert step["flags"] == []


@pytest.mark.parametrize("by", ["grpc", "json"])
def test_span_events_that_the_sdk_dropped_are_flagged(module_xray_up: ServiceProcess, by: str):
    def pipeline(tracer: Tracer) -> None:
        with tracer.start_as_current_span("by price", attributes={"xray.step.type": "filter"}) as step:
            for number in range(200):
                decision = {"xray.decision.item_id": f"B{number}", "xray.decision.verdict": "kept"}
                step.add_event("xray.decision", decision)

    run_id = send(module_xray_up, by, pipeline)

    (step,) = module_xray_up.get(f"/runs/{run_id}")["steps"]
    dropped = {
        "code": "decisions_missing",
        "field": "xray.decision",
        "sent": "72 events dropped by the sender",
    }
    assert dropped in step["flags"]
    assert (step["candidates_in"], step["decisions_recorded"]) == (None, 128)
    assert candidates(module_xray_up, run_id, step)[0][0] == "B72"
    assert step["completeness"]["evidence"] == "partial"
    (loss,) = module_xray_up.get("/losses", run_id=run_id)["items"]
    assert (loss["cause"], loss["what"], loss["count"]) == ("client_policy", "decisions", 72)


@pytest.mark.parametrize("by", ["grpc", "json"])
def test_parallel_arrays_are_decisions(module_xray_up: ServiceProcess, by: str):
    attributes = {
        "xray.step.type": "search",
        "xray.decisions.items": ["a", "b"],
        "xray.decisions.verdicts": ["kept", "kept"],
        "xray.decisions.scores": [0.5, float("nan")],
    }
    run_id = send(module_xray_up, by, spans(("search", attributes)))

    (step,) = module_xray_up.get(f"/runs/{run_id}")["steps"]
    assert candidates(module_xray_up, run_id, step) == [("a", "kept", None, 0.5), ("b", "kept", None, None)]
    assert (step["candidates_in"], step["candidates_out"]) == (None, 2), "a source has no in"


def test_decisions_that_come_as_log_events_go_before_those_on_the_span(module_xray_up: ServiceProcess):
    attributes = {
        "xray.step.type": "filter",
        "xray.candidates.in": 9,
        "xray.decisions.chunks": 1,
        "xray.decisions.items": ["a", "b"],
        "xray.decisions.verdicts": ["kept", "kept"],
    }
    run_id = send(module_xray_up, "grpc", spans(("filter", attributes)))

    (step,) = module_xray_up.get(f"/runs/{run_id}")["steps"]
    assert (step["candidates_in"], step["decisions_recorded"]) == (9, None)
    assert candidates(module_xray_up, run_id, step) == []
    assert "decisions_missing" in [flag["code"] for flag in step["flags"]], "the events never came"


def test_arrays_that_do_not_pair_up_flag_their_step_and_are_told_to_the_sender(
    module_xray_up: ServiceProcess,
):
    attributes = {
        "xray.step.type": "filter",
        "xray.decisions.items": ["a", "b"],
        "xray.decisions.verdicts": ["kept"],
    }
    exporter = JsonExporter(module_xray_up.otlp_http)
    send_by(exporter, spans(("broken arrays", attributes)))

    assert "xray.decisions.verdicts has 1 values for 2 candidates" in exporter.said[0]
    found = module_xray_up.get("/steps", name="broken arrays")["items"]
    assert [flag["code"] for flag in found[0]["flags"] if flag["code"].startswith("decisions")] == [
        "decisions_unreadable"
    ]


SHOP = spans(
    ("catalogue.lookup", {"shop.stage": "find", "shop.items.out": 400}),
    (
        "check prices",
        {
            "shop.stage": "price",
            "shop.items.in": 400,
            "shop.items.out": 10,
            "shop.items.recall": 0.5,
            "shop.rules.version": 7,
            "shop.judged.ids": ["a", "b"],
            "shop.judged.verdicts": ["kept", "eliminated"],
            "shop.judged.reasons": ["", "too_dear"],
        },
    ),
    ("job", {"shop.job.name": "match", "shop.product": "P7"}),
    ("unrelated", {"shop.cart": 3}),
)


@pytest.mark.parametrize("by", ["grpc", "json"])
def test_a_teams_own_names_become_run_steps_and_decisions(start_service: StartService, by: str):
    service = start_service("up", XRAY_MAPPING=str(ROOT / "examples" / "mapping" / "shop.yaml"))

    run_id = send(service, by, SHOP)

    run = service.get(f"/runs/{run_id}")
    assert (run["pipeline"], run["entity"], run["status"]) == ("match", "P7", "completed")
    search, filtering = run["steps"]
    assert (search["step_type"], search["candidates_out"], search["inferred"]) == ("search", 400, True)
    assert (filtering["step_type"], filtering["drop_ratio"], filtering["inferred"]) == ("filter", 0.975, True)
    assert (filtering["metrics"], filtering["name"]) == ({"recall": 0.5}, "check prices")
    assert candidates(service, run_id, filtering) == [
        ("a", "kept", None, None),
        ("b", "eliminated", "too_dear", None),
    ]


def test_nothing_is_inferred_when_it_is_switched_off(start_service: StartService):
    service = start_service("up", XRAY_INFER="none")

    run_id = send(service, "grpc", RAG)

    answer = httpx.get(f"{service.api}/api/v1/runs/{run_id}", timeout=20.0, trust_env=False)
    assert answer.status_code == 404
