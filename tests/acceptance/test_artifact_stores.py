"""Large payloads from OTLP to REST by way of an object store, and when something of that is away."""

from __future__ import annotations

import threading
from hashlib import sha256

import httpx
import psycopg
import pytest

from store import wire
from store.artifacts import garbage
from store.artifacts.open import open_store
from tests.fixtures import otlp
from tests.fixtures.services import service_starter
from tests.fixtures.waiting import wait_until

INLINE_BYTES = 1000
LARGE = bytes(range(256)) * 20
PIECES = bytes(range(251)) * 20_000
"""Of more than one request to the object store."""
SMALL = b"small"
GENEROUS_S = 60.0
SETTINGS = {
    "XRAY_ARTIFACT_INLINE_BYTES": str(INLINE_BYTES),
    "XRAY_ARTIFACT_TIMEOUT_S": "30",
    "XRAY_MAX_ARTIFACT_BYTES": str(8 * 1024 * 1024),
    "XRAY_WRITE_TIMEOUT_S": "60",
}


@pytest.fixture(scope="module")
def url(new_module_database):
    """A database for this module."""
    return new_module_database()


@pytest.fixture(scope="module")
def server(url, s3):
    """A whole server whose large payloads lie in S3."""
    with service_starter(url) as start:
        store = {"XRAY_ARTIFACT_URL": s3.url, "XRAY_ARTIFACT_ALLOW_HTTP": "true"}
        yield start("up", **SETTINGS, **store, **s3.environ)


def send(server, run_id, *payloads):
    """A step of a run with artifacts, acknowledged."""
    identity = {"xray.run.id": run_id, "xray.step.id": "ask", "xray.step.attempt": 1}
    step = {**identity, "xray.span.kind": "step", "xray.step.type": "llm", "xray.pipeline.name": "p"}
    events = [
        otlp.event(
            "xray.artifact",
            {**identity, "xray.artifact.kind": kind, "xray.artifact.data": data},
            trace=run_id,
        )
        for kind, data in payloads
    ]
    with httpx.Client(base_url=server.otlp_http, timeout=GENEROUS_S, trust_env=False) as client:
        for message in (otlp.traces([otlp.span("ask", step, trace=run_id)]), otlp.logs(events)):
            response = otlp.post(client, message)
            assert response.status_code == 200, response.text


def artifacts_of(server, run_id):
    """What the run's step says of its artifacts, by kind."""
    (step,) = server.get(f"/runs/{run_id}")["steps"]
    return {each["kind"]: each for each in step["artifacts"]}


@pytest.fixture
def get(server):
    """Ask for the bytes of an artifact."""
    with httpx.Client(base_url=f"{server.api}/api/v1", timeout=GENEROUS_S, trust_env=False) as client:
        yield lambda found, method="GET", **headers: client.request(
            method, f"/artifacts/{found['artifact_id']}", headers=headers
        )


def test_bytes_come_back_whole_and_in_parts(server, get, url):
    """Alike for a payload in the object store and one in the database."""
    send(server, "whole", ("large", LARGE), ("small", SMALL))
    found = artifacts_of(server, "whole")
    with psycopg.connect(url) as connection:
        placed = connection.execute(
            "SELECT sha256, object_run_key IS NOT NULL FROM artifact_blobs"
        ).fetchall()
    assert set(placed) == {(sha256(LARGE).digest(), True), (sha256(SMALL).digest(), False)}
    for kind, data in (("large", LARGE), ("small", SMALL)):
        size = len(data)
        answer = get(found[kind])
        tag = f'"{sha256(data).hexdigest()}"'
        assert (answer.status_code, answer.content, answer.headers["etag"]) == (200, data, tag)
        assert answer.headers["accept-ranges"] == "bytes"
        head = get(found[kind], "HEAD")
        assert (head.status_code, head.content, head.headers["content-length"]) == (200, b"", str(size))
        for asked, start, end in (
            ("bytes=1-3", 1, 4),
            ("bytes=2-", 2, size),
            ("bytes=-2", size - 2, size),
            (f"bytes=3-{size * 2}", 3, size),
            (f"bytes=-{size * 2}", 0, size),
        ):
            part = get(found[kind], Range=asked)
            assert (part.status_code, part.content) == (206, data[start:end]), asked
            assert part.headers["content-range"] == f"bytes {start}-{end - 1}/{size}"
        for ignored in ("lines=1-2", "bytes=3-1", "bytes=1-2,4-5", "bytes=-"):
            assert get(found[kind], Range=ignored).status_code == 200, ignored
        for behind in (f"bytes={size}-", "bytes=-0"):
            refused = get(found[kind], Range=behind)
            assert (refused.status_code, refused.headers["content-range"]) == (416, f"bytes */{size}")
            assert refused.json()["error"]["code"] == "range_not_satisfiable"
        assert get(found[kind], **{"If-None-Match": f'"other", {tag}'}).status_code == 304
        assert get(found[kind], **{"If-None-Match": '"other"'}).status_code == 200
        assert get(found[kind], **{"If-Range": '"other"', "Range": "bytes=1-2"}).content == data
        assert get(found[kind], **{"If-Range": tag, "Range": "bytes=1-2"}).content == data[1:3]


