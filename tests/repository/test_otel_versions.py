"""The client's tests with the oldest and the newest OpenTelemetry that it promises to work with."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fixtures.otlp_receiver import HttpReceiver

ROOT = Path(__file__).parents[2]
UNNEEDED = ("#", "-r", "atheris", "rotel", "py-spy")

pytestmark = [
    pytest.mark.packaging,
    pytest.mark.skipif(
        "XRAY_TEST_OTEL_VERSIONS" not in os.environ,
        reason="long, and needs the package registry: set XRAY_TEST_OTEL_VERSIONS=1",
    ),
]


def oldest() -> list[str]:
    """Pins of the lower bounds in the client's project file, for every package of OpenTelemetry's."""
    text = (ROOT / "packaging/client/pyproject.toml").read_text()
    [bound] = set(re.findall(r'"opentelemetry-[\w-]+>=([\d.]+)', text))
    names = re.findall(r"^opentelemetry-[\w-]+", (ROOT / "requirements.in").read_text(), re.MULTILINE)
    return [f"{name}=={bound}.0" for name in {*names, "opentelemetry-exporter-otlp-proto-common"}]


def environment(folder: Path, pins: list[str]) -> Path:
    """An environment with what the client's tests need; returns its interpreter."""
    lines = [
        line
        for name in ("requirements.in", "requirements-dev.in")
        for line in (ROOT / name).read_text().splitlines()
        if line and not line.startswith(UNNEEDED)
    ]
    wanted, constraints = folder / "wanted.txt", folder / "constraints.txt"
    wanted.write_text("\n".join(lines))
    constraints.write_text("\n".join(pins))
    return install(folder, "-r", str(wanted), "-c", str(constraints))


def install(folder: Path, *what: str) -> Path:
    """An environment with these packages; returns its interpreter."""
    python = folder / "venv/bin/python"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder / "venv")], check=True)
    if uv := shutil.which("uv"):
        command = [uv, "pip", "install", "--python", str(python)]
    else:
        subprocess.run([python, "-m", "ensurepip"], capture_output=True, check=True)
        command = [str(python), "-m", "pip", "install", "--disable-pip-version-check"]
    subprocess.run([*command, *what], capture_output=True, text=True, check=True)
    return python


@pytest.mark.parametrize("end", ["oldest", "newest"])
def test_the_client_at_both_ends(end: str, tmp_path: Path):
    """All tests of the client pass with this end of the range."""
    python = environment(tmp_path, oldest() if end == "oldest" else [])
    result = subprocess.run(
        [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/xray_otel"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout[-5000:]


PLAIN = """
from opentelemetry import trace
tracer = trace.get_tracer("team")
with tracer.start_as_current_span("pipeline", attributes={"xray.pipeline.name": "plain"}):
    with tracer.start_as_current_span("query"):
        pass
"""


def test_opentelemetry_instrument(otlp_receiver: HttpReceiver, tmp_path: Path):
    """The program ``opentelemetry-instrument`` finds the exporter of the installed client."""
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=ROOT / "packaging/client", capture_output=True, check=True)
    python = install(tmp_path, str(next(tmp_path.glob("*.whl"))), "opentelemetry-distro")
    (tmp_path / "program.py").write_text(PLAIN)
    environ = {
        "OTEL_TRACES_EXPORTER": "xray",
        "OTEL_METRICS_EXPORTER": "none",
        "OTEL_LOGS_EXPORTER": "none",
        "OTEL_SERVICE_NAME": "shop",
        "OTEL_EXPORTER_OTLP_ENDPOINT": otlp_receiver.endpoint,
        "PATH": f"{python.parent}{os.pathsep}{os.environ['PATH']}",
    }
    result = subprocess.run(
        [python.parent / "opentelemetry-instrument", "python", "program.py"],
        cwd=tmp_path,
        env=os.environ | environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (result.returncode, result.stderr) == (0, "")
    [span] = otlp_receiver.received.spans()
    assert (span.name, span.resource["service.name"]) == ("pipeline", "shop")
