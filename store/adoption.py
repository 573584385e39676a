"""
Brings inferred steps that name no run to the run where they belong (decision 0020).

They are stored in their trace's own run first, wherever they belong. ``traces`` tells which of
them lie elsewhere. A turn moves some of them (``store/moving.py``). Any number of collectors take
turns at once; each skips what another has locked.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from contextlib import suppress
from time import monotonic

import psycopg

from store import distribution, moving
from store.artifact_limit import DEFAULT_MAX_ARTIFACTS
from store.database import connect_to_write
from store.errors import Unavailable
from store.faults import RACE_LOST
from store.records import TraceRow

_log = logging.getLogger(__name__)

_TRACES_PER_TURN = 64
_ASIDE_S = 600.0
"""How long a trace is left out that could not be moved."""
_PAUSE_S = 0.5
_AWAY_PAUSE_S = 5.0
_STOP_S = 5.0
_SETTINGS = (
    "SELECT set_config('statement_timeout', '60s', false), set_config('lock_timeout', '10s', false),"
    " set_config('idle_in_transaction_session_timeout', '60s', false)"
)


class Adopter:
    """
    Moves steps in turns, ``turn`` by ``turn`` or in a thread of its own from ``start`` to ``close``.

    Connects when first used and again after a failure. Not thread-safe.
    """

    def __init__(self, url: str, max_artifacts_per_run: int = DEFAULT_MAX_ARTIFACTS) -> None:
        """max_artifacts_per_run: as the writers of the database have it."""
        self._url = url
        self._max_artifacts = max_artifacts_per_run
        self._traces = _TRACES_PER_TURN
        """How many the next turn takes; after a failure one, and twice as many with each success."""
        self._aside: dict[bytes, float] = {}
        """Keys of the traces that could not be moved, with the time until which they are left out."""
        self._connection: psycopg.Connection | None = None
        self._thread: threading.Thread | None = None
        self._closing = threading.Event()

    def start(self) -> None:
        """Take turns for as long as this is not closed; a database that is away is waited for."""
        self._thread = threading.Thread(target=self._run, name="xray-adopter", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End, and release the connection; safe to call twice. A turn under way is undone or done."""
        self._closing.set()
        if self._thread is not None:
            self._thread.join(_STOP_S)
            self._thread = None
        self._disconnect()

    def turn(self) -> bool:
        """
        Move some of what lies elsewhere than it belongs; return whether more may be left.

        All of a turn is one transaction. Raises ``Unavailable``, and whatever a row raises that
        makes no sense; the next turn tries again, and leaves out what is at fault.
        """
        taken: list[TraceRow] = []
        try:
            connection = self._connect()
            with connection.transaction(), connection.cursor() as cursor:
                taken = moving.take(cursor, self._traces, self._left_out())
                more = moving.move(cursor, taken, self._max_artifacts)
        except RACE_LOST:
            return True
        except psycopg.Error as error:
            self._failed(taken)
            raise Unavailable("inferred steps cannot be brought to their runs now") from error
        except Exception:
            self._failed(taken)
            raise
        self._traces = min(2 * self._traces, _TRACES_PER_TURN)
        return more

    def _left_out(self) -> list[bytes]:
        now = monotonic()
        self._aside = {key: until for key, until in self._aside.items() if until > now}
        return list(self._aside)

    def _failed(self, taken: Sequence[TraceRow]) -> None:
        """So that one trace does not hold up those behind it, they are taken one by one for a while."""
        if self._connection is not None and not self._connection.closed:
            self._traces = 1
            if len(taken) == 1:
                self._aside[taken[0].run_key] = monotonic() + _ASIDE_S
                _log.warning(
                    "inferred steps of trace %s stay where they are for now", taken[0].trace_id.hex()
                )
        self._disconnect()

    def _run(self) -> None:
        pause = 0.0
        while not self._closing.wait(pause):
            try:
                pause = 0.0 if self.turn() else _PAUSE_S
            except Unavailable:
                pause = _AWAY_PAUSE_S
            except Exception:  # noqa: BLE001  # the edge of this thread; the steps stay readable where they are
                _log.exception("inferred steps were not brought to their runs")
                pause = _AWAY_PAUSE_S

    def _connect(self) -> psycopg.Connection:
        if self._connection is None:
            self._connection = connection = connect_to_write(self._url, "xray-adopter")
            connection.execute(_SETTINGS)
            distribution.prepare(connection)
        return self._connection

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(psycopg.Error):
                connection.close()
