"""
Alert rules, and where their groups stand.

A change of state and the events that tell of it are written by one transaction: killed before its
commit the change is found again, killed after it the events are in the outbox (decision 0040).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, NamedTuple

import psycopg
from psycopg.types.json import Jsonb

from store import alert_outbox
from store.alert_outbox import AlertEvent, SentEvent
from store.database import transaction


class GroupState(NamedTuple):
    """Where one group of a rule stands."""

    group_key: str
    state: str
    since: datetime
    firing_since: datetime | None
    value: float | None
    n: int | None


@dataclass(frozen=True, slots=True)
class StoredRule:
    """A rule as it was put."""

    rule_id: str
    document: Mapping[str, Any]
    webhooks: Sequence[str]
    """Whole; for sending, never for answers."""
    secret: str
    """As ``webhooks``."""
    created_at: datetime
    updated_at: datetime
    evaluated_at: datetime | None
    error: str | None
    next_at: datetime | None = None
    """When it is to be evaluated next; None of one that is about to be put: at once."""
    waiting: int = 0
    """Events that are still to be delivered."""
    given_up: int = 0
    """Of those that are kept, events that were not delivered and will not be."""


Decide = Callable[[Mapping[str, GroupState]], tuple[Sequence[GroupState], Sequence[AlertEvent]]]
"""From the groups as they stood to those that are known now, and what is to be told of them."""

_RULES = (
    "SELECT rule_id, document, webhooks, secret, created_at, updated_at, evaluated_at, error, next_at"
    " FROM alert_rules"
)
_GROUPS = "SELECT group_key, state, since, firing_since, value, n FROM alert_states"
_PUT = """
INSERT INTO alert_rules (rule_id, document, webhooks, secret, created_at, updated_at, next_at)
VALUES (%(id)s, %(document)s, %(webhooks)s, %(secret)s, %(now)s, %(now)s, %(now)s)
ON CONFLICT (rule_id) DO UPDATE SET document = excluded.document, webhooks = excluded.webhooks,
    secret = excluded.secret, updated_at = excluded.updated_at, next_at = excluded.next_at
"""
_STATE = """
INSERT INTO alert_states (rule_id, group_key, state, since, firing_since, value, n, evaluated_at)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s)
ON CONFLICT (rule_id, group_key) DO UPDATE SET state = excluded.state, since = excluded.since,
    firing_since = excluded.firing_since, value = excluded.value, n = excluded.n,
    evaluated_at = excluded.evaluated_at
"""


class AlertShelf:
    """Where rules are put and looked at; each method raises ``Unavailable``."""

    def __init__(self, url: str) -> None:
        """url: ``postgresql://…`` as libpq takes it."""
        self._url = url

    def put(self, rule: StoredRule, ending: Decide) -> bool:
        """
        Store or replace a rule, to be evaluated soon; return whether it is new.

        ending: what is told of the groups of another rule under this id, which are forgotten. A rule that
        asks the same keeps its groups.
        """
        with transaction(self._url) as connection:
            known = _locked(connection, rule.rule_id)
            if known is not None and known.document != rule.document:
                _end(connection, known, ending, rule.updated_at)
            connection.execute(
                _PUT,
                {
                    "id": rule.rule_id,
                    "document": Jsonb(rule.document),
                    "webhooks": list(rule.webhooks),
                    "secret": rule.secret,
                    "now": rule.updated_at,
                },
            )
            return known is None

    def delete(self, rule_id: str, ending: Decide, now: datetime) -> bool:
        """Forget a rule; what it had to tell is still told. Return whether it was there."""
        with transaction(self._url) as connection:
            known = _locked(connection, rule_id)
            if known is None:
                return False
            _end(connection, known, ending, now)
            connection.execute("DELETE FROM alert_rules WHERE rule_id = %s", [rule_id])
            return True

    def listed(self) -> list[tuple[StoredRule, list[GroupState]]]:
        """Return the rules by id, with their groups."""
        with transaction(self._url) as connection:
            rows = connection.execute(_RULES + " ORDER BY rule_id").fetchall()
            rules = _counted(connection, [StoredRule(*row) for row in rows])
            return [(rule, groups_of(connection, rule.rule_id)) for rule in rules]

    def one(self, rule_id: str) -> tuple[StoredRule, list[GroupState], list[SentEvent]] | None:
        """Return a rule with its groups and its latest events, the latest first."""
        with transaction(self._url) as connection:
            row = connection.execute(_RULES + " WHERE rule_id = %s", [rule_id]).fetchone()
            if row is None:
                return None
            (rule,) = _counted(connection, [StoredRule(*row)])
            return rule, groups_of(connection, rule_id), alert_outbox.latest(connection, rule_id)

    def contract_state(self, contract_id: str, at: datetime) -> str | None:
        """Return what the last check of a contract up to then found; None when there was none."""
        with transaction(self._url) as connection:
            return contract_state(connection, contract_id, at)


