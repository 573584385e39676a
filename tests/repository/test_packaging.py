"""The two distributions: what is in them, and that each works in an environment of its own."""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fixtures.engines import installer
from xray_otel._version import __version__

ROOT = Path(__file__).parents[2]
OFFLINE = re.compile(
    r"Temporary failure in name resolution|Network is unreachable|Connection refused|ConnectTimeout"
    r"|Failed to establish a new connection|dns error|from versions: none|no versions of|offline",
    re.IGNORECASE,
)
CLIENT = """
import importlib.util
import xray_otel as xray

assert not any(importlib.util.find_spec(name) for name in ("store", "collector", "api", "cli", "fastapi"))
xray.configure(endpoint="http://127.0.0.1:9", service_name="clean")
with xray.run("clean"), xray.step("only", type="filter") as step:
    assert step.filter([{"id": "a"}], lambda item: True) == [{"id": "a"}]
xray.shutdown(timeout_s=0.1)
"""
SERVER = """
import api.app, cli.main, collector.intake
from store import migrate
from store.embedded.binaries import choose
from pathlib import Path

assert migrate.head()
choose(Path("unused"), None)
"""

pytestmark = pytest.mark.packaging


def build(project: Path, target: Path) -> Path:
    """Build one wheel with the backend of this environment, without fetching anything."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(target)]
    subprocess.run(command, cwd=project, capture_output=True, text=True, check=True)
    return next(target.glob("*.whl"))


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel xray-otel."""
    return build(ROOT / "packaging/client", tmp_path_factory.mktemp("client"))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel xray-otel-server."""
    return build(ROOT, tmp_path_factory.mktemp("server"))


@pytest.fixture(scope="module")
def constraints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The locked versions without their hashes: pip takes no hashes beside local wheels."""
    pins = re.findall(r"^[A-Za-z].*?(?= \\$)", (ROOT / "requirements.lock").read_text(), re.MULTILINE)
    file = tmp_path_factory.mktemp("constraints") / "constraints.txt"
    file.write_text("\n".join(pins))
    return file


@pytest.fixture(scope="module")
def minimum(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The oldest OpenTelemetry that the client promises to work with."""
    text = (ROOT / "packaging/client/pyproject.toml").read_text()
    file = tmp_path_factory.mktemp("minimum") / "constraints.txt"
    file.write_text(
        "".join(f"{name}=={low}.0\n" for name, low in re.findall(r'"(opentelemetry-[\w-]+)>=([\d.]+)', text))
    )
    return file


def contents(wheel: Path) -> set[str]:
    return {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}


def sources(*packages: str) -> set[str]:
    """The files of packages as they stand in the checkout."""

    def walk() -> Iterator[Path]:
        for package in packages:
            yield from (path for path in (ROOT / package).rglob("*") if path.is_file())

    return {str(path.relative_to(ROOT)) for path in walk() if "__pycache__" not in path.parts}


def clean_environment(folder: Path, constraints: Path, *wheels: Path) -> Path:
    """Make an environment with only these wheels and what they depend on; return its folder of programs."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    python = folder / "bin/python"
    done = subprocess.run(
        [*installer(python), "-c", str(constraints), *map(str, wheels)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode != 0 and OFFLINE.search(done.stdout):
        pytest.skip("not run: installing the wheels needs the package registry")
    assert done.returncode == 0, done.stdout
    return folder / "bin"


def test_client_content(client):
    """xray-otel holds the package xray_otel with its type marker, and nothing else."""
    assert client.name == f"xray_otel-{__version__}-py3-none-any.whl"
    assert contents(client) == sources("xray_otel")
    assert "xray_otel/py.typed" in contents(client)


def test_client_is_loaded_by_who_asks_for_it(client):
    """OpenTelemetry finds the exporter by its name; no other program loads the client by itself."""
    with zipfile.ZipFile(client) as wheel:
        [name] = [name for name in wheel.namelist() if name.endswith("entry_points.txt")]
        groups = re.findall(r"^\[(.+)\]$", wheel.read(name).decode(), re.MULTILINE)
    assert groups == ["opentelemetry_traces_exporter"]


def test_server_content(server):
    """xray-otel-server holds the four server packages with the migrations, and not the client."""
    assert server.name == f"xray_otel_server-{__version__}-py3-none-any.whl"
    assert contents(server) == sources("collector", "store", "api", "cli")
    assert any(name.startswith("store/migrations/versions/0001") for name in contents(server))


@pytest.mark.parametrize("versions", ["constraints", "minimum"])
def test_client_in_a_clean_environment(client, versions, request, tmp_path):
    """The client alone runs a pipeline without a server, with locked and with the oldest versions."""
    programs = clean_environment(tmp_path / "venv", request.getfixturevalue(versions), client)
    answer = subprocess.run(
        [programs / "python", "-I", "-c", CLIENT], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert answer.returncode == 0, answer.stderr
    # What it says is that nobody listens, not that something could not be made.
    assert "encoding" not in answer.stderr


def test_server_in_a_clean_environment(client, server, constraints, tmp_path):
    """The server starts from its wheels alone: the command answers, migrations and Postgres are found."""
    programs = clean_environment(tmp_path / "venv", constraints, client, server)
    subprocess.run([programs / "python", "-I", "-c", SERVER], cwd=tmp_path, check=True)
    answer = subprocess.run([programs / "xray", "--version"], capture_output=True, text=True, check=True)
    assert __version__ in answer.stdout
