"""Stored contracts and what their checks found."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from store import contract_shelf
from store.contract_shelf import KEPT, ContractResult, ContractShelf, DueContract, due, note

NOW = datetime(2025, 3, 1, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)

Connection = psycopg.Connection[Any]


@pytest.fixture
def shelf(database_url: str) -> ContractShelf:
    """Contracts of the test's database; two are there."""
    found = ContractShelf(database_url)
    assert found.put("c", {"of": "c"})
    assert found.put("d", {"of": "d"})
    return found


def kept(shelf: ContractShelf, contract_id: str = "c") -> list[tuple[datetime, str]]:
    """When a contract was checked, and what was found."""
    found = shelf.one(contract_id)
    assert found is not None
    return [(each.checked_at, each.state) for each in found.results]


def of(connection: Connection, contract_id: str = "c") -> DueContract:
    """A contract as whoever checks it reads it."""
    (found,) = [each for each in due(connection, datetime.now(UTC)) if each.contract_id == contract_id]
    return found


def test_a_contract_is_due_at_its_time(shelf: ContractShelf, connection: Connection):
    """Once it was put, and again when that was said; the longest overdue first."""
    assert [each.contract_id for each in due(connection, datetime.now(UTC))] == ["c", "d"]
    first = of(connection)
    assert first.document == {"of": "c"}
    assert [each.contract_id for each in due(connection, first.updated_at)] == ["c"]
    assert due(connection, first.updated_at - timedelta(microseconds=1)) == []
    note(connection, first, ContractResult(NOW, "held", {}), datetime.now(UTC))
    assert [each.contract_id for each in due(connection, datetime.now(UTC))] == ["d", "c"]


def test_a_contract_that_is_put_again_is_no_new_one(shelf: ContractShelf, connection: Connection):
    """It is due at once, as it now is; when it was created stays, and so do its results."""
    before = shelf.one("c")
    assert before is not None
    note(connection, of(connection), ContractResult(NOW, "held", {}), datetime.now(UTC) + timedelta(hours=1))
    assert not shelf.put("c", {"of": "another"})
    after = shelf.one("c")
    assert after is not None
    assert (after.document, after.created_at) == ({"of": "another"}, before.created_at)
    assert after.updated_at == after.next_check_at > before.updated_at
    assert kept(shelf) == [(NOW, "held")]
    assert of(connection).document == {"of": "another"}


def test_a_contract_that_is_deleted_takes_its_results_along(shelf: ContractShelf, connection: Connection):
    """Of itself; under the same id another begins with none."""
    for contract_id in ("c", "d"):
        note(connection, of(connection, contract_id), ContractResult(NOW, "held", {}), datetime.now(UTC))
    assert shelf.delete("c")
    assert not shelf.delete("c")
    assert shelf.one("c") is None
    assert shelf.put("c", {})
    assert (kept(shelf), kept(shelf, "d")) == ([], [(NOW, "held")])


def test_results_are_kept_for_their_time_and_once(shelf: ContractShelf, connection: Connection):
    """Of that contract; a check noted twice is there as first noted, and nothing fails."""
    for contract_id in ("c", "d"):
        note(connection, of(connection, contract_id), ContractResult(NOW, "held", {}), NOW)
    note(connection, of(connection), ContractResult(NOW, "violated", {}), NOW)
    note(connection, of(connection), ContractResult(NOW + KEPT, "unknown", {}), NOW)
    assert kept(shelf) == [(NOW + KEPT, "unknown"), (NOW, "held")]
    note(connection, of(connection), ContractResult(NOW + KEPT + SECOND, "held", {}), NOW)
    assert kept(shelf) == [(NOW + KEPT + SECOND, "held"), (NOW + KEPT, "unknown")]
    assert kept(shelf, "d") == [(NOW, "held")]


def test_the_latest_results_are_shown(
    shelf: ContractShelf, connection: Connection, monkeypatch: pytest.MonkeyPatch
):
    """As many as are shown of one contract, and the last one of each in a list, where there is one."""
    monkeypatch.setattr(contract_shelf, "SHOWN", 2)
    for number in range(3):
        note(connection, of(connection), ContractResult(NOW + number * SECOND, f"{number}", {}), NOW)
    assert [state for _, state in kept(shelf)] == ["2", "1"]
    listed = {each.contract_id: [result.state for result in each.results] for each in shelf.listed()}
    assert listed == {"c": ["2"], "d": []}
