"""The one error object, on every path and for every failure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import httpx
import psycopg
import pytest
from fastapi import APIRouter, HTTPException
from pydantic import BaseModel

from api.app import create_app
from api.settings import ApiSettings
from store.reader import Reader
from store.settings import load
from tests.fixtures.reading import RestServer, Shelf, run_copy

PATHS = sorted(
    re.sub(r"\{\w+\}", "unheard-of", path)
    for path, methods in create_app(load(ApiSettings, {}), Reader.open("postgresql://nowhere/"))
    .openapi()["paths"]
    .items()
    if "get" in methods
)
REQUIRED = {
    "/api/v1/compare": {"bad": 'status = "crashed"'},
    "/api/v1/pipelines/unheard-of/culprits": {"since": "2025-03-01T00:00:00Z"},
    "/api/v1/runs/unheard-of/contrast": {"item": "a", "over": "b"},
}
"""Parameters without which a path answers nothing else."""
# Of an item that nobody judged the history is empty, and so is what is said of a pipeline that never ran.
NAMED = ("/api/v1/items/", "/api/v1/pipelines/")
WITH_IDS = [path for path in PATHS if "unheard-of" in path and not path.startswith(NAMED)]


class Order(BaseModel):
    """A body that is checked."""

    n: int


def _doors() -> APIRouter:
    """Stands for routers of other packages: fails in every way that they may."""
    router = APIRouter()

    @router.post("/runs", status_code=201)
    def post_run(order: Order) -> int:
        if order.n == 409:
            raise HTTPException(409, {"code": "already_there", "message": "it is there", "parameter": "n"})
        if order.n == 503:
            raise HTTPException(503, "come again")
        raise RuntimeError("a secret in /some/path")

    return router


@pytest.fixture
def doors(reader: Reader) -> Iterator[httpx.Client]:
    """The API with another package's router in it."""
    server = RestServer(create_app(load(ApiSettings, {}), reader, [_doors()]))
    with httpx.Client(base_url=server.url, trust_env=False) as client:
        yield client
    server.stop()


