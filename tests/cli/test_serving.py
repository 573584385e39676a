"""``xray up`` and its parts: start, refuse to start, stop."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from dataclasses import fields
from pathlib import Path

import httpx
import psycopg
import pytest

from cli.api_server import base_url
from cli.settings import unknown_variables
from store.embedded import EmbeddedPostgres
from tests.fixtures import otlp
from tests.fixtures.services import ROOT, ServiceProcess, StartService, environment
from tests.fixtures.waiting import wait_until
from xray_otel.settings import Settings as ClientSettings

STEP = {"xray.step.type": "filter", "xray.candidates.in": 4, "xray.candidates.out": 1, "xray.run.id": "r"}


def refused(part: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run a server that must not start."""
    ports = {"XRAY_GRPC_PORT": "0", "XRAY_HTTP_PORT": "0", "XRAY_API_PORT": "0"}
    return subprocess.run(
        [sys.executable, "-m", "cli", part],
        cwd=ROOT,
        env=environment({**ports, **environ}),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def send_step(service: ServiceProcess) -> None:
    """One step, acknowledged."""
    with httpx.Client(base_url=service.otlp_http, timeout=10.0, trust_env=False) as client:
        assert otlp.post(client, otlp.traces([otlp.span("s", STEP, trace="t")])).status_code == 200


def test_up_stops_with_0_when_everything_was_written(xray_up: ServiceProcess) -> None:
    """SIGTERM stops the server gracefully and it says that all was written."""
    send_step(xray_up)
    assert xray_up.get("/steps")["items"][0]["drop_ratio"] == 0.75
    assert xray_up.terminate() == 0
    assert "everything taken in was written" in xray_up.stderr


def test_parts_share_a_database(start_service: StartService) -> None:
    """What a collector process takes in, an API process answers."""
    collector, api = start_service("collector"), start_service("api")
    send_step(collector)
    assert [step["run_id"] for step in api.get("/steps")["items"]] == ["r"]
    assert (collector.addresses["api"], api.addresses["otlp_http"]) == (None, None)


def test_api_alone_has_the_json_doors(start_service: StartService) -> None:
    """A run opened by the JSON door of an API process can be read there."""
    api = start_service("api")
    opened = httpx.post(
        f"{api.api}/api/v1/runs", json={"run_id": "door", "pipeline": "p"}, timeout=10.0, trust_env=False
    )
    assert opened.status_code == 201, opened.text
    assert api.get("/runs/door")["pipeline"] == "p"


def test_embedded_database_keeps_its_data(tmp_path: Path) -> None:
    """``xray up`` without a database of yours runs one in the data folder; the data outlives the process."""
    environ = {
        "XRAY_DATA_DIR": str(tmp_path),
        "XRAY_GRPC_PORT": "0",
        "XRAY_HTTP_PORT": "0",
        "XRAY_API_PORT": "0",
    }
    first = ServiceProcess("up", environ)
    send_step(first)
    assert first.terminate() == 0
    assert not EmbeddedPostgres(tmp_path).alive
    second = ServiceProcess("up", environ)
    try:
        assert [step["run_id"] for step in second.get("/steps")["items"]] == ["r"]
    finally:
        assert second.terminate() == 0


def test_end_of_the_embedded_database_ends_the_server(tmp_path: Path) -> None:
    """When the embedded database dies, the server notices, says so and ends with 1; the next start works."""
    ports = {"XRAY_GRPC_PORT": "0", "XRAY_HTTP_PORT": "0", "XRAY_API_PORT": "0"}
    service = ServiceProcess("up", {"XRAY_DATA_DIR": str(tmp_path), **ports})
    send_step(service)
    database = EmbeddedPostgres(tmp_path).pid
    assert database is not None
    os.kill(database, signal.SIGKILL)
    assert service.join() == 1
    assert service.stderr.splitlines()[-1].startswith("xray: the embedded database ended by itself")
    assert "Traceback" not in service.stderr
    again = ServiceProcess("up", {"XRAY_DATA_DIR": str(tmp_path), **ports})
    try:
        assert [step["run_id"] for step in again.get("/steps")["items"]] == ["r"]
    finally:
        assert again.terminate() == 0


def test_stop_with_data_that_cannot_be_written(start_service: StartService, database_url: str) -> None:
    """A stop while the database does not take the data ends with 1, and the sender has no acknowledgement."""
    collector = start_service("collector")
    answers: list[int] = []

    def send() -> None:
        request = otlp.traces([otlp.span("s", STEP, trace="t")])
        with (
            contextlib.suppress(httpx.HTTPError),
            httpx.Client(base_url=collector.otlp_http, timeout=30.0, trust_env=False) as client,
        ):
            answers.append(otlp.post(client, request).status_code)

    with psycopg.connect(database_url) as locking:
        locking.execute("LOCK TABLE runs, steps IN ACCESS EXCLUSIVE MODE")
        sender = threading.Thread(target=send)
        sender.start()
        waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted"
        wait_until(lambda: locking.execute(waiting).fetchone() != (0,), timeout_s=10.0, what="it waits")
        assert collector.terminate() == 1
        sender.join()
    assert "before everything was written" in collector.stderr
    assert 200 not in answers


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("XRAY_GRPC_PORT", "abc"),
        ("XRAY_HTTP_PORT", "70000"),
        ("XRAY_API_PORT", "-1"),
        ("XRAY_DATABASE_URL", "mysql://x"),
        ("XRAY_RUN_TIMEOUT_S", "soon"),
    ],
)
def test_wrong_setting_stops_the_start(tmp_path: Path, variable: str, value: str) -> None:
    """A wrong setting ends the start with 2 and one line: name, value, accepted form."""
    done = refused("up", **{"XRAY_DATA_DIR": str(tmp_path), variable: value})
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"xray: {variable}=")
    assert line.endswith("is accepted")
    assert list(tmp_path.iterdir()) == []


