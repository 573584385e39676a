"""X-Ray in a set-up of OpenTelemetry that is there already: as processor, exporter, or by environment."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import xray_otel as xray
from tests.fixtures.otlp_receiver import HttpReceiver
from xray_otel.settings import Settings

ROOT = Path(__file__).parents[2]


def team(*processors: SpanProcessor) -> tuple[TracerProvider, InMemorySpanExporter]:
    """A provider with an exporter of its own before and these processors after it."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    for processor in (SimpleSpanProcessor(exporter), *processors):
        provider.add_span_processor(processor)
    return provider, exporter


def plain_spans(provider: TracerProvider) -> None:
    tracer = provider.get_tracer("team")
    with tracer.start_as_current_span("pipeline", attributes={"xray.pipeline.name": "plain"}):
        with tracer.start_as_current_span("step", attributes={"xray.step.type": "filter"}):
            pass
        with tracer.start_as_current_span("query", attributes={"db.system": "postgresql"}):
            pass


@pytest.mark.parametrize("kind", ["processor", "exporter", "both"])
def test_only_xrays_spans_leave_by_it(otlp_receiver: HttpReceiver, kind: str):
    """Of a team's plain spans those with X-Ray's attributes arrive, once; the team's exporter has all."""
    xray.configure(endpoint=otlp_receiver.endpoint)
    processors: list[SpanProcessor] = []
    if kind in ("processor", "both"):
        processors.append(xray.XRaySpanProcessor())
    if kind in ("exporter", "both"):
        processors.append(BatchSpanProcessor(xray.XRaySpanExporter()))
    provider, exporter = team(*processors)
    plain_spans(provider)
    assert provider.force_flush()
    assert xray.flush(10)  # the team's batch processor does not ask its exporter
    assert sorted(span.name for span in otlp_receiver.received.spans()) == ["pipeline", "step"]
    assert [span.name for span in exporter.get_finished_spans()] == ["step", "query", "pipeline"]
    provider.shutdown()


@pytest.mark.parametrize("added", ["before", "after"])
def test_nothing_is_sent_twice(otlp_receiver: HttpReceiver, added: str):
    """Runs join the provider by themselves; a processor or exporter beside that sends nothing again."""
    provider, exporter = team()
    if added == "after":
        xray.configure(endpoint=otlp_receiver.endpoint, tracer_provider=provider)
    provider.add_span_processor(xray.XRaySpanProcessor())
    provider.add_span_processor(BatchSpanProcessor(xray.XRaySpanExporter()))
    if added == "before":
        xray.configure(endpoint=otlp_receiver.endpoint, tracer_provider=provider)
    with xray.run("r"), xray.step("s"):
        plain_spans(provider)
    assert provider.force_flush()
    assert xray.flush(10)
    names = sorted(span.name for span in otlp_receiver.received.spans())
    assert names == ["pipeline", "r", "s", "step"]
    assert len(exporter.get_finished_spans()) == 5
    provider.shutdown()


def test_a_part_follows_the_client(otlp_receiver: HttpReceiver, unused_endpoint: str):
    """What is made before ``configure()`` sends where that says; while X-Ray is disabled, nowhere."""
    xray.configure(endpoint=unused_endpoint)
    provider, _ = team(xray.XRaySpanProcessor())
    xray.configure(endpoint=otlp_receiver.endpoint, disabled=True)
    plain_spans(provider)
    xray.configure(endpoint=otlp_receiver.endpoint)
    assert otlp_receiver.received.records == []
    plain_spans(provider)
    assert xray.flush(10)
    assert len(otlp_receiver.received.spans()) == 2


def test_they_are_what_opentelemetry_takes():
    """The classes are a SpanProcessor and a SpanExporter, which typed code asks for."""
    assert issubclass(xray.XRaySpanProcessor, SpanProcessor)
    assert issubclass(xray.XRaySpanExporter, SpanExporter)


BY_ENVIRONMENT = """
from opentelemetry.sdk._configuration import _OTelSDKConfigurator
_OTelSDKConfigurator().configure()  # as opentelemetry-instrument does it

from opentelemetry import trace
tracer = trace.get_tracer("team")
with tracer.start_as_current_span("pipeline", attributes={"xray.pipeline.name": "plain"}):
    with tracer.start_as_current_span("step", attributes={"xray.step.type": "filter"}):
        pass
    with tracer.start_as_current_span("query"):
        pass
"""
WITH_CLIENT = """
import xray_otel as xray
with xray.run("r"), xray.step("s"):
    pass
"""


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """A folder for sys.path with the metadata that an installed client has."""
    project = tomllib.loads((ROOT / "packaging/client/pyproject.toml").read_text())["project"]
    folder = tmp_path / "xray_otel-0.1.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: xray-otel\nVersion: 0.1\n")
    lines = [
        f"[{group}]\n" + "".join(f"{name} = {target}\n" for name, target in entries.items())
        for group, entries in project["entry-points"].items()
    ]
    (folder / "entry_points.txt").write_text("\n".join(lines))
    return tmp_path


def run_by_environment(installed: Path, code: str, **variables: str) -> None:
    result = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=os.environ
        | {"PYTHONPATH": f"{installed}{os.pathsep}{ROOT}", "OTEL_METRICS_EXPORTER": "none"}
        | {"OTEL_LOGS_EXPORTER": "none"}
        | variables,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (result.returncode, result.stderr) == (0, "")


