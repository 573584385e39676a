"""Inngest: one run, one step per real execution, whatever is repeated, over real HTTP into real tables."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Literal

import httpx
import psycopg
import pytest
from psycopg.rows import dict_row

import xray_otel as xray
from tests.fixtures.services import ROOT, ServiceProcess
from tests.fixtures.tables import dump_tables
from tests.integrations.inngest_executor import Executor
from tests.integrations.programs import free_port, serving

APP = ROOT / "tests" / "integrations" / "inngest_app.py"
ULID = "01JD5X6Z7Q8R9S0T1V2W3X4Y"
WAITS = {"wait_at", "wait_until"}


class EventApi:
    """Where the SDK sends events: takes all, and counts them."""

    def __init__(self) -> None:
        api = self
        self.taken = 0

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                api.taken += 1
                answer = json.dumps({"ids": ["e1"], "status": 200}).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@dataclass
class Story:
    """What one run came to: the engine's answer, its calls, how often handlers ran, and the rows."""

    ended: str
    calls: int
    handlers: dict[str, int]
    steps: list[dict[str, Any]]
    run: dict[str, Any]

    def of(self, step_id: str) -> list[tuple[int, str, int]]:
        """(attempt, status, deliveries) of the rows of a step."""
        return [(s["attempt"], s["status"], s["deliveries"]) for s in self.steps if s["step_id"] == step_id]

    @property
    def spans(self) -> int:
        """Spans of steps that were sent."""
        return sum(step["deliveries"] for step in self.steps)


@dataclass
class Play:
    """The app, the executor that calls it, and the server that takes what they record."""

    app: httpx.Client
    executor: Executor
    server: ServiceProcess
    events: EventApi

    def __call__(self, function: str, run: str, *, most_attempts: int = 4, **how: Any) -> Story:
        before = len(self.executor.requests)
        ended, _ = self.executor.run(function, ULID + run, most_attempts=most_attempts, **how)
        calls = len(self.executor.requests) - before
        return Story(ended, calls, self.flush(), *self.rows(ULID + run))

    def flush(self) -> dict[str, int]:
        """Have all delivered; how often each handler ran."""
        answer = self.app.post("/flush").json()
        assert answer["delivered"]
        return answer["runs"]

    def rows(self, run_id: str) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        """Steps and run as the tables have them."""
        with psycopg.connect(self.server.database_url, row_factory=dict_row) as connection:
            steps = connection.execute(
                "select s.* from steps s join runs r using (run_key) where r.run_id = %s"
                " order by step_index, step_id, attempt",
                [run_id],
            ).fetchall()
            run = connection.execute("select * from runs where run_id = %s", [run_id]).fetchone()
        assert run is not None
        return steps, run

    def status(self, run: str) -> str:
        """The run's status as the API tells it."""
        return self.server.get(f"/runs/{ULID}{run}")["status"]


@pytest.fixture(scope="module")
def play(engines_python: Path, module_xray_up: ServiceProcess) -> Iterator[Play]:
    port, events = free_port(), EventApi()
    command: list[str | Path] = [engines_python, APP, str(port)]
    with serving(
        command,
        port,
        "/docs",
        XRAY_ENDPOINT=module_xray_up.otlp_http,
        XRAY_MODE="strict",
        EVENT_API=events.url,
    ) as app:
        yield Play(app, Executor(app, "app"), module_xray_up, events)
    events.close()


