"""
The API keys as a running server knows them: a copy of the table, kept fresh by a thread of its own.

A request is checked against the copy and never waits for the database, so neither a slow
database nor a flood of made-up keys can hold up those who come with a good one. That is why
the whole table is kept, active keys only, and no cache of single look-ups with its misses.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from time import monotonic
from typing import Any

import psycopg

from store.access import keys
from store.access.keys import ApiKey, Scope
from store.database import libpq_url
from store.errors import Unavailable

REFRESH_S = 5.0
"""How late a change is seen at most when its notification is lost, as by a pooler in between."""
FRESH_S = 20.0
"""Age up to which the copy may say that a key does not exist."""
TRUSTED_S = 300.0
"""Age up to which the copy vouches for the keys in it, while the database is away."""
_RETRY_S = 1.0
_ANSWER_S = 10.0
_USED_EVERY_S = 60.0
_STOP_S = 2.0

_log = logging.getLogger(__name__)


class KeyRing:
    """
    The active keys of a database; ``start`` before the first question, ``close`` after the last.

    Any thread may ask.
    """

    def __init__(self, url: str, *, fresh_s: float = FRESH_S, trusted_s: float = TRUSTED_S) -> None:
        self._url = libpq_url(url)
        self._fresh_s = fresh_s
        self._trusted_s = trusted_s
        self._keys: Mapping[str, ApiKey] = {}
        self._read_at = -float("inf")
        self._used: dict[str, datetime] = {}
        self._used_written_at = monotonic()
        self._first_try = threading.Event()
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        self._away = False

    def start(self) -> None:
        """Read the keys and go on following them. Raises ``Unavailable`` when they cannot be read now."""
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._follow_always()), name="xray-keys", daemon=True
        )
        self._thread.start()
        self._first_try.wait(keys.CONNECT_TIMEOUT_S + _ANSWER_S)
        if self._away or self._read_at < 0:
            self.close()
            raise Unavailable("the API keys cannot be read from the database; is its schema up to date?")

    def close(self) -> None:
        """Stop following and write when the keys were last used; safe to call twice."""
        if self._thread is None:
            return
        if self._loop is not None and self._task is not None:
            # The thread may have ended by itself in between.
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._task.cancel)
        self._thread.join(_STOP_S)
        self._thread = None

    def has_key_for(self, scope: Scope) -> bool:
        """Tell whether any active key is good for something."""
        now = datetime.now(UTC)
        return any(key.allows(scope) and not key.is_over(now) for key in self._keys.values())

    def find(self, key_id: str) -> ApiKey | None:
        """
        Return the key of an id, expired ones too; None when there is none.

        Raises ``Unavailable`` while the database is away for too long to tell.
        """
        age_s = monotonic() - self._read_at
        key = self._keys.get(key_id)
        if age_s > (self._fresh_s if key is None else self._trusted_s):
            raise Unavailable("the API keys cannot be read from the database")
        return key

    def note_use(self, key_id: str, now: datetime) -> None:
        """Remember that a key was used; it is written later."""
        self._used[key_id] = now

    async def _follow_always(self) -> None:
        self._loop, self._task = asyncio.get_running_loop(), asyncio.current_task()
        with suppress(asyncio.CancelledError):
            while True:
                try:
                    await self._follow()
                except (psycopg.Error, TimeoutError, OSError) as exc:
                    if not self._away:
                        _log.warning("the API keys cannot be read (%s); known ones go on", type(exc).__name__)
                    self._away = True
                    self._first_try.set()
                await asyncio.sleep(_RETRY_S)

    async def _follow(self) -> None:
        """Read the keys whenever they change; ends with an error of the connection only."""
        connection = await psycopg.AsyncConnection.connect(
            self._url,
            autocommit=True,
            connect_timeout=keys.CONNECT_TIMEOUT_S,
            application_name="xray-keys",
        )
        try:
            # Before the first look, so that no change falls between.
            await self._execute(connection, f"LISTEN {keys.CHANNEL}")
            while True:
                await self._read(connection)
                if monotonic() - self._used_written_at > _USED_EVERY_S:
                    await self._write_used(connection)
                async for _ in connection.notifies(timeout=REFRESH_S, stop_after=1):
                    pass
        except asyncio.CancelledError:
            await self._write_used(connection)
            raise
        finally:
            # Not "async with": leaving it rolls back first, which waits for a server that may hang.
            await connection.close()

    async def _read(self, connection: psycopg.AsyncConnection[Any]) -> None:
        asked_at = monotonic()
        async with asyncio.timeout(_ANSWER_S):
            rows = await (await connection.execute(keys.ACTIVE)).fetchall()
        # One assignment each, the keys first: whoever reads in between sees a copy older than it is.
        self._keys = {key.key_id: key for key in map(keys.key_of, rows)}
        self._read_at = asked_at
        if self._away:
            _log.warning("the API keys can be read again")
        self._away = False
        self._first_try.set()

    async def _write_used(self, connection: psycopg.AsyncConnection[Any]) -> None:
        self._used_written_at = monotonic()
        if noted := self._used:
            self._used = {}
            await self._execute(connection, keys.USED, keys.used(noted))

    @staticmethod
    async def _execute(
        connection: psycopg.AsyncConnection[Any], statement: str, parameters: Any = None
    ) -> None:
        async with asyncio.timeout(_ANSWER_S):
            await connection.execute(statement, parameters)
