"""The two tasks of upkeep: rules are evaluated, and what they have to tell is delivered."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import psycopg

from api.alerts.asking import Reading, ask
from api.alerts.declared import AlertRule, RuleProblem, rule
from api.alerts.states import Standing, advance
from api.alerts.telling import Answer, event, send
from store.alert_outbox import AlertEvent, Delivery, due_deliveries, postpone, tried
from store.alerts import Decide, GroupState, StoredRule, contract_state, due_rules, evaluated, failed
from store.reader import Reader

EVALUATE_EVERY_S = 5.0
DELIVER_EVERY_S = 2.0
FORGET_EVERY_S = 3600.0
DEADLINE = timedelta(hours=24)
"""How long an event is tried."""
_FIRST_PAUSE = timedelta(seconds=5)
_LONGEST_PAUSE = timedelta(minutes=15)
_AT_ONCE = 8
"""Requests under way; a receiver that does not answer holds up the others for its timeout at most."""

Clock = Callable[[], datetime]


def utc_now() -> datetime:
    """The time in UTC."""
    return datetime.now(UTC)


def evaluate_due(
    connection: psycopg.Connection[Any], open_reader: Callable[[], Reader], now: Clock = utc_now
) -> None:
    """Bring the rules forward that are due."""
    if found := due_rules(connection, now()):
        with closing(open_reader()) as reader:
            _evaluate(connection, reader, found, now)


def _evaluate(
    connection: psycopg.Connection[Any], reader: Reader, found: Sequence[StoredRule], now: Clock
) -> None:
    for stored in found:
        at = now()
        try:
            declared = rule(stored.document, stored.rule_id)
            readings = ask(reader, partial(contract_state, connection), declared, at)
        except RuleProblem:
            failed(connection, stored, "not understood by this version", at, at + timedelta(minutes=1))
            continue
        except psycopg.Error:
            raise
        except Exception as exc:  # noqa: BLE001  # one rule must not keep the others from being asked
            failed(connection, stored, type(exc).__name__, at, at + timedelta(minutes=1))
            continue
        evaluated(connection, stored, decide(declared, readings, at), at, at + declared.every)


def decide(rule: AlertRule, readings: Sequence[Reading], now: datetime) -> Decide:
    """Return what makes of the groups as they stood those of now, and what is told of them."""
    seen = {reading.key: reading for reading in readings}

    def decided(known: Mapping[str, GroupState]) -> tuple[list[GroupState], list[AlertEvent]]:
        states, events = [], []
        for key in sorted({*known, *seen}):
            reading = seen.get(key)
            before = known.get(key)
            if reading is None and (before is None or before.state != "firing"):
                # A group that is gone is forgotten: versions and names of long ago would heap up for ever.
                continue
            standing = before and Standing(before.state, before.since, before.firing_since)  # type: ignore[arg-type]
            holds = reading.holds if reading is not None else None
            after, change = advance(standing, holds, now, rule.lasting)
            value, n = (reading.value, reading.n) if reading is not None else (None, 0)
            states.append(GroupState(key, after.state, after.since, after.firing_since, value, n))
            if change is not None and after.firing_since is not None:
                firing_since = after.firing_since
                events.append(event(rule, change, key, firing_since=firing_since, at=now, value=value, n=n))
        return states, events

    return decided


def ending(rule: AlertRule, now: datetime, because: str) -> Decide:
    """Return what tells that groups which fire are no longer looked at."""

    def ended(known: Mapping[str, GroupState]) -> tuple[list[GroupState], list[AlertEvent]]:
        firing = [state for state in known.values() if state.state == "firing" and state.firing_since]
        return [], [
            event(
                rule,
                "resolved",
                state.group_key,
                firing_since=state.firing_since or now,
                at=now,
                value=None,
                n=None,
                because=because,
            )
            for state in firing
        ]

    return ended


def deliver_due(
    connection: psycopg.Connection[Any],
    *,
    allow_private: bool,
    deadline: timedelta = DEADLINE,
    now: Clock = utc_now,
) -> None:
    """Send what is due, until nothing is."""
    at = now()
    found = due_deliveries(connection, at, _AT_ONCE)
    while found:
        with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="xray-alert") as pool:
            sending = partial(_send, allow_private=allow_private, at=at)
            for delivery, answer in zip(found, pool.map(sending, found), strict=True):
                _note(connection, delivery, answer, deadline, now())
        at = now()
        found = due_deliveries(connection, at, _AT_ONCE)


def _send(delivery: Delivery, *, allow_private: bool, at: datetime) -> Answer:
    return send(
        delivery.url,
        delivery.secret,
        delivery.event_id,
        delivery.body,
        allow_private=allow_private,
        at=at,
    )


def _note(
    connection: psycopg.Connection[Any],
    delivery: Delivery,
    answer: Answer,
    deadline: timedelta,
    now: datetime,
) -> None:
    if answer.accepted:
        tried(connection, delivery, answer.said, delivered_at=now, next_try_at=None)
        return
    if not answer.heard:
        # Whatever else waits for it would take as long to fail, while other receivers wait behind.
        postpone(connection, delivery.url, now + _FIRST_PAUSE)
    again_at = now + pause(delivery.attempts)
    given_up = again_at > delivery.created_at + deadline
    tried(
        connection,
        delivery,
        answer.said,
        delivered_at=None,
        next_try_at=None if given_up else again_at,
    )


def pause(attempts: int) -> timedelta:
    """How long to wait after a failed try, the first being 0: 5 s, doubled each time, to 15 min."""
    return min(_LONGEST_PAUSE, _FIRST_PAUSE * (1 << min(attempts, 20)))
