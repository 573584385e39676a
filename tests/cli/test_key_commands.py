"""``xray keys``, and servers that ask for keys: whole processes."""

from __future__ import annotations

import json
import re
import ssl
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from typer.testing import CliRunner

from api.app import create_app
from api.settings import ApiSettings
from cli.api_server import ApiServer
from cli.errors import UsageError
from cli.main import app
from store.reader import Reader
from store.settings import load
from tests.fixtures import otlp
from tests.fixtures.certificates import Certificates
from tests.fixtures.command import xray
from tests.fixtures.services import ServiceProcess, StartService
from tests.fixtures.waiting import wait_until

STEP = {"xray.step.type": "filter", "xray.candidates.in": 4, "xray.candidates.out": 1, "xray.run.id": "r"}
DEADLINE_S = 30.0


def made(database_url: str, scope: str, *more: str) -> str:
    """Make a key and return it."""
    done = xray("keys", "create", "--name", "test", "--scope", scope, *more, XRAY_DATABASE_URL=database_url)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def listed(database_url: str) -> list[dict[str, Any]]:
    """The keys as ``xray keys list --json`` gives them."""
    done = xray("keys", "list", "--json", XRAY_DATABASE_URL=database_url)
    assert done.returncode == 0, done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout)["items"]
    return found


def send(service: ServiceProcess, key: str | None) -> httpx.Response:
    """Send one step."""
    headers = {"authorization": f"Bearer {key}"} if key else {}
    with httpx.Client(base_url=service.otlp_http, headers=headers, timeout=20.0, trust_env=False) as client:
        return otlp.post(client, otlp.traces([otlp.span("s", STEP, trace="t")]))


def test_create_list_revoke(database_url: str) -> None:
    """A key is printed alone on stdout and once; the list has all but its secret; revoking shows there."""
    key = made(database_url, "read,ingest", "--rate", "2.5/s", "--expires", "90d")
    assert re.fullmatch(r"xray_[0-9a-f]{12}_[0-9a-f]{40}", key)
    (shown,) = listed(database_url)
    assert (shown["id"], shown["scopes"]) == (key.split("_")[1], ["ingest", "read"])
    assert (shown["state"], shown["rate_per_s"], shown["last_used_at"]) == ("active", 2.5, None)
    assert shown["expires_at"] > shown["created_at"]
    table = xray("keys", "list", XRAY_DATABASE_URL=database_url)
    assert shown["id"] in table.stdout
    assert key.split("_")[2] not in table.stdout + json.dumps(shown)

    revoked = xray("keys", "revoke", shown["id"], XRAY_DATABASE_URL=database_url)
    assert (revoked.returncode, "is revoked since" in revoked.stdout) == (0, True)
    assert [one["state"] for one in listed(database_url)] == ["revoked"]
    unknown = xray("keys", "revoke", "feedfeedfeed", XRAY_DATABASE_URL=database_url)
    assert (unknown.returncode, "xray keys list" in unknown.stderr) == (1, True)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--scope", "write"),
        ("--scope", ""),
        ("--scope", "ingest;read"),
        ("--rate", "0/s"),
        ("--rate", "5/min"),
        ("--rate", "nan"),
        ("--expires", "yesterday"),
        ("--expires", "2001-01-01T00:00:00Z"),
        ("--expires", "2999-01-01T00:00:00Z"),
        ("--expires", "2040-01-01T00:00:00"),
        ("--name", " "),
        ("--name", "a\nb"),
    ],
)
def test_what_is_not_accepted(option: str, value: str, tmp_path: Path) -> None:
    """A wrong option is a wrong use, with its accepted form, before any database is looked at."""
    options = {"--name": "shop", "--scope": "ingest", option: value}
    words = [word for pair in options.items() for word in pair]
    done = CliRunner().invoke(app, ["keys", "create", *words], env={"XRAY_DATA_DIR": str(tmp_path / "none")})
    assert isinstance(done.exception, UsageError)
    assert str(done.exception).startswith(f"{option} {value!r}: ")
    assert "accepted" in str(done.exception)
    assert not (tmp_path / "none").exists()


def test_keys_of_a_fresh_embedded_database(tmp_path: Path) -> None:
    """Keys can be made before the first start, and a server that asks for them starts then."""
    ports = {"XRAY_GRPC_PORT": "0", "XRAY_HTTP_PORT": "0", "XRAY_API_PORT": "0"}
    environ = {"XRAY_DATA_DIR": str(tmp_path), "XRAY_REQUIRE_KEYS": "true", **ports}
    done = xray("keys", "create", "--name", "shop", "--scope", "admin", **environ)
    assert done.returncode == 0, done.stderr
    server = ServiceProcess("up", environ)
    try:
        assert send(server, done.stdout.strip()).status_code == 200
        assert send(server, None).status_code == 401
        # The embedded server is shared with the command, and stays when that one ends.
        again = xray("keys", "list", "--json", **environ)
        assert len(json.loads(again.stdout)["items"]) == 1
        assert send(server, done.stdout.strip()).status_code == 200
    finally:
        assert server.terminate() == 0


