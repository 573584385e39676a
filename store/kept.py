"""
Statements that are always the same: put together once per process, planned once per connection; and those
whose form is the same, put together once for each form.

They go past SQLAlchemy, which only makes their text: in the form that the server takes, several in one round
trip, their rows in binary. What SQLAlchemy does for each statement, and for each value of each row,
takes longer than the database needs to answer.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import psycopg
from psycopg.abc import Buffer
from psycopg.adapt import Loader
from psycopg.pq import Format
from psycopg.rows import dict_row
from sqlalchemy import Connection, Select
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg

from store.distribution import plans_by_value

# As the server takes them ($1): psycopg need not look for placeholders.
_DIALECT = PGDialect_psycopg(paramstyle="numeric_dollar")  # type: ignore[no-untyped-call]

Rows = Sequence[Mapping[str, Any]]


class Kept:
    """A statement of which any plan is good."""

    __slots__ = ("_given", "_names", "_prepared", "_text", "opens_few")

    def __init__(
        self, statement: Select[Any], *, opens_few: bool = False, planned_by_value: bool = False
    ) -> None:
        """
        opens_few: it names partitions by parameters, and Postgres must be told to keep its plan.
        planned_by_value: only its text is kept; it is planned anew for the values of each question.
        """
        compiled = statement.compile(dialect=_DIALECT)
        assert not compiled.post_compile_params, "IN has no text before it has values: compare with any()"
        self._text = str(compiled).encode()
        self._names = tuple(compiled.positiontup or ())
        # A parameter without a value of its own is left out, so that one that is forgotten is not null.
        names = compiled.bind_names.items()
        self._given = {name: given.effective_value for given, name in names if not given.required}
        self._prepared = not planned_by_value
        self.opens_few = opens_few

    def send(self, driver: psycopg.Connection[Any], values: Mapping[str, Any]) -> psycopg.Cursor[Any]:
        """Have it executed; values: of the parameters that have none of their own."""
        merged = {**self._given, **values}
        cursor = psycopg.RawCursor(driver, row_factory=dict_row)
        cursor.execute(
            self._text, [merged[name] for name in self._names], prepare=self._prepared, binary=True
        )
        return cursor


def rows(connection: Connection, *asked: tuple[Kept, Mapping[str, Any]]) -> list[Rows]:
    """Return the rows of these statements by name of column, all in one round trip."""
    driver = driver_of(connection)
    told = any(statement.opens_few for statement, _ in asked) and not plans_by_value(driver)
    if len(asked) == 1 and not told:
        ((statement, values),) = asked
        return [statement.send(driver, values).fetchall()]
    with driver.pipeline():
        if told:
            driver.execute(_KEEP, prepare=False)
        sent = [statement.send(driver, values) for statement, values in asked]
        if told:
            driver.execute(_AS_BEFORE, prepare=False)
        return [cursor.fetchall() for cursor in sent]


class Forms:
    """The texts of a question in the forms in which it was last put; planned by value each time."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._known: dict[Hashable, Kept] = {}

    def rows(
        self,
        connection: Connection,
        form: Hashable,
        build: Callable[[], Select[Any]],
        values: Mapping[str, Any],
    ) -> Rows:
        """
        Return the rows by name of column.

        build: gives the statement; questions of one form differ in the values of its parameters alone.
        """
        known = self._known.get(form)
        if known is None:
            known = Kept(build(), planned_by_value=True)
            if len(self._known) >= self._most:
                self._known.clear()
            self._known[form] = known
        (found,) = rows(connection, (known, values))
        return found


# A plan for given days looks cheaper by the partitions that it leaves out, so one would be made each time.
# The plan for any leaves them out as well, when it is started: which is cheap, and not in its estimate.
_KEEP = b"SET LOCAL plan_cache_mode = force_generic_plan"
_AS_BEFORE = b"SET LOCAL plan_cache_mode = auto"


def driver_of(connection: Connection) -> psycopg.Connection[Any]:
    """Return psycopg's connection, in the transaction that SQLAlchemy's is in."""
    driver = connection.connection.driver_connection
    assert isinstance(driver, psycopg.Connection)  # as store.engine makes them
    return driver


# By the standard library, which reads integers of any size. Postgres writes jsonb without spaces around it.
_parsed = json.JSONDecoder().raw_decode


class _Jsonb(Loader):
    """In place of psycopg's own, which guesses the encoding each time."""

    def load(self, data: Buffer) -> Any:
        return _parsed(str(data, "utf-8"))[0]


class _BinaryJsonb(Loader):
    format = Format.BINARY

    def load(self, data: Buffer) -> Any:
        return _parsed(str(data[1:], "utf-8"))[0]  # behind the number of the form, which is 1


def read_jsonb(driver: psycopg.Connection[Any]) -> None:
    """Have jsonb of this connection read so."""
    driver.adapters.register_loader("jsonb", _Jsonb)
    driver.adapters.register_loader("jsonb", _BinaryJsonb)
