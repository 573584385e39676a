"""Alert rules and where they stand, as REST answers. Nothing here holds a secret or a whole URL."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

import orjson
from pydantic import Field

from api.alerts.addresses import origin
from api.schemas import Answer
from store.alert_outbox import SentEvent
from store.alerts import GroupState, StoredRule


class AlertGroup(Answer):
    """Where one group of a rule stands."""

    group: dict[str, str | None]
    state: Literal["ok", "pending", "firing", "resolved"]
    since: datetime
    value: float | None = Field(description="As last seen; null: it could not be told.")
    n: int | None = Field(description="Steps, candidates or runs that the value was taken over.")


class AlertDelivery(Answer):
    """An event for one webhook."""

    event_id: str
    type: Literal["firing", "resolved", "test"]
    group: dict[str, str | None]
    value: float | None
    webhook: str = Field(description="Without its path, which may be a token.")
    created_at: datetime
    attempts: int
    state: Literal["waiting", "delivered", "given_up"]
    delivered_at: datetime | None
    next_try_at: datetime | None
    last_answer: str | None = Field(description="HTTP status or kind of failure.")


class AlertRule(Answer):
    """A rule as it was put."""

    rule_id: str
    document: dict[str, Any] = Field(description="Without webhooks and secret.")
    webhooks: list[str] = Field(description="Without their paths, which may be tokens.")
    created_at: datetime
    updated_at: datetime
    evaluated_at: datetime | None = Field(description="Before updated_at: as it was then. Null: not yet.")
    next_evaluation_at: datetime = Field(
        description="Some seconds later, where a server looks after the database."
    )
    error: str | None = Field(description="Why the last evaluation failed.")
    waiting: int = Field(description="Events still to be delivered.")
    given_up: int = Field(description="Events of the last 30 days that were not delivered and will not be.")
    groups: list[AlertGroup] = Field(description="At most 1,000.")


class AlertRuleWithEvents(AlertRule):
    """A rule with what it told, the latest first, at most 100."""

    events: list[AlertDelivery]


class AlertRuleStored(AlertRule):
    """A rule that was put."""

    secret: str | None = Field(
        description="What signs its events, where the server made it up; shown this once. Else null."
    )


class AlertList(Answer):
    """The rules by id."""

    items: list[AlertRule]


class WebhookTest(Answer):
    """What became of a marked sample at one webhook."""

    webhook: str
    accepted: bool
    answer: str


class AlertTest(Answer):
    """What became of the sample, by webhook."""

    event_id: str
    items: list[WebhookTest]


class WouldTell(Answer):
    """An event that would have been sent."""

    at: datetime
    type: Literal["firing", "resolved"]
    group: dict[str, str | None]
    value: float | None
    n: int | None


class DryRun(Answer):
    """What a rule would have told, evaluated on what is stored now."""

    started_after: datetime
    started_before: datetime
    every_s: float = Field(description="Between evaluations; longer than the rule's where time is long.")
    evaluations: int
    items: list[WouldTell]


def shown_rule(rule: StoredRule, groups: list[GroupState]) -> dict[str, Any]:
    """Return the fields of ``AlertRule``."""
    return {
        "rule_id": rule.rule_id,
        "document": rule.document,
        "webhooks": [origin(url) for url in rule.webhooks],
        "created_at": rule.created_at,
        "updated_at": rule.updated_at,
        "evaluated_at": rule.evaluated_at,
        "next_evaluation_at": rule.next_at or rule.updated_at,
        "error": rule.error,
        "waiting": rule.waiting,
        "given_up": rule.given_up,
        "groups": [
            {
                "group": orjson.loads(group.group_key),
                "state": group.state,
                "since": group.since,
                "value": group.value,
                "n": group.n,
            }
            for group in groups
        ],
    }


def shown_event(event: SentEvent) -> AlertDelivery:
    """Return the event as it is answered."""
    body = orjson.loads(event.body)
    waiting = event.next_try_at is not None
    return AlertDelivery(
        event_id=event.event_id,
        type=body["type"],
        group=body["group"],
        value=body["value"],
        webhook=origin(event.url),
        created_at=event.created_at,
        attempts=event.attempts,
        state="waiting" if waiting else "delivered" if event.delivered_at else "given_up",
        delivered_at=event.delivered_at,
        next_try_at=event.next_try_at,
        last_answer=event.last_answer,
    )
