"""
Deletes objects that nothing refers to: of runs that retention dropped, of puts whose commit never came.

An object is deleted only while its slot is held alone (``store/artifacts/locks.py``) and no committed row
refers to it: whoever is about to refer to it holds the slot from before its put until its commit. The
grace period is for what the locks do not know: another database that shares the place by mistake, and
requests that are about to come again. Decision 0045.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg

from store.artifacts import locks
from store.artifacts.objects import ObjectKey, ObjectStore, parse_key
from store.upkeep import Task

_log = logging.getLogger(__name__)

INTERVAL_S = 6 * 3600.0
_AT_ONCE = 100
"""Objects deleted while a slot is held: who wants to put there tries again meanwhile."""


@dataclass
class Collected:
    """What came of collecting garbage."""

    seen: int = 0
    deleted: int = 0
    deleted_bytes: int = 0
    busy: int = 0
    """Left for the next time, because somebody was putting in their slot; at least one when none was seen."""


def task(objects: ObjectStore, grace_s: float) -> Task:
    """Return the task of ``store/upkeep.py``."""
    return Task("artifact-garbage", INTERVAL_S, lambda connection: _turn(connection, objects, grace_s))


def _turn(connection: psycopg.Connection[Any], objects: ObjectStore, grace_s: float) -> None:
    done = collect(connection, objects, grace_s)
    if done.deleted:
        _log.info("deleted objects that nothing refers to", extra={"objects": done.deleted, "of": done.seen})


def collect(
    connection: psycopg.Connection[Any],
    objects: ObjectStore,
    grace_s: float,
    run_key: bytes | None = None,
    wait_s: float = 0.0,
) -> Collected:
    """
    Delete what nothing refers to; the connection is in autocommit.

    grace_s: objects younger than this stay. run_key: only what came for this run, with what is being put for
    it just now. wait_s: for each slot that is in use. Raises ``StoreAway`` and ``psycopg.Error``.
    """
    done = Collected()
    if run_key is not None:
        slot = ObjectKey(run_key, b"").slot
        if not locks.take_alone(connection, slot, wait_s):
            return Collected(busy=1)
        # Whoever had begun is done.
        locks.give_back(connection, slot)
    youngest = datetime.now(UTC) - timedelta(seconds=grace_s)
    for page in objects.list(None if run_key is None else run_key.hex()):
        sizes: dict[ObjectKey, int] = {}
        for found in page:
            key = parse_key(found.path)
            if key is not None and found.modified_at <= youngest:
                sizes[key] = found.size_bytes
        done.seen += len(page)
        # Most are referred to, and need no lock: nothing takes a committed reference back in secret.
        unused = sizes.keys() - (locks.referred(connection, sizes.keys()) if sizes else set())
        for slot, keys in _by_slot(unused).items():
            for start in range(0, len(keys), _AT_ONCE):
                some = keys[start : start + _AT_ONCE]
                gone = _delete(connection, objects, slot, some, wait_s)
                done.busy += 0 if gone is not None else len(some)
                done.deleted += len(gone or ())
                done.deleted_bytes += sum(sizes[key] for key in gone or ())
    return done


def _by_slot(keys: Iterable[ObjectKey]) -> dict[int, list[ObjectKey]]:
    found: defaultdict[int, list[ObjectKey]] = defaultdict(list)
    for key in sorted(keys):
        found[key.slot].append(key)
    return found


def _delete(
    connection: psycopg.Connection[Any],
    objects: ObjectStore,
    slot: int,
    keys: Sequence[ObjectKey],
    wait_s: float,
) -> list[ObjectKey] | None:
    """Delete those of the keys that nothing refers to and return them; None when the slot is in use."""
    if not locks.take_alone(connection, slot, wait_s):
        return None
    try:
        # Again, now that nobody can be about to: what was committed before we got the slot is seen.
        unused = sorted(set(keys) - locks.referred(connection, keys))
        if unused:
            objects.delete([str(key) for key in unused])
    finally:
        locks.give_back(connection, slot)
    return unused
