"""
What erasing a run or an item does to the rows, once no writer brings it any more (``store/erase.py``).

Decision 0035 says what goes, what stays, and what is out of reach.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import orjson
import psycopg
from psycopg import sql
from sqlalchemy import Column, Table, Text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from store import schema
from store.erasures import MARKER, Erased, item_digest, without_items
from store.ids import ERASED_RUN, run_key_bytes
from store.item_filter import fingerprint
from store.kinds import chunk_state
from store.rollup_marks import HOUR_OF_STARTED_AT, WEEK_OF_RUN_DAY
from store.rows import DecisionChunk

_CHUNKS = 50


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


_RUN_COLUMNS = (
    "entity",
    "tags",
    "input",
    "output",
    "outcome_reason",
    "error_message",
    "span_id",
)
_STEP_COLUMNS = (
    *("trace_id", "span_id", "parent_span_id", "selected_id", "why"),
    *("input", "output", "reasoning", "error_message"),
)
_MERGE_COLUMNS = ("start_copy", "stub", "sent_flags")
"""What a later copy would be merged with; none is taken any more."""
_WORDS = frozenset(
    {"status", "terminal_status", "step_type", "capture_level", "attempt_key", "cause", "what"}
    | {"filled", "receipt_filled"}
)
"""What is ours to say, and never holds an id."""
_SHORTEST = 4
"""Letters of an id that is looked for in other texts: "1" or "ok" would be found in what is not about it."""
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
        elif value is None and column.name not in _WORDS:
            value = _without_id(column)
        if value is not None:
            changes.append(sql.SQL("{} = {}").format(name, value))
    where = sql.SQL("run_key = %(key)s AND run_day = %(day)s")
    return sql.SQL("UPDATE {} SET {} WHERE {}").format(
        sql.Identifier(table.name), sql.SQL(", ").join(changes), where
    )


def _without_id(column: Column[Any]) -> sql.Composable | None:
    """The column with something else in the place of a run's id; None where no text of a sender is."""
    name = sql.Identifier(column.name)
    if isinstance(column.type, Text):
        return sql.SQL("replace({}, %(id)s, %(marker)s)").format(name)
    if isinstance(column.type, JSONB):
        # Objects of numbers, all of them: an id may be in their keys.
        return sql.SQL(
            "CASE WHEN %(id)s = '' OR jsonb_typeof({0}) <> 'object' OR position(%(json_id)s IN {0}::text) = 0"
            " THEN {0} ELSE"
            " (SELECT jsonb_object_agg(replace(key, %(id)s, %(marker)s), value) FROM jsonb_each({0})) END"
        ).format(name)
    if isinstance(column.type, ARRAY) and isinstance(column.type.item_type, Text):
        return sql.SQL(
            "CASE WHEN cardinality({0}) = 0 THEN {0} ELSE"
            " (SELECT array_agg(replace(word, %(id)s, %(marker)s) ORDER BY place)"
            " FROM unnest({0}) WITH ORDINALITY AS w (word, place)) END"
        ).format(name)
    return None


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
_OBJECTS = (
    "SELECT DISTINCT object_run_key FROM artifact_blobs"
    " WHERE run_key = %(key)s AND run_day = %(day)s AND object_run_key IS NOT NULL"
)


def wipe_run(connection: psycopg.Connection[Any], run_id: str, key: bytes) -> tuple[list[bytes], ErasedRun]:
    """
    Wipe what is stored; return also the keys of the runs that payloads of its steps may have come for.

    ``forget_traces`` has to follow when nothing of those is left: until then the row still leads there.
    """
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
        # Nothing is replaced in the place of an empty text.
        "id": run_id if len(run_id) >= _SHORTEST else "",
        "json_id": _json(run_id)[1:-1],
        "marker": MARKER,
        "name": ERASED_RUN + key.hex(),
    }
    steps = connection.execute(_WIPE_STEPS, values).rowcount
    connection.execute(_MARK, values)
    connection.execute(_WIPE_LOSSES, values)
    placed = [bytes.fromhex(found.hex) for (found,) in connection.execute(_OBJECTS, values)]
    gone = {
        table: connection.execute(_DELETE.format(sql.Identifier(table)), values).rowcount
        for table in _EVIDENCE
    }
    connection.execute(_WIPE_RUN, values)
    _wipe_verdicts(connection, run_id, ERASED_RUN + key.hex())
    erased = ErasedRun(steps, gone["decisions"], gone["artifacts"], gone["outcomes"])
    return list(dict.fromkeys([key, *own_keys, *placed])), erased


def forget_traces(connection: psycopg.Connection[Any], key: bytes) -> None:
    """Take the traces that an erased run was seen in out of its row."""
    connection.execute("UPDATE runs SET trace_ids = NULL WHERE run_key = %s", [_uuid(key)])


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
_SELECTED = """
SELECT 1 FROM steps WHERE run_day >= %(first)s AND run_day < %(until)s
    AND (selected_id = %(id)s OR start_copy #>> '{copy,selected_id}' = %(id)s) LIMIT 1
"""


def wipe_item(connection: psycopg.Connection[Any], item_id: str) -> ErasedItem:
    """Take an item's id out of all that is stored; no writer may bring it any more."""
    if "\x00" in item_id or item_id == MARKER:
        return ErasedItem(0, 0, 0)
    erased = Erased(0, frozenset(), {fingerprint(item_id): frozenset([item_digest(item_id)])})
    chunks = steps = 0
    # Partition by partition, so that no lock and no snapshot is held for long.
    for first, until in _weeks(connection):
        chunks += _wipe_chunks(connection, erased, fingerprint(item_id), first, until)
        values = {"id": item_id, "marker": MARKER, "first": first, "until": until}
        # A row that a writer puts another in the place of at this moment is passed over: so we look again.
        while connection.execute(_SELECTED, values).fetchone():
            steps += connection.execute(_UNSELECT, values).rowcount
    outcomes = connection.execute("DELETE FROM outcomes WHERE item_id = %s", [item_id]).rowcount
    _wipe_verdicts(connection, item_id, MARKER)
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
    wiped, missed = 0, True
    while missed:
        missed = False
        keys = connection.execute(_NAMING, [first, until, mark]).fetchall()
        for start in range(0, len(keys), _CHUNKS):
            asked = keys[start : start + _CHUNKS]
            rewritten, met = _rewrite(connection, erased, asked, first, until)
            wiped += rewritten
            # As with steps: what a writer has just replaced is there, and was passed over.
            missed |= met < len(asked)
    return wiped


def _rewrite(
    connection: psycopg.Connection[Any], erased: Erased, keys: Sequence[Any], first: date, until: date
) -> tuple[int, int]:
    """Rewrite those of the chunks that name the item, in one transaction; how many, and how many were met."""
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
    return wiped, len(found)


def _wipe_verdicts(connection: psycopg.Connection[Any], told: str, name: str) -> None:
    """Put a name in the place of an id in what checks of contracts found; there it is a text of its own."""
    connection.execute(
        "UPDATE contract_results SET result = replace(result::text, %(told)s, %(name)s)::jsonb"
        " WHERE position(%(told)s IN result::text) > 0",
        {"told": _json(told), "name": _json(name)},
    )


def _json(words: str) -> str:
    return orjson.dumps(words).decode()


def _one(cursor: psycopg.Cursor[Any]) -> tuple[Any, ...]:
    row: tuple[Any, ...] | None = cursor.fetchone()
    assert row is not None  # of statements that always give one
    return row


def _uuid(key: bytes) -> str:
    return key.hex()