@pytest.mark.parametrize(
    ("part", "environ", "scope"),
    [
        ("up", {"XRAY_HOST": "0.0.0.0"}, "ingest"),
        ("collector", {"XRAY_REQUIRE_KEYS": "true"}, "ingest"),
        ("api", {"XRAY_HOST": "0.0.0.0"}, "read"),
    ],
)
def test_start_without_a_key(database_url: str, part: str, environ: dict[str, str], scope: str) -> None:
    """A server that asks for keys does not start before one can be used, and says how to make it."""
    ports = {"XRAY_GRPC_PORT": "0", "XRAY_HTTP_PORT": "0", "XRAY_API_PORT": "0"}
    made(database_url, {"ingest": "read", "read": "ingest"}[scope])
    done = xray(part, XRAY_DATABASE_URL=database_url, **environ, **ports)
    assert done.returncode == 2, done.stderr
    last = done.stderr.splitlines()[-1]
    ((variable, value),) = environ.items()
    assert last.startswith(f"xray: {variable}={value}: ")
    assert f"`xray keys create --name NAME --scope {scope}`" in last
    assert ("XRAY_ALLOW_ANONYMOUS" in last) == (variable == "XRAY_HOST")


def test_every_interface_with_keys(start_service: StartService, database_url: str) -> None:
    """Beyond loopback each way in and out asks for its scope; the key is in no log line."""
    ingest, read = made(database_url, "ingest"), made(database_url, "read")
    server = start_service("up", XRAY_HOST="0.0.0.0")
    assert "XRAY_TLS_CERT is not set" in server.stderr
    assert send(server, ingest).status_code == 200
    assert (send(server, read).status_code, send(server, None).status_code) == (403, 401)
    runs = f"{server.api}/api/v1/runs"

    def asked(method: str, key: str | None) -> int:
        headers = {"x-api-key": key} if key else {}
        body = {"pipeline": "p"} if method == "POST" else None
        answer = httpx.request(method, runs, headers=headers, json=body, timeout=20.0, trust_env=False)
        return answer.status_code

    assert [asked("GET", key) for key in (read, ingest, None)] == [200, 403, 401]
    assert [asked("POST", key) for key in (ingest, read, None)] == [201, 403, 401]
    assert server.terminate() == 0
    assert not any(key.split("_")[2] in server.stderr for key in (ingest, read))
    assert all(key["last_used_at"] for key in listed(database_url))


def test_every_interface_without_keys(start_service: StartService) -> None:
    """Whoever wants everybody to get in says so in so many words."""
    server = start_service("up", XRAY_HOST="0.0.0.0", XRAY_ALLOW_ANONYMOUS="true")
    assert send(server, None).status_code == 200


def test_loopback_asks_for_no_key(xray_up: ServiceProcess) -> None:
    """On loopback nobody needs a key, and whoever sends one all the same is let in."""
    assert send(xray_up, None).status_code == 200
    assert send(xray_up, "xray_feedfeedfeed_" + 40 * "0").status_code == 200


def test_reading_commands_send_the_key(start_service: StartService, database_url: str) -> None:
    """``xray runs`` uses XRAY_API_KEY, and says so when the API wants another."""
    read, ingest = made(database_url, "read"), made(database_url, "ingest")
    server = start_service("up", XRAY_REQUIRE_KEYS="true")
    assert send(server, ingest).status_code == 200
    asked = xray("runs", "--json", XRAY_API_URL=server.api, XRAY_API_KEY=read)
    assert [run["run_id"] for run in json.loads(asked.stdout)["items"]] == ["r"]
    for key in ("", ingest):
        refused = xray("runs", XRAY_API_URL=server.api, XRAY_API_KEY=key)
        assert (refused.returncode, "XRAY_API_KEY" in refused.stderr) == (1, True)


def test_revocation_reaches_a_running_server(start_service: StartService, database_url: str) -> None:
    """Revoked by command, a key is refused by the process that runs."""
    key = made(database_url, "ingest")
    server = start_service("collector", XRAY_REQUIRE_KEYS="true")
    assert send(server, key).status_code == 200
    xray("keys", "revoke", key.split("_")[1], XRAY_DATABASE_URL=database_url)
    wait_until(lambda: send(server, key).status_code == 401, timeout_s=DEADLINE_S, what="the key is refused")


def test_no_key_is_stored_in_plain_text(database_url: str) -> None:
    """Nothing in the database gives a key back."""
    key = made(database_url, "ingest")
    with psycopg.connect(database_url) as connection:
        stored = connection.execute("SELECT encode(secret_hash, 'hex') || k::text FROM api_keys k").fetchall()
    assert key.split("_")[2] not in str(stored)


def test_servers_and_commands_over_tls(
    start_service: StartService, reader: Reader, certificates: Certificates
) -> None:
    """The addresses of a server with TLS say so, and the reading commands trust what OpenSSL trusts."""
    tls = {
        "XRAY_TLS_CERT": str(certificates.server.cert),
        "XRAY_TLS_KEY": str(certificates.server.key),
    }
    collector = start_service("collector", **tls)
    assert collector.otlp_grpc.startswith("https://127.0.0.1:")
    context = ssl.create_default_context(cafile=str(certificates.authority.cert))
    with httpx.Client(base_url=collector.otlp_http, verify=context, timeout=20.0, trust_env=False) as client:
        assert otlp.post(client, otlp.traces([otlp.span("s", STEP, trace="t")])).status_code == 200
    settings = load(ApiSettings, {**tls, "XRAY_API_PORT": "0"})
    server = ApiServer(create_app(settings, reader), settings.host, settings.api_port, settings.tls)
    url = server.start()
    try:
        trusting = xray("runs", "--json", XRAY_API_URL=url, SSL_CERT_FILE=str(certificates.authority.cert))
        assert [run["run_id"] for run in json.loads(trusting.stdout)["items"]] == ["r"], trusting.stderr
        wary = xray("runs", XRAY_API_URL=url, SSL_CERT_FILE=str(certificates.stranger.cert), SSL_CERT_DIR="")
        assert (wary.returncode, "SSL_CERT_FILE names" in wary.stderr) == (1, True)
    finally:
        server.stop(5.0)
