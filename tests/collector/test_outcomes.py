"""Late outcomes, from the wire to their table: whatever the order, the copies, the way in."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

import xray_otel
from collector import doors
from collector.extract.outcomes import Unusable, outcome_of_door
from collector.intake import Intake
from collector.service import CollectorService
from collector.settings import CollectorSettings
from store.writer import PostgresWriter
from tests.fixtures import otlp
from tests.fixtures.collector_service import Tables
from tests.fixtures.serving import served
from tests.fixtures.tables import dump_tables

RUN = {"xray.run.id": "run-1"}
RECEIVED_NS = otlp.BASE_NS + 10**12


def sent(at_s: float = 0.0, **fields: Any) -> otlp.Request:
    """Return a request with one outcome, observed ``at_s`` seconds into the story."""
    attributes = {**RUN, **{f"xray.outcome.{name}": value for name, value in fields.items()}}
    at_ns = otlp.BASE_NS + int(at_s * 1e9)
    return otlp.logs([otlp.event("xray.outcome", attributes, trace="labels", at_ns=at_ns)])


STORY: Sequence[otlp.Request] = [
    sent(1, name="bad_match", value=False, source="guess"),
    sent(5, name="bad_match", value=True, source="support"),
    sent(3, name="bad_match", withdrawn=True),
    sent(1, name="refund", value=24.9),
    sent(9, name="refund", withdrawn=True),
    sent(2, name="click", value=1, item_id="a"),
    sent(2, name="click", value=2, item_id="a"),
    sent(2, name="click", value=1, item_id="b"),
    sent(4, name="verdict", value="wrong colour", source="anna"),
    sent(4, name="verdict", value="wrong size", source="ben"),
    otlp.traces([otlp.span("p", {**RUN, "xray.span.kind": "run", "xray.pipeline.name": "p"}, trace="run-1")]),
]
"""Corrections, a label that was taken back before and one after, ties, and the run itself."""


@pytest.fixture
def two_collectors(
    new_database: Callable[[], str], collector_settings: CollectorSettings
) -> Iterator[Callable[[], tuple[str, list[httpx.Client]]]]:
    """Start two collectors on a database of their own; returns its URL and a client of each."""
    with ExitStack() as stack:

        def start() -> tuple[str, list[httpx.Client]]:
            url, clients = new_database(), []
            for _ in range(2):
                writer = PostgresWriter(url)
                service = CollectorService(collector_settings, writer)
                service.start()
                stack.callback(writer.close)
                stack.callback(service.stop, 10.0)
                base = f"http://127.0.0.1:{service.http_port}"
                clients.append(
                    stack.enter_context(httpx.Client(base_url=base, timeout=30.0, trust_env=False))
                )
            return url, clients

        yield start


def test_any_order_of_arrival_gives_the_same_tables(
    two_collectors: Callable[[], tuple[str, list[httpx.Client]]],
):
    """Shuffled, doubled and spread over two collectors, the story ends as in its own order."""
    expected = None
    for seed in range(7):
        url, clients = two_collectors()
        requests = list(STORY)
        if seed:
            requests = requests * 2
            random.Random(seed).shuffle(requests)
        for at, request in enumerate(requests):
            answer = otlp.post(clients[at % 2 if seed else 0], request)
            assert (answer.status_code, answer.content) == (200, b"")
        tables = dump_tables(url)
        expected = expected or tables
        assert tables == expected, f"seed {seed}"
    assert expected is not None
    stood = {(row["name"], row["item_id"]): row["value"] for row in expected["outcomes"]}
    tie = stood.pop(("verdict", ""))
    assert stood == {
        ("bad_match", ""): True,
        ("refund", ""): None,
        ("click", "a"): stood["click", "a"],
        ("click", "b"): 1,
    }
    assert stood["click", "a"] in (1, 2)
    assert tie in ("wrong colour", "wrong size")
    (run,) = expected["runs"]
    assert (run["pipeline"], run["terminal_status"]) == ("p", "completed")


def test_the_order_of_copies_is_by_time_alone(collector: CollectorService, tables: Tables):
    """A microsecond later wins, whatever was said; a copy without a time never overrules one that has it."""
    base = f"http://127.0.0.1:{collector.http_port}"
    with httpx.Client(base_url=base, timeout=30.0, trust_env=False) as client:
        for value in ("a", "b", "c", "d"):
            for late, word in ((0.000_001, "late"), (0.0, "early")):
                name = f"{value}{word}"
                fields = {"name": value, "value": name}
                otlp.post(client, sent(late, **fields)).raise_for_status()
            untimed = otlp.event(
                "xray.outcome",
                {**RUN, "xray.outcome.name": value, "xray.outcome.value": "untimed"},
                trace="labels",
                at_ns=0,
            )
            otlp.post(client, otlp.logs([untimed])).raise_for_status()
    assert [row["value"] for row in tables.rows("outcomes")] == ["alate", "blate", "clate", "dlate"]


def test_an_outcome_is_no_sign_of_life(collector: CollectorService, tables: Tables):
    """The run that it stands for is known and silent: a late label must not make it look running."""
    base = f"http://127.0.0.1:{collector.http_port}"
    with httpx.Client(base_url=base, timeout=30.0, trust_env=False) as client:
        otlp.post(client, sent(name="bad", value=True)).raise_for_status()
        first = tables.one("runs")
        assert first["last_received_at"] < datetime(1971, 1, 1, tzinfo=UTC)
        start = otlp.event("xray.run.start", {**RUN, "xray.pipeline.name": "p"}, trace="t")
        otlp.post(client, otlp.logs([start])).raise_for_status()
        heard = tables.one("runs")["last_received_at"]
        assert heard > datetime(2000, 1, 1, tzinfo=UTC)
        otlp.post(client, sent(name="bad", value=False)).raise_for_status()
        assert tables.one("runs")["last_received_at"] == heard


@pytest.mark.parametrize(
    ("attributes", "at_ns", "problem"),
    [
        ({"xray.outcome.value": True}, otlp.BASE_NS, "xray.outcome.name must be"),
        ({"xray.outcome.name": "bad"}, otlp.BASE_NS, "xray.outcome.value must be"),
        ({"xray.outcome.name": "bad", "xray.outcome.value": [1]}, otlp.BASE_NS, "xray.outcome.value must be"),
        ({"xray.outcome.name": "bad", "xray.outcome.value": float("nan")}, otlp.BASE_NS, "a finite number"),
        (
            {"xray.run.id": "no id!", "xray.outcome.name": "bad", "xray.outcome.value": 1},
            otlp.BASE_NS,
            "xray.run.id must name its run",
        ),
        (
            {"xray.outcome.name": "bad", "xray.outcome.value": 1, "xray.outcome.withdrawn": "yes"},
            otlp.BASE_NS,
            "xray.outcome.withdrawn must be",
        ),
    ],
)
def test_what_says_nothing_is_rejected(
    collector: CollectorService, tables: Tables, attributes: dict[str, Any], at_ns: int, problem: str
):
    """An outcome without a name, a value or a run of its own is rejected by name, and no trace stands in."""
    base = f"http://127.0.0.1:{collector.http_port}"
    with httpx.Client(base_url=base, timeout=30.0, trust_env=False) as client:
        event = otlp.event("xray.outcome", {**RUN, **attributes}, trace="labels", at_ns=at_ns)
        answer = otlp.post(client, otlp.logs([event]))
    assert answer.status_code == 200
    assert problem in answer.content.decode("utf-8", "replace")
    assert tables.rows("runs") == tables.rows("outcomes") == []


@pytest.mark.parametrize(
    ("sent_value", "stored"),
    [(True, True), (10.0, 10), (10, 10), (0.5, 0.5), ("x" * 600, "x" * 512), ("10", "10"), (10**400, None)],
)
def test_values(sent_value: Any, stored: Any):
    """Equal numbers are one value, texts are cut, and a number beyond a double is none."""
    entry = {"name": "n", "value": sent_value, "observed_at": "2026-05-01T00:00:00Z"}
    if stored is None:
        with pytest.raises(Unusable, match="value must be"):
            outcome_of_door("run-1", entry, RECEIVED_NS)
        return
    outcome, _ = outcome_of_door("run-1", entry, RECEIVED_NS)
    assert (outcome.value, type(outcome.value)) == (stored, type(stored))


@pytest.fixture
def door(database_url: str) -> Iterator[httpx.Client]:
    """A client of an application that has only the doors."""
    writer = PostgresWriter(database_url)
    intake = Intake(writer, max_bytes=1 << 28)
    intake.start()
    app = FastAPI()
    app.include_router(doors.router(intake))
    with served(app) as url, httpx.Client(base_url=url, trust_env=False, timeout=20.0) as client:
        yield client
    intake.stop(5.0)
    writer.close()


def test_the_doors(door: httpx.Client, tables: Tables):
    """Outcomes of one run and of several; each that cannot be used is refused by its place."""
    at = "2026-05-01T00:00:00Z"
    one = door.post(
        "/runs/run-1/outcomes",
        json={
            "outcomes": [
                {"name": "bad_match", "value": True, "observed_at": at, "item_id": "a"},
                {"name": "bad_match", "value": True},
                {"name": "refund", "withdrawn": True, "observed_at": at, "colour": "red"},
                {"value": 1, "observed_at": at},
                {"name": "click", "value": 1, "observed_at": at, "item_id": ""},
            ]
        },
    )
    assert one.status_code == 200, one.text
    answer = one.json()
    assert (answer["stored"], answer["refused"], answer["new_runs"]) == (2, 3, ["run-1"])
    assert [refusal["index"] for refusal in answer["refusals"]] == [1, 3, 4]
    assert "observed_at must say when" in answer["refusals"][0]["message"]
    assert "item_id must not be empty" in answer["refusals"][2]["message"], (
        "it is not the run that was clicked"
    )
    assert answer["warnings"] == ["outcomes[2].colour is not read"]
    several = [
        {"run_id": "run-1", "name": "bad_match", "value": False, "observed_at": at, "item_id": "b"},
        {"run_id": "run-2", "name": "bad_match", "value": False, "observed_at": 1_777_593_600_000_000_000},
        {"name": "bad_match", "value": False, "observed_at": at},
    ]
    answer = door.post("/outcomes", json={"outcomes": several}).json()
    assert (answer["stored"], answer["refused"], answer["new_runs"]) == (2, 1, ["run-2"])
    stored = sorted((row["name"], row["item_id"], row["value"]) for row in tables.rows("outcomes"))
    assert stored == [
        ("bad_match", "", False),
        ("bad_match", "a", True),
        ("bad_match", "b", False),
        ("refund", "", None),
    ]
    unread = {"name": "n", "value": 1, "observed_at": at} | {f"field{n}": n for n in range(150)}
    answer = door.post("/runs/run-1/outcomes", json={"outcomes": [unread, unread]}).json()
    assert (answer["stored"], len(answer["warnings"])) == (2, 100), "an answer is bounded, whatever was sent"
    for path, body in (("/runs/a%20b/outcomes", {"outcomes": []}), ("/runs/r/outcomes", {"outcomes": {}})):
        assert door.post(path, json=body).status_code == 422


def test_the_client_says_it_from_anywhere(collector: CollectorService, tables: Tables, spool_dir: object):
    """``xray_otel.outcome`` needs no run and no step; item ids are the same text as in decisions."""
    at = datetime(2026, 5, 1, tzinfo=UTC)
    xray_otel.configure(endpoint=f"http://127.0.0.1:{collector.http_port}", mode="strict")
    try:
        xray_otel.outcome("run-1", "bad_match", True, item={"id": 7}, source="support", time=at)
        xray_otel.outcome("run-1", "refund", 3.5, time=at)
        xray_otel.outcome("run-1", "refund", withdrawn=True, time=at + timedelta(seconds=1))
        misused: list[dict[str, Any]] = [
            {"run_id": "a b"},
            {"name": ""},
            {"value": None},
            {"value": float("nan")},
            {"time": datetime(2026, 5, 1)},  # noqa: DTZ001 - that it is naive is the point
            {"item": ""},
        ]
        for wrong in misused:
            with pytest.raises(xray_otel.UsageError):
                xray_otel.outcome(**{"run_id": "r", "name": "n", "value": 1, **wrong})
        assert xray_otel.flush(20.0)
    finally:
        xray_otel.configure(disabled=True)
    rows = {(row["name"], row["item_id"]): row for row in tables.rows("outcomes")}
    assert set(rows) == {("bad_match", "7"), ("refund", "")}
    assert rows["bad_match", "7"]["source"] == "support"
    assert rows["bad_match", "7"]["observed_at"] == at
    assert rows["refund", ""]["value"] is None


def test_the_client_never_raises(caplog: pytest.LogCaptureFixture):
    """Misuse costs the outcome and one log line, not the program."""
    xray_otel.configure(endpoint="http://127.0.0.1:9", offline="drop")
    try:
        xray_otel.outcome(object(), object(), object(), item=object(), time=3)  # type: ignore[arg-type]
        assert "run_id must be" in caplog.text
    finally:
        xray_otel.configure(disabled=True)