def test_a_payload_of_several_pieces_comes_back(server, get):
    """Whole, and from within the first piece on."""
    send(server, "pieces", ("large", PIECES))
    found = artifacts_of(server, "pieces")["large"]
    assert get(found).content == PIECES
    assert get(found, Range="bytes=7-").content == PIECES[7:]


def test_a_missing_object_is_said_and_the_run_stays_whole(server, get, s3):
    """Its artifact is a clear 404; what was put under its name by others ends early."""
    send(server, "missing", ("large", LARGE + b"missing"))
    found = artifacts_of(server, "missing")["large"]
    objects = open_store(s3.url, GENEROUS_S, allow_http=True)
    (path,) = [
        each.path for page in objects.list() for each in page if each.path.endswith("/" + found["sha256"])
    ]
    objects.delete([path])
    for headers in ({}, {"Range": "bytes=1-2"}):
        answer = get(found, **headers)
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "artifact_missing")
    assert get(found, "HEAD").status_code == 404
    assert artifacts_of(server, "missing")["large"] == found
    assert server.get("/runs/missing/explain")["run"]["run_id"] == "missing"
    objects.put_new(path, b"x" * found["size_bytes"])
    with pytest.raises(httpx.RemoteProtocolError):
        get(found)


def test_while_the_store_is_away_everything_else_is_stored_and_answered(server, get, s3):
    """Payloads are lost by name, with a cause of their own; only the route of payloads says 503."""
    send(server, "before", ("large", LARGE + b"before"), ("small", SMALL + b"before"))
    before = artifacts_of(server, "before")
    s3.stop()
    try:
        send(server, "away", ("large", LARGE + b"away"), ("small", SMALL + b"away"))
        answer = get(before["large"])
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "artifact_store_away")
        assert get(before["small"]).content == SMALL + b"before"
        assert set(artifacts_of(server, "away")) == {"small"}
        missing = server.get("/runs/away")["completeness"]["missing"]
        assert [(each["cause"], each["what"], each["count"]) for each in missing] == [
            ("store_away", "artifacts", 1)
        ]
        metrics = httpx.get(f"{server.api}/metrics", trust_env=False, timeout=GENEROUS_S).text
        assert 'xray_collector_payloads_total{result="store_away"} 1.0' in metrics
    finally:
        s3.start()


def test_a_crash_between_put_and_commit_leaves_garbage_and_nothing_else(tmp_path, new_database):
    """A collector killed in between has acknowledged nothing; what it put is collected."""
    place, database = f"file://{tmp_path}/payloads", new_database()
    objects = open_store(place, GENEROUS_S)

    def there():
        return [found.path for page in objects.list() for found in page]

    with service_starter(database) as start, psycopg.connect(database) as blocker:
        collector = start("collector", **SETTINGS, XRAY_ARTIFACT_URL=place)
        blocker.execute("LOCK TABLE artifact_blobs IN EXCLUSIVE MODE")
        event = otlp.event(
            "xray.artifact",
            {"xray.run.id": "r", "xray.artifact.kind": "prompt", "xray.artifact.data": LARGE},
            trace="r",
        )
        with httpx.Client(base_url=collector.otlp_http, timeout=GENEROUS_S, trust_env=False) as client:
            request = client.build_request(
                "POST",
                "/v1/logs",
                content=otlp.logs([event]).SerializeToString(),
                headers={"Content-Type": "application/x-protobuf"},
            )
            with pytest.raises(httpx.HTTPError):
                _killed_after_put(collector, there, lambda: client.send(request))
        blocker.rollback()
        with psycopg.connect(database, autocommit=True) as connection:
            wire.adapt(connection)
            wait_until(
                lambda: garbage.collect(connection, objects, 0.0).busy == 0,
                timeout_s=GENEROUS_S,
                what="the locks of the killed process to be gone",
            )
            assert connection.execute("SELECT count(*) FROM artifacts").fetchone() == (0,)
    assert there() == []


def _killed_after_put(collector, there, send):
    """Send, and kill the collector as soon as the object is there."""

    def kill():
        wait_until(there, timeout_s=GENEROUS_S, what="the object to be put")
        collector.kill()

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        send()
    finally:
        killer.join()
