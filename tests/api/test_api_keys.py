"""API keys, request ids and TLS of the REST API, over real sockets."""

from __future__ import annotations

import re
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime

import httpx
import psycopg
import pytest
from fastapi import APIRouter, Request

from api.app import create_app
from api.settings import ApiSettings
from cli.api_server import ApiServer
from store.access.guard import Guard
from store.access.keyring import KeyRing
from store.access.keys import KeyTable, Scope
from store.reader import Reader
from store.settings import load
from tests.fixtures.api_keys import Keys
from tests.fixtures.certificates import Certificate, Certificates
from tests.fixtures.reading import RestServer
from tests.fixtures.waiting import wait_until

ASKING = {"XRAY_REQUIRE_KEYS": "true"}


def _doors() -> APIRouter:
    routes = APIRouter()

    @routes.post("/echo")
    async def echo(request: Request) -> dict[str, int]:
        return {"size": len(await request.body())}

    return routes


@pytest.fixture
def locked(reader: Reader, guard: Guard) -> Iterator[httpx.Client]:
    """A client of an API that asks for keys."""
    settings = load(ApiSettings, {**ASKING, "XRAY_CORS_ORIGINS": "https://shop.example"})
    server = RestServer(create_app(settings, reader, [_doors()], guard))
    with httpx.Client(base_url=server.url, timeout=30.0, trust_env=False) as client:
        yield client
    server.stop()


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def assert_error(response: httpx.Response, status: int, code: str) -> None:
    """Check that a failure is the one error object."""
    assert response.status_code == status, response.text
    error = response.json()["error"]
    assert (error["code"], error["parameter"]) == (code, None)
    assert error["request_id"] == response.headers["x-request-id"]
    assert ("www-authenticate" in response.headers) == (status == 401)
    assert ("retry-after" in response.headers) == (status in (429, 503))


def test_reading_needs_the_scope_read(locked: httpx.Client, keys: Keys) -> None:
    """Questions are answered to read and admin; a key that may only send gets 403, none gets 401."""
    for path in ("/api/v1/runs", "/api/v1/steps", "/openapi.json"):
        assert locked.get(path, headers=bearer(keys.read)).status_code == 200
        assert locked.get(path, headers=bearer(keys.admin)).status_code == 200
        assert locked.get(path, headers={"x-api-key": keys.read}).status_code == 200
        assert_error(locked.get(path, headers=bearer(keys.ingest)), 403, "forbidden")
        assert_error(locked.get(path), 401, "unauthorized")


def test_sending_needs_the_scope_ingest(locked: httpx.Client, keys: Keys) -> None:
    """The JSON doors take what a key with ingest sends; read is not enough."""
    sent = {"content": b"four", "headers": bearer(keys.ingest)}
    assert locked.post("/api/v1/echo", **sent).json() == {"size": 4}  # type: ignore[arg-type]
    assert_error(locked.post("/api/v1/echo", headers=bearer(keys.read)), 403, "forbidden")
    assert_error(locked.post("/api/v1/echo"), 401, "unauthorized")


def test_a_question_by_post_needs_the_scope_read(locked: httpx.Client, keys: Keys) -> None:
    """A replay writes nothing, so reading is enough, and sending is not."""
    path = "/api/v1/runs/none/replay"
    body: dict[str, list[object]] = {"changes": []}
    assert locked.post(path, json=body, headers=bearer(keys.read)).status_code == 404
    assert_error(locked.post(path, json=body, headers=bearer(keys.ingest)), 403, "forbidden")
    assert_error(locked.post(path, json=body), 401, "unauthorized")


@pytest.mark.parametrize("kind", ["expired", "revoked", "unknown"])
def test_keys_that_do_not_hold(locked: httpx.Client, keys: Keys, kind: str) -> None:
    """Expired, revoked and unknown keys get 401, whatever they may have been good for."""
    assert_error(locked.get("/api/v1/runs", headers=bearer(getattr(keys, kind))), 401, "unauthorized")


