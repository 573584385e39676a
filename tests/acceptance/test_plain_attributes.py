"""Teams that use no code of ours: opentelemetry-sdk and a few attributes are enough."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from tests.fixtures.services import ServiceProcess, environment


def run_pipeline(endpoint: str) -> str:
    """Trace one pipeline by opentelemetry-sdk alone and return the trace id in hex."""
    provider = TracerProvider(resource=Resource.create({"service.name": "plain"}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=f"{endpoint}/v1/traces")))
    tracer = provider.get_tracer("shop")
    with tracer.start_as_current_span("handle request") as request:
        request.set_attribute("http.request.method", "POST")
        with tracer.start_as_current_span("match competitor") as pipeline:
            pipeline.set_attribute("xray.pipeline.name", "plain-match")
            with tracer.start_as_current_span("search") as step:
                step.set_attributes({"xray.step.type": "search", "xray.candidates.out": 400})
            with tracer.start_as_current_span("by price") as step:
                step.set_attributes(
                    {"xray.step.type": "filter", "xray.candidates.in": 400, "xray.candidates.out": 10}
                )
            with tracer.start_as_current_span("SELECT products"):
                pass
            with tracer.start_as_current_span("by rating") as step:
                step.set_attributes(
                    {"xray.step.type": "ranking", "xray.candidates.in": 10, "xray.candidates.out": 4}
                )
        trace_id = f"{request.get_span_context().trace_id:032x}"
    provider.shutdown()
    return trace_id


def test_plain_spans_become_a_run_with_steps_and_drop_ratios(xray_up: ServiceProcess) -> None:
    """A program that only sets type, in and out on its spans shows up with run, steps and drop ratios."""
    trace_id = run_pipeline(xray_up.otlp_http)

    run = xray_up.get(f"/runs/{trace_id}")

    assert (run["pipeline"], run["status"], run["service_name"]) == ("plain-match", "completed", "plain")
    assert [(step["name"], step["step_type"], step["drop_ratio"]) for step in run["steps"]] == [
        ("search", "search", None),
        ("by price", "filter", 0.975),
        ("by rating", "rank", 0.6),
    ]
    assert run["steps"][2]["step_type_original"] == "ranking"
    assert (run["candidates_in"], run["candidates_out"], run["drop_ratio"]) == (400, 4, 0.99)


def test_plain_spans_answer_the_headline_question(xray_up: ServiceProcess) -> None:
    """A filter that eliminated more than 90 % is found across runs, by run and by step."""
    trace_id = run_pipeline(xray_up.otlp_http)

    runs = xray_up.get("/runs", **{"step.step_type": "filter", "step.drop_ratio_gt": 0.9})
    steps = xray_up.get("/steps", step_type="filter", drop_ratio_gt=0.9)

    assert [run["run_id"] for run in runs["items"]] == [trace_id]
    assert [step["name"] for step in steps["items"]] == ["by price"]
    assert xray_up.get("/steps", step_type="filter", drop_ratio_gt=0.98)["items"] == []


def test_the_javascript_example_shows_up(xray_up: ServiceProcess, js_folder: Path) -> None:
    """``examples/plain_otel_js``, which has nothing of ours in it, gives a run with drop ratios."""
    done = subprocess.run(
        ["node", "pipeline.mjs"],
        cwd=js_folder,
        env=environment({"XRAY_ENDPOINT": xray_up.otlp_http}),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    said = re.fullmatch(r"run (\w{32}): 200 found, (\d+) affordable, (\w+) chosen\n", done.stdout)
    assert said is not None, done.stdout

    run = xray_up.get(f"/runs/{said[1]}")

    assert (run["pipeline"], run["entity"], run["outcome"]) == (
        "competitor-search-js",
        "P7",
        f"matched {said[3]}",
    )
    assert [(step["step_type"], step["candidates_in"], step["candidates_out"]) for step in run["steps"]] == [
        ("search", None, 200),
        ("filter", 200, int(said[2])),
        ("rank", int(said[2]), 3),
    ]
