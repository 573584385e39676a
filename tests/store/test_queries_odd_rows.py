"""Rows that nobody meant to send: the questions about them are answered all the same."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
from psycopg import sql

from store import migrate
from store.errors import Unavailable
from store.queries.filters import PageRequest
from store.queries.metrics import Grouping
from store.queries.steps import MAX_STEPS
from store.queries.types import Missing
from store.reader import Reader
from store.rows import DecisionChunk
from tests.fixtures.reading import Shelf, chunk, run_copy, step_copy

MOST = 2**63 - 1
FULL: dict[str, Any] = {"capture_level": "full", "candidates_in": 2, "decisions_recorded": 2}
UNREADABLE = {"codec of a newer version": b"\xfe{}", "empty": b""}


@pytest.mark.parametrize("data", UNREADABLE.values(), ids=UNREADABLE.keys())
def test_packed_data_that_cannot_be_read(shelf: Shelf, reader: Reader, data: bytes) -> None:
    """A chunk that this version cannot unpack is unreadable evidence; the others are answered."""
    shelf.put(
        run_copy("r"),
        step_copy("r", "s", decisions_chunks=2, **FULL),
        DecisionChunk("r", "s", "1", 0, 2, 1, data),
        chunk("r", "s", ["b"], "K", index=1, total=2),
    )
    page = reader.decisions("r", "s")
    assert page is not None
    assert [decision.item_id for decision in page.items] == ["b"]
    assert page.completeness.evidence == "partial"
    assert page.completeness.missing == [Missing("unreadable", "chunks", 1)]
    assert page.completeness.decisions_stored == 1
    named = reader.journey("r", "b")
    assert named is not None
    assert named.completeness.missing == [Missing("unreadable", "chunks", 1)]
    assert named.completeness.state == "partial"


def test_a_step_that_cannot_be_read_leaves_presence_unknown(shelf: Shelf, reader: Reader) -> None:
    """Where a chunk cannot be unpacked, an item that is not named may have been there."""
    shelf.put(
        run_copy("r"),
        step_copy("r", "s", 0, decisions_chunks=1, **FULL),
        DecisionChunk("r", "s", "1", 0, 1, 2, b"\xfe{}"),
        step_copy("r", "t", 1, decisions_chunks=1, **FULL),
        chunk("r", "t", ["a", "b"], "KE"),
    )
    journey = reader.journey("r", "a")
    assert journey is not None
    assert [step.presence for step in journey.steps] == ["unknown", "recorded"]
    assert journey.steps[0].step.completeness.evidence == "partial"


def test_a_journey_beyond_the_steps_shown(shelf: Shelf, reader: Reader) -> None:
    """Of a run with more steps than are answered in one piece, those that name the item are all shown."""
    many = MAX_STEPS + 5
    shelf.put(
        run_copy("r"),
        *(step_copy("r", f"s{number}", number) for number in range(many)),
        chunk("r", "s3", ["a", "b"], "KK"),
        chunk("r", f"s{many - 2}", ["b"], "K"),
        chunk("r", f"s{many - 1}", ["a"], "E"),
    )
    journey = reader.journey("r", "a")
    assert journey is not None
    assert (journey.final_verdict, journey.final_step_id) == ("eliminated", f"s{many - 1}")
    assert len(journey.steps) == MAX_STEPS + 1


def test_sums_beyond_64_bits(shelf: Shelf, reader: Reader) -> None:
    """Counts that are absurd in single steps do not keep the answers about all steps away."""
    for number in range(3):
        shelf.put(
            run_copy("r"),
            step_copy(
                "r",
                f"s{number}",
                number,
                candidates_in=MOST,
                candidates_out=MOST,
                decisions_chunks=MOST,
                decisions_recorded=MOST,
                reason_codes=("a", "b"),
                reason_counts=(MOST, MOST),
                score=(1.7e308,) * 7,
            ),
        )
    assert reader.runs().items[0].completeness.missing == [Missing("chunk_missing", "chunks", 3 * MOST)]
    decisions = reader.decisions("r", "s0")
    assert decisions is not None
    (metrics,) = reader.step_metrics().items
    assert metrics.candidates_in == 3 * MOST
    assert metrics.score_mean.mean == pytest.approx(1.7e308)
    first = reader.reason_metrics(page=PageRequest(1), grouping=Grouping(("pipeline",)))
    second = reader.reason_metrics(page=PageRequest(1, first.next_cursor), grouping=Grouping(("pipeline",)))
    assert [(r.reason, r.count, r.share) for r in (*first.items, *second.items)] == [
        ("a", 3 * MOST, 0.5),
        ("b", 3 * MOST, 0.5),
    ]


def test_a_role_that_may_only_read_is_enough(shelf: Shelf, database_url: str) -> None:
    """A role that can write nothing finds the schema up to date, and pages are served, cursors included."""
    shelf.put(*(run_copy(f"r{number}", number) for number in range(3)))
    role = sql.Identifier("xray_test_reader")
    with psycopg.connect(database_url, autocommit=True) as admin:
        admin.execute(sql.SQL("DROP ROLE IF EXISTS {}").format(role))
        admin.execute(sql.SQL("CREATE ROLE {} LOGIN").format(role))
        admin.execute(sql.SQL("GRANT pg_read_all_data TO {}").format(role))
    url = database_url.replace("user=xray", "user=xray_test_reader")
    migrate.upgrade(url)
    reader = Reader.open(url)
    first = reader.runs(page=PageRequest(2))
    assert len(reader.runs(page=PageRequest(2, first.next_cursor)).items) == 1
    reader.close()
    with psycopg.connect(database_url, autocommit=True) as admin:
        admin.execute(sql.SQL("DROP ROLE {}").format(role))


def test_migrating_again_keeps_the_key_of_cursors(shelf: Shelf, database_url: str) -> None:
    """A cursor that was handed out before a migration is good after it."""
    shelf.put(*(run_copy(f"r{number}", number) for number in range(2)))
    before, after = Reader.open(database_url), Reader.open(database_url)
    cursor = before.runs(page=PageRequest(1)).next_cursor
    migrate.upgrade(database_url)
    assert len(after.runs(page=PageRequest(1, cursor)).items) == 1
    before.close()
    after.close()


def test_a_database_without_tables_is_not_ready(empty_database_url: str) -> None:
    """Before the first migration every question says unavailable, as when the database is away."""
    reader = Reader.open(empty_database_url)
    for ask in (reader.ping, reader.runs):
        with pytest.raises(Unavailable, match="xray db upgrade"):
            ask()
    reader.close()
