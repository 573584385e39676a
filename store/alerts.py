"""
Alert rules, where their groups stand, and the outbox of what is to be told.

A change of state and the events that tell of it are written by one transaction: killed before its
commit the change is found again, killed after it the events are there. What was sent and not noted
as sent goes out again under the same id (decision 0040).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import psycopg
from psycopg.types.json import Jsonb

from store.contract_shelf import transaction

_log = logging.getLogger(__name__)

SHOWN = 100
"""Events of a rule in an answer, the latest."""
KEPT = timedelta(days=30)
"""How long events are kept that were delivered or given up."""
MAX_EVENTS = 10_000
"""Of one rule that wait, and of one rule that are kept; an event for two webhooks counts twice."""


class GroupState(NamedTuple):
    """Where one group of a rule stands."""

    group_key: str
    state: str
    since: datetime
    firing_since: datetime | None
    value: float | None
    n: int | None


class AlertEvent(NamedTuple):
    """What is to be told."""

    event_id: str
    group_key: str
    body: str


class Delivery(NamedTuple):
    """One event for one webhook, due."""

    event_id: str
    place: int
    url: str
    secret: str
    body: str
    attempts: int
    created_at: datetime


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
    waiting: int = 0
    """Events that are still to be delivered."""
    given_up: int = 0
    """Of those that are kept, events that were not delivered and will not be."""


class SentEvent(NamedTuple):
    """One event and webhook, as it stands."""

    event_id: str
    group_key: str
    url: str
    body: str
    created_at: datetime
    attempts: int
    delivered_at: datetime | None
    next_try_at: datetime | None
    last_answer: str | None


Decide = Callable[[Mapping[str, GroupState]], tuple[Sequence[GroupState], Sequence[AlertEvent]]]
"""From the groups as they stood to those that are known now, and what is to be told of them."""

_RULES = (
    "SELECT rule_id, document, webhooks, secret, created_at, updated_at, evaluated_at, error FROM alert_rules"
)
_GROUPS = "SELECT group_key, state, since, firing_since, value, n FROM alert_states"
_PUT = """
INSERT INTO alert_rules (rule_id, document, webhooks, secret, created_at, updated_at, next_at)
VALUES (%(id)s, %(document)s, %(webhooks)s, %(secret)s, %(now)s, %(now)s, %(now)s)
ON CONFLICT (rule_id) DO UPDATE SET document = excluded.document, webhooks = excluded.webhooks,
    secret = excluded.secret, updated_at = excluded.updated_at, next_at = excluded.next_at
"""
_TRIED = """
UPDATE alert_outbox SET attempts = attempts + 1, last_answer = %s, delivered_at = %s, next_try_at = %s
WHERE event_id = %s AND place = %s
"""
# Behind what the group told before, even where the clocks of two servers differ.
_ENQUEUE = """
INSERT INTO alert_outbox (event_id, place, rule_id, group_key, url, secret, body, created_at, next_try_at,
    attempts)
SELECT %(event_id)s, %(place)s, %(rule_id)s, %(group_key)s, %(url)s, %(secret)s, %(body)s,
    greatest(%(now)s, max(created_at) + interval '1 microsecond'), %(now)s, 0
FROM alert_outbox
WHERE rule_id = %(rule_id)s AND group_key = %(group_key)s AND event_id <> %(event_id)s
ON CONFLICT DO NOTHING
"""
_OVERFLOW = """
UPDATE alert_outbox o SET next_try_at = NULL, last_answer = 'too many events wait'
FROM (SELECT event_id, place FROM alert_outbox WHERE rule_id = %s AND next_try_at IS NOT NULL
    ORDER BY created_at DESC, event_id DESC, place OFFSET %s) past
WHERE o.event_id = past.event_id AND o.place = past.place
"""
_OUTBOX = """
SELECT rule_id, count(next_try_at),
    count(*) FILTER (WHERE next_try_at IS NULL AND delivered_at IS NULL)
FROM alert_outbox WHERE rule_id = ANY (%s) GROUP BY rule_id
"""
_FORGET = """
DELETE FROM alert_outbox o
USING (SELECT event_id, place, created_at,
    row_number() OVER (PARTITION BY rule_id ORDER BY created_at DESC, event_id, place) AS number
    FROM alert_outbox WHERE next_try_at IS NULL) done
