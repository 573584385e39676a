"""A run has so many artifacts and no more; the others are losses, whatever came first."""

from __future__ import annotations

import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

from store.reader import Reader
from store.rows import Artifact, Batch
from store.writer import PostgresWriter
from tests.fixtures.reading import run_copy
from tests.fixtures.tables import Tables, dump_tables

NS = 1_700_000_000_000_000_000
LIMIT, SENT = 3, 8


def artifact(number: int) -> Artifact:
    return Artifact("r", "s", "1", f"k{number}", "text/plain", 1, bytes([number]) * 32, bytes([number]))


def batches() -> list[Batch]:
    """A run, one artifact at a time, and another that stays below the limit."""
    few = artifact(0)._replace(run_id="few")
    return [
        Batch(NS, runs=[run_copy("r"), run_copy("few")]),
        Batch(NS, artifacts=[few]),
        *(Batch(NS, artifacts=[artifact(number)]) for number in range(SENT)),
    ]


def delivered(url: str, sent: list[Batch]) -> Tables:
    with closing(PostgresWriter(url, max_artifacts_per_run=LIMIT)) as writer:
        for batch in sent:
            (result,) = writer.write([batch])
            assert not result.refused
    return dump_tables(url)


@pytest.fixture
def in_order(new_database: Callable[[], str]) -> Tables:
    return delivered(new_database(), batches())


def test_those_past_the_limit_are_losses(in_order: Tables) -> None:
    assert len(in_order["artifacts"]) == len(in_order["artifact_blobs"]) == LIMIT + 1
    lost = {(row["cause"], row["what"], row["lost"], row["step_id"]) for row in in_order["losses"]}
    assert lost == {("over_limit", "artifacts", 1, "s")}
    assert len(in_order["losses"]) == SENT - LIMIT


@pytest.mark.parametrize("seed", range(3))
def test_order_and_repeats_do_not_show(seed: int, in_order: Tables, new_database: Callable[[], str]) -> None:
    shuffled = batches() * 2
    random.Random(seed).shuffle(shuffled)
    assert delivered(new_database(), shuffled) == in_order


def test_writers_side_by_side(in_order: Tables, new_database: Callable[[], str]) -> None:
    """Each sees what the other has added."""
    url = new_database()
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda _: delivered(url, batches()), range(2)))
    assert dump_tables(url) == in_order


def test_the_run_says_what_is_missing(database_url: str, reader: Reader) -> None:
    delivered(database_url, batches())
    run = reader.run("r")
    assert run is not None
    assert [(one.cause, one.what, one.count) for one in run.completeness.missing] == [
        ("over_limit", "artifacts", SENT - LIMIT)
    ]
