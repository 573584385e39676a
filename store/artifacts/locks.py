"""
Keeps the collecting of garbage apart from those who are about to refer to an object.

Whoever puts an object holds its slot, shared, from before the put until its row is committed; whoever
deletes holds the slot alone and looks for rows meanwhile. Nobody waits for the other: a slot that is
taken is tried again or left. Advisory locks of the session: lost with the connection, and then whatever
was about to be committed by it is not.
"""

from __future__ import annotations

from collections.abc import Collection
from time import monotonic, sleep
from typing import Any

import psycopg

from store.artifacts.objects import ObjectKey
from store.wire import array

_ADVISORY_LOCKS = 0x78726170
"""First half of every lock; the second is the slot."""
_PAUSE_S = 0.02
_TRY_SHARED = "SELECT slot FROM unnest(%s::int4[]) AS slot WHERE pg_try_advisory_lock_shared(%s, slot)"
_REFERRED = """
SELECT object_run_key, sha256 FROM artifact_blobs
WHERE object_run_key IS NOT NULL AND object_run_key = ANY (%s) AND sha256 = ANY (%s)
"""


def hold(connection: psycopg.Connection[Any], slots: Collection[int], wait_s: float) -> set[int]:
    """Take slots, shared with others who put; return those that were free within the time."""
    held: set[int] = set()
    until = monotonic() + wait_s
    while missing := sorted(set(slots) - held):
        held.update(slot for (slot,) in connection.execute(_TRY_SHARED, [missing, _ADVISORY_LOCKS]))
        if len(held) == len(slots) or monotonic() > until:
            break
        sleep(_PAUSE_S)
    return held


def release(connection: psycopg.Connection[Any]) -> None:
    """Give back every slot that the connection holds."""
    connection.execute("SELECT pg_advisory_unlock_all()")


def take_alone(connection: psycopg.Connection[Any], slot: int, wait_s: float = 0.0) -> bool:
    """Take a slot for deleting, unless somebody holds it all of the time."""
    until = monotonic() + wait_s
    while True:
        row = connection.execute("SELECT pg_try_advisory_lock(%s, %s)", [_ADVISORY_LOCKS, slot]).fetchone()
        if row == (True,) or monotonic() >= until:
            return row == (True,)
        sleep(_PAUSE_S)


def give_back(connection: psycopg.Connection[Any], slot: int) -> None:
    """End ``take_alone``."""
    connection.execute("SELECT pg_advisory_unlock(%s, %s)", [_ADVISORY_LOCKS, slot])


def referred(connection: psycopg.Connection[Any], keys: Collection[ObjectKey]) -> set[ObjectKey]:
    """Return which of the objects a committed row refers to, in whichever run it is now."""
    run_keys = array("uuid", {key.run_key for key in keys})
    hashes = array("bytea", {key.sha256 for key in keys})
    found = {
        ObjectKey(*row) for row in connection.execute(_REFERRED, [run_keys, hashes], binary=True).fetchall()
    }
    return found.intersection(keys)
