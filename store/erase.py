"""
Erasing one run or one item everywhere, on request; counts stay, and what comes again does not bring it back.

The erasure is committed first, as a hash, and every writer knows it a moment later. When those who did not
know it yet have committed, what is stored is wiped. Interrupted anywhere, asking again ends it. What it
means and what is out of its reach: decision 0035.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from time import monotonic, sleep
from typing import Any

import orjson
import psycopg
from psycopg import sql
from sqlalchemy import Table, Text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from store import schema, wire
from store.artifacts.garbage import collect
from store.artifacts.objects import ObjectStore, StoreAway
from store.database import lasting_conninfo
from store.erasures import LOOK_EVERY_S, MARKER, Erased, item_digest, without_items
from store.errors import Unavailable
from store.ids import ERASED_RUN, run_key_bytes
from store.item_filter import fingerprint
from store.kinds import chunk_state
from store.rollup_marks import HOUR_OF_STARTED_AT, WEEK_OF_RUN_DAY
from store.rows import DecisionChunk

_CONNECT_TIMEOUT_S = 5
_WRITERS_S = 60.0
"""How long writers that began before are waited for; longer than their statements may take."""
_OBJECTS_S = 10.0
"""How long those are waited for who are putting payloads under keys like those of the run."""
_PAUSE_S = 0.05
_ADVISORY_LOCK = 0x78726165
_CHUNKS = 50
_SETTINGS = (
    "SELECT set_config('statement_timeout', '600s', false), set_config('lock_timeout', '30s', false),"
    " set_config('TimeZone', 'UTC', false)"
)


@dataclass(frozen=True)
class ErasedRun:
    """What was wiped of a run."""

    steps: int
    """Of which the numbers stay."""
    decisions: int
    """Chunks."""
    artifacts: int
    outcomes: int


@dataclass(frozen=True)
class ErasedItem:
    """Where the id of an item was taken out."""

    chunks: int
    """Of decisions, which stay as those of an item without a name."""
    steps: int
    """That had selected it."""
    outcomes: int


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
            if not connection.execute("SELECT 1 FROM runs WHERE run_key = %s", [_uuid(key)]).fetchone():
                return None
            _remember(connection, "run", key, None)
            with connection.transaction():
                keys, erased = _wipe_run(connection, run_id, key)
            self._delete_objects(connection, keys)
            return erased

    def item(self, item_id: str) -> ErasedItem:
        """Erase an item, known or not; otherwise as ``run``. Reads what may name it in all partitions."""
        with self._connection() as connection:
            _remember(connection, "item", item_digest(item_id), fingerprint(item_id))
            return _wipe_item(connection, item_id)

    def _delete_objects(self, connection: psycopg.Connection[Any], run_keys: Sequence[bytes]) -> None:
        """Delete what came for these runs and nothing refers to; what is being put stays for the garbage."""
        if self._objects is None:
            return
        wire.adapt(connection)
        try:
            for key in run_keys:
                collect(connection, self._objects, 0.0, run_key=key, until=monotonic() + _OBJECTS_S)
        except StoreAway as error:
            raise Unavailable(
                "the run is erased from the database; its payloads are still in the object store, which is "
                "away: ask again"
            ) from error

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


def _uuid(key: bytes) -> str:
    return key.hex()


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
    sleep(2 * LOOK_EVERY_S)
    (now,) = _one(connection.execute("SELECT pg_current_xact_id()::text::numeric"))
    until = monotonic() + _WRITERS_S
    while monotonic() < until:
        # All with a lower number have ended.
        (oldest,) = _one(connection.execute("SELECT pg_snapshot_xmin(pg_current_snapshot())::text::numeric"))
        if oldest > now:
            return
        sleep(_PAUSE_S)


def _one(cursor: psycopg.Cursor[Any]) -> tuple[Any, ...]:
    row: tuple[Any, ...] | None = cursor.fetchone()
    assert row is not None  # of statements that always give one
    return row


_RUN_COLUMNS = (
    "entity",
    "tags",
    "input",
    "output",
    "outcome_reason",
    "error_message",
    "trace_ids",
    "span_id",
)
_STEP_COLUMNS = (
    *("trace_id", "span_id", "parent_span_id", "selected_id", "why"),
    *("input", "output", "reasoning", "error_message"),
)
_MERGE_COLUMNS = ("start_copy", "stub", "sent_flags")
"""What a later copy would be merged with; none is taken any more."""
_SPECIAL = {
    "run_id": sql.SQL("%(name)s"),
    "flags": sql.SQL("(SELECT jsonb_agg(flag - 'sent') FROM jsonb_array_elements(flags) AS flag)"),
    # Else they would look as if they were missing.
    "decisions_chunks": sql.SQL("CASE WHEN decisions_chunks IS NOT NULL THEN 0 END"),
}


def _wiping(table: Table, emptied: Sequence[str]) -> sql.Composed:
    """The statement that empties columns of a run's rows, and takes its id out of all other texts."""
    changes = []
    for column in table.columns:
        name = sql.Identifier(column.name)
        value: sql.Composable | None = _SPECIAL.get(column.name)
        if column.name in (*emptied, *_MERGE_COLUMNS):
            value = sql.SQL("NULL")
        elif value is None and isinstance(column.type, Text):
            value = sql.SQL("replace({}, %(id)s, %(marker)s)").format(name)
        elif value is None and isinstance(column.type, JSONB):
            value = sql.SQL("replace({}::text, %(json_id)s, %(marker)s)::jsonb").format(name)
        elif value is None and isinstance(column.type, ARRAY) and isinstance(column.type.item_type, Text):
            value = sql.SQL("replace({}::text, %(id)s, %(marker)s)::text[]").format(name)
        if value is not None:
            changes.append(sql.SQL("{} = {}").format(name, value))
    where = sql.SQL("run_key = %(key)s AND run_day = %(day)s")
    return sql.SQL("UPDATE {} SET {} WHERE {}").format(
        sql.Identifier(table.name), sql.SQL(", ").join(changes), where
    )


