"""What operators ask of running servers: alive, ready, metrics."""

from __future__ import annotations

import httpx
import psycopg
import pytest

from tests.fixtures.otlp import post, span, traces
from tests.fixtures.services import ServiceProcess, StartService
from tests.fixtures.waiting import wait_until


def get(url: str, **headers: str) -> httpx.Response:
    """Ask a port of ours."""
    return httpx.get(url, headers=headers, timeout=20.0, trust_env=False)


@pytest.mark.parametrize("port", ["api", "otlp_http"])
def test_alive_and_ready(module_xray_up: ServiceProcess, port: str):
    """Both ports answer both questions."""
    base = getattr(module_xray_up, port)
    alive, ready = get(f"{base}/healthz"), get(f"{base}/readyz")
    assert (alive.status_code, alive.json()) == (200, {"status": "ok"})
    assert (ready.status_code, ready.json()) == (200, {"status": "ready"})


def test_metrics_count_what_was_done(module_xray_up: ServiceProcess):
    """A stored step and an answered question stand on the page, which both ports show."""
    server = module_xray_up
    step = {"xray.span.kind": "step", "xray.run.id": "counted", "xray.step.type": "nonsense"}
    with httpx.Client(base_url=server.otlp_http, trust_env=False, timeout=20.0) as client:
        assert post(client, traces([span("a", step, trace="counted")])).status_code == 200
    server.get("/runs/counted")
    for base in (server.api, server.otlp_http):
        page = get(f"{base}/metrics")
        assert page.headers["content-type"].startswith("text/plain")
        lines = dict(line.rsplit(" ", 1) for line in page.text.splitlines() if not line.startswith("#"))
        assert float(lines['xray_collector_requests_total{outcome="stored"}']) >= 1
        assert float(lines['xray_collector_records_total{what="step"}']) >= 1
        assert float(lines['xray_collector_flags_total{code="unknown_step_type"}']) >= 1
        assert float(lines['xray_collector_writes_total{result="committed"}']) >= 1
        assert float(lines['xray_collector_request_duration_seconds_count{transport="otlp"}']) >= 1
        # What has not happened yet is there as well, or its first time would not show as an increase.
        assert float(lines['xray_collector_refused_total{reason="database"}']) == 0
        assert float(lines['xray_collector_shed_total{what="decisions"}']) == 0
        assert any(name.endswith('/runs/{run_id}",status="200"}') for name in lines)
        assert float(lines["process_resident_memory_bytes"]) > 0
        assert any(name.startswith("xray_build_info") for name in lines)


def test_the_server_looks_after_its_database(module_xray_up: ServiceProcess):
    """Each task takes its first turn soon after the start, and both ports say so."""

    def lines() -> set[str]:
        pages = [get(f"{base}/metrics").text for base in (module_xray_up.api, module_xray_up.otlp_http)]
        return set.intersection(*(set(page.splitlines()) for page in pages))

    turns = {
        f'xray_upkeep_turns_total{{result="succeeded",task="{task}"}} 1.0'
        for task in ("partitions", "retention")
    }
    wait_until(lambda: turns <= lines(), timeout_s=60.0, what="a turn of both")


def test_ids_never_become_labels(module_xray_up: ServiceProcess):
    """Whatever paths are asked for, the page holds templates of paths alone."""
    get(f"{module_xray_up.api}/api/v1/runs/a-run-of-somebody")
    get(f"{module_xray_up.api}/nobody/knows/this")
    page = get(f"{module_xray_up.api}/metrics").text
    assert "a-run-of-somebody" not in page
    assert "knows" not in page
    assert 'route="(none)",status="404"' in page


def test_alive_but_not_ready(start_service: StartService, empty_database_url: str):
    """Without its tables a server is alive and says that it is not ready, and why."""
    server = start_service("collector", XRAY_DATABASE_URL=empty_database_url)
    assert get(f"{server.otlp_http}/readyz").status_code == 200
    with psycopg.connect(empty_database_url, autocommit=True) as connection:
        connection.execute("DROP TABLE runs CASCADE")
    wait_until(lambda: get(f"{server.otlp_http}/readyz").status_code == 503, timeout_s=20.0, what="not ready")
    answer = get(f"{server.otlp_http}/readyz")
    assert "lacks our tables" in answer.json()["message"]
    assert get(f"{server.otlp_http}/healthz").status_code == 200
