"""The continuous check of stored contracts: a task of upkeep."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import Any

import psycopg

from api.contracts.checking import Scope, check, not_checked
from api.contracts.declared import ContractProblem, contract
from api.schemas_contracts import verdict
from store.contract_shelf import ContractResult, DueContract, due, note
from store.errors import Unavailable
from store.reader import Reader

EVERY = timedelta(minutes=5)
INTERVAL_S = 20.0
"""Of the task: so soon a contract that was put is checked for the first time."""
_LONGEST_S = 120.0
"""Of one check; the others wait for it."""


def check_due(
    connection: psycopg.Connection[Any],
    open_reader: Callable[[], Reader],
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> None:
    """Check the contracts that are due and keep the results; raises what the store raises."""
    if found := due(connection, now()):
        with closing(open_reader()) as reader:
            _check(connection, reader, found, now)


def _check(
    connection: psycopg.Connection[Any],
    reader: Reader,
    found: Sequence[DueContract],
    now: Callable[[], datetime],
) -> None:
    for stored in found:
        at = now()
        try:
            declared = contract(stored.document, stored.contract_id)
        except ContractProblem:
            # Of a version that knew more: it is left for that one.
            continue
        scope = Scope(started_after=at - declared.window, started_before=at)
        try:
            verdict_now = check(reader, declared, scope, monotonic() + _LONGEST_S)
        except Unavailable:
            raise
        except Exception as exc:  # noqa: BLE001  # one contract must not keep the others from being checked
            verdict_now = not_checked(declared, f"the check failed ({type(exc).__name__})")
        answer = verdict(verdict_now, scope)
        result = ContractResult(at, answer.state, answer.model_dump(mode="json"))
        note(connection, stored, result, at + EVERY)
