"""
How rows get into a table that may hold some of them already.

New rows go straight in by COPY under a savepoint. When one of their keys is taken the
savepoint is rolled back, the taken rows are read and locked, merged here, and the rest is
copied again (decision 0004). A row that the database refuses is found by halving.

A changed row is deleted and copied anew: one statement for any number of rows and columns,
and to Postgres the same work as an update that touches an indexed column.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, NamedTuple, Protocol, TypeVar
from uuid import UUID

import psycopg
from psycopg import sql
from sqlalchemy import Table

from store.faults import CONFLICT, RACE_LOST, ROW_REFUSED, reason
from store.rows import Row
from store.wire import CopyForm

State = TypeVar("State")

_MAX_ROUNDS = 8
"""Rounds of looking and copying before the transaction starts over: each lost round means that
another writer committed one of our keys in between, or replaced a row we waited for."""


_MAX_PARTS = 64
"""Copies of one key that are tried one by one, at two statements each; more are refused together."""

_ARRAYS = {
    "run_key": sql.SQL("uuid[]"),
    "artifact_key": sql.SQL("uuid[]"),
    "run_day": sql.SQL("date[]"),
    "chunk_index": sql.SQL("int4[]"),
    "sha256": sql.SQL("bytea[]"),
}
"""Array types of the key columns that are not text."""

_COUNT = sql.SQL("deliveries = t.deliveries + k.deliveries")


class Source(NamedTuple):
    """A copy as it came in, and in which of the batches."""

    batch: int
    copy: Row


class Item(NamedTuple, Generic[State]):
    """One key's state on its way into a table."""

    key: tuple[Any, ...]
    """In the order of the kind's key columns; the run key as 16 bytes."""
    state: State
    sources: list[Source]
    """The copies that the state was made of."""
    whole: bool = True
    """False for a part of an item that was refused as a whole."""


class Kind(Protocol[State]):
    """What differs between the tables."""

    statements: Statements
    optimistic: bool
    """Copy first and look only when that fails; else look first."""

    def row(self, item: Item[State]) -> Sequence[Any]:
        """The table row of the item."""
        ...

    def settled(self, peeked: Sequence[Any], item: Item[State], /) -> bool:
        """Whether the stored row, of which the columns of ``peek`` were read, stays as it is."""
        ...

    def combine(self, stored: Sequence[Any], item: Item[State], /) -> State | None:
        """
        The state of the stored row, all columns, and the item together.

        None when the row stays as it is, deliveries and receipt aside.
        """
        ...

    def parts(self, item: Item[State]) -> list[Item[State]]:
        """The item taken apart, one per source: when it is refused, some may still be taken."""
        ...


@dataclass(slots=True)
class Landed(Generic[State]):
    """What became of the items."""

    created: list[Item[State]] = field(default_factory=list)
    refused: list[tuple[Item[State], str]] = field(default_factory=list)
    """Items as small as they could be taken apart, with the reason."""


class Statements:
    """The statements on one table, by its key columns; ``t`` is the table, ``k`` the keys asked for."""

    def __init__(self, table: Table, peek: sql.SQL | None = None, touch: sql.SQL | None = _COUNT) -> None:
        """
        peek: what to read of stored rows, beside their key, to see that most stay as they are
        (a batch that is sent again); None = read them whole at once.
        touch: what to set in rows that stay as they are, None for nothing.
        """
        keys = [column.name for column in table.primary_key]
        types = [_ARRAYS.get(key, sql.SQL("text[]")) for key in keys]
        self._uuids = frozenset(index for index, type_ in enumerate(types) if type_ == sql.SQL("uuid[]"))
        comma = sql.SQL(", ")
        parts = {
            "table": sql.Identifier(table.name),
            "keys": comma.join(map(sql.Identifier, keys)),
            "stored_keys": comma.join(sql.Identifier("t", key) for key in keys),
            "arrays": comma.join(sql.SQL("%s::{}").format(type_) for type_ in types),
            "same": sql.SQL(" AND ").join(
                sql.SQL("{} = {}").format(sql.Identifier("t", key), sql.Identifier("k", key)) for key in keys
            ),
            "touch": touch or sql.SQL(""),
        }
        self.copy = CopyForm(table)
        read = sql.SQL(
            "SELECT {wanted} FROM {table} t JOIN unnest({arrays}) AS k ({keys}) ON {same}"
            " ORDER BY {stored_keys} FOR UPDATE OF t"
        )
        everything = comma.join(sql.Identifier("t", column.name) for column in table.columns)
        self.read = read.format(wanted=everything, **parts)
        self.peek = (
            None
            if peek is None
            else read.format(wanted=sql.SQL("{}, {}").format(parts["stored_keys"], peek), **parts)
        )
        self.delete = sql.SQL(
            "DELETE FROM {table} t USING unnest({arrays}) AS k ({keys}) WHERE {same}"
        ).format(**parts)
        self.touch = touch and sql.SQL(
            "UPDATE {table} t SET {touch} FROM unnest({arrays}, %s::int4[], %s::int8[])"
            " AS k ({keys}, deliveries, received_us) WHERE {same}"
        ).format(**parts)

    def key_arrays(self, items: Sequence[Item[Any]]) -> list[list[Any]]:
        """The items' keys as one array per key column."""
        return [
            [UUID(bytes=value) for value in column] if index in self._uuids else list(column)
            for index, column in enumerate(zip(*(item.key for item in items), strict=True))
        ]


