"""
The outbox of alerts: what is to be told to which webhook, and what became of it.

Events are put here by the transaction that changes a rule's state (``store/alerts.py``); what was sent and
not noted as sent goes out again under the same id (decision 0040).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import psycopg

_log = logging.getLogger(__name__)

SHOWN = 100
"""Events of a rule in an answer, the latest."""
KEPT = timedelta(days=30)
"""How long events are kept that were delivered or given up."""
MAX_EVENTS = 10_000
"""Of one rule that wait, and of one rule that are kept; an event for two webhooks counts twice."""


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
_LATEST = """
SELECT event_id, group_key, url, body, created_at, attempts, delivered_at, next_try_at, last_answer
FROM alert_outbox WHERE rule_id = %s ORDER BY created_at DESC, event_id, place LIMIT %s
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


def enqueue(
    connection: psycopg.Connection[Any],
    rule_id: str,
    events: Sequence[AlertEvent],
    webhooks: Sequence[str],
    secret: str,
    now: datetime,
) -> None:
    """Take what is to be told to each webhook of a rule; past ``MAX_EVENTS`` the oldest are given up."""
    rows = [
        {
            "event_id": event.event_id,
            "place": place,
            "rule_id": rule_id,
            "group_key": event.group_key,
            "url": url,
            "secret": secret,
            "body": event.body,
            "now": now,
        }
        for event in events
        for place, url in enumerate(webhooks)
    ]
    if not rows:
        return
    with connection.cursor() as cursor:
        cursor.executemany(_ENQUEUE, rows)
        cursor.execute(_OVERFLOW, [rule_id, MAX_EVENTS])
        if cursor.rowcount:
            _log.warning(
                "alert events are given up: more wait than may",
                extra={"rule_id": rule_id, "events": cursor.rowcount},
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


def counts(connection: psycopg.Connection[Any], rule_ids: Sequence[str]) -> dict[str, tuple[int, int]]:
    """Return, by rule, how many events wait and how many were given up; rules without any are left out."""
    rows = connection.execute(_OUTBOX, [list(rule_ids)]).fetchall()
    return {rule_id: (waiting, given_up) for rule_id, waiting, given_up in rows}


def latest(connection: psycopg.Connection[Any], rule_id: str) -> list[SentEvent]:
    """Return the latest ``SHOWN`` events of a rule, the latest first."""
    rows = connection.execute(_LATEST, [rule_id, SHOWN]).fetchall()
    return [SentEvent(*row) for row in rows]
