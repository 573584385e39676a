"""Alert rules as they are stored: who may change what, and that a change and its events are one."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from store.alert_outbox import AlertEvent, due_deliveries
from store.alerts import (
    AlertShelf,
    Decide,
    GroupState,
    StoredRule,
    contract_state,
    due_rules,
    evaluated,
    failed,
)
from store.contract_shelf import ContractResult, ContractShelf, due, note
from store.database import libpq_url
from tests.fixtures.waiting import wait_until

NOW = datetime(2025, 3, 1, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)
URL = "https://a.example/"

Connection = psycopg.Connection[Any]


@pytest.fixture
def shelf(database_url: str) -> AlertShelf:
    """Rules of the test's database."""
    return AlertShelf(database_url)


def put(shelf: AlertShelf, at: datetime = NOW, *, rule_id: str = "r", **changes: Any) -> bool:
    """Put a rule, which tells of its groups that they ended when it is another."""
    document, secret = changes.get("document", {"above": 1}), changes.get("secret", "secret")
    rule = StoredRule(rule_id, document, changes.get("webhooks", [URL]), secret, at, at, None, None)
    return shelf.put(rule, ends)


def ends(known: Mapping[str, GroupState]) -> tuple[list[GroupState], list[AlertEvent]]:
    """Tell of each group that it ended."""
    return [], [AlertEvent(f"end of {key}", key, "ended") for key in known]


def brings(*states: GroupState, tells: str = "") -> Decide:
    """Whatever was known, these are the groups now, and one event is told where it is named."""
    return lambda _known: (states, [AlertEvent(tells, states[0].group_key, "began")] if tells else [])


def group(key: str, state: str = "firing", since: datetime = NOW) -> GroupState:
    """Where a group stands."""
    return GroupState(key, state, since, since, 1.0, 2)


def due_rule(connection: Connection, at: datetime = NOW) -> StoredRule:
    """The one rule that is due."""
    (found,) = due_rules(connection, at)
    return found


def told(connection: Connection) -> list[str]:
    """The ids of the events that wait, whoever told them."""
    return [each.event_id for each in due_deliveries(connection, NOW + timedelta(days=1), 99)]


def test_a_rule_is_due_when_it_was_put_and_when_it_comes_again(shelf: AlertShelf, connection: Connection):
    """At its time, not before; the longest overdue first."""
    assert put(shelf)
    assert due_rules(connection, NOW - SECOND) == []
    rule = due_rule(connection)
    assert (rule.next_at, rule.evaluated_at, rule.error) == (NOW, None, None)
    assert evaluated(connection, rule, brings(group("{}")), NOW, NOW + MINUTE)
    assert due_rules(connection, NOW + MINUTE - SECOND) == []
    assert due_rule(connection, NOW + MINUTE).evaluated_at == NOW
    put(shelf, NOW - SECOND, rule_id="s")
    assert [each.rule_id for each in due_rules(connection, NOW + MINUTE)] == ["s", "r"]


def test_states_and_events_are_of_one_transaction(shelf: AlertShelf, connection: Connection):
    """What fails on the way leaves nothing: neither groups nor events, and the rule is still due."""
    put(shelf)
    bad = group("bad\0key")
    with pytest.raises(psycopg.DataError):
        evaluated(connection, due_rule(connection), brings(group("a"), bad, tells="e"), NOW, NOW + MINUTE)
    event = AlertEvent("e", "a", "no\0text")
    with pytest.raises(psycopg.DataError):
        evaluated(connection, due_rule(connection), lambda _: ([group("a")], [event]), NOW, NOW + MINUTE)
    assert told(connection) == []
    _, groups, _ = found = shelf.one("r") or pytest.fail("it is gone")
    assert (groups, found[0].next_at) == ([], NOW)