def test_by_environment_alone(otlp_receiver: HttpReceiver, installed: Path):
    """Without a line of code of X-Ray's, and with OpenTelemetry's variables alone, the spans arrive."""
    run_by_environment(
        installed,
        BY_ENVIRONMENT,
        OTEL_TRACES_EXPORTER="xray",
        OTEL_EXPORTER_OTLP_ENDPOINT=otlp_receiver.endpoint,
        OTEL_SERVICE_NAME="shop",
        OTEL_RESOURCE_ATTRIBUTES="deployment.environment.name=test,team=search",
    )
    received = otlp_receiver.received
    assert sorted(span.name for span in received.spans()) == ["pipeline", "step"]
    resource = received.spans()[0].resource
    assert resource["service.name"] == "shop"
    assert (resource["deployment.environment.name"], resource["team"]) == ("test", "search")


def test_by_environment_with_the_client(otlp_receiver: HttpReceiver, installed: Path):
    """Runs of the same program join that provider: nothing is doubled, the run id is on its spans."""
    run_by_environment(
        installed,
        BY_ENVIRONMENT + WITH_CLIENT,
        OTEL_TRACES_EXPORTER="xray",
        XRAY_ENDPOINT=otlp_receiver.endpoint,
        OTEL_SERVICE_NAME="shop",
    )
    received = otlp_receiver.received
    assert sorted(span.name for span in received.spans()) == ["pipeline", "r", "s", "step"]
    assert {record.resource["service.name"] for record in received.records} == {"shop"}


def test_the_resource_of_the_environment(otlp_receiver: HttpReceiver, installed: Path):
    """Without any provider too, the resource is what OpenTelemetry's variables say."""
    run_by_environment(
        installed,
        WITH_CLIENT,
        XRAY_ENDPOINT=otlp_receiver.endpoint,
        OTEL_SERVICE_NAME="shop",
        OTEL_RESOURCE_ATTRIBUTES="team=search",
    )
    resources = [record.resource for record in otlp_receiver.received.records]
    assert {(resource["service.name"], resource["team"]) for resource in resources} == {("shop", "search")}


def test_opentelemetry_disabled(otlp_receiver: HttpReceiver, installed: Path):
    """``OTEL_SDK_DISABLED`` turns X-Ray off as well."""
    run_by_environment(
        installed,
        BY_ENVIRONMENT + WITH_CLIENT,
        OTEL_TRACES_EXPORTER="xray",
        XRAY_ENDPOINT=otlp_receiver.endpoint,
        OTEL_SDK_DISABLED="true",
    )
    assert otlp_receiver.received.records == []


AT_EXIT = """
import xray_otel as xray
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
provider = TracerProvider()
provider.add_span_processor(BatchSpanProcessor(xray.XRaySpanExporter(), schedule_delay_millis=60_000))
provider.get_tracer("team").start_span("late", attributes={"xray.step.type": "filter"}).end()
"""


def test_what_a_batch_processor_holds_at_exit(otlp_receiver: HttpReceiver, installed: Path):
    """The team's provider hands over at the exit what it holds, and X-Ray delivers after that."""
    run_by_environment(installed, AT_EXIT, XRAY_ENDPOINT=otlp_receiver.endpoint, XRAY_OFFLINE="drop")
    assert [span.name for span in otlp_receiver.received.spans()] == ["late"]


OTLP = {
    "OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4317",
    "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
    "OTEL_EXPORTER_OTLP_HEADERS": "a=b,Authorization=Bearer%20xray_1_2",
}


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"OTEL_TRACES_EXPORTER": "xray"}, ("http://collector:4317", "grpc", "xray_1_2")),
        (
            {"OTEL_TRACES_EXPORTER": "xray", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318/"},
            ("http://collector:4318", "http/protobuf", "xray_1_2"),
        ),
        (
            {
                "OTEL_TRACES_EXPORTER": "xray",
                "OTEL_EXPORTER_OTLP_ENDPOINT": "https://collector/otlp",
                "OTEL_EXPORTER_OTLP_PROTOCOL": "http/json",
            },
            ("https://collector/otlp", "http/protobuf", "xray_1_2"),
        ),
        ({"OTEL_TRACES_EXPORTER": "console, xray"}, ("http://collector:4317", "grpc", "xray_1_2")),
        ({"OTEL_TRACES_EXPORTER": "xray,otlp"}, ("http://127.0.0.1:4318", "http/protobuf", None)),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, ("http://127.0.0.1:4318", "http/protobuf", None)),
        ({}, ("http://127.0.0.1:4318", "http/protobuf", None)),
        (
            {"OTEL_TRACES_EXPORTER": "xray", "XRAY_ENDPOINT": "http://own:1"},
            ("http://own:1", "http/protobuf", None),
        ),
        (
            {"OTEL_TRACES_EXPORTER": "xray", "XRAY_API_KEY": "own"},
            ("http://collector:4317", "grpc", "own"),
        ),
    ],
)
def test_where_opentelemetrys_variables_count(environ, expected):
    """They are X-Ray's only where X-Ray is the one exporter of OTLP, and all of them or none."""
    settings = Settings.from_env(OTLP | environ)
    assert (settings.endpoint, settings.protocol, settings.api_key) == expected


def test_a_bad_variable_of_opentelemetrys_is_named():
    """The error names the variable that the value came from."""
    with pytest.raises(xray.SettingsError, match="OTEL_EXPORTER_OTLP_PROTOCOL"):
        Settings.from_env({"OTEL_TRACES_EXPORTER": "xray", "OTEL_EXPORTER_OTLP_PROTOCOL": "pigeon"})
