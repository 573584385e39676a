"""What is said of a change, and how it is signed and sent."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, Literal

import httpx
import orjson

from api.alerts.addresses import AddressProblem, resolved
from api.alerts.declared import AlertRule
from store.alerts import AlertEvent

TIMESTAMP = "X-XRay-Timestamp"
SIGNATURE = "X-XRay-Signature"
EVENT_ID = "X-XRay-Event-Id"
_TIMEOUT_S = 10.0
Kind = Literal["firing", "resolved", "test"]


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of one request."""

    accepted: bool
    said: str
    """``HTTP 204``, or the kind of failure; nothing of what the other side sent."""


def event(
    rule: AlertRule,
    kind: Kind,
    key: str,
    *,
    firing_since: datetime,
    at: datetime,
    value: float | None,
    n: int | None,
    because: str | None = None,
) -> AlertEvent:
    """
    Return what is told of a group.

    The event's id follows from rule, group, change and when it began to fire: whoever works it out
    again gets the same, and a receiver that knows the id has seen the event.
    """
    sign, limit = rule.limit
    began = firing_since.astimezone(UTC).isoformat()
    alert_id = _hash(rule.id, key, began)
    event_id = _hash(alert_id, kind)
    body: dict[str, Any] = {
        "event_id": event_id,
        "alert_id": alert_id,
        "type": kind,
        "test": kind == "test",
        "rule_id": rule.id,
        "about": rule.about,
        "group": orjson.loads(key),
        "value": value,
        "n": n,
        "limit": {"sign": sign, "value": limit},
        "window_s": rule.window.total_seconds(),
        "firing_since": began,
        "at": at.astimezone(UTC).isoformat(),
        "because": because,
    }
    return AlertEvent(event_id, key, orjson.dumps(body).decode())


def signature(secret: str, timestamp: str, body: bytes) -> str:
    """Return the header that proves who sent the body, and when."""
    signed = hmac.digest(secret.encode(), timestamp.encode() + b"." + body, "sha256")
    return f"v1={signed.hex()}"


def send(url: str, secret: str, event_id: str, body: str, *, allow_private: bool, at: datetime) -> Answer:
    """Send an event once; never raises for what the other side does. Follows no redirect."""
    try:
        target = resolved(url, allow_private=allow_private)
    except AddressProblem as exc:
        return Answer(False, str(exc))
    data, timestamp = body.encode(), str(int(at.timestamp()))
    headers: Mapping[str, str] = {
        "Host": target.host,
        "Content-Type": "application/json",
        "User-Agent": "xray-alerts/1",
        TIMESTAMP: timestamp,
        SIGNATURE: signature(secret, timestamp, data),
        EVENT_ID: event_id,
    }
    try:
        # trust_env=False: a proxy would look the name up anew, where nobody checks it.
        with (
            httpx.Client(timeout=_TIMEOUT_S, trust_env=False, follow_redirects=False) as client,
            client.stream(
                "POST",
                target.url,
                content=data,
                headers=dict(headers),
                extensions={"sni_hostname": target.name},
            ) as response,
        ):
            return Answer(response.is_success, f"HTTP {response.status_code}")
    except httpx.HTTPError as exc:
        return Answer(False, type(exc).__name__)


def _hash(*parts: str) -> str:
    return sha256("\x1f".join(parts).encode("utf-8", "surrogatepass")).hexdigest()[:32]