def test_groups_are_replaced_as_a_whole(shelf: AlertShelf, connection: Connection):
    """Those that are not named are forgotten, of that rule alone; all columns are the new ones."""
    put(shelf)
    put(shelf, rule_id="s")
    for rule in due_rules(connection, NOW):
        assert evaluated(connection, rule, brings(group("a"), group("b")), NOW, NOW)
    later = NOW + SECOND
    again = GroupState("b", "resolved", later, None, None, None)
    assert evaluated(connection, due_rules(connection, NOW)[0], brings(again), later, later)
    assert shelf.one("r") is not None
    found = {rule.rule_id: groups for rule, groups in shelf.listed()}
    assert found == {"r": [again], "s": [group("a"), group("b")]}
    at = connection.execute("SELECT evaluated_at FROM alert_states WHERE rule_id = 'r'").fetchone()
    assert at == (later,)


def test_what_is_decided_is_decided_on_the_groups_of_the_rule(shelf: AlertShelf, connection: Connection):
    """By key; those of other rules are not among them."""
    put(shelf)
    put(shelf, rule_id="s")
    first, second = due_rules(connection, NOW)
    evaluated(connection, first, brings(group("a")), NOW, NOW + MINUTE)
    evaluated(connection, second, brings(group("b")), NOW, NOW + MINUTE)
    seen: list[Mapping[str, GroupState]] = []

    def look(known: Mapping[str, GroupState]) -> tuple[list[GroupState], list[AlertEvent]]:
        seen.append(known)
        return list(known.values()), []

    assert evaluated(connection, due_rules(connection, NOW + MINUTE)[0], look, NOW, NOW)
    assert seen == [{"a": group("a")}]


@pytest.mark.parametrize("change", ["replaced", "deleted", "evaluated"])
def test_who_read_a_rule_before_it_changed_changes_nothing(
    shelf: AlertShelf, connection: Connection, change: str
):
    """Replaced, deleted or evaluated since: that one knew better."""
    put(shelf)
    read = due_rule(connection)
    if change == "replaced":
        put(shelf, NOW + SECOND)
    elif change == "deleted":
        assert shelf.delete("r", ends, NOW)
    else:
        assert evaluated(connection, read, brings(group("a"), tells="first"), NOW, NOW + MINUTE)
    assert not evaluated(connection, read, brings(group("b"), tells="second"), NOW, NOW + MINUTE)
    assert "second" not in told(connection)
    rows = connection.execute("SELECT group_key FROM alert_states").fetchall()
    assert rows == ([("a",)] if change == "evaluated" else [])


def test_two_that_evaluate_a_rule_at_the_same_moment(
    shelf: AlertShelf, connection: Connection, database_url: str
):
    """The second waits for the first and then changes nothing: else each tells under an id of its own."""
    put(shelf)
    read = due_rule(connection)
    answers: list[bool] = []
    done = threading.Event()

    def second() -> None:
        with psycopg.connect(libpq_url(database_url), autocommit=True) as other:
            answers.append(evaluated(other, read, brings(group("a"), tells="second"), NOW, NOW + MINUTE))
        done.set()

    thread = threading.Thread(target=second)

    def first(_known: Mapping[str, GroupState]) -> tuple[list[GroupState], list[AlertEvent]]:
        thread.start()
        wait_until(lambda: done.is_set() or waiting(database_url), timeout_s=60.0, what="the second waits")
        return [group("a")], [AlertEvent("first", "a", "began")]

    assert evaluated(connection, read, first, NOW, NOW + MINUTE)
    thread.join(60.0)
    assert (answers, told(connection)) == ([False], ["first"])