WHERE o.event_id = done.event_id AND o.place = done.place AND o.next_try_at IS NULL
    AND (done.created_at < %s OR done.number > %s)
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
            rules = _with_outbox(connection, [StoredRule(*row) for row in rows])
            return [(rule, groups_of(connection, rule.rule_id)) for rule in rules]

    def one(self, rule_id: str) -> tuple[StoredRule, list[GroupState], list[SentEvent]] | None:
        """Return a rule with its groups and its latest events, the latest first."""
        with transaction(self._url) as connection:
            row = connection.execute(_RULES + " WHERE rule_id = %s", [rule_id]).fetchone()
            if row is None:
                return None
            events = connection.execute(
                "SELECT event_id, group_key, url, body, created_at, attempts, delivered_at, next_try_at,"
                " last_answer FROM alert_outbox WHERE rule_id = %s"
                " ORDER BY created_at DESC, event_id, place LIMIT %s",
                [rule_id, SHOWN],
            ).fetchall()
            (rule,) = _with_outbox(connection, [StoredRule(*row)])
            return rule, groups_of(connection, rule_id), [SentEvent(*event) for event in events]

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
        _enqueue(connection, known, events, now)
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


def due_deliveries(connection: psycopg.Connection[Any], now: datetime, limit: int) -> list[Delivery]:
    """Return what is to be sent, for each webhook and group the oldest first and one at a time."""
    rows = connection.execute(
        "SELECT o.event_id, o.place, o.url, o.secret, o.body, o.attempts, o.created_at FROM alert_outbox o"
        " WHERE o.next_try_at <= %s AND NOT EXISTS (SELECT FROM alert_outbox e"
        "   WHERE e.rule_id = o.rule_id AND e.group_key = o.group_key AND e.url = o.url"
        "   AND e.next_try_at IS NOT NULL AND (e.created_at, e.event_id) < (o.created_at, o.event_id))"
        " ORDER BY o.next_try_at, o.attempts, o.created_at, o.event_id, o.place LIMIT %s",
        [now, limit],
    )
    return [Delivery(*row) for row in rows.fetchall()]


def tried(
    connection: psycopg.Connection[Any],
    delivery: Delivery,
    answer: str,
    *,
    delivered_at: datetime | None,
    next_try_at: datetime | None,
) -> None:
    """Note what became of a try; without a next one and not delivered it was given up."""
    connection.execute(_TRIED, [answer, delivered_at, next_try_at, delivery.event_id, delivery.place])


def postpone(connection: psycopg.Connection[Any], url: str, until: datetime) -> None:
    """Try nothing at a webhook before then."""
    connection.execute(
        "UPDATE alert_outbox SET next_try_at = %s WHERE url = %s AND next_try_at < %s", [until, url, until]
    )


def forget_old(connection: psycopg.Connection[Any], now: datetime | None = None) -> None:
    """Forget events that were delivered or given up long ago, or that many others came after."""
    connection.execute(_FORGET, [(now or datetime.now(UTC)) - KEPT, MAX_EVENTS])


def _locked(connection: psycopg.Connection[Any], rule_id: str) -> StoredRule | None:
    row = connection.execute(_RULES + " WHERE rule_id = %s FOR UPDATE", [rule_id]).fetchone()
    return None if row is None else StoredRule(*row)


def _end(connection: psycopg.Connection[Any], rule: StoredRule, ending: Decide, now: datetime) -> None:
    _, events = ending({state.group_key: state for state in groups_of(connection, rule.rule_id)})
    _enqueue(connection, rule, events, now)
    connection.execute("DELETE FROM alert_states WHERE rule_id = %s", [rule.rule_id])


def _write(
    connection: psycopg.Connection[Any], rule_id: str, states: Sequence[GroupState], now: datetime
) -> None:
    with connection.cursor() as cursor:
        cursor.executemany(_STATE, [(rule_id, *state, now) for state in states])


def _enqueue(
    connection: psycopg.Connection[Any], rule: StoredRule, events: Sequence[AlertEvent], now: datetime
) -> None:
    rows = [
        {
            "event_id": event.event_id,
            "place": place,
            "rule_id": rule.rule_id,
            "group_key": event.group_key,
            "url": url,
            "secret": rule.secret,
            "body": event.body,
            "now": now,
        }
        for event in events
        for place, url in enumerate(rule.webhooks)
    ]
    if not rows:
        return
    with connection.cursor() as cursor:
        cursor.executemany(_ENQUEUE, rows)
        cursor.execute(_OVERFLOW, [rule.rule_id, MAX_EVENTS])
        if cursor.rowcount:
            _log.warning(
                "alert events are given up: more wait than may",
                extra={"rule_id": rule.rule_id, "events": cursor.rowcount},
            )


def _with_outbox(connection: psycopg.Connection[Any], rules: Sequence[StoredRule]) -> list[StoredRule]:
    rows = connection.execute(_OUTBOX, [[rule.rule_id for rule in rules]]).fetchall()
    counts = {rule_id: (waiting, given_up) for rule_id, waiting, given_up in rows}
    return [
        replace(rule, waiting=waiting, given_up=given_up)
        for rule in rules
        for waiting, given_up in [counts.get(rule.rule_id, (0, 0))]
    ]