def test_health_needs_no_key(locked: httpx.Client) -> None:
    """Those who start and stop servers have no key; what is beside these paths needs one."""
    assert locked.get("/healthz").status_code == 200
    assert locked.get("/readyz").status_code == 200
    assert_error(locked.get("/healthz/"), 401, "unauthorized")
    assert_error(locked.get("/nowhere"), 401, "unauthorized")


def test_no_route_is_open(locked: httpx.Client, keys: Keys) -> None:
    """Whatever is served but health, by whatever method, is refused without a key, known or not."""
    paths = locked.get("/openapi.json", headers=bearer(keys.read)).json()["paths"]
    for path in {*paths, "/openapi.json", "/metrics", "/nowhere"} - {"/healthz", "/readyz"}:
        for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "QUERY"):
            assert locked.request(method, path).status_code == 401, (method, path)


def test_other_methods_need_admin(locked: httpx.Client, keys: Keys) -> None:
    """What removes needs admin, although nothing can be removed yet."""
    assert_error(locked.delete("/api/v1/runs", headers=bearer(keys.read)), 403, "forbidden")
    assert_error(locked.delete("/api/v1/runs", headers=bearer(keys.ingest)), 403, "forbidden")
    assert locked.delete("/api/v1/runs", headers=bearer(keys.admin)).status_code == 405
    assert locked.head("/api/v1/runs", headers=bearer(keys.read)).status_code == 200


def test_rules_that_steer_the_server_need_admin(locked: httpx.Client, keys: Keys) -> None:
    """Where the server sends requests is not for senders to say; a check of contracts only asks."""
    for key in (keys.read, keys.ingest):
        for method, path in (("PUT", "/api/v1/alerts/r"), ("POST", "/api/v1/alerts/r/test")):
            assert_error(locked.request(method, path, headers=bearer(key), json={}), 403, "forbidden")
    assert locked.put("/api/v1/alerts/r", headers=bearer(keys.admin), json={}).status_code != 403
    check = "/api/v1/contracts/check"
    assert_error(locked.post(check, headers=bearer(keys.ingest), json={}), 403, "forbidden")
    assert locked.post(check, headers=bearer(keys.read), json={}).status_code == 422


def test_too_many_requests(locked: httpx.Client, keys: Keys) -> None:
    """Over its rate a key gets 429 and is told when to come again; others are not held up."""
    assert locked.get("/api/v1/runs", headers=bearer(keys.slow)).status_code == 200
    refused = locked.get("/api/v1/runs", headers=bearer(keys.slow))
    assert_error(refused, 429, "too_many_requests")
    assert 1 <= int(refused.headers["retry-after"]) <= 1000
    assert locked.get("/api/v1/runs", headers=bearer(keys.read)).status_code == 200


def test_pages_of_elsewhere_can_send_a_key(locked: httpx.Client, keys: Keys) -> None:
    """A browser asks for leave without a key, may send one, and may read the refusal."""
    origin = {"Origin": "https://shop.example"}
    asks = {
        "Access-Control-Request-Method": "GET",
        "Access-Control-Request-Headers": "authorization,x-api-key",
    }
    assert locked.options("/api/v1/runs", headers={**origin, **asks}).status_code == 200
    refused = locked.get("/api/v1/runs", headers=origin)
    assert_error(refused, 401, "unauthorized")
    assert refused.headers["access-control-allow-origin"] == "https://shop.example"


def test_database_away_is_no_reason_for_401(reader: Reader, keys: Keys, database_url: str) -> None:
    """While nobody can tell whether a key exists, the answer is 503, and the sender comes again."""
    ring = KeyRing(database_url, fresh_s=0.2)
    ring.start()
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("ALTER TABLE api_keys RENAME TO api_keys_away")
    server = RestServer(create_app(load(ApiSettings, ASKING), reader, guard=Guard(ring)))
    with httpx.Client(base_url=server.url, timeout=30.0, trust_env=False) as client:

        def status(key: str) -> int:
            return client.get("/api/v1/runs", headers=bearer(key)).status_code

        wait_until(lambda: status(keys.unknown) == 503, timeout_s=30.0, what="an unknown key gets 503")
        assert status(keys.read) == 200
        assert client.get("/api/v1/runs").status_code == 401
    server.stop()
    ring.close()


