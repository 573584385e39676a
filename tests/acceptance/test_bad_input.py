"""A malformed attribute costs that attribute, never its step and never the neighbours."""

from __future__ import annotations

from typing import Any, NamedTuple

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.fixtures import otlp
from tests.fixtures.services import ServiceProcess

GOOD = {"xray.step.type": "filter", "xray.candidates.in": 10, "xray.candidates.out": 4}


class Malformed(NamedTuple):
    """One thing wrong in a step that is otherwise good."""

    name: str
    attributes: dict[str, Any]
    flag: str
    field: str
    """What the step's answer shows for it: a field, and the value below."""
    value: Any


CASES = (
    Malformed("text for a number", {"xray.candidates.in": "many"}, "wrong_type", "candidates_in", None),
    Malformed("number as text", {"xray.candidates.in": "10"}, "coerced", "candidates_in", 10),
    Malformed("negative count", {"xray.candidates.in": -3}, "negative", "candidates_in", None),
    Malformed("out above in", {"xray.candidates.out": 11}, "out_exceeds_in", "drop_ratio", None),
    Malformed("unknown type", {"xray.step.type": "teleport"}, "unknown_step_type", "step_type", "custom"),
    Malformed("not a number", {"xray.score.mean": float("nan")}, "not_finite", "drop_ratio", 0.6),
    Malformed("infinite metric", {"xray.metric.recall": float("inf")}, "not_finite", "drop_ratio", 0.6),
    Malformed("NUL in text", {"xray.step.why": "be\x00cause"}, "nul_removed", "why", "because"),
    Malformed("a 1 MB why", {"xray.step.why": "w" * 1_000_000}, "truncated", "why", "w" * 2048),
    Malformed(
        "histogram of two lengths",
        {"xray.reasons.codes": ["a", "b"], "xray.reasons.counts": [1]},
        "reason_lengths_differ",
        "drop_ratio",
        0.6,
    ),
    Malformed("list for a text", {"xray.step.why": ["a", "b"]}, "wrong_type", "why", None),
    Malformed(
        "a filter without out", {"xray.candidates.out": None}, "missing_metric", "candidates_out", None
    ),
)
RUN_ID = "bad-input"


def step_span(name: str, attributes: dict[str, Any]) -> Span:
    """A step of the one run that all of them share."""
    known = {**GOOD, **attributes, "xray.run.id": RUN_ID, "xray.step.id": name, "xray.step.attempt": 1}
    return otlp.span(name, {key: value for key, value in known.items() if value is not None}, trace=RUN_ID)


@pytest.fixture(scope="module")
def steps(module_xray_up: ServiceProcess) -> dict[str, dict[str, Any]]:
    """Every case in one request, a good step after each; the steps as REST shows them, by name."""
    spans = []
    for case in CASES:
        spans += [step_span(case.name, case.attributes), step_span(f"after {case.name}", {})]
    with httpx.Client(base_url=module_xray_up.otlp_http, timeout=20.0, trust_env=False) as client:
        response = otlp.post(client, otlp.traces(spans))
    assert response.status_code == 200
    answer = ExportTraceServiceResponse.FromString(response.content)
    assert answer.partial_success.rejected_spans == 0
    found = module_xray_up.get(f"/runs/{RUN_ID}/steps", limit=1000)["items"]
    return {step["name"]: step for step in found}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_malformed_is_stored_and_flagged(case: Malformed, steps: dict[str, dict[str, Any]]) -> None:
    """The step is there, says what was wrong, and keeps what was right."""
    step = steps[case.name]
    assert case.flag in {flag["code"] for flag in step["flags"]}
    assert step[case.field] == case.value


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_neighbour_is_intact(case: Malformed, steps: dict[str, dict[str, Any]]) -> None:
    """The step after the malformed one in the same request is whole and without a flag."""
    step = steps[f"after {case.name}"]
    assert (step["step_type"], step["candidates_in"], step["drop_ratio"]) == ("filter", 10, 0.6)
    assert step["flags"] in (None, [])


def test_text_of_a_megabyte_does_not_come_back(steps: dict[str, dict[str, Any]]) -> None:
    """What a flag shows of an overlong text is short."""
    flag = next(flag for flag in steps["a 1 MB why"]["flags"] if flag["code"] == "truncated")
    assert len(str(flag["sent"])) <= 200
