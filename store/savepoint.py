"""A savepoint for one attempt within a transaction."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg import sql

_NOTHING = sql.SQL("")


@contextmanager
def savepoint(cursor: psycopg.Cursor[Any], first: sql.Composable = _NOTHING) -> Iterator[None]:
    """
    Undo what is done inside when it raises, and pass the error on; the transaction can go on.

    first: a statement without parameters that is done inside before all else, in the same round trip.

    Must not be nested. Left open when all is well, for the transaction's end to release: a round
    trip less than ``Connection.transaction`` for each table, and each costs a writer some
    2 ms while other threads decode (decision 0019). The next one of the same name hides it.
    """
    try:
        cursor.execute(sql.SQL("SAVEPOINT attempt; {}").format(first))
        yield
    except BaseException:
        # Of a lost connection nothing is left to undo, and what lost it is what to tell.
        if not cursor.connection.closed:
            cursor.execute("ROLLBACK TO SAVEPOINT attempt; RELEASE SAVEPOINT attempt")
        raise
