"""What the tasks of alerts decide: what is told of which group, when it is tried again and given up."""

from __future__ import annotations

import socket
from datetime import UTC, datetime, timedelta, timezone
from functools import partial
from typing import Any

import orjson
import psycopg
import pytest

from api.alerts.addresses import AddressProblem, resolved
from api.alerts.asking import Reading
from api.alerts.declared import AlertRule, rule
from api.alerts.telling import event
from api.alerts.upkeep import decide, deliver_due, ending, evaluate_due
from store.alert_outbox import AlertEvent, SentEvent, enqueue, latest
from store.alerts import AlertShelf, GroupState, StoredRule, due_rules
from store.reader import Reader
from tests.fixtures.webhooks import receiving

NOW = datetime(2025, 3, 1, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)
ERRORS: dict[str, Any] = {"steps": {"figure": "errors", "group_by": ["name"]}, "at_least": 1}


def declared(**changes: Any) -> AlertRule:
    """A rule that fires at once when a step fails."""
    return rule(ERRORS | changes, "r")


def reading(name: str, holds: bool | None, value: float | None = 3.0) -> Reading:
    """One group as it is now."""
    return Reading({"name": name}, value, 7, holds)


def key(name: str) -> str:
    """The group as text."""
    return f'{{"name":"{name}"}}'


def known(*states: GroupState) -> dict[str, GroupState]:
    """The groups as they stood, by key."""
    return {state.group_key: state for state in states}


def body(told: AlertEvent) -> dict[str, Any]:
    """What is sent."""
    sent: dict[str, Any] = orjson.loads(told.body)
    return sent


def test_what_is_decided():
    """One event for each group that changed, with what was seen of it; none for the others."""
    earlier = NOW - MINUTE
    stood = known(
        GroupState(key("ends"), "firing", earlier, earlier, 9.0, 9),
        GroupState(key("stays"), "firing", earlier, earlier, 9.0, 9),
    )
    seen = [
        reading("stays", True),
        reading("quiet", False, 0.0),
        reading("ends", False, 0.0),
        reading("new", True),
    ]
    states, events = decide(declared(), seen, NOW)(stood)
    assert states == [
        GroupState(key("ends"), "resolved", NOW, earlier, 0.0, 7),
        GroupState(key("new"), "firing", NOW, NOW, 3.0, 7),
        GroupState(key("quiet"), "ok", NOW, None, 0.0, 7),
        GroupState(key("stays"), "firing", earlier, earlier, 3.0, 7),
    ]
    ended, began = (body(each) for each in events)
    assert [each.group_key for each in events] == [key("ends"), key("new")]
    assert (ended["type"], ended["value"], ended["n"]) == ("resolved", 0.0, 7)
    assert (ended["firing_since"], ended["at"]) == (earlier.isoformat(), NOW.isoformat())
    assert (began["type"], began["value"], began["n"], began["group"]) == ("firing", 3.0, 7, {"name": "new"})
    assert (began["limit"], began["window_s"]) == ({"sign": "at_least", "value": 1.0}, 3600.0)


@pytest.mark.parametrize("state", ["ok", "pending", "firing", "resolved"])
def test_a_group_that_is_gone_goes_on_firing_and_is_else_forgotten(state: str):
    """That nothing is there is no recovery; of nothing there is no figure."""
    stood = known(GroupState(key("gone"), state, NOW - MINUTE, NOW - MINUTE, 9.0, 9))
    states, events = decide(declared(), [], NOW)(stood)
    expected = [GroupState(key("gone"), "firing", NOW - MINUTE, NOW - MINUTE, None, 0)]
    assert (states, events) == (expected if state == "firing" else [], [])


def test_only_what_fires_ends():
    """A rule that goes away tells of the groups that fire, under the id that a recovery would have."""
    began = NOW - MINUTE
    stood = known(
        *(
            GroupState(key(state), state, NOW, began, 1.0, 1)
            for state in ("ok", "pending", "firing", "resolved")
        )
    )
    states, (told,) = ending(declared(), NOW, "it was deleted")(stood)
    assert (states, told.group_key, body(told)["because"]) == ([], key("firing"), "it was deleted")
    _, (recovered,) = decide(declared(), [reading("firing", False)], NOW)(stood)
    assert (body(told)["type"], told.event_id) == ("resolved", recovered.event_id)


