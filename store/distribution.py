"""
Distribution of the tables by ``run_key`` over the nodes of Citus, and what its sessions need.

Decision 0044 says what works there. Which tables: ``DISTRIBUTED_TABLES`` and ``REFERENCE_TABLES``; all
others stay on the coordinator, which every process connects to.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, LiteralString, NamedTuple
from weakref import WeakSet

import psycopg

from store.database import libpq_url
from store.errors import Unavailable, XRayStoreError
from store.schema import DISTRIBUTED_TABLES, REFERENCE_TABLES

_HAS_CITUS = "SELECT FROM pg_extension WHERE extname = 'citus'"
_SESSION = (
    "SELECT set_config('citus.max_cached_conns_per_worker', '8', false),"
    " set_config('citus.multi_shard_modify_mode', 'sequential', false)"
    f" WHERE EXISTS ({_HAS_CITUS})"
)
"""A transaction of a writer meets many shards; without these it opens connections for each of them."""
_FIRST = "runs"
"""What the others are put beside."""

_distributed: WeakSet[psycopg.Connection[Any]] = WeakSet()


class NotDistributable(XRayStoreError):
    """The server cannot, or the database is not ready."""


class Placing(NamedTuple):
    """One table, and the call that places it."""

    table: str
    query: LiteralString
    arguments: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Distributed:
    """What was placed now, and what had been before."""

    placed: tuple[str, ...]
    before: tuple[str, ...]


def prepare(connection: psycopg.Connection[Any]) -> None:
    """Make a session fit for Citus where the database has it; nothing elsewhere."""
    if connection.execute(_SESSION).fetchone() is not None:
        _distributed.add(connection)


def run_by_run(connection: psycopg.Connection[Any]) -> bool:
    """Whether rows can be locked only in statements on a single run."""
    return connection in _distributed


def plans_by_value(connection: psycopg.Connection[Any]) -> bool:
    """
    Whether a plan for any values is not to be had.

    Citus makes none of a statement with joins, gives it a cost beyond all others, and refuses to execute it.
    """
    return connection in _distributed


def placings(done: Collection[str]) -> list[Placing]:
    """Return what is to be called, in this order: what others are read together with comes first."""
    reference = [
        Placing(table.name, "SELECT create_reference_table(%s)", (table.name,)) for table in REFERENCE_TABLES
    ]
    names = sorted((table.name for table in DISTRIBUTED_TABLES), key=lambda name: (name != _FIRST, name))
    by_run = [
        Placing(
            name,
            "SELECT create_distributed_table(%s, 'run_key', colocate_with => %s)",
            (name, "none" if name == _FIRST else _FIRST),
        )
        for name in names
    ]
    return [each for each in (*reference, *by_run) if each.table not in done]


def distribute(url: str) -> Distributed:
    """
    Place every table that is not placed yet, each in a transaction of its own; asked again, it goes on.

    Each table is locked while its rows are copied. Raises ``NotDistributable`` and ``Unavailable``.
    """
    try:
        with psycopg.connect(libpq_url(url), autocommit=True) as connection:
            done = _placed(connection)
            todo = placings(done)
            for each in todo:
                connection.execute(each.query, each.arguments)
            return Distributed(tuple(each.table for each in todo), tuple(sorted(done)))
    except psycopg.OperationalError as exc:
        raise Unavailable("the database cannot be reached, or somebody holds a lock for too long") from exc
    except psycopg.Error as exc:
        # A role that may not, a node that is missing, another command that was faster.
        raise NotDistributable(f"the server refuses: {exc.diag.message_primary}") from exc


def _placed(connection: psycopg.Connection[Any]) -> frozenset[str]:
    if connection.execute(_HAS_CITUS).fetchone() is None:
        raise NotDistributable(
            "the database has no Citus; CREATE EXTENSION citus and its nodes are the server's own business"
        )
    names = [table.name for table in (*REFERENCE_TABLES, *DISTRIBUTED_TABLES)]
    missing = connection.execute(
        "SELECT name FROM unnest(%s::text[]) AS name WHERE to_regclass(name) IS NULL", [names]
    ).fetchone()
    if missing is not None:
        raise NotDistributable("the database is not up to date; run xray db upgrade")
    found = connection.execute(
        "SELECT c.relname FROM pg_dist_partition p JOIN pg_class c ON c.oid = p.logicalrelid"
        " WHERE c.relname = ANY (%s)",
        [names],
    )
    return frozenset(name for (name,) in found)
