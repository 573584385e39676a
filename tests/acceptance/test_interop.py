"""Whatever client sends it, the same pipeline is the same runs, steps and decisions in Postgres."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql
from psycopg.rows import dict_row

from store.decisions import rows as decision_rows
from store.decisions import unpack
from store.schema import VOLATILE_COLUMNS
from tests.fixtures import otlp
from tests.fixtures.agent import StartAgent
from tests.fixtures.services import ServiceProcess, environment
from tests.fixtures.tables import Tables
from tests.fixtures.waiting import wait_until

HERE = Path(__file__).parent
PIPELINE = HERE / "interop_pipeline.json"
NODE_DEADLINE_S = 60
AGENT_DEADLINE_S = 30.0


IDS = {"run_key", "run_id", "span_id", "parent_span_id", "trace_id", "trace_ids"}
TIMES = {
    "started_at",
    "ended_at",
    "duration_ms",
    "run_started_at",
    "first_step_at",
    "end_sent_ns",
}
RESOURCE = {"service_name", "environment"}
PROVENANCE = {"content_hash", "start_copy", "filled", "receipt_filled", "stub"}
"""Which copy won, and how: depends on ids, times and on whether the client sends start events."""


@pytest.fixture(scope="module")
def pipeline_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The recorded pipeline with its decisions as the attributes of one chunk."""
    pipeline = json.loads(PIPELINE.read_text(encoding="utf-8"))
    for step in pipeline["steps"]:
        for event in step.get("events", ()):
            key = {name: step["attributes"][name] for name in ("xray.step.id", "xray.step.attempt")}
            event["attributes"] = {**key, **otlp.decisions(event.pop("decisions"))}
    prepared = tmp_path_factory.mktemp("interop") / "pipeline.json"
    prepared.write_text(json.dumps(pipeline), encoding="utf-8")
    return prepared