def test_what_names_an_event():
    """Rule, group, change and when it began to fire, in whatever time zone; nothing else."""

    def named(rule_id: str = "r", group: str = "a", kind: Any = "firing", since: datetime = NOW) -> Any:
        found = event(rule(ERRORS, rule_id), kind, key(group), firing_since=since, at=since, value=1.0, n=1)
        return body(found)["event_id"], body(found)["alert_id"]

    first, alert = named()
    assert named(since=NOW.astimezone(timezone(timedelta(hours=2)))) == (first, alert)
    assert named(kind="resolved")[1] == alert
    others = [named(rule_id="s"), named(group="b"), named(since=NOW + SECOND)]
    assert len({first, named(kind="resolved")[0], *(each for each, _ in others)}) == 5
    assert len({alert, *(each for _, each in others)}) == 4
    # Over an upgrade as well: a receiver that knows an id has seen the event.
    assert first == "5f744c992094f0876935ccb7b1975976"
    later = event(declared(), "firing", key("a"), firing_since=NOW, at=NOW + MINUTE, value=2.0, n=5)
    assert later.event_id == first


def test_when_it_is_given_up(connection: psycopg.Connection[Any]):
    """When the next try would come after the deadline; until then it waits twice as long each time."""
    with receiving() as receiver:
        receiver.answer = lambda: 500
        enqueue(connection, "r", [AlertEvent("e", "{}", '{"type":"firing"}')], [receiver.url], "secret", NOW)

        def tried(at: datetime, deadline: timedelta) -> SentEvent:
            deliver_due(connection, allow_private=True, deadline=deadline, now=lambda: at)
            (found,) = latest(connection, "r")
            return found

        first = tried(NOW, 5 * SECOND)
        assert (first.attempts, first.next_try_at, first.last_answer) == (1, NOW + 5 * SECOND, "HTTP 500")
        assert tried(NOW + 4 * SECOND, MINUTE).attempts == 1
        assert tried(NOW + 5 * SECOND, MINUTE).next_try_at == NOW + 15 * SECOND
        last = tried(NOW + 15 * SECOND, 35 * SECOND - timedelta(microseconds=1))
        assert (last.attempts, last.next_try_at, last.delivered_at) == (3, None, None)
        assert tried(NOW + MINUTE, MINUTE).attempts == 3
        assert len(receiver.requests) == 3


def test_a_rule_that_fails_comes_again_in_a_minute(connection: psycopg.Connection[Any], database_url: str):
    """One that this version does not understand, and one whose question fails: not at once, and not never."""

    class Failing(Reader):
        def step_metrics(self, *_args: Any, **_options: Any) -> Any:
            raise OverflowError("as of a date that is none")

    shelf = AlertShelf(database_url)
    for rule_id, document in (("strange", {"from": "a version to come"}), ("fails", ERRORS)):
        put = StoredRule(rule_id, document, ["https://a.example/"], "secret", NOW, NOW, None, None)
        shelf.put(put, lambda _known: ([], []))
    evaluate_due(connection, partial(Failing.open, database_url), lambda: NOW)
    assert due_rules(connection, NOW + MINUTE - SECOND) == []
    found = {each.rule_id: (each.error, each.evaluated_at) for each in due_rules(connection, NOW + MINUTE)}
    assert found == {"strange": ("not understood by this version", NOW), "fails": ("OverflowError", NOW)}


@pytest.mark.parametrize(
    ("addresses", "allowed"),
    [
        (["8.8.8.8", "2001:4860:4860::8888"], True),
        (["8.8.8.8", "10.0.0.1"], False),
        (["fe80::1%eth0", "8.8.8.8"], False),
        ([], False),
    ],
)
def test_every_address_of_a_name_must_be_public(
    monkeypatch: pytest.MonkeyPatch, addresses: list[str], allowed: bool
):
    """One private address among public ones is meant to slip through."""
    entries = [(0, 0, 0, "", (address, 443)) for address in addresses]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_args, **_options: entries)
    if allowed:
        assert resolved("https://hooks.example/x", allow_private=False).url == "https://8.8.8.8:443/x"
        return
    with pytest.raises(AddressProblem, match="no public address"):
        resolved("https://hooks.example/x", allow_private=False)
