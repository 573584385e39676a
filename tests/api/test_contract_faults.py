"""Contracts when something is wrong: files that explode, limits that are none, checks that fail."""

from __future__ import annotations

import io
from datetime import UTC, datetime
from functools import partial
from typing import Any

import psycopg
import pytest

from api.contracts.continuous import check_due
from api.contracts.declared import MAX_FILE_BYTES, ContractProblem, contract, contracts, load
from store.contract_shelf import ContractResult, ContractShelf, due, note
from store.database import libpq_url
from store.queries.language import MAX_CHARS
from store.reader import Reader
from tests.fixtures.reading import Shelf, run_copy

FIGURE = {"of": "duration_ms.p50", "below": 1}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            "a: &a [x, x, x, x, x, x, x, x, x, x]\n"
            + "".join(
                f"{name}: &{name} [{', '.join(['*' + before] * 10)}]\n"
                for before, name in zip("abcdefgh", "bcdefghi", strict=True)
            ),
            "too much is repeated by its aliases",
        ),
        ("a: &a [*a]", "too much is repeated"),
        ("a: &a " + "x" * 150_000 + "\nb: [" + "*a, " * 20 + "]", "too much is repeated"),
        ("[" * 2_000, "no YAML"),
        ("a: 2026-13-45", "no YAML"),
        ("a: " + "9" * 5000, "no YAML"),
        ("\x00", "no YAML"),
        ("x" * (MAX_FILE_BYTES + 1), "at most"),
    ],
    ids=["bomb", "endless", "long texts", "deep", "no date", "long number", "nul", "huge"],
)
def test_files_that_are_more_than_they_seem(text: str, problem: str):
    """Each is refused at once, in words."""
    with pytest.raises(ContractProblem, match=problem):
        load(io.BytesIO(text.encode()))


def test_what_is_no_text():
    """Neither UTF-8 nor UTF-16."""
    with pytest.raises(ContractProblem, match="no YAML"):
        load(io.BytesIO(b"a: \xff"))


@pytest.mark.parametrize(
    "limit",
    [
        "1e-999999999",
        "1/3",
        "9" * 5000,
        "5 % of all",
        1e-999,
        float("nan"),
        float("inf"),
        True,
        [1],
        -0.1,
        10**400,
    ],
)
def test_what_is_no_share(limit: Any):
    """And what would take hours to work out as one. (0 is a share, so is 1e-999, which is 0.)"""
    document = {"id": "c", "share_of_runs": {"where": "duration_ms > 1", "at_most": limit}}
    if limit == 0:
        assert contract(document).limit == ("at_most", 0)
        return
    with pytest.raises(ContractProblem, match="must be a share"):
        contract(document)


@pytest.mark.parametrize("limit", [float("nan"), float("inf"), "200", True])
def test_what_is_no_number(limit: Any):
    """With NaN every comparison is false, which would be a verdict."""
    with pytest.raises(ContractProblem, match=r"figure\.below: "):
        contract({"id": "c", "figure": {"of": "duration_ms.p50", "below": limit}})


def test_an_expression_that_a_check_could_not_ask():
    """A check adds a comparison of its own; what leaves no room for it is refused when it is declared."""
    text = f'name = "{"x" * (MAX_CHARS - 9)}"'
    assert len(text) == MAX_CHARS
    with pytest.raises(ContractProblem, match="steps: "):
        contract({"id": "c", "steps": text, "figure": FIGURE})


@pytest.mark.parametrize("window", ["999999d", "0h", "100001d"])
def test_a_window_ends_where_dates_do(window: str):
    """Back from now it would be before the first date."""
    with pytest.raises(ContractProblem, match="window: must be a length of time"):
        contract({"id": "c", "window": window, "figure": FIGURE})


def test_ids_are_shown_short():
    """What stands for an id in the message is what was written there, and not all of it."""
    with pytest.raises(ContractProblem) as refusal:
        contracts({"contracts": [{"id": "x" * 5000}, {"id": [1]}]})
    assert len(str(refusal.value)) < 300


def test_a_check_that_fails_is_unknown_and_the_next_is_made(shelf: Shelf, database_url: str):
    """It is kept and said, and comes again in five minutes, not at once."""
    contracts_shelf = ContractShelf(database_url)
    for contract_id in ("a-bad", "good"):
        contracts_shelf.put(contract_id, {"share_of_runs": {"where": 'pipeline = "p"', "at_least": 1}})
    shelf.put(run_copy("r", pipeline="p"))
    asked: list[int] = []

    class Failing(Reader):
        def share_of_runs(self, *args: Any) -> Any:
            asked.append(1)
            if len(asked) == 1:
                raise OverflowError("as of a date that is none")
            return super().share_of_runs(*args)

    with psycopg.connect(libpq_url(database_url), autocommit=True) as connection:
        for _ in range(2):
            check_due(connection, partial(Failing.open, database_url))
    assert len(asked) == 2
    states = {stored.contract_id: stored.results[0] for stored in contracts_shelf.listed()}
    assert (states["a-bad"].state, states["a-bad"].result["because"]) == (
        "unknown",
        "the check failed (OverflowError)",
    )
    assert states["good"].result["because"] == "no runs to judge", "the run is of long ago"


def test_a_verdict_on_what_was_replaced_is_dropped(database_url: str):
    """It speaks of another contract; the new one is still due."""
    contracts_shelf, now = ContractShelf(database_url), datetime.now(UTC)
    contracts_shelf.put("c", {"figure": FIGURE})
    with psycopg.connect(libpq_url(database_url), autocommit=True) as connection:
        (old,) = due(connection, datetime.now(UTC))
        contracts_shelf.put("c", {"figure": FIGURE | {"below": 2}})
        note(connection, old, ContractResult(now, "held", {}), now)
        (new,) = due(connection, datetime.now(UTC))
        assert (new.document["figure"]["below"], contracts_shelf.listed()[0].results) == (2, [])
        note(connection, new, ContractResult(now, "held", {}), now)
    assert [result.state for result in contracts_shelf.listed()[0].results] == ["held"]
