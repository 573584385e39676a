"""The JSON doors, into a real Postgres."""

from __future__ import annotations

import gzip
import socket
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import httpx
import orjson
import psycopg
import pytest
from fastapi import FastAPI

from collector import doors
from collector.intake import Intake
from collector.reception import Claim, Reception, Room
from collector.telemetry import Telemetry
from store.decisions import unpack
from store.writer import PostgresWriter
from tests.fixtures.collector_service import Tables
from tests.fixtures.serving import served

START, END = "2026-06-01T10:00:00Z", "2026-06-01T12:00:01.5+02:00"
DECISIONS = [
    {"item_id": "a", "verdict": "kept", "value": 10, "threshold": 50},
    {"item_id": "b", "verdict": "eliminated", "reason": "dear", "value": 99, "threshold": 50},
]
EVENTS: list[dict[str, Any]] = [
    {"type": "step_start", "step_id": "s1", "name": "by price", "step_type": "filter", "started_at": START},
    {
        "type": "step_end",
        "step_id": "s1",
        "ended_at": END,
        "candidates_in": 2,
        "candidates_out": 1,
        "counts": {"kept": 1, "eliminated": 1},
        "reasons": {"dear": 1, "stock": 0},
        "score": {"mean": 0.5},
        "metrics": {"recall": 0.9},
        "fields": {"price": {"missing": 0.5}},
        "sources": {"index-1": 2},
        "input": "plain words",
        "reasoning": {"max_price": 50},
        "decisions": DECISIONS,
    },
    {"type": "run_finish", "outcome": "matched", "ended_at": END, "output": ["a"]},
]


@pytest.fixture
def client(database_url: str) -> Iterator[httpx.Client]:
    """A client of an application that has only the doors."""
    writer = PostgresWriter(database_url)
    intake = Intake(writer, max_bytes=1 << 28)
    intake.start()
    app = FastAPI()
    app.include_router(doors.router(intake, Telemetry(), max_request_bytes=4_000_000))
    with served(app) as url, httpx.Client(base_url=url, trust_env=False, timeout=20.0) as client:
        yield client
    intake.stop(5.0)
    writer.close()


def comparable(tables: Tables) -> list[Any]:
    """Every row of the database without what depends on receipt."""
    volatile = {"deliveries", "received_at", "last_received_at", "run_day"}
    return [
        [{name: value for name, value in row.items() if name not in volatile} for row in tables.rows(table)]
        for table in ("runs", "steps", "decisions")
    ]


def test_a_run_through_the_doors(client: httpx.Client, tables: Tables):
    """A run, its step and its decisions come through whole, and the end need not repeat the start."""
    created = client.post(
        "/runs", json={"run_id": "run-1", "pipeline": "matching", "entity": "P1", "tags": {"market": "US"}}
    )
    assert (created.status_code, created.json()["run_id"]) == (201, "run-1")
    answer = client.post("/runs/run-1/events", json={"events": EVENTS})
    assert answer.status_code == 200, answer.text
    assert answer.json() == {"stored": 3, "refused": 0, "refusals": [], "warnings": []}
    run, step, chunk = tables.one("runs"), tables.one("steps"), tables.one("decisions")
    assert (run["pipeline"], run["entity"], run["tags"]) == ("matching", "P1", {"market": "US"})
    assert (run["terminal_status"], run["outcome"], run["output"]) == ("completed", "matched", ["a"])
    assert (step["name"], step["step_type"], step["drop_ratio"], step["duration_ms"]) == (
        "by price",
        "filter",
        0.5,
        1500.0,
    )
    assert (step["reason_codes"], step["reason_counts"]) == (["dear", "stock"], [1, 0])
    assert (step["input"], step["reasoning"], step["metrics"]) == (
        "plain words",
        {"max_price": 50},
        {"recall": 0.9},
    )
    assert (step["kept"], step["score_mean"], step["sources"], step["attempt_key"]) == (
        1,
        0.5,
        {"index-1": 2},
        "1",
    )
    assert step["fields"]["price"]["missing"] == 0.5
    assert step["flags"] is None
    assert unpack(chunk["data"]).verdict == "KE"


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0, 2)])
def test_the_doors_are_idempotent(client: httpx.Client, tables: Tables, order: tuple[int, ...]):
    """The same events twice, one by one and in any order, give the rows of one delivery in order."""
    body = {"run_id": "run-1", "pipeline": "matching", "started_at": START}
    assert client.post("/runs", json=body).status_code == 201
    client.post("/runs/run-1/events", json={"events": EVENTS})
    once = comparable(tables)
    assert client.post("/runs", json=body).status_code == 200
    for index in order:
        client.post("/runs/run-1/events", json={"events": [EVENTS[index]]})
    assert comparable(tables) == once


