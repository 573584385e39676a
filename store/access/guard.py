"""
Who is let in: from the headers of a request to leave, or to the reason why not.

Transports say it in their own words: ``collector/auth.py`` and ``api/auth.py``.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from enum import Enum
from time import monotonic
from typing import NamedTuple

from store.access import keys
from store.access.keyring import KeyRing
from store.access.keys import Scope
from store.errors import Unavailable

SEND_IT = "send it as `Authorization: Bearer KEY` or `x-api-key: KEY`"
_RETRY_AFTER_S = 2.0
_LONGEST_WAIT_S = 86_400.0


class Denial(Enum):
    """Why a request is not let in."""

    NO_KEY = "no_key"
    """None, or none that holds."""
    WRONG_SCOPE = "wrong_scope"
    TOO_MANY = "too_many"
    """More requests than the key may make; the same request may be made later."""
    UNDECIDED = "undecided"
    """The database is away, so nobody can tell; the same request may be made later."""


class Denied(NamedTuple):
    """A request that is not let in."""

    denial: Denial
    message: str
    """For whoever sent it: what to do, nothing about other keys."""
    retry_after_s: float | None = None
    """When to come again; None = coming again will not help."""


class Guard:
    """Checks keys and counts their requests; any thread may call it, it never waits."""

    def __init__(
        self, keyring: KeyRing, rate_per_s: float = 0.0, clock: Callable[[], float] = monotonic
    ) -> None:
        """rate_per_s: requests per second of a key that says none itself, 0 = any. clock: seconds."""
        self._keyring = keyring
        self._rate_per_s = rate_per_s
        self._clock = clock
        self._buckets: dict[str, _Bucket] = {}
        self._lock = threading.Lock()

    def check(self, authorization: str | None, x_api_key: str | None, scope: Scope) -> Denied | None:
        """
        Return None to let a request in.

        authorization, x_api_key: the headers of these names. The second wins: a proxy may need
        the first for itself.
        """
        sent = x_api_key or _bearer(authorization)
        if not sent:
            return Denied(Denial.NO_KEY, f"an API key is needed: {SEND_IT}")
        parts = keys.split(sent.strip())
        try:
            key = self._keyring.find(parts[0]) if parts else None
        except Unavailable:
            message = "the API key cannot be checked now; come again"
            return Denied(Denial.UNDECIDED, message, _RETRY_AFTER_S)
        if parts is None or key is None or not key.has(parts[1]):
            return Denied(Denial.NO_KEY, "the API key is not known, or was revoked")
        now = datetime.now(UTC)
        if key.is_over(now):
            return Denied(Denial.NO_KEY, f"the API key {key.key_id} has expired")
        if not key.allows(scope):
            return Denied(Denial.WRONG_SCOPE, f"the API key {key.key_id} lacks the scope {scope}")
        self._keyring.note_use(key.key_id, now)
        return self._take(key.key_id, key.rate_per_s or self._rate_per_s)

    def _take(self, key_id: str, rate_per_s: float) -> Denied | None:
        if not rate_per_s:
            return None
        with self._lock:
            bucket = self._buckets.setdefault(key_id, _Bucket(self._clock()))
            wait_s = bucket.take(rate_per_s, self._clock())
        if not wait_s:
            return None
        message = f"the API key {key_id} may make {rate_per_s:g} requests per second here; come again"
        return Denied(Denial.TOO_MANY, message, wait_s)


class _Bucket:
    """A token bucket that holds what one second brings, and at least one token."""

    def __init__(self, now_s: float) -> None:
        self._tokens = math.inf
        self._at_s = now_s

    def take(self, rate_per_s: float, now_s: float) -> float:
        """Take one token and return 0, or the seconds until there is one."""
        filled = self._tokens + (now_s - self._at_s) * rate_per_s
        self._tokens = min(filled, max(1.0, rate_per_s))
        self._at_s = now_s
        if self._tokens < 1.0:
            # A rate next to nothing must not make a wait that no header can say.
            return min((1.0 - self._tokens) / rate_per_s, _LONGEST_WAIT_S)
        self._tokens -= 1.0
        return 0.0


def _bearer(authorization: str | None) -> str | None:
    """Return the token of ``Authorization: Bearer token`` (RFC 6750, section 2.1)."""
    scheme, _, token = (authorization or "").strip().partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None
