"""
The ceiling: COPY of the rows that a collector has stored, into the same tables and indexes.

The rows are read back in COPY's binary form and written again to a fresh database in
transactions of the collector's size, so that nothing is left but Postgres' own work (``bytes``),
or that and psycopg's formatting of values that are ready (``tuples``).
"""

from __future__ import annotations

import struct
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import psycopg
from psycopg import sql
from psycopg.types.string import BytesBinaryDumper

_HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_TRAILER = b"\xff\xff"

_TABLES = """
    SELECT relation.relname, array_agg(attname::text ORDER BY attnum)
      FROM pg_class AS relation JOIN pg_attribute ON attrelid = relation.oid
     WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') AND NOT relispartition
       AND attnum > 0 AND NOT attisdropped AND attgenerated = ''
       AND relname NOT IN ('alembic_version', 'server_secrets')
     GROUP BY relation.relname
     ORDER BY array_position(ARRAY['runs', 'steps', 'decisions'], relation.relname::text), relation.relname
"""


class Rows(NamedTuple):
    """The rows of one table, each in COPY's binary form."""

    copy: sql.Composed
    """The statement that takes them in."""
    columns: int
    rows: list[bytes]


def read_rows(url: str) -> dict[str, Rows]:
    """All tables that hold rows, in the order in which a writer fills them."""
    found = {}
    with psycopg.connect(url) as connection:
        for table, columns in connection.execute(_TABLES).fetchall():
            names = sql.SQL(", ").join(map(sql.Identifier, columns))
            name = sql.Identifier(table)
            query = sql.SQL("COPY (SELECT {} FROM {}) TO STDOUT (FORMAT BINARY)").format(names, name)
            if rows := list(_rows(connection, query)):
                copy = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT BINARY)").format(name, names)
                found[table] = Rows(copy, len(columns), rows)
    return found


def _rows(connection: psycopg.Connection, query: sql.Composed) -> Iterator[bytes]:
    # The server sends each row as a message of its own; the first one has the header before it.
    with connection.cursor().copy(query) as copy:
        for message in copy:
            row = bytes(message)
            if row.startswith(_HEADER):
                row = row[len(_HEADER) :]
            if row and row != _TRAILER:
                yield row


def split(tables: Mapping[str, Rows], transactions: int) -> list[list[tuple[sql.Composed, int, list[bytes]]]]:
    """Per transaction: statement, columns and rows for each table, all tables cut in proportion."""
    return [
        [
            (rows.copy, rows.columns, part)
            for rows in tables.values()
            if (part := rows.rows[_cut(rows, at, transactions) : _cut(rows, at + 1, transactions)])
        ]
        for at in range(transactions)
    ]


def _cut(rows: Rows, at: int, transactions: int) -> int:
    return len(rows.rows) * at // transactions


def copy_bytes(url: str, tables: Mapping[str, Rows], transactions: int) -> float:
    """Seconds that the rows take as ready bytes, one write to a table and transaction."""
    ready = [
        [(copy, b"".join([_HEADER, *rows, _TRAILER])) for copy, _, rows in parts]
        for parts in split(tables, transactions)
    ]
    with psycopg.connect(url, autocommit=True) as connection:
        began = time.perf_counter()
        for parts in ready:
            with connection.transaction(), connection.cursor() as cursor:
                for statement, data in parts:
                    with cursor.copy(statement) as copy:
                        copy.write(data)
        return time.perf_counter() - began


def copy_tuples(url: str, tables: Mapping[str, Rows], transactions: int) -> float:
    """Seconds that the rows take through ``Copy.write_row``, their values ready as bytes."""
    ready = [
        [(copy, columns, [_values(row) for row in rows]) for copy, columns, rows in parts]
        for parts in split(tables, transactions)
    ]
    with psycopg.connect(url, autocommit=True) as connection:
        # The one that declared bytea columns get by default is written in Python.
        connection.adapters.register_dumper(bytes, BytesBinaryDumper)
        began = time.perf_counter()
        for parts in ready:
            with connection.transaction(), connection.cursor() as cursor:
                for statement, columns, rows in parts:
                    _write(cursor, statement, columns, rows)
        return time.perf_counter() - began


def _write(
    cursor: psycopg.Cursor[Any],
    statement: sql.Composed,
    columns: int,
    rows: Sequence[tuple[bytes | None, ...]],
) -> None:
    with cursor.copy(statement) as copy:
        # bytea goes over the wire as it is: the server reads each value by its column's own type.
        copy.set_types(["bytea"] * columns)
        for row in rows:
            copy.write_row(row)


def _values(row: bytes) -> tuple[bytes | None, ...]:
    """The values of a row in binary form: a count, then a length (-1 = null) and bytes of each."""
    values: list[bytes | None] = []
    (count,) = struct.unpack_from("!h", row)
    at = 2
    for _ in range(count):
        (size,) = struct.unpack_from("!i", row, at)
        at += 4
        values.append(None if size < 0 else row[at : at + size])
        at += max(size, 0)
    return tuple(values)