def test_everything_at_once(play):
    """Steps, a retry, a loop over one id, a sleep, parallel steps with equal ids: 10 steps in 14 calls."""
    story = play("full", "Z1")
    assert (story.ended, story.calls, sum(story.handlers.values())) == ("completed", 14, 10)
    assert story.spans == len(story.steps) == 10
    assert [(step["step_id"], step["attempt"], step["status"]) for step in story.steps] == [
        ("keywords", 1, "ok"),
        ("search", 1, "error"),
        ("search", 2, "ok"),
        ("score", 1, "ok"),
        ("score:1", 1, "ok"),
        ("score:2", 1, "ok"),
        ("p", 1, "ok"),
        ("p:1", 1, "ok"),
        ("q", 1, "ok"),
        ("select", 1, "ok"),
    ]
    assert [step["step_index"] for step in story.steps] == [0, 1, 1, 2, 3, 4, 5, 6, 7, 8]
    assert {step["trace_id"].hex for step in story.steps} == {xray.derive_ids(ULID + "Z1").trace_id}
    assert len({step["span_id"] for step in story.steps}) == 10
    assert (story.run["terminal_status"], story.run["entity"]) == ("completed", "P1")
    assert story.run["span_id"].hex() == xray.derive_ids(ULID + "Z1").root_span_id
    assert story.steps[1]["step_type"] == "search"
    assert play.status("Z1") == "completed"


def test_decorated_functions_are_the_steps(play):
    """What ``@xray.step`` says belongs to the engine's step, also of a partial; in a lambda it is inside."""
    story = play("decorated", "Z2")
    assert story.handlers == {"filter": 3}
    assert [(s["step_id"], s["step_type"], s["candidates_in"], s["candidates_out"]) for s in story.steps] == [
        ("cheap", "filter", 3, 2),
        ("partial", "filter", 2, 2),
        ("lambda", "custom", None, None),
        ("lambda/cheap_ones", "filter", 2, 2),
    ]
    assert [s["name"] for s in story.steps] == ["cheap_ones", "cheap_ones", "lambda", "cheap_ones"]


def test_asleep(play):
    """A run that sleeps has its steps, no end, and is waiting."""
    story = play("full", "Z3", stops_at_sleep=True)
    assert (story.ended, story.calls) == ("sleeping", 7)
    assert len(story.handlers) == 3
    assert story.spans == len(story.steps) == 6
    assert story.run["terminal_status"] is None
    assert (story.run["wait_until"] - story.run["wait_at"]).total_seconds() == pytest.approx(3 * 3600, abs=5)
    assert play.status("Z3") == "waiting"


def test_non_retriable_error(play):
    story = play("nonretriable", "Z4")
    assert (story.ended, story.calls, sum(story.handlers.values()), story.spans) == ("failed", 2, 2, 2)
    assert story.of("b") == [(1, "error", 1)]
    assert story.steps[1]["error_type"].endswith("NonRetriableError")
    assert story.run["terminal_status"] == "crashed"


def test_a_step_uses_up_its_attempts_and_the_failure_is_handled(play):
    """Three failed attempts, the run's end on the fourth call; the handler's steps are of the same run."""
    story = play("exhausted", "Z5", most_attempts=3)
    assert (story.ended, story.calls, story.handlers, story.spans) == ("failed", 4, {"exhausted": 3}, 3)
    assert story.of("a") == [(1, "error", 1), (2, "error", 1), (3, "error", 1)]
    assert story.run["terminal_status"] == "crashed"

    failed = {"function_id": "app-exhausted", "run_id": ULID + "Z5", "error": {"message": "exhausted fails"}}
    event = {"name": "inngest/function.failed", "data": failed, "id": "e9", "ts": 1}
    ended, _ = play.executor.run("exhausted-failure", ULID + "Z6", event=event)
    assert (ended, play.flush()) == ("completed", {"cleanup": 1})
    steps, run = play.rows(ULID + "Z5")
    assert [step["step_id"] for step in steps] == ["a", "a", "a", "on_failure/a"]
    assert run["terminal_status"] == "crashed"
    with pytest.raises(AssertionError):
        play.rows(ULID + "Z6")


def test_error_between_steps(play):
    """The body fails twice between steps: calls, but no steps of their own."""
    story = play("between", "Z7")
    assert (story.ended, story.calls, story.spans) == ("completed", 4, 1)
    assert story.handlers["between"] == 1
    assert story.run["terminal_status"] == "completed"


