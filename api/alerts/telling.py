"""What is said of a change, and how it is signed and sent."""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from hashlib import sha256
from ssl import SSLContext
from typing import Any, Literal

import httpx
import orjson

from api.alerts.addresses import AddressProblem, resolved
from api.alerts.declared import AlertRule
from store.alert_outbox import AlertEvent

TIMESTAMP = "X-XRay-Timestamp"
SIGNATURE = "X-XRay-Signature"
EVENT_ID = "X-XRay-Event-Id"
TIMEOUT_S = 10.0
"""For all of a request, however slowly it is answered; the look-up of the name comes before."""
Kind = Literal["firing", "resolved", "test"]


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of one request."""

    accepted: bool
    said: str
    """``HTTP 204``, or the kind of failure; nothing of what the other side sent."""
    heard: bool = False
    """Whether the other side answered at all."""


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


def send(
    url: str,
    secret: str,
    event_id: str,
    body: str,
    *,
    allow_private: bool,
    at: datetime,
    timeout_s: float = TIMEOUT_S,
) -> Answer:
    """
    Send an event once; never raises for what the other side does. Follows no redirect.

    Not from a thread with an event loop of its own.
    """
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
        extensions = {"sni_hostname": target.name, "timeout": httpx.Timeout(timeout_s).as_dict()}
        request = httpx.Request(
            "POST", target.url, content=data, headers=dict(headers), extensions=extensions
        )
        return asyncio.run(_answer(request, timeout_s))
    except TimeoutError:
        return Answer(False, f"no answer within {timeout_s:g} s")
    except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as exc:
        return Answer(False, type(exc).__name__)


async def _answer(request: httpx.Request, timeout_s: float) -> Answer:
    # A transport and no client: a client logs whole URLs, whose paths may be tokens, and takes a proxy from
    # the environment, which would look the name up anew, where nobody checks it.
    async with (
        asyncio.timeout(timeout_s),
        httpx.AsyncHTTPTransport(verify=_certificates()) as transport,
    ):
        response = await transport.handle_async_request(request)
        await response.aclose()
        return Answer(response.is_success, f"HTTP {response.status_code}", heard=True)


@cache
def _certificates() -> SSLContext:
    return httpx.create_ssl_context(trust_env=False)


def _hash(*parts: str) -> str:
    return sha256("\x1f".join(parts).encode("utf-8", "surrogatepass")).hexdigest()[:32]
