"""What a sender says it dropped, by real OTLP, is told by every answer about the run."""

from __future__ import annotations

import json
from typing import Any

import httpx

from tests.fixtures import otlp
from tests.fixtures.command import answered
from tests.fixtures.services import ServiceProcess

RUN = {"xray.run.id": "run-1", "xray.pipeline.name": "shop"}
LOST = {
    "xray.losses.causes": ["client_queue", "client_queue"],
    "xray.losses.what": ["decisions", "artifacts"],
    "xray.losses.counts": [5000, 2],
}


def report(report_id: str, **more: Any) -> Any:
    attributes = {"xray.losses.report_id": report_id, **LOST, **more}
    return otlp.event("xray.losses", attributes, trace="of the exporter")


def send(server: ServiceProcess, *requests: otlp.Request) -> list[httpx.Response]:
    with httpx.Client(base_url=server.otlp_http, timeout=20.0, trust_env=False) as client:
        answers = [otlp.post(client, request) for request in requests]
    assert [answer.status_code for answer in answers] == [200] * len(answers)
    return answers


def test_losses_that_a_sender_reports(xray_up: ServiceProcess) -> None:
    """Reports count once however often they are sent; those of no run are kept, and make none."""
    step = {**RUN, "xray.step.id": "by-price", "xray.step.type": "filter", "xray.candidates.in": 5000}
    spans = otlp.traces([otlp.span("by price", step, trace="t"), otlp.span("shop", RUN, trace="t")])
    records = otlp.logs([report("report-1", **RUN), report("report-2")])
    for answer in send(xray_up, records, spans, records):
        assert answer.content == b""

    listed = xray_up.get("/losses")["items"]
    assert sorted((item["run_id"] or "", item["what"], item["count"]) for item in listed) == [
        ("", "artifacts", 2),
        ("", "decisions", 5000),
        ("run-1", "artifacts", 2),
        ("run-1", "decisions", 5000),
    ]
    assert {item["service_name"] for item in listed} == {"test"}
    assert [run["run_id"] for run in xray_up.get("/runs")["items"]] == ["run-1"]
    run = xray_up.get("/runs/run-1")
    assert (run["completeness"]["state"], run["completeness"]["evidence"]) == ("partial", "partial")
    assert [missing["count"] for missing in run["completeness"]["missing"]] == [2, 5000]

    assert "5,000 decisions, dropped from the sender's queue" in answered(xray_up, "run", "run-1")
    assert "5,000 decisions, dropped from the sender's queue" in answered(xray_up, "explain", "run-1")
    table = answered(xray_up, "losses", "--run", "run-1")
    assert [line.split()[-3:] for line in table.splitlines()[1:]] == [
        ["client_queue", "artifacts", "2"],
        ["client_queue", "decisions", "5,000"],
    ]
    totals = json.loads(answered(xray_up, "losses", "--totals", "--json"))
    assert [(total["cause"], total["what"], total["count"]) for total in totals["items"]] == [
        ("client_queue", "artifacts", 4),
        ("client_queue", "decisions", 10_000),
    ]


def test_a_report_with_words_of_the_server(xray_up: ServiceProcess) -> None:
    """A sender cannot say that the server shed something: that entry is refused, by name."""
    odd = {"xray.losses.causes": ["shed", "client_policy"]}
    request = otlp.logs([report("report-1", **RUN, **odd)])
    (answer,) = send(xray_up, request)
    assert b"client_policy" in answer.content
    assert b"shed" not in answer.content
    (stored,) = xray_up.get("/losses")["items"]
    assert (stored["cause"], stored["what"], stored["count"]) == ("client_policy", "artifacts", 2)
