"""Alert rules when something is wrong: receivers that stall, rules that fail, values that must not be."""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from functools import partial
from typing import Any

import psycopg
import pytest

import store.alert_outbox
from api.alerts.declared import RuleProblem, taken_apart
from api.alerts.telling import send
from api.alerts.upkeep import evaluate_due
from store.alert_outbox import forget_old
from store.alerts import GroupState, due_rules, evaluated, failed
from store.database import libpq_url
from store.reader import Reader
from tests.api.test_alerts import NOW, SECRET, Desk, desk, receiver  # noqa: F401  # fixtures
from tests.fixtures.reading import START, Shelf, run_copy, step_copy
from tests.fixtures.webhooks import Receiver


@contextmanager
def dripping() -> Iterator[str]:
    """A receiver that goes on answering, a header at a time, and never ends."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        done = threading.Event()

        def answer() -> None:
            with suppress(OSError):
                connection, _ = server.accept()
                with connection:
                    connection.sendall(b"HTTP/1.1 204 No Content\r\n")
                    for _ in range(600):
                        if done.wait(0.05):
                            return
                        connection.sendall(b"X-More: to come\r\n")

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}/hook"
        done.set()
        thread.join()


def test_a_receiver_that_drips_is_left():
    """The time is for all of a request, not for each byte of the answer."""
    with dripping() as url:
        answer = send(url, SECRET, "e", "{}", allow_private=True, at=NOW, timeout_s=0.5)
    assert (answer.accepted, answer.heard, answer.said) == (False, False, "no answer within 0.5 s")


def test_nothing_of_a_webhook_is_logged(
    receiver: Receiver,  # noqa: F811
    caplog: pytest.LogCaptureFixture,
):
    """Its path may be a token: neither what is sent nor what fails writes it to the log."""
    caplog.set_level(logging.DEBUG)
    assert send(f"{receiver.url}/t0ken", SECRET, "e", "{}", allow_private=True, at=NOW).accepted
    send("http://127.0.0.1:9/t0ken", SECRET, "e", "{}", allow_private=True, at=NOW)
    assert "t0ken" not in caplog.text
    assert SECRET not in caplog.text


def test_no_proxy_of_the_environment_is_asked(receiver: Receiver, monkeypatch: pytest.MonkeyPatch):  # noqa: F811
    """It would look the name up anew, where nobody checks the address."""
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9/")
    assert send(receiver.url, SECRET, "e", "{}", allow_private=True, at=NOW).accepted


def test_a_receiver_that_is_away_is_not_tried_event_by_event(shelf: Shelf, desk: Desk, receiver: Receiver):  # noqa: F811
    """After one that was not answered, what else waits for it stands aside for a moment."""
    away = "http://127.0.0.1:9/"
    steps = {"figure": "errors", "group_by": ["name"]}
    asked = {"steps": steps, "at_least": 1, "window": "100000d", "webhooks": [away]}
    assert desk.client.put("/alerts/many", json=asked).status_code == 201
    shelf.put(*(step_copy("r", f"s{n}", n, name=f"s{n}", status="error") for n in range(12)))
    desk.evaluate()
    desk.deliver()
    shown = desk.client.get("/alerts/many").json()
    assert (shown["waiting"], shown["given_up"]) == (12, 0)
    assert sorted(event["attempts"] for event in shown["events"]) == [0] * 4 + [1] * 8
    desk.deliver(5.0)
    assert min(e["attempts"] for e in desk.client.get("/alerts/many").json()["events"]) == 1


def test_the_outbox_is_bounded(
    shelf: Shelf,
    desk: Desk,  # noqa: F811
    receiver: Receiver,  # noqa: F811
    database_url: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
):
    """Of more than may wait the oldest are given up, counted and said; so are those done."""
    monkeypatch.setattr(store.alert_outbox, "MAX_EVENTS", 2)
    receiver.answer = lambda: 500
    desk.put("flaps", webhooks=[receiver.url], runs={"where": 'status = "completed"'})
    for turn in range(4):
        shelf.put(run_copy(f"r{turn}", pipeline="p", status="crashed"))
        limit = {"above": -1} if turn % 2 == 0 else {"above": 100}
        desk.put(
            "flaps", webhooks=[receiver.url], runs={"where": 'status = "completed"'}, at_least=None, **limit
        )
        desk.evaluate()
    shown = desk.client.get("/alerts/flaps").json()
    assert (shown["waiting"], shown["given_up"]) == (2, 2)
    assert [event["last_answer"] for event in shown["events"]][2:] == ["too many events wait"] * 2
    assert "given up" in caplog.text
    with psycopg.connect(libpq_url(database_url), autocommit=True) as connection:
        monkeypatch.setattr(store.alert_outbox, "MAX_EVENTS", 1)
        forget_old(connection)
    assert len(desk.client.get("/alerts/flaps").json()["events"]) == 3


def test_one_rule_that_fails_does_not_stop_the_others(
    shelf: Shelf,
    desk: Desk,  # noqa: F811
    receiver: Receiver,  # noqa: F811
    database_url: str,
):
    """Whatever is wrong with it; that is shown, and it can be deleted."""
    desk.put("a-bad", webhooks=[receiver.url])
    desk.put("b-strange", webhooks=[receiver.url])
    desk.put("good", webhooks=[receiver.url])
    shelf.put(run_copy("r1", pipeline="p"))
    with psycopg.connect(libpq_url(database_url), autocommit=True) as connection:
        change = "UPDATE alert_rules SET document = document || %s WHERE rule_id = %s"
        connection.execute(change, ['{"window": "999999d"}', "a-bad"])
        connection.execute(change, ['{"from": "a version to come"}', "b-strange"])
    desk.evaluate()
    assert desk.states("good") == ["firing"]
    shown = {item["rule_id"]: item["error"] for item in desk.client.get("/alerts").json()["items"]}
    assert shown["b-strange"] == "not understood by this version"
    assert shown["a-bad"] is not None
    assert desk.client.delete("/alerts/b-strange").status_code == 204


def test_a_question_that_breaks_is_shown_and_the_next_is_asked(
    shelf: Shelf,
    desk: Desk,  # noqa: F811
    receiver: Receiver,  # noqa: F811
    database_url: str,
):
    """A rule whose question fails in a way that nobody foresaw keeps no other from being asked."""
    desk.put("a-bad", webhooks=[receiver.url])
    desk.put("good", webhooks=[receiver.url])
    shelf.put(run_copy("r1", pipeline="p"))
    asked: list[int] = []

    class Failing(Reader):
        def share_of_runs(self, *args: Any) -> Any:
            asked.append(1)
            if len(asked) == 1:
                raise OverflowError("as of a date that is none")
            return super().share_of_runs(*args)

    desk.at += timedelta(seconds=61)
    with psycopg.connect(libpq_url(database_url), autocommit=True) as connection:
        evaluate_due(connection, partial(Failing.open, database_url), lambda: desk.at)
    assert desk.states("good") == ["firing"]
    assert desk.client.get("/alerts/a-bad").json()["error"] == "OverflowError"


def test_a_failure_breaks_what_was_pending(shelf: Shelf, desk: Desk, receiver: Receiver, database_url: str):  # noqa: F811
    """It must be true without a break, and while nobody could ask nobody knows."""
    desk.put("breaks", webhooks=[receiver.url], **{"for": "2m"})
    shelf.put(run_copy("r1", pipeline="p"))
    desk.evaluate()
    assert desk.states("breaks") == ["pending"]
    desk.at += timedelta(seconds=61)
    with psycopg.connect(libpq_url(database_url), autocommit=True) as connection:
        (stored,) = due_rules(connection, desk.at)
        failed(connection, stored, "QueryTimeout", desk.at, desk.at)
    desk.evaluate(120.0)
    assert desk.states("breaks") == ["pending"]


def test_two_that_evaluate_at_once_change_a_rule_once(
    shelf: Shelf,
    desk: Desk,  # noqa: F811
    receiver: Receiver,  # noqa: F811
    database_url: str,
):
    """Who read the rule before another brought it forward knows less, and changes nothing."""
    desk.put("twice", webhooks=[receiver.url])
    shelf.put(run_copy("r1", pipeline="p"))
    with psycopg.connect(libpq_url(database_url), autocommit=True) as connection:
        (stored,) = due_rules(connection, desk.at)
        desk.evaluate()

        def resolve(known: Any) -> Any:
            return [GroupState(key, "resolved", desk.at, None, 0.0, 0) for key in known], []

        assert not evaluated(connection, stored, resolve, desk.at, desk.at)
    assert desk.states("twice") == ["firing"]


def test_groups_that_are_gone_are_forgotten(shelf: Shelf, desk: Desk, receiver: Receiver):  # noqa: F811
    """Names and versions of long ago do not heap up; only what fires waits for its end."""
    steps = {"figure": "errors", "group_by": ["name"]}
    asked = {"steps": steps, "at_least": 1, "window": "1h", "webhooks": [receiver.url]}
    assert desk.client.put("/alerts/gone", json=asked).status_code == 201
    after = (desk.at - START).total_seconds()
    shelf.put(step_copy("r1", "fails", after, name="fails", status="error"))
    shelf.put(step_copy("r1", "works", after, name="works"))
    desk.evaluate()
    assert sorted(desk.states("gone")) == ["firing", "ok"]
    desk.evaluate(2 * 3600.0)
    assert desk.states("gone") == ["firing"]


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"above": float("nan")}, "above: "),
        ({"above": "inf"}, "above: "),
        ({"above": True}, "above: "),
        ({"window": "999999d"}, "window: must be a length of time"),
        ({"min_n": True}, "min_n: "),
    ],
)
def test_figures_are_figures(changes: dict[str, Any], problem: str):
    """What compares with nothing, and times before there were any, are refused."""
    document = {"steps": {"figure": "errors"}, "above": 1, "webhooks": ["https://hooks.example/"]}
    with pytest.raises(RuleProblem, match=problem):
        taken_apart(document | changes, "r", allow_private=False)


def test_nul_is_refused(desk: Desk, receiver: Receiver):  # noqa: F811
    """Postgres holds none, in no text; a backslash before the word is a backslash."""
    asked = {"runs": {"where": 'pipeline = "p"'}, "at_least": 1, "webhooks": [receiver.url]}
    refusal = desk.client.put("/alerts/nul", json=asked | {"about": "a\0b"})
    assert (refusal.status_code, refusal.json()["error"]["code"]) == (422, "invalid_body")
    assert desk.client.put("/alerts/nul", json=asked | {"about": "a\\u0000b"}).status_code == 201