def test_secret_is_not_repeated(tmp_path: Path) -> None:
    """A wrong database URL is shown without its password."""
    done = refused("up", XRAY_DATA_DIR=str(tmp_path), XRAY_DATABASE_URL="mysql://u:hunter2@h/d")
    assert "hunter2" not in done.stderr + done.stdout
    assert "XRAY_DATABASE_URL='mysql://u:***@h/d': " in done.stderr


@pytest.mark.parametrize(
    ("variable", "other", "part"),
    [
        ("XRAY_HTTP_PORT", "XRAY_GRPC_PORT", "collector"),
        ("XRAY_API_PORT", "XRAY_GRPC_PORT", "up"),
        ("XRAY_API_PORT", "XRAY_HTTP_PORT", "up"),
    ],
)
def test_equal_ports_stop_the_start(tmp_path: Path, variable: str, other: str, part: str) -> None:
    """Two ports of one server are different, or the start ends with 2."""
    done = refused(part, XRAY_DATA_DIR=str(tmp_path), **{variable: "4999", other: "4999"})
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.splitlines()
    assert line == (
        f"xray: {variable}='4999': another port than that of {other} (0 = any free port) is accepted"
    )


def test_an_address_of_another_machine_stops_the_start(tmp_path: Path) -> None:
    """It is the host that is wrong, not a port."""
    done = refused("up", XRAY_DATA_DIR=str(tmp_path), XRAY_HOST="192.0.2.1", XRAY_ALLOW_ANONYMOUS="true")
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("xray: XRAY_HOST='192.0.2.1': an address or host name of this machine")


def test_json_logs_are_all_there_is_on_stderr(database_url: str, start_service: StartService) -> None:
    """Start, stop and failure are log events, and no library writes lines of its own."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = refused("up", XRAY_DATABASE_URL=database_url, XRAY_LOG_FORMAT="json", XRAY_GRPC_PORT=port)
    assert done.returncode == 1
    failed = [json.loads(line) for line in done.stderr.splitlines()]
    assert failed[-1]["level"] == "error"
    assert "XRAY_GRPC_PORT" in failed[-1]["event"]
    service = start_service("up", XRAY_LOG_FORMAT="json")
    assert service.terminate() == 0
    events = [json.loads(line)["event"] for line in service.stderr.splitlines()]
    assert any(event.startswith("schema") for event in events)
    assert events[-1] == "stopped everything taken in was written"


@pytest.mark.parametrize("variable", ["XRAY_GRPC_PORT", "XRAY_HTTP_PORT", "XRAY_API_PORT"])
def test_port_in_use_names_the_setting(database_url: str, variable: str) -> None:
    """A port that somebody else has ends the start with a line that names the setting."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = refused("up", XRAY_DATABASE_URL=database_url, **{variable: port})
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith(f"xray: port {port} on 127.0.0.1 is in use")
    assert f"set {variable} to another port" in last


