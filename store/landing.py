"""
How rows get into a table that may hold some of them already.

New rows go straight in by COPY under a savepoint. When one of their keys is taken the
savepoint is rolled back, the taken rows are read and locked, merged here, and the rest is
copied again (decision 0004). A row that the database refuses is found by halving.

A changed row is deleted and copied anew: one statement for any number of rows and columns,
and to Postgres the same work as an update that touches an indexed column.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any, Generic, Protocol, TypeVar

import psycopg

from store.distribution import run_by_run
from store.faults import CONFLICT, RACE_LOST, ROW_REFUSED, reason
from store.savepoint import savepoint
from store.statements import Item, Reading, Statements
from store.wire import Column

State = TypeVar("State")
Value = TypeVar("Value")

_MAX_ROUNDS = 8
"""Rounds of looking and copying before the transaction starts over: each lost round means that
another writer committed one of our keys in between, or replaced a row we waited for."""


_MAX_PARTS = 64
"""Copies of one key that are tried one by one, at two statements each; more are refused together."""

_UNSTORABLE = re.compile("[\0\ud800-\udfff]")
_INT4 = 1 << 31

_key = itemgetter(Item._fields.index("key"))


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
    changed: list[Item[State]] = field(default_factory=list)
    """As they are now: merged with what was stored."""
    refused: list[tuple[Item[State], str]] = field(default_factory=list)
    """Items as small as they could be taken apart, with the reason."""

    def add(self, other: Landed[State]) -> None:
        """What became of further items."""
        self.created += other.created
        self.changed += other.changed
        self.refused += other.refused


def by_column(rows: Iterable[Sequence[Any]]) -> list[Column]:
    """Rows, at least one, as columns."""
    return list(zip(*rows, strict=True))


def by_batch(values: Iterable[Value], batch_of: Callable[[Value], int]) -> list[list[Value]]:
    """The values of each batch, in the order in which they were given."""
    found: defaultdict[int, list[Value]] = defaultdict(list)
    for value in values:
        found[batch_of(value)].append(value)
    return list(found.values())


def land(
    cursor: psycopg.Cursor[Any], kind: Kind[State], items: Sequence[Item[State]], *, again: bool = False
) -> Landed[State]:
    """
    Bring the items, of distinct keys, into their table within the open transaction.

    Rows are taken in the order of their keys, by every writer: so two of them wait for each
    other instead of blocking each other for good.

    again: whether most of the keys are likely to be taken, so that copying first is vain.
    """
    landed: Landed[State] = Landed()
    pending = sorted(items, key=_key)
    if pending and kind.optimistic and not again:
        pending = _insert(cursor, kind, pending, landed)
        batches = by_batch(pending, _batch_of)
        if len(batches) > 1:
            # One of them was sent twice, most likely: the others go in as they are.
            for batch in batches:
                landed.add(land(cursor, kind, batch))
            return landed
    elif again:
        pending = _count_same(cursor, kind, pending)
    for lost in range(_MAX_ROUNDS):
        if not pending:
            return landed
        pending = _meet_stored(cursor, kind, pending, landed)
        if lost and pending:
            # Taken, and yet not there: we waited for a row that was replaced. The new one must be locked
            # before its writer comes again, and copying first in vain takes ten times as long as looking.
            pending = _meet_stored(cursor, kind, pending, landed)
        pending = _insert(cursor, kind, pending, landed)
    if pending:
        raise RACE_LOST[0](f"{len(pending)} keys were taken by other writers {_MAX_ROUNDS} times in a row")
    return landed


def _batch_of(item: Item[Any]) -> int:
    return item.sources[0].batch if item.sources else 0


def _count_same(
    cursor: psycopg.Cursor[Any], kind: Kind[State], items: list[Item[State]]
) -> list[Item[State]]:
    """Count the items that are stored with the same content; return the others."""
    statements = kind.statements
    asked = [item for item in items if statements.hash_of(item) is not None and _can_be_asked_for(item.key)]
    if not asked:
        return items
    cursor.execute(statements.touch_same, statements.same_arrays(asked), binary=True)
    if cursor.rowcount == len(items):
        return []
    counted = set(cursor)
    return [item for item in items if item.key not in counted]


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
        cursor.execute(statements.touch, statements.touch_arrays(same))
    if changed:
        _replace(cursor, kind, changed, landed)
    return sorted(free, key=_key)


def _read(
    cursor: psycopg.Cursor[Any], statements: Statements, reading: Reading, items: Sequence[Item[Any]]
) -> dict[tuple[Any, ...], Sequence[Any]]:
    """The stored rows of the items by key, locked until the transaction ends."""
    items = [item for item in items if _can_be_asked_for(item.key)]
    if not items:
        return {}
    if statements.by_run and run_by_run(cursor.connection):
        return _read_run_by_run(cursor, statements, reading, items)
    arrays = statements.key_arrays(items)
    cursor.execute(reading.of_any, arrays, binary=True)
    return {tuple(record[: len(arrays)]): record for record in cursor}


def _read_run_by_run(
    cursor: psycopg.Cursor[Any], statements: Statements, reading: Reading, items: Sequence[Item[Any]]
) -> dict[tuple[Any, ...], Sequence[Any]]:
    """As ``_read``, in the order of the runs, as every writer takes them."""
    of_run: defaultdict[bytes, list[Item[Any]]] = defaultdict(list)
    for item in items:
        of_run[item.key[0]].append(item)
    found: dict[tuple[Any, ...], Sequence[Any]] = {}
    for run_key, asked in sorted(of_run.items()):
        arrays = statements.key_arrays(asked)
        cursor.execute(reading.of_one_run, [*arrays, run_key.hex()], binary=True)
        found |= {tuple(record[: len(arrays)]): record for record in cursor}
    return found


def _can_be_asked_for(key: tuple[Any, ...]) -> bool:
    """Whether the database has a form for the key; it holds no row of one that it has none for."""
    return not any(
        _UNSTORABLE.search(part) if type(part) is str else type(part) is int and not -_INT4 <= part < _INT4
        for part in key
    )


def _insert(
    cursor: psycopg.Cursor[Any], kind: Kind[State], items: list[Item[State]], landed: Landed[State]
) -> list[Item[State]]:
    """Copy the items in; return those of which at least one key turned out to be taken."""
    if not items:
        return []
    try:
        with savepoint(cursor):
            kind.statements.copy.send(cursor, by_column(map(kind.row, items)))
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
        landed.add(land(cursor, kind, [part._replace(whole=False)]))


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
        with savepoint(cursor):
            cursor.execute(statements.delete, statements.key_arrays(merged))
            statements.copy.send(cursor, by_column(map(kind.row, merged)))
    except ROW_REFUSED as error:
        if len(changes) > 1:
            middle = len(changes) // 2
            _replace(cursor, kind, changes[:middle], landed)
            _replace(cursor, kind, changes[middle:], landed)
            return
        _retry_in_parts(cursor, kind, changes[0][0], landed, error)
        return
    landed.changed += merged