def waiting(url: str) -> bool:
    """Whether somebody waits for a lock in this database."""
    with psycopg.connect(libpq_url(url)) as connection:
        row = connection.execute(
            "SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        ).fetchone()
    return row is not None


def test_a_rule_that_is_put_again_keeps_its_groups_unless_it_asks_something_else(
    shelf: AlertShelf, connection: Connection
):
    """Other webhooks and another secret are of the same rule; what another asked is told as ended, once."""
    assert put(shelf)
    assert evaluated(connection, due_rule(connection), brings(group("a")), NOW, NOW + MINUTE)
    later = NOW + SECOND
    assert not put(shelf, later, webhooks=["https://b.example/"], secret="another")
    rule, groups, events = shelf.one("r") or pytest.fail("it is gone")
    assert (groups, events) == ([group("a")], [])
    assert (rule.webhooks, rule.secret) == (["https://b.example/"], "another")
    assert (rule.created_at, rule.updated_at, rule.next_at) == (NOW, later, later)
    assert not put(shelf, later + SECOND, document={"above": 2}, webhooks=["https://c.example/"])
    rule, groups, events = shelf.one("r") or pytest.fail("it is gone")
    assert (rule.document, groups) == ({"above": 2}, [])
    assert [(each.event_id, each.url) for each in events] == [("end of a", "https://b.example/")]
    assert (rule.waiting, rule.given_up) == (1, 0)


def test_deleting_a_rule_tells_the_end_and_leaves_the_others(shelf: AlertShelf, connection: Connection):
    """What it had to tell is still told; a second time there is nothing to delete, and nothing is told."""
    put(shelf)
    put(shelf, rule_id="s")
    for rule in due_rules(connection, NOW):
        assert evaluated(connection, rule, brings(group("a"), tells=f"{rule.rule_id} fires"), NOW, NOW)
    assert shelf.delete("r", ends, NOW + SECOND)
    assert not shelf.delete("r", ends, NOW + SECOND)
    assert shelf.one("r") is None
    assert [(rule.rule_id, groups) for rule, groups in shelf.listed()] == [("s", [group("a")])]
    assert sorted(told(connection)) == ["r fires", "s fires"], "the end waits for what came before"
    connection.execute("UPDATE alert_outbox SET next_try_at = NULL WHERE event_id = 'r fires'")
    assert sorted(told(connection)) == ["end of a", "s fires"]


def test_a_failure_is_noted_of_the_rule_that_was_asked(shelf: AlertShelf, connection: Connection):
    """What fires stays, what was pending begins anew; of a rule that was replaced since nothing is noted."""
    put(shelf)
    put(shelf, rule_id="s")
    for rule in due_rules(connection, NOW):
        stand = brings(group("f"), group("p", "pending"))
        assert evaluated(connection, rule, stand, NOW, NOW)
    read, _ = due_rules(connection, NOW)
    later = NOW + SECOND
    failed(connection, read, "Broken", later, later + MINUTE)
    rule, groups, _ = shelf.one("r") or pytest.fail("it is gone")
    assert (rule.error, rule.evaluated_at, rule.next_at) == ("Broken", later, later + MINUTE)
    assert [(each.group_key, each.state, each.since) for each in groups] == [
        ("f", "firing", NOW),
        ("p", "ok", later),
    ]
    _, others, _ = shelf.one("s") or pytest.fail("it is gone")
    assert [each.state for each in others] == ["firing", "pending"]
    assert evaluated(connection, rule, stand, later, later)
    assert (shelf.one("r") or pytest.fail("it is gone"))[0].error is None
    put(shelf, later)
    failed(connection, rule, "Broken again", later, later + MINUTE)
    rule, groups, _ = shelf.one("r") or pytest.fail("it is gone")
    assert (rule.error, rule.next_at, [each.state for each in groups]) == (None, later, ["firing", "pending"])


def test_the_last_check_of_a_contract_is_what_counts(database_url: str, connection: Connection):
    """Of those up to then, and of that contract."""
    contracts = ContractShelf(database_url)
    for name in ("c", "d"):
        contracts.put(name, {})
    first, second = due(connection, datetime.now(UTC))
    for at, state in enumerate(("held", "violated", "unknown")):
        note(connection, first, ContractResult(NOW + at * SECOND, state, {}), NOW)
    note(connection, second, ContractResult(NOW + SECOND, "held", {}), NOW)
    states = [contract_state(connection, "c", NOW + at * SECOND) for at in (-1, 0, 1, 2, 3)]
    assert states == [None, "held", "violated", "unknown", "unknown"]
