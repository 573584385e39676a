"""
Weekly partitions of the tables that belong to runs, made before rows need them.

A week runs from Monday to Sunday (UTC). Retention drops whole partitions (``store/retention.py``);
nothing else looks at their names.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from datetime import date, timedelta
from typing import Any

import psycopg
from psycopg import sql

from store.floors import Floors, read_floors
from store.schema import PARTITIONED_TABLES

WEEK = timedelta(days=7)
_ADVISORY_LOCK = 0x78726170
"""Held while partitions are made: two collectors that find one missing make it one after the other."""
_NAME = re.compile(r"_p(\d{8})$")


def week_of(day: date) -> date:
    """The Monday of the day's week."""
    return day - timedelta(days=day.weekday())


def partition_name(table: str, week: date) -> str:
    """Name of a table's partition, by its Monday: ``steps_p20261116``."""
    return f"{table}_p{week:%Y%m%d}"


def week_in(name: str) -> date:
    """The Monday in the name of a partition."""
    found = _NAME.search(name)
    if found is None:
        raise ValueError(f"{name} is no name of a partition")
    return date.fromisoformat(found[1])


class Partitions:
    """
    Makes sure that partitions exist; remembers those that do, so that asking is free.

    Not thread-safe; one per writer. Where retention has been, none is made again: rows of such a
    time are refused and counted.
    """

    def __init__(self) -> None:
        self._known: set[date] = set()
        self.floors = Floors()
        """As of the last time that this looked; they only rise."""

    def ensure(self, connection: psycopg.Connection[Any], days: Iterable[date]) -> None:
        """
        Make the partitions of these days' weeks and of the week after each, where missing.

        Commits in a transaction of its own; ``connection`` must not be in one. Writers are
        not held up: attaching takes no lock that conflicts with theirs.
        """
        weeks = {week_of(day) for day in days}
        if weeks <= self._known:
            return
        # The week after as well: so a row never waits for a partition at midnight on Sunday.
        wanted = sorted({week + offset for week in weeks for offset in (timedelta(0), WEEK)})
        with connection.transaction():
            lock(connection)
            self.floors = read_floors(connection)
            present = _present(connection)
            for week in wanted:
                _make_missing(connection, week, present, self.floors)
        self._known |= weeks

    def look_again(self, cursor: psycopg.Cursor[Any]) -> bool:
        """Return whether retention has come further than this knew."""
        floors = read_floors(cursor.connection)
        moved, self.floors = floors != self.floors, floors
        return moved


def lock(connection: psycopg.Connection[Any]) -> None:
    """Wait until nobody makes partitions or raises a floor; until the end of the transaction nobody can."""
    connection.execute("SELECT pg_advisory_xact_lock(%s)", [_ADVISORY_LOCK])


def complete(connection: psycopg.Connection[Any]) -> None:
    """Make what is missing of weeks that are there, as after a migration that brought another table."""
    with connection.transaction():
        lock(connection)
        floors, present = read_floors(connection), _present(connection)
        for week in sorted({week_in(name) for name in present}):
            _make_missing(connection, week, present, floors)


def _make_missing(
    connection: psycopg.Connection[Any], week: date, present: Collection[str], floors: Floors
) -> None:
    missing = [
        table.name
        for table in PARTITIONED_TABLES
        if partition_name(table.name, week) not in present and week >= floors.of(table.name)
    ]
    # To a week that is there already others may be writing who do not note how far it reaches.
    if partition_name("steps", week) not in present and week >= floors.runs:
        connection.execute("INSERT INTO partition_bounds (week) VALUES (%s) ON CONFLICT DO NOTHING", [week])
    for table in missing:
        _make(connection, table, week)


def _present(connection: psycopg.Connection[Any]) -> frozenset[str]:
    found = connection.execute(
        "SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid"
        " WHERE i.inhparent = ANY (%s::regclass[])",
        [[table.name for table in PARTITIONED_TABLES]],
    )
    return frozenset(name for (name,) in found)


def _make(connection: psycopg.Connection[Any], table: str, week: date) -> None:
    # CREATE TABLE … PARTITION OF would lock the parent against writers; ATTACH does not
    # (PostgreSQL manual, ALTER TABLE … ATTACH PARTITION: SHARE UPDATE EXCLUSIVE).
    name = sql.Identifier(partition_name(table, week))
    parent = sql.Identifier(table)
    connection.execute(
        sql.SQL("CREATE TABLE {} (LIKE {} INCLUDING DEFAULTS INCLUDING STORAGE)").format(name, parent)
    )
    connection.execute(
        sql.SQL("ALTER TABLE {} ATTACH PARTITION {} FOR VALUES FROM ({}) TO ({})").format(
            parent, name, sql.Literal(week), sql.Literal(week + WEEK)
        )
    )