def run_program(command: list[str], cwd: Path) -> None:
    """Run a sender to its end; it must say that everything was exported."""
    done = subprocess.run(
        command,
        cwd=cwd,
        env=environment({"PYTHONPATH": str(HERE.parents[1])}),
        capture_output=True,
        text=True,
        timeout=NODE_DEADLINE_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def send_by_python(server: ServiceProcess, pipeline: Path, protocol: str, run_id: str) -> None:
    """The OpenTelemetry SDK for Python with its own exporters."""
    endpoint = server.otlp_grpc if protocol == "grpc" else server.otlp_http
    send_to(endpoint, pipeline, protocol, run_id)


def send_to(endpoint: str, pipeline: Path, protocol: str, run_id: str) -> None:
    """As ``send_by_python``, to any OTLP receiver."""
    command = [sys.executable, str(HERE / "interop_senders.py"), str(pipeline), endpoint, protocol, run_id]
    run_program(command, HERE)


def send_by_js(server: ServiceProcess, pipeline: Path, encoding: str, run_id: str, folder: Path) -> None:
    """The OpenTelemetry SDK for JavaScript with its own exporters."""
    endpoint = server.otlp_grpc if encoding == "grpc" else server.otlp_http
    run_program(["node", "send.mjs", str(pipeline), endpoint, encoding, run_id], folder)


def send_by_xray(server: ServiceProcess, protocol: str, run_id: str) -> None:
    """Our client, as a user would write the pipeline."""
    endpoint = server.otlp_grpc if protocol == "grpc" else server.otlp_http
    run_program([sys.executable, str(HERE / "interop_xray.py"), endpoint, protocol, run_id], HERE)


def stored(database_url: str, run_id: str) -> Tables:
    """Everything in Postgres about one run, but for ids, times and resource; decisions unpacked."""
    with psycopg.connect(database_url, row_factory=dict_row) as connection:
        return {table: list(_rows(connection, table, run_id)) for table in ("runs", "steps", "decisions")}


def _rows(
    connection: psycopg.Connection[dict[str, Any]], table: str, run_id: str
) -> Iterator[dict[str, Any]]:
    hidden = IDS | TIMES | RESOURCE | PROVENANCE | VOLATILE_COLUMNS[table]
    statement = sql.SQL("SELECT * FROM {} WHERE run_key = (SELECT run_key FROM runs WHERE run_id = %s)")
    found = connection.execute(statement.format(sql.Identifier(table)), (run_id,)).fetchall()
    for row in sorted(found, key=lambda row: (row.get("step_id", ""), row.get("attempt_key", ""))):
        shown = {name: value for name, value in row.items() if name not in hidden}
        if table == "decisions":
            shown["data"] = list(decision_rows(unpack(row["data"])))
        yield shown


def differences(found: Tables, reference: Tables) -> list[str]:
    """What differs, one line per column: a failing test names it."""
    lines = [
        f"{table}: {len(rows)} rows, not {len(reference[table])}"
        for table, rows in found.items()
        if len(rows) != len(reference[table])
    ]
    for table, rows in found.items():
        for row, expected in zip(rows, reference[table], strict=False):
            where = " ".join([table, *(str(row[name]) for name in ("step_id", "chunk_index") if name in row)])
            lines += [
                f"{where} {name}: {value!r}, not {expected[name]!r}"
                for name, value in row.items()
                if value != expected[name]
            ]
    return lines


@pytest.fixture(scope="module")
def reference(module_xray_up: ServiceProcess, pipeline_file: Path) -> Tables:
    """The tables as the Python SDK fills them by OTLP/HTTP with protobuf."""
    send_by_python(module_xray_up, pipeline_file, "http", "reference")
    tables = stored(module_xray_up.database_url, "reference")
    assert [len(tables[name]) for name in ("runs", "steps", "decisions")] == [1, 3, 2]
    assert tables["runs"][0]["terminal_status"] == "completed"
    assert [step["drop_ratio"] for step in tables["steps"]] == [pytest.approx(1 / 3), None, 0.5]
    assert [step["flags"] for step in tables["steps"]] == [None, None, None]
    return tables


def test_python_by_grpc(module_xray_up: ServiceProcess, pipeline_file: Path, reference: Tables) -> None:
    """opentelemetry-python by gRPC gives the same rows as by HTTP."""
    send_by_python(module_xray_up, pipeline_file, "grpc", "python-grpc")
    unlike = differences(stored(module_xray_up.database_url, "python-grpc"), reference)
    assert unlike == []


def test_python_by_json(
    module_xray_up: ServiceProcess, pipeline_file: Path, reference: Tables, json_exporter_python: Path
) -> None:
    """opentelemetry-python's exporter of OTLP/JSON gives the same rows as protobuf."""
    send = HERE / "python_json" / "send.py"
    command = [str(json_exporter_python), str(send), str(pipeline_file), module_xray_up.otlp_http]
    run_program([*command, "python-json"], HERE)
    unlike = differences(stored(module_xray_up.database_url, "python-json"), reference)
    assert unlike == []


@pytest.mark.parametrize("way_on", ["grpc", "http"])
def test_an_agent_in_front(
    module_xray_up: ServiceProcess, pipeline_file: Path, reference: Tables, agent: StartAgent, way_on: str
) -> None:
    """What an agent takes in, batches and sends on arrives as if it had been sent here."""
    run_id = f"agent-{way_on}"
    with agent(module_xray_up, way_on) as endpoint:
        send_to(endpoint, pipeline_file, "grpc", run_id)
        wait_until(
            lambda: not differences(stored(module_xray_up.database_url, run_id), reference),
            timeout_s=AGENT_DEADLINE_S,
            what="the agent to have sent all on",
        )


@pytest.mark.parametrize("encoding", ["json", "protobuf", "grpc"])
def test_javascript(
    module_xray_up: ServiceProcess,
    pipeline_file: Path,
    reference: Tables,
    js_folder: Path,
    encoding: str,
) -> None:
    """opentelemetry-js by OTLP/JSON, by protobuf with gzip and by gRPC gives the same rows as Python."""
    send_by_js(module_xray_up, pipeline_file, encoding, f"js-{encoding}", js_folder)
    unlike = differences(stored(module_xray_up.database_url, f"js-{encoding}"), reference)
    assert unlike == []


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
def test_our_client(module_xray_up: ServiceProcess, reference: Tables, protocol: str) -> None:
    """xray_otel by either protocol gives the same rows as the plain SDKs with the attributes by hand."""
    run_id = f"xray-{protocol.partition('/')[0]}"
    send_by_xray(module_xray_up, protocol, run_id)
    unlike = differences(stored(module_xray_up.database_url, run_id), reference)
    assert unlike == []
