"""
Erasing one run or one item everywhere, on request; counts stay, and what comes again does not bring it back.

The erasure is committed first, as a hash, and every writer knows it a moment later. When those who did not
know it yet have committed, what is stored is wiped. Interrupted anywhere, asking again ends it. What it
means and what is out of its reach: decision 0035.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from time import monotonic, sleep
from typing import Any

import psycopg

from store import wire
from store.artifacts.garbage import collect
from store.artifacts.objects import ObjectStore, StoreAway
from store.database import lasting_conninfo
from store.erasures import LOOK_EVERY_S, item_digest
from store.errors import Unavailable
from store.ids import run_key_bytes
from store.item_filter import fingerprint
from store.schema import DISTRIBUTED_TABLES
from store.wiping import ErasedItem, ErasedRun, forget_traces, wipe_item, wipe_run

_CONNECT_TIMEOUT_S = 5
_WRITERS_S = 60.0
"""How long writers that began before are waited for."""
_OBJECTS_S = 10.0
"""How long those are waited for who are putting payloads under keys like those of the run."""
_WITHOUT_OBJECTS = "the run is erased from the database; payloads of it are still in the object store"
_PAUSE_S = 0.05
_ADVISORY_LOCK = 0x78726165
_SETTINGS = (
    "SELECT set_config('statement_timeout', '600s', false), set_config('lock_timeout', '30s', false),"
    " set_config('TimeZone', 'UTC', false)"
)


class Eraser:
    """Erases in one database; any thread may ask, each call has a connection of its own."""

    def __init__(self, url: str, objects: ObjectStore | None = None) -> None:
        """objects: where payloads of artifacts lie that are not in the database."""
        self._url = url
        self._objects = objects

    def run(self, run_id: str) -> ErasedRun | None:
        """
        Erase a run; None when nothing of it is known.

        Returns when it is gone, some seconds later. Raises ``Unavailable``; then ask again.
        """
        if "\x00" in run_id:
            return None
        with self._connection() as connection:
            key = run_key_bytes(run_id)
            if not connection.execute("SELECT 1 FROM runs WHERE run_key = %s", [key.hex()]).fetchone():
                return None
            _remember(connection, "run", key, None)
            with connection.transaction():
                keys, erased = wipe_run(connection, run_id, key)
            self._delete_objects(connection, keys)
            forget_traces(connection, key)
            return erased

    def item(self, item_id: str) -> ErasedItem:
        """Erase an item, known or not; otherwise as ``run``. Reads what may name it in all partitions."""
        with self._connection() as connection:
            _remember(connection, "item", item_digest(item_id), fingerprint(item_id))
            return wipe_item(connection, item_id)

    def _delete_objects(self, connection: psycopg.Connection[Any], run_keys: Sequence[bytes]) -> None:
        """Delete what came for these runs and nothing refers to. Raises ``Unavailable``."""
        if self._objects is None:
            return
        wire.adapt(connection)
        try:
            busy = [
                collect(connection, self._objects, 0.0, run_key=key, wait_s=_OBJECTS_S).busy
                for key in run_keys
            ]
        except StoreAway as error:
            raise Unavailable(f"{_WITHOUT_OBJECTS}, which is away: ask again") from error
        if any(busy):
            raise Unavailable(f"{_WITHOUT_OBJECTS}, where others are putting just now: ask again")

    def _connection(self) -> _Connection:
        return _Connection(self._url)


class _Connection:
    """A connection for one erasure, where errors of the driver become errors of the store."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._opened: psycopg.Connection[Any] | None = None

    def __enter__(self) -> psycopg.Connection[Any]:
        try:
            self._opened = psycopg.connect(
                lasting_conninfo(self._url),
                autocommit=True,
                connect_timeout=_CONNECT_TIMEOUT_S,
                application_name="xray-erase",
            )
            self._opened.execute(_SETTINGS)
        except psycopg.Error as error:
            raise Unavailable("the database cannot be reached") from error
        return self._opened

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if self._opened is not None:
            self._opened.close()
        if isinstance(error, psycopg.Error):
            raise Unavailable("the erasure was interrupted; ask again to end it") from error


def _remember(connection: psycopg.Connection[Any], kind: str, digest: bytes, mark: bytes | None) -> None:
    """Tell all writers, and wait until those are done that had not heard of it."""
    # Again with a new number when it was erased before: somebody may have come in between.
    with connection.transaction():
        # One after the other, so that the numbers go up as they are committed.
        connection.execute("SELECT pg_advisory_xact_lock(%s)", [_ADVISORY_LOCK])
        connection.execute("DELETE FROM erasures WHERE kind = %s AND digest = %s", [kind, digest])
        connection.execute(
            "INSERT INTO erasures (kind, digest, fingerprint, number, erased_at)"
            " SELECT %s, %s, %s, coalesce(max(number), 0) + 1, %s FROM erasures",
            [kind, digest, mark, datetime.now(UTC)],
        )
    # A transaction that does not know has written something by then: else it looks before it commits.
    sleep(2 * LOOK_EVERY_S)
    _wait_for_writers(connection)


_WRITING = """
SELECT DISTINCT virtualtransaction FROM pg_locks
WHERE locktype = 'relation' AND relation = ANY (%s::regclass[]::oid[])
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND mode IN ('RowShareLock', 'RowExclusiveLock') AND granted AND pid <> pg_backend_pid()
"""


def _wait_for_writers(connection: psycopg.Connection[Any]) -> None:
    """Return when all transactions have ended that write to our tables now. Raises ``Unavailable``."""
    tables = [table.name for table in DISTRIBUTED_TABLES]
    begun = under_way = set(connection.execute(_WRITING, [tables]))
    until = monotonic() + _WRITERS_S
    while under_way & begun:
        if monotonic() > until:
            raise Unavailable("somebody has been writing in one transaction for a minute; ask again")
        sleep(_PAUSE_S)
        under_way = set(connection.execute(_WRITING, [tables]))