_WIPE_RUN = _wiping(schema.runs, _RUN_COLUMNS)
_WIPE_STEPS = _wiping(schema.steps, _STEP_COLUMNS)
_WIPE_LOSSES = _wiping(schema.losses, ())
_MARK = sql.SQL(
    "INSERT INTO rollup_marks (week, hour) SELECT DISTINCT {}, {} FROM steps"
    " WHERE run_key = %(key)s AND run_day = %(day)s"
).format(sql.SQL(WEEK_OF_RUN_DAY), sql.SQL(HOUR_OF_STARTED_AT))
"""A step's name may hold the id of its run."""
_DELETE = sql.SQL("DELETE FROM {} WHERE run_key = %(key)s AND run_day = %(day)s")
_EVIDENCE = ("decisions", "artifacts", "artifact_blobs", "outcomes")


def _wipe_run(connection: psycopg.Connection[Any], run_id: str, key: bytes) -> tuple[list[bytes], ErasedRun]:
    """Wipe what is stored; return also the keys of the runs that payloads of its steps may have come for."""
    day, trace_ids = _one(
        connection.execute("SELECT run_day, trace_ids FROM runs WHERE run_key = %s FOR UPDATE", [_uuid(key)])
    )
    # So that no inferred steps come to it any more, nor stay under its name where it is a trace's own.
    own_keys = [run_key_bytes(trace_id.hex) for trace_id in trace_ids or ()]
    own = [_uuid(own_key) for own_key in own_keys]
    connection.execute("DELETE FROM traces WHERE run_key = ANY (%s::uuid[])", [[*own, _uuid(key)]])
    values = {
        "key": _uuid(key),
        "day": day,
        "id": run_id,
        "json_id": orjson.dumps(run_id).decode()[1:-1],
        "marker": MARKER,
        "name": ERASED_RUN + key.hex(),
    }
    steps = connection.execute(_WIPE_STEPS, values).rowcount
    connection.execute(_MARK, values)
    connection.execute(_WIPE_LOSSES, values)
    gone = {
        table: connection.execute(_DELETE.format(sql.Identifier(table)), values).rowcount
        for table in _EVIDENCE
    }
    connection.execute(_WIPE_RUN, values)
    erased = ErasedRun(steps, gone["decisions"], gone["artifacts"], gone["outcomes"])
    return [key, *own_keys], erased