def test_settings_that_ask_need_somebody_who_checks(reader: Reader) -> None:
    """An API that should ask for keys and cannot check them is not made."""
    for environ in (ASKING, {"XRAY_HOST": "0.0.0.0"}):
        with pytest.raises(ValueError, match="API keys"):
            create_app(load(ApiSettings, environ), reader)


def test_request_id_of_the_sender(rest: httpx.Client) -> None:
    """A well-formed id comes back, in the header and in the error; another is replaced."""
    answer = rest.get("/api/v1/runs", headers={"X-Request-Id": "order-17.b_C"})
    assert answer.headers["x-request-id"] == "order-17.b_C"
    failed = rest.get("/api/v1/runs/none", headers={"X-Request-Id": "order-18"})
    assert (failed.headers["x-request-id"], failed.json()["error"]["request_id"]) == ("order-18", "order-18")
    for bad in ("a b", "x" * 65, "a;b"):
        replaced = rest.get("/api/v1/runs", headers={"X-Request-Id": bad}).headers["x-request-id"]
        assert re.fullmatch("[0-9a-f]{32}", replaced)


def test_tls_and_client_certificates(reader: Reader, certificates: Certificates) -> None:
    """With TLS the API speaks nothing else, from 1.2 on; with a client CA it wants a certificate of it."""
    settings = load(
        ApiSettings,
        {
            "XRAY_TLS_CERT": str(certificates.server.cert),
            "XRAY_TLS_KEY": str(certificates.server.key),
            "XRAY_TLS_CLIENT_CA": str(certificates.authority.cert),
            "XRAY_API_PORT": "0",
        },
    )
    server = ApiServer(create_app(settings, reader), settings.host, settings.api_port, settings.tls)
    url = server.start()
    assert url.startswith("https://127.0.0.1:")

    def asked(shown: Certificate | None, newest: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> int:
        context = ssl.create_default_context(cafile=str(certificates.authority.cert))
        context.maximum_version = newest
        if newest < ssl.TLSVersion.TLSv1_2:
            context.minimum_version = newest
            context.set_ciphers("ALL:@SECLEVEL=0")
        if shown is not None:
            context.load_cert_chain(shown.cert, shown.key)
        with httpx.Client(verify=context, trust_env=False, timeout=30.0) as client:
            return client.get(f"{url}/api/v1/runs").status_code

    try:
        assert asked(certificates.client) == 200
        assert asked(certificates.client, ssl.TLSVersion.TLSv1_2) == 200
        for shown in (None, certificates.stranger):
            with pytest.raises(httpx.TransportError):
                asked(shown)
        with pytest.raises(httpx.TransportError), pytest.warns(DeprecationWarning, match="TLSv1_1"):
            asked(certificates.client, ssl.TLSVersion.TLSv1_1)
        with pytest.raises(httpx.TransportError):
            httpx.get(url.replace("https", "http") + "/healthz", trust_env=False, timeout=30.0)
    finally:
        server.stop(5.0)


def test_revocation_is_seen_by_a_running_api(locked: httpx.Client, keys: Keys, database_url: str) -> None:
    """A revoked key stops working without a restart."""
    key = keys.make("short-lived", Scope.READ)

    def status() -> int:
        return locked.get("/api/v1/runs", headers=bearer(key)).status_code

    wait_until(lambda: status() == 200, timeout_s=30.0, what="the new key works")
    KeyTable(database_url).revoke(key.split("_")[1], now=datetime.now(UTC))
    wait_until(lambda: status() == 401, timeout_s=30.0, what="the revoked key is refused")