def test_database_that_is_away(free_port: int) -> None:
    """A database that does not answer ends the start with one line: setting, host, port, reason."""
    done = refused("up", XRAY_DATABASE_URL=f"postgresql://nobody:secret@127.0.0.1:{free_port}/none")
    assert done.returncode == 1
    assert done.stderr.splitlines()[1:] == [
        f"xray: XRAY_DATABASE_URL: no server answers at 127.0.0.1:{free_port} (connection refused)"
    ]
    assert "secret" not in done.stderr


def test_misspelt_variable_is_said_at_start(tmp_path: Path) -> None:
    """A variable of ours that is no setting is named, with the one that was probably meant."""
    done = refused("up", XRAY_DATA_DIR=str(tmp_path), XRAY_GRCP_PORT="1", XRAY_API_PORT="-1")
    assert done.stderr.splitlines()[0] == "xray: XRAY_GRCP_PORT is no setting (did you mean XRAY_GRPC_PORT?)"


def test_known_variables_are_not_said() -> None:
    """Settings of servers, client, commands and tests pass; a far-off name is named without a guess."""
    client = [f"XRAY_{field.name.upper()}" for field in fields(ClientSettings)]
    ours = [
        "XRAY_DATA_DIR",
        "XRAY_GRPC_PORT",
        "XRAY_CORS_ORIGINS",
        "XRAY_API_URL",
        "XRAY_VENV",
        "XRAY_PYTHON",
    ]
    known = dict.fromkeys([*client, *ours, "XRAY_TEST_DATABASE_URL", "PATH"], "x")
    assert list(unknown_variables(known)) == []
    assert list(unknown_variables({"XRAY_COLOUR": "x"})) == ["XRAY_COLOUR is no setting"]


def test_server_ends_with_its_parent(database_url: str, tmp_path: Path) -> None:
    """With --with-parent the server stops by itself when the process that started it is killed."""
    pid_file = tmp_path / "pid"
    script = (
        "import pathlib, subprocess, sys, time\n"
        "server = subprocess.Popen([sys.executable, '-m', 'cli', 'up', '--json', '--with-parent'],"
        " stdout=subprocess.PIPE)\n"
        "server.stdout.readline()\n"
        f"pathlib.Path({str(pid_file)!r}).write_text(str(server.pid))\n"
        "time.sleep(600)\n"
    )
    ports = {"XRAY_GRPC_PORT": "0", "XRAY_HTTP_PORT": "0", "XRAY_API_PORT": "0"}
    parent = subprocess.Popen(
        [sys.executable, "-c", script],
        cwd=ROOT,
        env=environment({"XRAY_DATABASE_URL": database_url, **ports}),
    )
    wait_until(lambda: pid_file.exists() and pid_file.read_text(), timeout_s=40.0, what="the server runs")
    parent.kill()
    parent.wait()
    wait_until(lambda: not running(int(pid_file.read_text())), timeout_s=20.0, what="the server has ended")


def running(pid: int) -> bool:
    """Whether a process runs; a zombie that nobody collected does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_ctrl_c_and_closed_terminal_stop_gracefully(xray_up: ServiceProcess, number: signal.Signals) -> None:
    """Ctrl-C and the end of the terminal stop the server as SIGTERM does."""
    os.kill(xray_up.pid, number)
    assert xray_up.join() == 0


@pytest.mark.parametrize(
    ("host", "url"),
    [("127.0.0.1", "http://127.0.0.1:80"), ("::1", "http://[::1]:80"), ("0.0.0.0", "http://127.0.0.1:80")],
)
def test_base_url_can_be_opened(host: str, url: str) -> None:
    """The address shown is one that a browser on this machine can open."""
    assert base_url(host, 80) == url