def contract_state(connection: psycopg.Connection[Any], contract_id: str, at: datetime) -> str | None:
    """As ``AlertShelf.contract_state``, on a connection."""
    row = connection.execute(
        "SELECT state FROM contract_results WHERE contract_id = %s AND checked_at <= %s"
        " ORDER BY checked_at DESC LIMIT 1",
        [contract_id, at],
    ).fetchone()
    return None if row is None else str(row[0])


def groups_of(connection: psycopg.Connection[Any], rule_id: str) -> list[GroupState]:
    """Return where the groups of a rule stand."""
    rows = connection.execute(_GROUPS + " WHERE rule_id = %s ORDER BY group_key", [rule_id])
    return [GroupState(*row) for row in rows.fetchall()]


def due_rules(connection: psycopg.Connection[Any], now: datetime) -> list[StoredRule]:
    """Return the rules that are to be evaluated."""
    rows = connection.execute(_RULES + " WHERE next_at <= %s ORDER BY next_at, rule_id", [now])
    return [StoredRule(*row) for row in rows.fetchall()]


def evaluated(
    connection: psycopg.Connection[Any],
    rule: StoredRule,
    decide: Decide,
    now: datetime,
    next_at: datetime,
) -> bool:
    """
    Bring a rule forward: states, events and the time of the next evaluation in one transaction.

    Groups that are not among the states are forgotten. Returns False, and does nothing, when the rule was
    replaced, deleted or evaluated by somebody else since it was read: that one knew better.
    """
    with connection.transaction():
        known = _locked(connection, rule.rule_id)
        if known is None or (known.updated_at, known.evaluated_at) != (rule.updated_at, rule.evaluated_at):
            return False
        states, events = decide({state.group_key: state for state in groups_of(connection, rule.rule_id)})
        connection.execute(
            "DELETE FROM alert_states WHERE rule_id = %s AND group_key <> ALL (%s)",
            [rule.rule_id, [state.group_key for state in states]],
        )
        _write(connection, rule.rule_id, states, now)
        alert_outbox.enqueue(connection, known.rule_id, events, known.webhooks, known.secret, now)
        connection.execute(
            "UPDATE alert_rules SET next_at = %s, evaluated_at = %s, error = NULL WHERE rule_id = %s",
            [next_at, now, rule.rule_id],
        )
    return True


def failed(
    connection: psycopg.Connection[Any], rule: StoredRule, error: str, now: datetime, next_at: datetime
) -> None:
    """Note that a rule could not be evaluated; what fires stays, and what was pending begins anew."""
    with connection.transaction():
        noted = connection.execute(
            "UPDATE alert_rules SET next_at = %s, evaluated_at = %s, error = %s"
            " WHERE rule_id = %s AND updated_at = %s",
            [next_at, now, error, rule.rule_id, rule.updated_at],
        )
        if noted.rowcount:
            connection.execute(
                "UPDATE alert_states SET state = 'ok', since = %s, evaluated_at = %s"
                " WHERE rule_id = %s AND state = 'pending'",
                [now, now, rule.rule_id],
            )


def _locked(connection: psycopg.Connection[Any], rule_id: str) -> StoredRule | None:
    row = connection.execute(_RULES + " WHERE rule_id = %s FOR UPDATE", [rule_id]).fetchone()
    return None if row is None else StoredRule(*row)


def _end(connection: psycopg.Connection[Any], rule: StoredRule, ending: Decide, now: datetime) -> None:
    _, events = ending({state.group_key: state for state in groups_of(connection, rule.rule_id)})
    alert_outbox.enqueue(connection, rule.rule_id, events, rule.webhooks, rule.secret, now)
    connection.execute("DELETE FROM alert_states WHERE rule_id = %s", [rule.rule_id])


def _write(
    connection: psycopg.Connection[Any], rule_id: str, states: Sequence[GroupState], now: datetime
) -> None:
    with connection.cursor() as cursor:
        cursor.executemany(_STATE, [(rule_id, *state, now) for state in states])


def _counted(connection: psycopg.Connection[Any], rules: Sequence[StoredRule]) -> list[StoredRule]:
    """The rules with the counts of their events."""
    counts = alert_outbox.counts(connection, [rule.rule_id for rule in rules])
    return [
        replace(rule, waiting=waiting, given_up=given_up)
        for rule in rules
        for waiting, given_up in [counts.get(rule.rule_id, (0, 0))]
    ]
