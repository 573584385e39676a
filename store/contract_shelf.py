"""Contracts that are checked again and again, and what the checks found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import psycopg
from psycopg.types.json import Jsonb

from store.database import transaction

KEPT = timedelta(days=30)
"""How long results are kept."""
SHOWN = 100
"""Results of one contract in an answer, the latest."""


@dataclass(frozen=True, slots=True)
class ContractResult:
    """What one check found."""

    checked_at: datetime
    state: str
    result: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class StoredContract:
    """A contract as it was put, with its latest results, the latest first."""

    contract_id: str
    document: Mapping[str, Any]
    created_at: datetime
    updated_at: datetime
    next_check_at: datetime
    results: Sequence[ContractResult] = ()


class DueContract(NamedTuple):
    """A contract that is to be checked."""

    contract_id: str
    document: Mapping[str, Any]
    updated_at: datetime
    """Which of those that were put under this id."""


class ContractShelf:
    """Where contracts are put and looked at; each method raises ``Unavailable``."""

    def __init__(self, url: str) -> None:
        """url: ``postgresql://…`` as libpq takes it."""
        self._url = url

    def put(self, contract_id: str, document: Mapping[str, Any]) -> bool:
        """Store or replace a contract, to be checked soon; return whether it is new."""
        with transaction(self._url) as connection:
            now = datetime.now(UTC)
            row = connection.execute(
                "INSERT INTO contracts (contract_id, document, created_at, updated_at, next_at)"
                " VALUES (%(id)s, %(document)s, %(now)s, %(now)s, %(now)s)"
                " ON CONFLICT (contract_id) DO UPDATE SET document = excluded.document,"
                " updated_at = excluded.updated_at, next_at = excluded.next_at RETURNING created_at",
                {"id": contract_id, "document": Jsonb(document), "now": now},
            ).fetchone()
            assert row is not None  # one row is written
            return bool(row[0] == now)

    def delete(self, contract_id: str) -> bool:
        """Forget a contract and its results; return whether it was there."""
        with transaction(self._url) as connection:
            connection.execute("DELETE FROM contract_results WHERE contract_id = %s", [contract_id])
            deleted = connection.execute("DELETE FROM contracts WHERE contract_id = %s", [contract_id])
            return deleted.rowcount > 0

    def listed(self) -> list[StoredContract]:
        """Return the contracts by id, each with its latest result."""
        with transaction(self._url) as connection:
            return _read(connection, None, 1)

    def one(self, contract_id: str) -> StoredContract | None:
        """Return a contract with its latest results, the latest first."""
        with transaction(self._url) as connection:
            found = _read(connection, contract_id, SHOWN)
            return found[0] if found else None


def _read(connection: psycopg.Connection[Any], contract_id: str | None, results: int) -> list[StoredContract]:
    rows = connection.execute(
        "SELECT c.contract_id, c.document, c.created_at, c.updated_at, c.next_at,"
        " r.checked_at, r.state, r.result"
        " FROM contracts c LEFT JOIN LATERAL (SELECT * FROM contract_results r"
        "   WHERE r.contract_id = c.contract_id ORDER BY r.checked_at DESC LIMIT %(results)s) r ON true"
        " WHERE %(id)s::text IS NULL OR c.contract_id = %(id)s ORDER BY c.contract_id, r.checked_at DESC",
        {"results": results, "id": contract_id},
    ).fetchall()
    found: dict[str, StoredContract] = {}
    kept: dict[str, list[ContractResult]] = {}
    for name, document, created_at, updated_at, next_at, checked_at, state, result in rows:
        of_contract = kept.setdefault(name, [])
        if checked_at is not None:
            of_contract.append(ContractResult(checked_at, state, result))
        found[name] = StoredContract(name, document, created_at, updated_at, next_at, of_contract)
    return list(found.values())


def due(connection: psycopg.Connection[Any], now: datetime) -> list[DueContract]:
    """Return the contracts that are to be checked."""
    rows = connection.execute(
        "SELECT contract_id, document, updated_at FROM contracts WHERE next_at <= %s"
        " ORDER BY next_at, contract_id",
        [now],
    )
    return [DueContract(*row) for row in rows]


def note(
    connection: psycopg.Connection[Any],
    contract: DueContract,
    found: ContractResult,
    next_at: datetime,
) -> None:
    """Keep what a check found, unless the contract was replaced or deleted since; forget what is old."""
    contract_id, _, updated_at = contract
    with connection.transaction():
        updated = connection.execute(
            "UPDATE contracts SET next_at = %s WHERE contract_id = %s AND updated_at = %s",
            [next_at, contract_id, updated_at],
        )
        if not updated.rowcount:
            return
        connection.execute(
            "INSERT INTO contract_results (contract_id, checked_at, state, result) VALUES (%s, %s, %s, %s)"
            " ON CONFLICT DO NOTHING",
            [contract_id, found.checked_at, found.state, Jsonb(found.result)],
        )
        connection.execute(
            "DELETE FROM contract_results WHERE contract_id = %s AND checked_at < %s",
            [contract_id, found.checked_at - KEPT],
        )
