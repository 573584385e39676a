"""Alert rules: put, looked at, tried out. Writing needs the scope admin where keys are asked for."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from fastapi import APIRouter, Request, Response
from starlette.concurrency import run_in_threadpool

from api.alerts.addresses import origin
from api.alerts.asking import ask
from api.alerts.declared import AlertRule, RuleProblem, rule, taken_apart
from api.alerts.telling import event, send
from api.alerts.upkeep import decide, ending
from api.bodies import json_body, refused
from api.errors import NotFound
from api.routes.runs import known_text
from api.schemas_alerts import (
    AlertList,
    AlertRuleStored,
    AlertRuleWithEvents,
    AlertTest,
    DryRun,
    WebhookTest,
    WouldTell,
    shown_event,
    shown_rule,
)
from store.alert_outbox import AlertEvent
from store.alerts import AlertShelf, GroupState, StoredRule
from store.queries.conditions import parse_time, shown
from store.reader import Reader

MAX_BODY_BYTES = 64 * 1024
MAX_EVALUATIONS = 100
"""Of one dry run; each costs what the rule's question costs."""
_EXAMPLE: dict[str, Any] = {
    "steps": {"figure": "drop_ratio.p95", "where": 'step_type = "filter"', "group_by": ["pipeline", "name"]},
    "above": 0.9,
    "window": "1h",
    "for": "10m",
    "webhooks": ["https://hooks.example/xray"],
}
_BODY = {
    "requestBody": {
        "required": True,
        "description": "See docs/alerts.md.",
        "content": {"application/json": {"schema": {"type": "object"}, "example": _EXAMPLE}},
    }
}
_SPAN = {
    "requestBody": {
        "required": True,
        "description": "Times of the first and of the last evaluation (RFC 3339); the last defaults to now.",
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["started_after"],
                    "properties": {
                        "started_after": {"type": "string", "format": "date-time"},
                        "started_before": {"type": "string", "format": "date-time"},
                    },
                }
            }
        },
    }
}


def storing(shelf: AlertShelf, *, allow_private: bool = False) -> APIRouter:
    """
    Return the routes of the rules.

    allow_private: whether webhooks may lead to addresses that are not public.
    """
    routes = APIRouter(prefix="/alerts", tags=["alerts"])
    rules = _Rules(shelf, allow_private)

    @routes.get("")
    def list_rules() -> AlertList:
        """The rules by id, with where their groups stand."""
        return AlertList.model_validate({"items": [shown_rule(*found) for found in shelf.listed()]})

    @routes.get("/{rule_id}")
    def get_rule(rule_id: str) -> AlertRuleWithEvents:
        """A rule with where its groups stand and what it told."""
        found = rules.one(rule_id)
        stored, groups, events = found
        return AlertRuleWithEvents.model_validate(
            shown_rule(stored, groups) | {"events": [shown_event(each) for each in events]}
        )

    @routes.put(
        "/{rule_id}",
        status_code=201,
        openapi_extra=_BODY,
        responses={200: {"model": AlertRuleStored, "description": "It replaced what was there."}},
    )
    async def put_rule(request: Request, response: Response, rule_id: str) -> AlertRuleStored:
        """Store a rule, or replace it; one that asks the same keeps its secret and its groups."""
        document = await json_body(request, MAX_BODY_BYTES)
        created, answer = await run_in_threadpool(rules.put, rule_id, document)
        response.status_code = 201 if created else 200
        return answer

    @routes.delete("/{rule_id}", status_code=204)
    def delete_rule(rule_id: str) -> None:
        """Forget a rule. Its groups that fire are told as resolved."""
        rules.delete(rule_id)

    @routes.post("/{rule_id}/test")
    def test_rule(rule_id: str) -> AlertTest:
        """Send a sample, marked as a test, to each webhook of the rule, once and now."""
        return rules.test(rule_id)

    @routes.post("/{rule_id}/dry-run", openapi_extra=_SPAN)
    async def dry_run(request: Request, rule_id: str) -> DryRun:
        """What a rule would have told between two times, by what is stored; nothing is sent."""
        first, last = _span(await json_body(request, MAX_BODY_BYTES))
        stored, _, _ = await run_in_threadpool(rules.one, rule_id)
        reader: Reader = request.app.state.reader
        return await run_in_threadpool(would_tell, reader, shelf, _declared(stored), first, last)

    return routes


