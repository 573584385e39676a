"""
Rows on their way into a table, and the statements that look for them there.

Keys go to the server as one array per column, so that a statement does not grow with the rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

from psycopg import sql
from sqlalchemy import Table

from store.rows import Row
from store.wire import Array, CopyForm, array, array_type

State = TypeVar("State")

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


class Reading(NamedTuple):
    """How rows of some keys are read and locked."""

    of_any: sql.Composed
    of_one_run: sql.Composed
    """With the run key after the arrays: Citus locks rows of a single run alone (decision 0044)."""

    @classmethod
    def of(cls, wanted: sql.Composable, parts: Mapping[str, sql.Composable]) -> Reading:
        """wanted: what to read; parts: of ``Statements``."""
        joined = sql.SQL("SELECT {wanted} FROM {table} t JOIN unnest({arrays}) AS k ({keys}) ON {same}")
        locked = sql.SQL(" ORDER BY {stored_keys} FOR UPDATE OF t").format(**parts)
        of_any = joined.format(wanted=wanted, **parts)
        return cls(of_any + locked, of_any + sql.SQL(" WHERE t.run_key = %s") + locked)


def _no_hash(_item: Item[Any]) -> None:
    return None


class Statements:
    """The statements on one table, by its key columns; ``t`` is the table, ``k`` the keys asked for."""

    def __init__(
        self,
        table: Table,
        peek: sql.SQL | None = None,
        touch: sql.SQL | None = _COUNT,
        hash_of: Callable[[Item[Any]], int | None] | None = None,
    ) -> None:
        """
        peek: what to read of stored rows, beside their key, to see that most stay as they are;
        None = read them whole at once.
        touch: what to set in rows that stay as they are, None for nothing.
        hash_of: the content hash that a row has when it already is what the item would make of
        it; None = that takes more than a hash to tell.
        """
        keys = [column.name for column in table.primary_key]
        self._key_types = [array_type(column.type) for column in table.primary_key]
        self.table: str = table.name
        self.hash_of: Callable[[Item[Any]], int | None] = hash_of or _no_hash
        comma = sql.SQL(", ")
        parts = {
            "table": sql.Identifier(table.name),
            "keys": comma.join(map(sql.Identifier, keys)),
            "stored_keys": comma.join(sql.Identifier("t", key) for key in keys),
            "arrays": comma.join(sql.SQL("%s") for _ in keys),
            "same": sql.SQL(" AND ").join(
                sql.SQL("{} = {}").format(sql.Identifier("t", key), sql.Identifier("k", key)) for key in keys
            ),
            "touch": touch or sql.SQL(""),
        }
        self.copy = CopyForm(table)
        everything = comma.join(sql.Identifier("t", column.name) for column in table.columns)
        self.read = Reading.of(everything, parts)
        self.peek = (
            None if peek is None else Reading.of(sql.SQL("{}, {}").format(parts["stored_keys"], peek), parts)
        )
        self.by_run = bool(table.info.get("distributed"))
        """Whether a key begins with the run key."""
        self.delete = sql.SQL(
            "DELETE FROM {table} t USING unnest({arrays}) AS k ({keys}) WHERE {same}"
        ).format(**parts)
        self.touch = touch and sql.SQL(
            "UPDATE {table} t SET {touch} FROM unnest({arrays}, %s, %s)"
            " AS k ({keys}, deliveries, received_us) WHERE {same}"
        ).format(**parts)
        self.touch_same = sql.SQL(
            "UPDATE {table} t SET {touch} FROM unnest({arrays}, %s, %s, %s)"
            " AS k ({keys}, deliveries, received_us, content_hash)"
            " WHERE {same} AND t.content_hash = k.content_hash RETURNING {stored_keys}"
        ).format(**parts)

    def key_arrays(self, items: Sequence[Item[Any]]) -> list[Array]:
        """
        The items' keys as one array per key column.

        Raises ValueError or OverflowError for a key that the column cannot hold.
        """
        columns = zip(*(item.key for item in items), strict=True)
        return [array(*pair) for pair in zip(self._key_types, columns, strict=True)]

    def touch_arrays(self, items: Sequence[Item[Any]]) -> list[Array]:
        """``key_arrays``, and what ``touch`` may set."""
        deliveries = [getattr(item.state, "deliveries", 0) for item in items]
        received = [getattr(item.state, "last_received_us", 0) for item in items]
        return [*self.key_arrays(items), array("int4", deliveries), array("int8", received)]

    def same_arrays(self, items: Sequence[Item[Any]]) -> list[Array]:
        """``touch_arrays``, and the content hashes of the items, which all have one."""
        return [*self.touch_arrays(items), array("int8", map(self.hash_of, items))]