def test_events_out_of_order_from_the_start(client: httpx.Client, tables: Tables):
    """The end of a step before its start gives the step its name all the same."""
    for event in reversed(EVENTS):
        client.post("/runs/run-1/events", json={"events": [event]})
    step = tables.one("steps")
    assert (step["name"], step["step_type"], step["duration_ms"]) == ("by price", "filter", 1500.0)


def test_a_step_that_nobody_named(client: httpx.Client, tables: Tables):
    """A step whose start is missing is a custom one named by its id, until the start says better."""
    answer = client.post("/runs/run-1/events", json={"events": [{"type": "step_end", "step_id": "s9"}]})
    assert answer.json()["stored"] == 1
    assert (tables.one("steps")["name"], tables.one("steps")["step_type"]) == ("s9", "custom")
    assert {field for _, field in tables.flags()} == {"started_at", "ended_at"}
    client.post("/runs/run-1/events", json={"events": [{**EVENTS[0], "step_id": "s9"}]})
    assert (tables.one("steps")["name"], tables.one("steps")["step_type"]) == ("by price", "filter")


def test_a_start_that_names_nothing_is_met_again(client: httpx.Client, tables: Tables):
    """A stored start without a name is no obstacle to the end that comes in a later request."""
    for event in ({"type": "step_start", "step_id": "s1"}, EVENTS[1]):
        answer = client.post("/runs/run-1/events", json={"events": [event]})
        assert (answer.status_code, answer.json()["stored"]) == (200, 1), answer.text
    assert (tables.one("steps")["status"], tables.one("steps")["name"]) == ("ok", "s1")


def test_a_run_without_an_id_gets_one(client: httpx.Client):
    """Without a run id a fresh one is given, which sorts by time."""
    first, second = (client.post("/runs", json={"pipeline": "p"}) for _ in range(2))
    assert (first.status_code, second.status_code) == (201, 201)
    assert len({first.json()["run_id"], second.json()["run_id"]}) == 2
    assert doors.new_run_id(1_790_000_000_000_000_000) < doors.new_run_id(1_790_000_000_001_000_000)


def test_malformed_fields_are_flagged_by_their_names(client: httpx.Client, tables: Tables):
    """A field of a wrong type never loses the event; the flag bears the field's name in the doors."""
    event = {
        "type": "step_end",
        "step_id": "s1",
        "name": "x" * 600,
        "step_type": "magic",
        "candidates_in": "12",
        "counts": {"kept": -1, "what": 2},
        "metrics": {"recall": "high"},
        "reasons": [1],
        "started_at": "yesterday",
        "ended_at": 7,
        "why": "w" * 1_000_000,
        "status": "fine",
        "note": "unknown",
    }
    answer = client.post("/runs/run-1/events", json={"events": [event, EVENTS[0]]}).json()
    assert (answer["stored"], answer["refused"]) == (2, 0)
    assert answer["warnings"] == ["events[0].note is not read"]
    assert tables.flags() >= {
        ("truncated", "name"),
        ("unknown_step_type", "step_type"),
        ("coerced", "candidates_in"),
        ("negative", "counts.kept"),
        ("wrong_type", "counts.what"),
        ("wrong_type", "metrics.recall"),
        ("wrong_type", "reasons"),
        ("wrong_type", "started_at"),
        ("time_out_of_range", "ended_at"),
        ("truncated", "why"),
        ("wrong_type", "status"),
    }


