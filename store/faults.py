"""
What errors of the driver mean to the writer.

One table for all of them. Whatever is not named here is taken as the database's trouble, not
the row's: the sender keeps the data and tries again.
"""

from __future__ import annotations

import psycopg
from psycopg import errors

CONFLICT = errors.UniqueViolation
"""A row with this key is there already."""

ROW_REFUSED: tuple[type[Exception], ...] = (
    psycopg.DataError,
    # No partition for the row's day (its run has expired), a null where none may be.
    errors.CheckViolation,
    errors.NotNullViolation,
    # An index entry or row beyond the page size; JSON nested beyond the server's stack. PostgreSQL
    # files these with its own troubles (class 54), but it is the row that will never fit.
    errors.ProgramLimitExceeded,
    errors.StatementTooComplex,
    # Values that have no wire form: a lone surrogate, an integer beyond the column, a foreign object.
    TypeError,
    ValueError,
    OverflowError,
    RecursionError,
)
"""The row's content is at fault: the same row would be refused again."""

RACE_LOST: tuple[type[Exception], ...] = (errors.DeadlockDetected, errors.SerializationFailure)
"""Another writer went first; the same transaction succeeds when run again."""


NO_PARTITION = "23514"
"""How ``reason`` begins when there is none for the row's day: no table checks anything else of a row."""


def reason(error: Exception) -> str:
    """
    Why a row was refused, in words that hold none of its content.

    Postgres puts values into DETAIL and CONTEXT, which are left out.
    """
    if isinstance(error, psycopg.Error) and error.sqlstate:
        return f"{error.sqlstate} {error.diag.message_primary}"[:200]
    if isinstance(error, psycopg.Error):
        return str(error)[:200]
    return f"no database form ({type(error).__name__})"
