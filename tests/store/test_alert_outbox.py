"""The outbox of alerts: what is due, in which order, what waits for what, and what is forgotten."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from store import alert_outbox
from store.alert_outbox import (
    KEPT,
    AlertEvent,
    Delivery,
    SentEvent,
    counts,
    due_deliveries,
    enqueue,
    forget_old,
    latest,
    postpone,
    tried,
)

NOW = datetime(2025, 3, 1, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)
URL, OTHER = "https://a.example/", "https://b.example/"

Connection = psycopg.Connection[Any]


def told(
    connection: Connection,
    name: str,
    at: datetime = NOW,
    *,
    rule_id: str = "r",
    group: str = "{}",
    webhooks: tuple[str, ...] = (URL,),
) -> None:
    """Put an event into the outbox."""
    enqueue(connection, rule_id, [AlertEvent(name, group, f"body of {name}")], webhooks, "secret", at)


def due(connection: Connection, at: datetime = NOW + timedelta(days=1), limit: int = 99) -> list[str]:
    """The ids of what is due, in order; with a number those for another webhook than the first."""
    return [
        each.event_id if each.place == 0 else f"{each.event_id} {each.place}"
        for each in due_deliveries(connection, at, limit)
    ]


def note(connection: Connection, name: str, *, again_at: datetime | None = None, place: int = 0) -> None:
    """Note a try: delivered a second after ``NOW``, or to be tried again."""
    delivery = Delivery(name, place, URL, "secret", "", 0, NOW)
    delivered_at = NOW + SECOND if again_at is None else None
    tried(connection, delivery, "HTTP 204", delivered_at=delivered_at, next_try_at=again_at)


def events(connection: Connection, rule_id: str = "r") -> dict[str, SentEvent]:
    """The latest events of a rule by id, those for the first webhook."""
    return {each.event_id: each for each in reversed(latest(connection, rule_id))}


def test_an_event_is_due_at_its_time_with_all_that_is_sent(connection: Connection):
    """From the moment it is told on, and not before."""
    told(connection, "a")
    assert due(connection, NOW - timedelta(microseconds=1)) == []
    (found,) = due_deliveries(connection, NOW, 1)
    assert found == Delivery("a", 0, URL, "secret", "body of a", 0, NOW)


def test_an_event_that_is_told_again_is_there_once(connection: Connection):
    """As it stands: what was delivered is not due anew, and what it says stays."""
    told(connection, "a")
    note(connection, "a")
    told(connection, "a", NOW + SECOND)
    assert due(connection) == []
    assert counts(connection, ["r"]) == {"r": (0, 0)}
    told(connection, "a", webhooks=(URL, OTHER))
    assert due(connection) == ["a 1"]


def test_an_event_comes_after_what_its_group_told_before(connection: Connection):
    """Even when the clock of who tells it is behind; other groups and rules have nothing to do with it."""
    told(connection, "b")
    told(connection, "a", NOW - SECOND)
    told(connection, "of another group", NOW - SECOND, group='{"name":"x"}')
    told(connection, "of another rule", NOW - SECOND, rule_id="s")
    assert sorted(due(connection)) == ["b", "of another group", "of another rule"]
    assert events(connection)["a"].created_at == NOW + timedelta(microseconds=1)
    assert events(connection)["of another group"].created_at == NOW - SECOND
    assert events(connection, "s")["of another rule"].created_at == NOW - SECOND
    note(connection, "b")
    assert "a" in due(connection)


def test_an_event_is_of_one_time_for_all_its_webhooks(connection: Connection):
    """It is one event."""
    told(connection, "a", webhooks=(URL, OTHER))
    assert {each.created_at for each in latest(connection, "r")} == {NOW}


def test_events_of_one_moment_go_one_at_a_time(connection: Connection):
    """By id, as some order is needed; a webhook that takes nothing holds up no other."""
    told(connection, "a", webhooks=(URL, OTHER))
    connection.execute("UPDATE alert_outbox SET created_at = %s", [NOW])
    told(connection, "b", webhooks=(URL, OTHER))
    connection.execute("UPDATE alert_outbox SET created_at = %s", [NOW])
    assert due(connection) == ["a", "a 1"]
    note(connection, "a")
    assert due(connection) == ["a 1", "b"]


def test_what_waits_for_a_later_try_holds_up_its_group(connection: Connection):
    """Until it is delivered or given up, and at its own webhook alone."""
    told(connection, "a", webhooks=(URL, OTHER))
    told(connection, "b", NOW + SECOND, webhooks=(URL, OTHER))
    note(connection, "a", again_at=NOW + timedelta(days=9))
    assert due(connection) == ["a 1"]
    note(connection, "a", place=1)
    assert due(connection) == ["b 1"]
    connection.execute("UPDATE alert_outbox SET next_try_at = NULL WHERE event_id = 'a'")
    assert due(connection) == ["b", "b 1"]


def test_the_order_is_of_turns_then_tries_then_age(connection: Connection):
    """What was tried least goes first among those of one turn; no more than asked for."""
    for number, name in enumerate(("old", "older", "tried", "late")):
        told(connection, name, NOW - number * SECOND, group=f'{{"name":"{name}"}}')
    connection.execute("UPDATE alert_outbox SET next_try_at = %s", [NOW])
    note(connection, "tried", again_at=NOW)
    note(connection, "late", again_at=NOW + SECOND)
    assert due(connection, NOW + SECOND) == ["older", "old", "tried", "late"]
    assert due(connection, NOW) == ["older", "old", "tried"]
    assert due(connection, NOW, 2) == ["older", "old"]


def test_a_try_is_noted_of_its_event_and_webhook_alone(connection: Connection):
    """Counted, with what was answered, and when it was taken."""
    told(connection, "a", webhooks=(URL, OTHER))
    told(connection, "b", NOW, group="{1}", webhooks=(URL,))
    note(connection, "a", again_at=NOW + SECOND)
    note(connection, "a")
    first, second, other = sorted(latest(connection, "r"), key=lambda each: (each.event_id, each.url))
    assert (first.attempts, first.delivered_at, first.next_try_at) == (2, NOW + SECOND, None)
    assert (second.attempts, second.delivered_at, second.next_try_at) == (0, None, NOW)
    assert (other.attempts, other.last_answer, other.next_try_at) == (0, None, NOW)


def test_only_what_waits_for_the_webhook_is_postponed(connection: Connection):
    """What comes later anyway stays; what is done stays done."""
    for name in ("now", "later", "done"):
        told(connection, name, group=f'{{"name":"{name}"}}', webhooks=(URL, OTHER))
    note(connection, "later", again_at=NOW + 9 * SECOND)
    note(connection, "done")
    postpone(connection, URL, NOW + 5 * SECOND)
    next_tries = {(each.event_id, each.url): each.next_try_at for each in latest(connection, "r")}
    assert next_tries == {
        ("now", URL): NOW + 5 * SECOND,
        ("later", URL): NOW + 9 * SECOND,
        ("done", URL): None,
        **{(name, OTHER): NOW for name in ("now", "later", "done")},
    }


def test_of_too_many_that_wait_the_oldest_are_given_up(
    connection: Connection, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    """Of that rule; as many as may wait do, and what was delivered takes no place."""
    monkeypatch.setattr(alert_outbox, "MAX_EVENTS", 2)
    told(connection, "other", NOW - SECOND, rule_id="s")
    for number in range(4):
        told(connection, f"e{number}", NOW + number * SECOND, group=f"{number}")
        if number == 1:
            assert caplog.text == "", "two may wait"
        if number == 2:
            note(connection, "e1")
    assert due(connection) == ["other", "e2", "e3"]
    assert counts(connection, ["r", "s", "nobody"]) == {"r": (2, 1), "s": (1, 0)}
    assert events(connection)["e0"].last_answer == "too many events wait"
    assert "given up" in caplog.text


def test_what_is_done_is_forgotten_after_its_time(connection: Connection, monkeypatch: pytest.MonkeyPatch):
    """Delivered or given up; what waits is kept, however old. Of many the newest of each rule are kept."""
    for name in ("old", "young", "waits"):
        told(connection, name, NOW + (SECOND if name == "young" else timedelta(0)), group=name)
    note(connection, "old")
    note(connection, "young")
    forget_old(connection, NOW + KEPT)
    assert sorted(events(connection)) == ["old", "waits", "young"]
    forget_old(connection, NOW + KEPT + SECOND)
    assert sorted(events(connection)) == ["waits", "young"]
    told(connection, "younger", NOW + 2 * SECOND)
    note(connection, "younger")
    told(connection, "of another rule", NOW, rule_id="s")
    note(connection, "of another rule")
    monkeypatch.setattr(alert_outbox, "MAX_EVENTS", 1)
    forget_old(connection, NOW)
    assert sorted(events(connection)) == ["waits", "younger"]
    assert sorted(events(connection, "s")) == ["of another rule"]


def test_the_latest_are_shown_first(connection: Connection, monkeypatch: pytest.MonkeyPatch):
    """As many as are shown."""
    monkeypatch.setattr(alert_outbox, "SHOWN", 2)
    for number in range(3):
        told(connection, f"e{number}", NOW + number * SECOND)
    told(connection, "another", NOW + 9 * SECOND, rule_id="s")
    assert [each.event_id for each in latest(connection, "r")] == ["e2", "e1"]