def land(cursor: psycopg.Cursor[Any], kind: Kind[State], items: Sequence[Item[State]]) -> Landed[State]:
    """
    Bring the items, of distinct keys, into their table within the open transaction.

    Rows are taken in the order of their keys, by every writer: so two of them wait for each
    other instead of blocking each other for good.
    """
    landed: Landed[State] = Landed()
    pending = sorted(items, key=_key)
    look_first = not kind.optimistic
    for _ in range(_MAX_ROUNDS):
        if not pending:
            return landed
        if look_first:
            pending = _meet_stored(cursor, kind, pending, landed)
        pending = _insert(cursor, kind, pending, landed)
        look_first = True
    if pending:
        raise RACE_LOST[0](f"{len(pending)} keys were taken by other writers {_MAX_ROUNDS} times in a row")
    return landed


def _key(item: Item[Any]) -> tuple[Any, ...]:
    return item.key


def _meet_stored(
    cursor: psycopg.Cursor[Any], kind: Kind[State], items: list[Item[State]], landed: Landed[State]
) -> list[Item[State]]:
    """Merge the items whose keys are stored; return those whose keys are free."""
    statements = kind.statements
    same: list[Item[State]] = []
    open_items, free = items, []
    if statements.peek is not None:
        peeked = _read(cursor, statements, statements.peek, items)
        free = [item for item in items if item.key not in peeked]
        same = [item for item in items if item.key in peeked and kind.settled(peeked[item.key], item)]
        done = {item.key for item in (*free, *same)}
        open_items = [item for item in items if item.key not in done]
    stored = _read(cursor, statements, statements.read, open_items)
    changed = []
    for item in open_items:
        record = stored.get(item.key)
        if record is None:
            free.append(item)
        elif (state := kind.combine(record, item)) is None:
            same.append(item)
        else:
            changed.append((item, item._replace(state=state)))
    if same and statements.touch:
        deliveries = [getattr(item.state, "deliveries", 0) for item in same]
        received = [getattr(item.state, "last_received_us", 0) for item in same]
        cursor.execute(statements.touch, [*statements.key_arrays(same), deliveries, received])
    if changed:
        _replace(cursor, kind, changed, landed)
    return sorted(free, key=_key)


def _read(
    cursor: psycopg.Cursor[Any], statements: Statements, query: sql.Composed, items: Sequence[Item[Any]]
) -> dict[tuple[Any, ...], Sequence[Any]]:
    """The stored rows of the items by key, locked until the transaction ends."""
    if not items:
        return {}
    arrays = statements.key_arrays(items)
    cursor.execute(query, arrays, binary=True)
    return {tuple(record[: len(arrays)]): record for record in cursor}


def _insert(
    cursor: psycopg.Cursor[Any], kind: Kind[State], items: list[Item[State]], landed: Landed[State]
) -> list[Item[State]]:
    """Copy the items in; return those of which at least one key turned out to be taken."""
    if not items:
        return []
    try:
        with cursor.connection.transaction():
            kind.statements.copy.send(cursor, map(kind.row, items))
    except CONFLICT:
        return items
    except ROW_REFUSED as error:
        return _divide_insert(cursor, kind, items, landed, error)
    landed.created += items
    return []


def _divide_insert(
    cursor: psycopg.Cursor[Any],
    kind: Kind[State],
    items: list[Item[State]],
    landed: Landed[State],
    error: Exception,
) -> list[Item[State]]:
    if len(items) > 1:
        middle = len(items) // 2
        return [
            *_insert(cursor, kind, items[:middle], landed),
            *_insert(cursor, kind, items[middle:], landed),
        ]
    _retry_in_parts(cursor, kind, items[0], landed, error)
    return []


def _retry_in_parts(
    cursor: psycopg.Cursor[Any], kind: Kind[State], item: Item[State], landed: Landed[State], error: Exception
) -> None:
    """One copy after the other, each meeting what the one before has left."""
    parts = kind.parts(item) if item.whole else []
    if not 1 < len(parts) <= _MAX_PARTS:
        landed.refused.append((item, reason(error)))
        return
    for part in parts:
        taken = land(cursor, kind, [part._replace(whole=False)])
        landed.created += taken.created
        landed.refused += taken.refused


def _replace(
    cursor: psycopg.Cursor[Any],
    kind: Kind[State],
    changes: list[tuple[Item[State], Item[State]]],
    landed: Landed[State],
) -> None:
    """changes: (item as it came, item merged with the stored row)."""
    statements = kind.statements
    merged = [after for _, after in changes]
    try:
        with cursor.connection.transaction():
            cursor.execute(statements.delete, statements.key_arrays(merged))
            statements.copy.send(cursor, map(kind.row, merged))
    except ROW_REFUSED as error:
        if len(changes) > 1:
            middle = len(changes) // 2
            _replace(cursor, kind, changes[:middle], landed)
            _replace(cursor, kind, changes[middle:], landed)
            return
        _retry_in_parts(cursor, kind, changes[0][0], landed, error)
