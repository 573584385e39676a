"""
Can the database store and answer now? Asked often, so an answer holds for a moment.
"""

from __future__ import annotations

import threading
from time import monotonic

import psycopg

from store.database import libpq_url
from store.errors import Unavailable

_HOLDS_S = 1.0
_TIMEOUT_S = 2
_QUESTION = "SELECT NOT pg_is_in_recovery() AND to_regclass('runs') IS NOT NULL"


class Probe:
    """Asks over a connection of its own that lives as long as one question; any thread may ask."""

    def __init__(self, url: str) -> None:
        self._url = libpq_url(url)
        self._asking = threading.Lock()
        self._asked_at = -_HOLDS_S
        self._problem: str | None = None

    def check(self) -> None:
        """Return when rows can be stored. Raises ``Unavailable`` with what is in the way."""
        # One at a time: a crowd of health checks must not become a crowd of connections.
        with self._asking:
            if monotonic() - self._asked_at >= _HOLDS_S:
                self._problem = self._ask()
                self._asked_at = monotonic()
            problem = self._problem
        if problem is not None:
            raise Unavailable(problem)

    def _ask(self) -> str | None:
        try:
            with psycopg.connect(
                self._url,
                autocommit=True,
                connect_timeout=_TIMEOUT_S,
                application_name="xray-probe",
            ) as connection:
                # Not by the start-up option "options": a URL may have its own, a pooler none.
                connection.execute("SELECT set_config('statement_timeout', %s, false)", [f"{_TIMEOUT_S}s"])
                row = connection.execute(_QUESTION).fetchone()
        except psycopg.Error:
            return "the database cannot be reached"
        return None if row and row[0] else "the database is read-only or lacks our tables"