_NAMING = (
    "SELECT run_key, step_id, attempt_key, chunk_index FROM decisions"
    " WHERE run_day >= %s AND run_day < %s AND data IS NOT NULL"
    " AND (item_filter IS NULL OR position(%s IN item_filter) > 0)"
)
_OPEN = (
    "SELECT run_key, step_id, attempt_key, chunk_index, chunk_total, item_count, data, item_filter, error"
    " FROM decisions WHERE run_day >= %s AND run_day < %s"
    " AND (run_key, step_id, attempt_key, chunk_index) IN"
    " (SELECT * FROM unnest(%s::uuid[], %s::text[], %s::text[], %s::int[])) FOR UPDATE"
)
_REWRITE = (
    "UPDATE decisions SET data = %s, item_filter = %s, content_hash = %s WHERE run_key = %s AND run_day >= %s"
    " AND run_day < %s AND step_id = %s AND attempt_key = %s AND chunk_index = %s"
)
_UNSELECT = """
UPDATE steps SET selected_id = CASE selected_id WHEN %(id)s THEN %(marker)s ELSE selected_id END,
    start_copy = CASE start_copy #>> '{copy,selected_id}' WHEN %(id)s
        THEN jsonb_set(start_copy, '{copy,selected_id}', to_jsonb(%(marker)s::text)) ELSE start_copy END
WHERE run_day >= %(first)s AND run_day < %(until)s
    AND (selected_id = %(id)s OR start_copy #>> '{copy,selected_id}' = %(id)s)
"""


def _wipe_item(connection: psycopg.Connection[Any], item_id: str) -> ErasedItem:
    if "\x00" in item_id or item_id == MARKER:
        return ErasedItem(0, 0, 0)
    erased = Erased(0, frozenset(), {fingerprint(item_id): frozenset([item_digest(item_id)])})
    chunks = steps = 0
    # Partition by partition, so that no lock and no snapshot is held for long.
    for first, until in _weeks(connection):
        chunks += _wipe_chunks(connection, erased, fingerprint(item_id), first, until)
        values = {"id": item_id, "marker": MARKER, "first": first, "until": until}
        steps += connection.execute(_UNSELECT, values).rowcount
    outcomes = connection.execute("DELETE FROM outcomes WHERE item_id = %s", [item_id]).rowcount
    return ErasedItem(chunks, steps, outcomes)


def _weeks(connection: psycopg.Connection[Any]) -> Iterator[tuple[date, date]]:
    found = connection.execute(
        "SELECT monday, monday + 7 FROM (SELECT to_date(right(c.relname, 8), 'YYYYMMDD') AS monday"
        " FROM pg_inherits JOIN pg_class c ON c.oid = inhrelid WHERE inhparent = 'steps'::regclass) AS p"
        " ORDER BY 1"
    )
    yield from found.fetchall()


def _wipe_chunks(
    connection: psycopg.Connection[Any], erased: Erased, mark: bytes, first: date, until: date
) -> int:
    keys = connection.execute(_NAMING, [first, until, mark]).fetchall()
    wiped = 0
    for start in range(0, len(keys), _CHUNKS):
        wiped += _rewrite(connection, erased, keys[start : start + _CHUNKS], first, until)
    return wiped


def _rewrite(
    connection: psycopg.Connection[Any], erased: Erased, keys: Sequence[Any], first: date, until: date
) -> int:
    """Rewrite those of the chunks that name the item, in one transaction."""
    wiped = 0
    with connection.transaction():
        found = connection.execute(_OPEN, [first, until, *map(list, zip(*keys, strict=True))]).fetchall()
        for run_key, step_id, attempt_key, index, total, count, data, marks, error in found:
            stored = DecisionChunk("", step_id, attempt_key, index, total, count, data, error, marks)
            chunk = without_items(stored, erased)
            if chunk is stored:
                continue
            hashed = chunk_state(chunk, 0).order[1]
            key = [run_key, first, until, step_id, attempt_key, index]
            rewritten = [chunk.data, chunk.item_filter, hashed, *key]
            wiped += connection.execute(_REWRITE, rewritten).rowcount
    return wiped
