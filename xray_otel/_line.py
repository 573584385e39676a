"""The line to the server: one request at a time, and after a failure a pause before the next one."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from xray_otel._guard import described
from xray_otel._ids import random_bits
from xray_otel._transport import Answer, Payload, Transport
from xray_otel.settings import Settings

_BACKOFF_S = (0.25, 5.0)
_FLUSH_BACKOFF_S = 0.1
_DROP_BACKOFF_S = 1.0
_MAX_RETRY_AFTER_S = 60.0


class Line:
    """One thread sends on it. ``changed`` guards what others look at, and hears of answers."""

    def __init__(
        self, settings: Settings, changed: threading.Condition, connect: Callable[[Settings], Transport]
    ) -> None:
        self._settings = settings
        self._changed = changed
        self._connect = connect
        self._transport: Transport | None = None
        self.failures = 0
        """Attempts that failed since the last one that did not."""
        self._away_since_s = 0.0
        self.blocked_until_s = 0.0
        """No attempt before this (monotonic), after a failed one."""
        self.flushes = 0
        """Callers that wait for a delivery."""
        self.is_away = False
        """Whether the last attempt failed; a caller that wants to know of the next one sets it to False."""
        self.delivered = False
        """Whether the server took a request since this was last set to False."""
        self.has_delivered = False
        """Whether it ever took one."""
        self.in_exchange = False
        """Whether a request waits for its answer."""

    def exchange(self, payload: Payload) -> Answer:
        """Sends one request; of whatever happens there is an answer."""
        self.in_exchange = True
        try:
            if self._transport is None:
                self._transport = self._connect(self._settings)
            answer = self._transport.send(payload, self._settings.export_timeout_s)
        except Exception as error:  # noqa: BLE001 - items in hand must be dealt with whatever a library does
            answer = Answer(False, retryable=True, message=described(error))
        finally:
            self.in_exchange = False
        if answer.delivered:
            self.failures = 0
            self.delivered = self.has_delivered = True
        with self._changed:
            self.is_away = answer.retryable
            self._changed.notify_all()
        return answer

    def pause(self, answer: Answer) -> None:
        """After a failed attempt: says when the next one may be made."""
        now_s = time.monotonic()
        if not self.failures:
            self._away_since_s = now_s
        self.failures += 1
        first_s, longest_s = _BACKOFF_S
        jitter = 0.8 + 0.4 * random_bits(16) / 2**16  # not of ``random``, which programs seed
        pause_s = min(longest_s, first_s * 2 ** min(self.failures - 1, 10)) * jitter
        if self._settings.offline == "drop":
            pause_s = min(pause_s, _DROP_BACKOFF_S)
        if answer.retry_after_s is not None:
            pause_s = max(pause_s, min(answer.retry_after_s, _MAX_RETRY_AFTER_S))
        with self._changed:
            if self.flushes:
                pause_s = min(pause_s, _FLUSH_BACKOFF_S)
            self.blocked_until_s = now_s + pause_s
            self._changed.notify_all()

    def hurry(self) -> None:
        """Somebody waits: the next attempt is due soon. Call with ``changed`` held."""
        self.blocked_until_s = min(self.blocked_until_s, time.monotonic() + _FLUSH_BACKOFF_S)

    def away_for_s(self) -> float:
        """For how long the server has been away; 0 when it is there, as far as is known."""
        return time.monotonic() - self._away_since_s if self.failures else 0.0

    def close(self) -> None:
        """Ends the connection, and a request that is under way."""
        if self._transport is not None:
            self._transport.close()