def test_refused_events_are_named(client: httpx.Client, tables: Tables):
    """An event without a step id and decisions that cannot be read are named by index; the rest is stored."""
    events = [
        {"type": "step_end", "name": "nobody"},
        {"type": "step_end", "step_id": "s1", "decisions": [{"item_id": "a", "verdict": "maybe"}]},
        EVENTS[2],
    ]
    answer = client.post("/runs/run-1/events", json={"events": events}).json()
    assert (answer["stored"], answer["refused"]) == (2, 2)
    assert [refusal["index"] for refusal in answer["refusals"]] == [0, 1]
    assert "maybe" in answer["refusals"][1]["message"]
    assert tables.one("steps")["step_id"] == "s1"
    assert tables.one("decisions")["error"]


@pytest.mark.parametrize("field", [b'"item_id": "\\ud800"', b'"item_id": "a", "score": 1' + b"0" * 30])
def test_decisions_that_json_parsers_disagree_on(client: httpx.Client, tables: Tables, field: bytes):
    """A half surrogate pair or a number past 64 bits makes decisions unreadable, and the step is stored."""
    # NaN beside it has the whole body read by the parser that lets such values through.
    decision = b'{"verdict": "kept", "value": NaN, ' + field + b"}"
    body = b'{"events": [{"type": "step_end", "step_id": "s1", "decisions": [' + decision + b"]}]}"
    answer = client.post("/runs/run-1/events", content=body)
    assert answer.status_code == 200, answer.text
    assert (answer.json()["stored"], answer.json()["refused"]) == (1, 1)
    assert tables.one("decisions")["error"]


@pytest.mark.parametrize(
    ("path", "body", "parameter"),
    [
        ("/runs", {"run_id": "has space", "pipeline": "p"}, "run_id"),
        ("/runs", {"run_id": 7, "pipeline": "p"}, "run_id"),
        ("/runs", {}, "pipeline"),
        ("/runs/has%20space/events", {"events": []}, "run_id"),
        ("/runs/r/events", {}, "events"),
        ("/runs/r/events", {"events": [7]}, "events[0]"),
        (
            "/runs/r/events",
            {"events": [{"type": "step_start", "step_id": "s"}, {"type": "x"}]},
            "events[1].type",
        ),
        ("/runs/r/events", {"events": [{"type": "run_finish"}] * 10_001}, "events"),
    ],
)
def test_what_is_unprocessable(client: httpx.Client, tables: Tables, path: str, body: Any, parameter: str):
    """A bad run id, an unknown type or too many events refuse the request, by its parameter."""
    answer = client.post(path, json=body)
    assert answer.status_code == 422
    assert answer.json()["detail"]["code"] == "invalid_parameter"
    assert answer.json()["detail"]["parameter"] == parameter
    assert tables.rows("runs") == []


@pytest.mark.parametrize(
    ("content", "headers", "status"),
    [
        (b"{", {}, 400),
        (b"[]", {}, 400),
        (b"not gzip", {"Content-Encoding": "gzip"}, 400),
        (b"{}", {"Content-Encoding": "br"}, 415),
        (gzip.compress(b" " * 5_000_000), {"Content-Encoding": "gzip"}, 413),
    ],
)
def test_bodies_that_cannot_be_read(
    client: httpx.Client, content: bytes, headers: dict[str, str], status: int
):
    """A body that is no JSON object, or too large, is refused."""
    assert client.post("/runs", content=content, headers=headers).status_code == status


def test_events_of_an_expired_run_are_refused_by_name(
    client: httpx.Client, tables: Tables, database_url: str
):
    """When the run's partition is gone each event is named as refused, and the end of the run is taken."""
    client.post("/runs", json={"run_id": "run-1", "pipeline": "p"})
    with psycopg.connect(database_url) as connection:
        connection.execute("UPDATE runs SET run_day = '2001-01-01'")  # no partition holds that day
    answer = client.post("/runs/run-1/events", json={"events": [EVENTS[2], *EVENTS[:2]]}).json()
    assert (answer["stored"], [refusal["index"] for refusal in answer["refusals"]]) == (1, [1, 2, 2])
    assert (tables.one("runs")["outcome"], tables.rows("steps")) == ("matched", [])