def assert_error(response: httpx.Response, status: int, code: str, parameter: str | None = None) -> str:
    """Check the shape of a failure and return its message."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    body = response.json()
    assert set(body) == {"error"}
    error: dict[str, Any] = body["error"]
    assert set(error) == {"code", "message", "parameter", "request_id"}
    assert (error["code"], error["parameter"]) == (code, parameter)
    assert error["request_id"] == response.headers["x-request-id"]
    assert isinstance(error["message"], str)
    assert not re.search(r"Traceback|SELECT|psycopg|sqlalchemy|/site-packages/|\.py", error["message"])
    return str(error["message"])


@pytest.mark.parametrize("path", [*PATHS, "/openapi.json"])
def test_every_path_refuses_unknown_parameters(rest: httpx.Client, path: str) -> None:
    """No path ignores a parameter: it is named in a 422."""
    message = assert_error(rest.get(path, params={"colour": "red"}), 422, "invalid_parameter", "colour")
    assert "colour" in message


def test_a_question_that_is_posted_refuses_unknown_parameters(rest: httpx.Client) -> None:
    """A long question has a body, and its parameters and methods are as strict."""
    path = "/api/v1/contracts/check"
    answer = rest.post(path, params={"colour": "red"}, json={"contracts": []})
    assert "colour" in assert_error(answer, 422, "invalid_parameter", "colour")
    response = rest.get(path)
    assert_error(response, 405, "method_not_allowed")
    assert response.headers["allow"] == "POST"


@pytest.mark.parametrize("path", PATHS)
def test_every_path_names_its_methods(rest: httpx.Client, path: str) -> None:
    """A method that a path does not take gets 405 with Allow."""
    response = rest.delete(path)
    assert_error(response, 405, "method_not_allowed")
    assert response.headers["allow"] == "GET, HEAD"


@pytest.mark.parametrize("path", WITH_IDS)
def test_every_unknown_id_is_not_found(rest: httpx.Client, path: str) -> None:
    """An id that nothing is known about gets 404, naming which."""
    response = rest.get(path, params=REQUIRED.get(path))
    assert_error(response, 404, "not_found", response.json()["error"]["parameter"])
    known = ("run_id", "step_id", "item_id", "artifact_id", "schema_id")
    assert response.json()["error"]["parameter"] in known


@pytest.mark.parametrize("path", WITH_IDS)
def test_ids_with_nul_are_not_found(rest: httpx.Client, path: str) -> None:
    """An id that Postgres cannot hold is unknown, not an error of the server."""
    response = rest.get(path.replace("unheard-of", "a%00b"), params=REQUIRED.get(path))
    assert_error(response, 404, "not_found", response.json()["error"]["parameter"])


@pytest.mark.parametrize(
    "path", ["/", "/api", "/api/v1", "/api/v1/", "/api/v1/colours", "/api/v1/runs/", "/docs"]
)
def test_unknown_paths(rest: httpx.Client, path: str) -> None:
    """A path that does not exist gets 404; nothing is redirected."""
    assert_error(rest.get(path), 404, "not_found")


@pytest.mark.parametrize(
    ("query", "parameter", "said"),
    [
        ("limit=0", "limit", "limit must be 1 to 1000, got 0"),
        ("cursor=abc", "cursor", "next_cursor"),
        ("status=done", "status", "running, completed"),
        ("drop_ratio_gt=much", "drop_ratio_gt", "decimal number"),
        ("started_after=2025-03-01", "started_after", "RFC 3339"),
        ("pipeline=a&pipeline=b", "pipeline", "once"),
        ("step_type=filter", "step_type", "step.step_type"),
        ("%00=1", "\x00", "no parameter"),
        ("pipeline=%00", "pipeline", "NUL"),
    ],
)
def test_refusals_name_parameter_and_accepted_form(
    rest: httpx.Client, query: str, parameter: str, said: str
) -> None:
    """A refusal says which parameter, and what would be accepted."""
    assert said in assert_error(rest.get(f"/api/v1/runs?{query}"), 422, "invalid_parameter", parameter)


def test_other_routers_refuse_unknown_parameters(doors: httpx.Client) -> None:
    """What is mounted ignores no parameter either."""
    response = doors.post("/api/v1/runs?colour=red", json={"n": 1})
    assert_error(response, 422, "invalid_parameter", "colour")


def test_methods_of_all_routers_are_allowed(doors: httpx.Client) -> None:
    """Routers that share a path are named together in Allow."""
    response = doors.delete("/api/v1/runs")
    assert_error(response, 405, "method_not_allowed")
    assert response.headers["allow"] == "GET, HEAD, POST"


def test_failures_of_other_routers_have_the_shape(doors: httpx.Client) -> None:
    """What a mounted router raises is shaped; what it did not foresee says nothing of the inside."""
    assert_error(doors.post("/api/v1/runs", json={"n": "x"}), 422, "invalid_parameter", "n")
    cut = doors.post("/api/v1/runs", content=b"{", headers={"content-type": "application/json"})
    assert_error(cut, 422, "invalid_json", "body")
    assert_error(doors.post("/api/v1/runs", json={"n": 409}), 409, "already_there", "n")
    again = doors.post("/api/v1/runs", json={"n": 503})
    assert_error(again, 503, "unavailable")
    assert again.headers["retry-after"] == "1"
    assert "secret" not in assert_error(doors.post("/api/v1/runs", json={"n": 1}), 500, "internal_error")


def test_database_away() -> None:
    """Without the database every question gets 503 with Retry-After, and the process stays alive."""
    reader = Reader.open("postgresql:///xray?host=/nonexistent")
    server = RestServer(create_app(load(ApiSettings, {}), reader))
    with httpx.Client(base_url=server.url, trust_env=False) as client:
        for path in PATHS:
            # An artifact's id is checked for its form before anything is asked.
            known = path.replace("artifacts/unheard-of", f"artifacts/{'0' * 64}")
            response = client.get(known, params=REQUIRED.get(path))
            if path == "/healthz":
                assert response.json() == {"status": "ok"}
                continue
            assert_error(response, 503, "unavailable")
            assert response.headers["retry-after"] == "1"
    server.stop()
    reader.close()


def test_slow_answers_are_given_up(database_url: str, shelf: Shelf) -> None:
    """An answer that takes longer than the statement timeout gets 503 and says how to ask for less."""
    shelf.put(run_copy("r"))
    reader = Reader.open(database_url, statement_timeout_ms=100)
    server = RestServer(create_app(load(ApiSettings, {}), reader))
    with (
        httpx.Client(base_url=server.url, trust_env=False) as client,
        psycopg.connect(database_url) as blocker,
    ):
        blocker.execute("LOCK TABLE steps IN ACCESS EXCLUSIVE MODE")
        said = assert_error(client.get("/api/v1/steps"), 503, "query_timeout")
        assert "100 ms" in said
        assert "started_after" in said
    server.stop()
    reader.close()


def test_recovers_when_the_database_does(database_url: str, shelf: Shelf, rest: httpx.Client) -> None:
    """Connections that the server cut are replaced; the next question is answered."""
    shelf.put(run_copy("r"))
    assert len(rest.get("/api/v1/runs").json()["items"]) == 1
    with psycopg.connect(database_url, autocommit=True) as admin:
        admin.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'xray-read' "
            "AND datname = current_database()"
        )
    assert len(rest.get("/api/v1/runs").json()["items"]) == 1


@pytest.mark.parametrize("path", PATHS)
def test_head_is_get_without_a_body(rest: httpx.Client, path: str) -> None:
    """HEAD gets the status and headers of GET, failures included, and no body (RFC 9110, section 9.3.2)."""
    asked, told = rest.head(path), rest.get(path)
    assert (asked.status_code, asked.content) == (told.status_code, b"")
    assert asked.headers["content-type"] == told.headers["content-type"]


def test_a_refused_preflight_has_the_shape(reader: Reader) -> None:
    """A browser of an origin that is not configured gets the error object, one that is gets its leave."""
    settings = load(ApiSettings, {"XRAY_CORS_ORIGINS": "https://shop.example"})
    server = RestServer(create_app(settings, reader))
    wants = {"Origin": "https://other.example", "Access-Control-Request-Method": "GET"}
    with httpx.Client(base_url=server.url, trust_env=False) as client:
        assert_error(client.options("/api/v1/runs", headers=wants), 400, "cors_refused")
        granted = client.options("/api/v1/runs", headers=wants | {"Origin": "https://shop.example"})
        answered = client.get("/api/v1/runs", headers={"Origin": "https://shop.example"})
    server.stop()
    assert granted.status_code == 200
    for response in (granted, answered):
        assert response.headers["access-control-allow-origin"] == "https://shop.example"