def test_error_caught_in_the_body(play):
    """The step really runs in each of the three calls, always as the same attempt: one row, three sends."""
    story = play("caught", "Z8")
    assert (story.ended, story.calls, story.handlers) == ("completed", 3, {"risky": 3, "x": 1, "y": 1})
    assert story.of("risky") == [(1, "error", 3)]
    assert len(story.steps) == 3


def test_step_failure_caught_in_the_body(play):
    story = play("caught_step", "Z9", most_attempts=2)
    assert (story.ended, story.calls, story.handlers) == ("completed", 4, {"risky": 2, "x": 1})
    assert story.of("risky") == [(1, "error", 1), (2, "error", 1)]
    assert (story.spans, story.run["terminal_status"]) == (3, "completed")


def test_retry_after(play):
    """The error asks for a later attempt; both attempts are steps."""
    story = play("retry_after", "ZA")
    assert (story.ended, story.of("a")) == ("completed", [(1, "error", 1), (2, "ok", 1)])


def test_send_event(play):
    """Sending an event is a step like any other."""
    story = play("sends", "ZB")
    assert (story.ended, story.of("tell"), play.events.taken) == ("completed", [(1, "ok", 1)], 1)


def test_sync_function_in_a_thread_pool(play):
    """No context reaches the pool's threads; steps, and those inside them, are of the run all the same."""
    story = play("sync", "ZC")
    assert (story.ended, story.calls, story.handlers) == ("completed", 4, {"s": 2})
    assert sorted(step["step_id"] for step in story.steps) == ["s", "s/inside", "s:1", "s:1/inside"]
    assert story.run["wait_at"] is not None


def test_cancelled(play):
    """Inngest calls a cancelled run no more; the function on its internal event says so."""
    assert play("full", "ZD", stops_at_sleep=True).ended == "sleeping"
    cancelled = {"function_id": "app-full", "run_id": ULID + "ZD"}
    event = {"name": "inngest/function.cancelled", "data": cancelled, "id": "e8", "ts": 1}
    play.executor.run("xray-close-cancelled-runs", ULID + "ZE", event=event)
    play.flush()
    assert play.rows(ULID + "ZD")[1]["terminal_status"] == "cancelled"
    assert play.status("ZD") == "cancelled"


def test_some_calls_are_delivered_again(play):
    """One step's request and the last one twice: a handler runs again, and nothing is new but deliveries."""
    play.executor.requests.clear()
    play("full", "ZF")
    requests = list(play.executor.requests)
    before = dump_tables(play.server.database_url)
    for function, target, body in (requests[1], requests[-1], requests[-1]):
        play.executor.call(function, target, body)
    assert Counter(play.flush().values()) == {1: 1}
    assert dump_tables(play.server.database_url) == before


def test_everything_delivered_twice(play):
    """Each call once more, then once more in reverse: the same tables, but for the latest wait."""
    play.executor.requests.clear()
    stories: list[tuple[str, Literal["completed", "failed"], int]] = [
        ("full", "completed", 4),
        ("decorated", "completed", 4),
        ("nonretriable", "failed", 4),
        ("exhausted", "failed", 3),
        ("between", "completed", 4),
        ("caught", "completed", 4),
        ("caught_step", "completed", 2),
        ("sync", "completed", 4),
    ]
    for number, (function, ended, most_attempts) in enumerate(stories):
        assert play(function, f"X{number}", most_attempts=most_attempts).ended == ended
    before = _settled(play)
    play.executor.deliver_again()
    assert play.flush()
    assert _settled(play) == before
    play.executor.requests.reverse()
    play.executor.deliver_again()
    assert play.flush()
    assert _settled(play) == before
    for number, (_, ended, _) in enumerate(stories):
        assert play.status(f"X{number}") == ("crashed" if ended == "failed" else ended)


def _settled(play: Play) -> dict[str, list[dict[str, Any]]]:
    """The tables without when a run waited: an engine that plans a sleep again makes the run wait anew."""
    tables = dump_tables(play.server.database_url)
    tables["runs"] = [{key: row[key] for key in row if key not in WAITS} for row in tables["runs"]]
    return tables