def test_many_decisions_are_chunked(client: httpx.Client, tables: Tables):
    """More decisions than a chunk holds become several chunks, all of them counted."""
    decisions = [{"item_id": f"p{number}", "verdict": "E"} for number in range(12_000)]
    body = orjson.dumps({"events": [{"type": "step_end", "step_id": "s1", "decisions": decisions}]})
    answer = client.post(
        "/runs/run-1/events", content=gzip.compress(body), headers={"Content-Encoding": "gzip"}
    )
    assert answer.json()["stored"] == 1
    rows = tables.rows("decisions")
    assert [(row["chunk_index"], row["chunk_total"], row["item_count"]) for row in rows] == [
        (0, 3, 5000),
        (1, 3, 5000),
        (2, 3, 2000),
    ]


def test_doors_without_a_database(tmp_path: Any):
    """While the database is away the doors answer 503 and when to come again."""
    intake = Intake(PostgresWriter(f"postgresql:///xray?host={tmp_path}"), max_bytes=1 << 20)
    intake.start()
    app = FastAPI()
    app.include_router(doors.router(intake, write_timeout_s=0.3))
    with served(app) as url, httpx.Client(base_url=url, trust_env=False) as client:
        answer = client.post("/runs", json={"pipeline": "p"})
    intake.stop(1.0)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
    assert answer.json()["detail"]["code"] == "unavailable"


def test_doors_share_the_room_with_other_ports(tmp_path: Any):
    """Where OTLP fills the room, a body by the doors is asked to come again, plain or unpacked."""
    intake = Intake(PostgresWriter(f"postgresql:///xray?host={tmp_path}"), max_bytes=1 << 20)
    room = Room(100_000)
    app = FastAPI()
    app.include_router(doors.router(intake, reception=Reception(room, timeout_s=60.0)))
    body = orjson.dumps({"pipeline": "p" * 50_000})
    with served(app) as url, httpx.Client(base_url=url, trust_env=False) as client, Claim(room) as other:
        other.add(60_000)
        plain = client.post("/runs", content=body)
        packed = client.post("/runs", content=gzip.compress(body), headers={"Content-Encoding": "gzip"})
        assert room.bytes_under_way == 60_000
    for answer in (plain, packed):
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
        assert answer.json()["detail"]["code"] == "overloaded"


def test_a_slow_body_by_the_doors_is_cut(tmp_path: Any):
    """It is told to come again and its connection ends."""
    intake = Intake(PostgresWriter(f"postgresql:///xray?host={tmp_path}"), max_bytes=1 << 20)
    app = FastAPI()
    app.include_router(doors.router(intake, reception=Reception(Room(1 << 20), timeout_s=0.2)))
    head = b"POST /runs HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{"
    with served(app) as url:
        parts = urlsplit(url)
        with socket.create_connection((parts.hostname, parts.port), timeout=30.0) as one:
            one.sendall(head)
            answer = one.makefile("rb").read()
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert b"retry-after: 2\r\n" in answer.lower()


def test_an_answer_can_name_any_field(client: httpx.Client) -> None:
    """Half a surrogate pair in the name of a field has no form in the answer: shown as a question mark."""
    run = client.post("/runs", content=b'{"pipeline": "p", "run_id": "r1", "a\\ud800": 1}')
    assert (run.status_code, run.json()["warnings"]) == (201, ["a?"]), run.text
    sent = b'{"events": [{"type": "step_end", "step_id": "s", "a\\ud800": 1}]}'
    events = client.post("/runs/r1/events", content=sent)
    assert (events.status_code, events.json()["warnings"]) == (200, ["events[0].a? is not read"]), events.text
    for odd in (b'"type": "\\ud800"', b'"type": "step_end", "step_id": "\\ud800"'):
        assert client.post("/runs/r1/events", content=b'{"events": [{%s}]}' % odd).status_code in (200, 422)
