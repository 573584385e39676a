"""Malformed attributes over real sockets into a real Postgres: stored, flagged, and nothing else harmed."""

from __future__ import annotations

import math
from typing import Any

import httpx

from collector.service import CollectorService
from tests.fixtures.collector_service import Tables
from tests.fixtures.otlp import event, logs, post, span, traces

RUN = {"xray.span.kind": "step", "xray.run.id": "run-1", "xray.step.attempt": 1}

MALFORMED: dict[str, tuple[dict[str, Any], str, str]] = {
    "a string where a number is due": ({"xray.candidates.in": "many"}, "wrong_type", "xray.candidates.in"),
    "a numeric string": ({"xray.candidates.in": "7"}, "coerced", "xray.candidates.in"),
    "a negative count": ({"xray.candidates.kept": -1}, "negative", "xray.candidates.kept"),
    "more out than in": (
        {"xray.step.type": "filter", "xray.candidates.in": 1, "xray.candidates.out": 2},
        "out_exceeds_in",
        "candidates_out",
    ),
    "an unknown step type": ({"xray.step.type": "magic"}, "unknown_step_type", "xray.step.type"),
    "not a number": ({"xray.metric.m": math.nan}, "not_finite", "xray.metric.m"),
    "NUL in text": ({"xray.step.why": "a\0b"}, "nul_removed", "xray.step.why"),
    "NUL in a name": ({"xray.metric.a\0b": 1.0}, "nul_removed", "xray.metric.ab"),
    "NUL escaped in JSON": ({"xray.step.input": '{"a":"\\u0000"}'}, "nul_removed", "xray.step.input"),
    "a why of a megabyte": ({"xray.step.why": "w" * 1_000_000}, "truncated", "xray.step.why"),
    "JSON of a megabyte": (
        {"xray.step.output": '"' + "o" * 1_000_000 + '"'},
        "truncated",
        "xray.step.output",
    ),
    "JSON with NaN": ({"xray.step.reasoning": '{"a": NaN}'}, "not_finite", "xray.step.reasoning"),
    "reasons without counts": ({"xray.reasons.codes": ["a"]}, "reason_lengths_differ", "xray.reasons.codes"),
}


def test_every_malformed_attribute_is_stored_and_flagged(collector: CollectorService, tables: Tables):
    """In one batch of malformed steps each is stored with its flag, and the good step among them has none."""
    good = {**RUN, "xray.step.id": "good", "xray.candidates.in": 5, "xray.candidates.out": 2}
    spans = [
        span(name, {**RUN, "xray.step.id": name, **attributes}, trace=name)
        for name, (attributes, _, _) in MALFORMED.items()
    ]
    spans.insert(4, span("good", good, trace="good"))
    spans.append(
        span(
            "end before start", {**RUN, "xray.step.id": "backwards"}, trace="b", end_ns=1_700_000_000 * 10**9
        )
    )
    spans.append(span("no times", {**RUN, "xray.step.id": "timeless"}, trace="n", start_ns=0, end_ns=0))
    spans.append(span("far future", {**RUN, "xray.step.id": "future"}, trace="f", end_ns=(1 << 64) - 1))
    with httpx.Client(base_url=f"http://127.0.0.1:{collector.http_port}", trust_env=False) as client:
        answer = post(client, traces(spans))
    assert (answer.status_code, answer.content) == (200, b"")
    steps = {step["step_id"]: step for step in tables.rows("steps")}
    flags = {
        step_id: {(flag["code"], flag["field"]) for flag in step["flags"] or ()}
        for step_id, step in steps.items()
    }
    assert len(steps) == len(spans)
    for name, (_, code, field) in MALFORMED.items():
        assert (code, field) in flags[name], name
    assert ("end_before_start", "ended_at") in flags["backwards"]
    assert {("time_missing", "started_at"), ("time_missing", "ended_at")} <= flags["timeless"]
    assert ("time_out_of_range", "end_time_unix_nano") in flags["future"]
    assert (steps["good"]["flags"], steps["good"]["drop_ratio"]) == (None, 0.6)


def test_a_step_with_unreadable_decisions_is_stored(collector: CollectorService, tables: Tables):
    """Decisions that cannot be read are refused in partial success; their step and its neighbours stand."""
    identity = {"xray.run.id": "run-1", "xray.step.id": "s", "xray.step.attempt": 1}
    chunk = {**identity, "xray.decisions.data": '{"v":1,"n"', "xray.chunk.index": 0, "xray.chunk.total": 1}
    with httpx.Client(base_url=f"http://127.0.0.1:{collector.http_port}", trust_env=False) as client:
        post(client, traces([span("s", {**RUN, **identity}, trace="t")]))
        answer = post(client, logs([event("xray.step.decisions", chunk, trace="t")]))
    assert b"not JSON" in answer.content
    assert tables.one("steps")["step_id"] == "s"
    assert (tables.one("decisions")["data"], tables.one("decisions")["item_count"]) == (None, 0)
    counted = collector.telemetry.read()
    assert counted["refused"] == {"decisions_unreadable": 1}
    assert counted["records"] == {"step": 1, "xray.step.decisions": 1}
