"""Schemas through the whole stack: declared in code, registered, linked from runs, told by REST."""

from __future__ import annotations

import concurrent.futures
from typing import Any

import httpx
import pytest

import xray_otel as xray
from tests.fixtures.services import ServiceProcess

STEPS = {"price": {"type": "filter", "reasoning": {"max_price": "number!"}}}


def put(server: ServiceProcess, path: str, document: Any) -> httpx.Response:
    return httpx.put(f"{server.api}/api/v1/schemas/{path}", json=document, timeout=20.0, trust_env=False)


def send(server: ServiceProcess, schema: xray.Schema, limit: Any) -> str:
    xray.configure(endpoint=server.otlp_http, schema=schema, mode="strict")
    try:
        with xray.run("shop") as run, xray.step("price", type="filter", reasoning={"max_price": limit}):
            pass
    finally:
        xray.shutdown(10)
    return run.run_id


def test_runs_keep_the_version_they_followed(module_xray_up: ServiceProcess):
    """What a sender declared is listed; each run names its version, and what broke it is flagged."""
    server = module_xray_up
    old = send(server, xray.Schema("shop", "1", steps=STEPS), 50)
    new = send(server, xray.Schema("shop", "2", steps=STEPS | {"*": {}}), "fifty")
    assert [server.get(f"/runs/{run_id}")["schema"] for run_id in (old, new)] == [
        {"id": "shop", "version": "1"},
        {"id": "shop", "version": "2"},
    ]
    (fine,) = server.get(f"/runs/{old}")["steps"]
    (broken,) = server.get(f"/runs/{new}")["steps"]
    flag = {
        "code": "schema_violation",
        "field": "reasoning.max_price",
        "sent": "number is expected, got string",
    }
    assert (flag in fine["flags"], flag in broken["flags"]) == (False, True)
    answer = server.get("/schemas/shop")
    assert [version["version"] for version in answer["versions"]] == ["2", "1"]
    assert answer["versions"][1]["definition"] == {
        "id": "shop",
        "version": "1",
        "steps": {
            "price": {"type": "filter", "reasoning": {"max_price": {"required": True, "type": "number"}}}
        },
    }
    (listed,) = [item for item in server.get("/schemas")["items"] if item["id"] == "shop"]
    assert (listed["versions"], listed["latest_version"]) == (2, "2")
    # What was declared in code is the same content as what is put, in whichever form it is written.
    assert put(server, "shop/versions/1", {"steps": STEPS}).status_code == 200
    assert put(server, "shop/versions/1", {"steps": {}}).status_code == 409


def test_a_version_is_put_once(module_xray_up: ServiceProcess):
    """201, then 200 for the same content and 409 for another one, also of several at once."""
    server = module_xray_up
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        answers = list(
            pool.map(lambda n: put(server, "race/versions/1", {"step_types": [f"t{n % 2}"]}), range(8))
        )
    codes = sorted(answer.status_code for answer in answers)
    assert codes == [200, 200, 200, 201, 409, 409, 409, 409]
    [conflict] = {a.json()["error"]["code"] for a in answers if a.status_code == 409}
    assert conflict == "conflict"
    [version] = server.get("/schemas/race")["versions"]
    assert version["conflicting"] is False


def test_two_senders_that_disagree_are_both_kept(module_xray_up: ServiceProcess):
    """Events are never refused for what came before them: both contents are listed as conflicting."""
    server = module_xray_up
    send(server, xray.Schema("split", "1", steps=STEPS), 1)
    send(server, xray.Schema("split", "1", steps={}), 1)
    send(server, xray.Schema("split", "1", steps={}), 1)
    versions = server.get("/schemas/split")["versions"]
    assert [version["conflicting"] for version in versions] == [True, True]
    assert len({version["sha256"] for version in versions}) == 2


@pytest.mark.parametrize(
    ("path", "document", "status", "said"),
    [
        ("bad%20name/versions/1", {}, 422, "id of a schema must be 1 to 128"),
        ("s/versions/1", [], 422, "JSON object"),
        ("s/versions/1", {"id": "t"}, 422, "another id"),
        ("s/versions/1", {"steps": {"a": {"input": {"k": 7}}}}, 422, "input.k must be a type"),
        ("s/versions/1", {"steps": {"a": 1}}, 422, "must be an object"),
        ("s/versions/1", {"note": "x" * 70_000}, 422, "at most 65536 bytes"),
        ("s/versions/1", {"note": "nul\x00"}, 422, "NUL"),
        ("s/versions/1", {"note": "x" * 300_000}, 413, "at most 65536 bytes"),
        ("s/versions/1?force=1", {}, 422, "force"),
    ],
)
def test_what_is_no_schema_is_refused(
    module_xray_up: ServiceProcess, path: str, document: Any, status: int, said: str
):
    """The error says what is wrong; nothing is stored."""
    answer = put(module_xray_up, path, document)
    assert (answer.status_code, said in answer.json()["error"]["message"]) == (status, True), answer.text
    missing = httpx.get(f"{module_xray_up.api}/api/v1/schemas/s", timeout=20.0, trust_env=False)
    assert missing.status_code == 404