def would_tell(
    reader: Reader, shelf: AlertShelf, declared: AlertRule, after: datetime, before: datetime
) -> DryRun:
    """Evaluate a rule again and again between two times and return what it would have told."""
    step = max(declared.every, (before - after) / (MAX_EVALUATIONS - 1))
    known: dict[str, GroupState] = {}
    items: list[WouldTell] = []
    evaluations, at = 0, after
    while at <= before:
        readings = ask(reader, shelf.contract_state, declared, at)
        states, events = decide(declared, readings, at)(known)
        known = {state.group_key: state for state in states}
        evaluations += 1
        by_key = {reading.key: reading for reading in readings}
        for told in events:
            reading = by_key[told.group_key]
            kind = "firing" if known[told.group_key].state == "firing" else "resolved"
            items.append(
                WouldTell(at=at, type=kind, group=dict(reading.group), value=reading.value, n=reading.n)  # type: ignore[arg-type]
            )
        at += step
    return DryRun(
        started_after=after,
        started_before=before,
        every_s=step.total_seconds(),
        evaluations=evaluations,
        items=items,
    )


class _Rules:
    """What the routes do."""

    def __init__(self, shelf: AlertShelf, allow_private: bool) -> None:
        self._shelf = shelf
        self._allow_private = allow_private

    def one(self, rule_id: str) -> Any:
        found = self._shelf.one(known_text(rule_id, "rule_id"))
        if found is None:
            raise _unknown(rule_id)
        return found

    def put(self, rule_id: str, document: Any) -> tuple[bool, AlertRuleStored]:
        try:
            rest, declared, told = taken_apart(document, rule_id, allow_private=self._allow_private)
        except RuleProblem as exc:
            raise refused(422, "invalid_body", str(exc)) from None
        known, now = self._shelf.one(rule_id), datetime.now(UTC)
        made = None
        secret = told.secret or (known[0].secret if known else None)
        if secret is None:
            secret = made = secrets.token_urlsafe(32)
        stored = StoredRule(rule_id, rest, told.webhooks, secret, now, now, None, None)
        created = self._shelf.put(stored, self._ending(known[0] if known else stored, declared, now))
        _, groups, _ = kept = self.one(rule_id)
        return created, AlertRuleStored.model_validate(shown_rule(kept[0], groups) | {"secret": made})

    def delete(self, rule_id: str) -> None:
        stored, _, _ = self.one(rule_id)
        now = datetime.now(UTC)
        try:
            end = ending(_declared(stored), now, "the rule was deleted")
        except NotFound:
            # Of another version of the server: what cannot be understood can still be deleted.
            end = _nothing_told
        if not self._shelf.delete(rule_id, end, now):
            raise _unknown(rule_id)

    def test(self, rule_id: str) -> AlertTest:
        stored, _, _ = self.one(rule_id)
        now = datetime.now(UTC)
        sample = event(_declared(stored), "test", "{}", firing_since=now, at=now, value=None, n=None)
        items = []
        for url in stored.webhooks:
            answer = send(
                url,
                stored.secret,
                sample.event_id,
                sample.body,
                allow_private=self._allow_private,
                at=now,
            )
            items.append(WebhookTest(webhook=origin(url), accepted=answer.accepted, answer=answer.said))
        return AlertTest(event_id=sample.event_id, items=items)

    @staticmethod
    def _ending(known: StoredRule, declared: AlertRule, now: datetime) -> Any:
        try:
            of_known = _declared(known)
        except NotFound:
            of_known = declared
        return ending(of_known, now, "the rule was replaced")


def _nothing_told(_known: Mapping[str, GroupState]) -> tuple[list[GroupState], list[AlertEvent]]:
    return [], []


def _declared(stored: StoredRule) -> AlertRule:
    try:
        return rule(stored.document, stored.rule_id)
    except RuleProblem as exc:
        raise NotFound(f"the rule is of another version of the server: {exc}", "rule_id") from None


def _span(sent: Any) -> tuple[datetime, datetime]:
    given = dict(sent) if isinstance(sent, dict) else {}
    after, before = given.pop("started_after", None), given.pop("started_before", None)
    if given or not isinstance(after, str) or not (before is None or isinstance(before, str)):
        raise refused(422, "invalid_body", "started_after is needed, started_before may be given; as text")
    first = parse_time("started_after", after)
    last = datetime.now(UTC) if before is None else parse_time("started_before", before)
    if last < first:
        raise refused(422, "invalid_body", "started_before must not lie before started_after")
    return first, last


def _unknown(rule_id: str) -> NotFound:
    return NotFound(f"no alert rule {shown(rule_id)} is known", "rule_id")
