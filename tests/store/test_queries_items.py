"""The search for an item across runs: newest first, in bounded pieces, honest about what it cannot see."""

from __future__ import annotations

from typing import Any

import pytest

from store.decisions import DecisionColumns, pack
from store.item_filter import build
from store.queries import items as items_module
from store.queries.errors import InvalidParameter
from store.queries.filters import Filters, PageRequest, parse
from store.queries.types_decisions import ItemDecision, ItemHistory
from store.queries.vocabulary import ITEM_HISTORY
from store.reader import Reader
from store.rows import DecisionChunk
from tests.fixtures.reading import Shelf, chunk, run_copy, run_start, seconds, step_copy


def asked(**parameters: str) -> Filters:
    """The filters as the API would read them."""
    return parse(ITEM_HISTORY, parameters.items())[0]


def judged_by(history: ItemHistory) -> list[tuple[str, str]]:
    """Run and verdict of each decision found."""
    return [(found.run_id, found.verdict) for found in history.items]


def all_pages(reader: Reader, item_id: str, limit: int, filters: Filters) -> list[ItemHistory]:
    """Follow the cursors to the end."""
    pages = [reader.item_history(item_id, filters, PageRequest(limit))]
    while pages[-1].next_cursor is not None:
        pages.append(reader.item_history(item_id, filters, PageRequest(limit, pages[-1].next_cursor)))
    return pages


def put_filter_step(
    shelf: Shelf, run_id: str, at: float, items: list[str], verdict: str, **values: Any
) -> None:
    """Store a run of one filter step, with a full record of what it decided."""
    columns: dict[str, Any] = {"reasons": ["dear"], "reason": [0 if v == "E" else None for v in verdict]}
    shelf.put(
        run_copy(run_id, at, **({"pipeline": "shop", "entity": "P1"} | values)),
        step_copy(
            run_id, "price", at, candidates_in=len(items), decisions_recorded=len(items), decisions_chunks=1
        ),
        chunk(run_id, "price", items, verdict, score=[n / 10 for n in range(len(items))], **columns),
    )


def test_newest_first_across_runs_and_pipelines(shelf: Shelf, reader: Reader):
    """Every decision about the item is found, newest step first, with where it was made and why."""
    put_filter_step(shelf, "old", 0, ["a", "x", "b"], "KEK")
    put_filter_step(shelf, "new", 20, ["x"], "K", pipeline="bids", pipeline_version="v2", entity="P2")
    put_filter_step(shelf, "other", 10, ["a", "b"], "EE")
    history = reader.item_history("x")
    assert judged_by(history) == [("new", "kept"), ("old", "eliminated")]
    assert history.next_cursor is None
    newest, oldest = history.items
    assert newest == ItemDecision(
        item_id="x",
        verdict="kept",
        reason=None,
        reason_text=None,
        score=0.0,
        value=None,
        threshold=None,
        value_missing=False,
        checks=None,
        probability=None,
        attempt=1,
        run_id="new",
        pipeline="bids",
        pipeline_version="v2",
        entity="P2",
        step_id="price",
        name="price",
        step_type="filter",
        started_at=seconds(20),
    )
    assert (oldest.reason, oldest.score) == ("dear", 0.1)
    assert history.completeness.state == "exact"
    assert history.completeness.steps_searched == 3
    assert history.completeness.searched_back_to == seconds(0)


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({"verdict": "eliminated"}, ["r2", "r0"]),
        ({"reason": "dear"}, ["r2", "r0"]),
        ({"reason": "cheap"}, []),
        ({"pipeline": "bids"}, ["r1"]),
        ({"step_type": "filter", "name": "price"}, ["r2", "r1", "r0"]),
        ({"step_type": "rank"}, []),
        ({"started_after": "2025-03-01T12:00:10Z"}, ["r2", "r1"]),
        ({"started_before": "2025-03-01T12:00:10Z"}, ["r0"]),
        ({"score_gte": "0.1", "verdict": "eliminated"}, ["r2"]),
    ],
)
def test_filters(shelf: Shelf, reader: Reader, parameters: dict[str, str], expected: list[str]):
    """All filters hold together, whether they concern the step or the decision."""
    put_filter_step(shelf, "r0", 0, ["x", "a"], "EK")
    put_filter_step(shelf, "r1", 10, ["x", "a"], "KK", pipeline="bids")
    put_filter_step(shelf, "r2", 20, ["a", "x"], "KE")
    history = reader.item_history("x", asked(**parameters))
    assert [found.run_id for found in history.items] == expected
    assert history.next_cursor is None


@pytest.mark.parametrize("limit", [1, 2, 3, 50])
@pytest.mark.parametrize("at_once", [1, 2, 1000])
@pytest.mark.parametrize("max_steps", [1, 4, 20_000])
def test_pages_join_to_the_whole(
    shelf: Shelf, reader: Reader, monkeypatch: pytest.MonkeyPatch, limit: int, at_once: int, max_steps: int
):
    """However small the pieces, each decision is found once and each step counted once, in one order."""
    monkeypatch.setattr(items_module, "_STEPS_AT_ONCE", at_once)
    monkeypatch.setattr(items_module, "MAX_STEPS", max_steps)
    for n in range(3):
        run_id = f"r{n}"
        shelf.put(run_copy(run_id, n), *(step_copy(run_id, step, n) for step in ("s1", "s2")))
        # Two chunks, and an item that is judged twice in one of them.
        shelf.put(chunk(run_id, "s1", ["x", "a", "x"], "EKK", total=2))
        shelf.put(chunk(run_id, "s1", ["x"], "W", index=1, total=2))
    pages = all_pages(reader, "x", limit, Filters())
    assert all(len(page.items) <= limit for page in pages)
    found = [pair for page in pages for pair in judged_by(page)]
    assert found == [(f"r{n}", v) for n in (2, 1, 0) for v in ("eliminated", "kept", "selected")]
    assert sum(page.completeness.steps_searched for page in pages) == 6


def test_a_page_ends_when_many_chunks_were_opened(
    shelf: Shelf, reader: Reader, monkeypatch: pytest.MonkeyPatch
):
    """Chunks that are opened for nothing are bounded too, and the cursor goes on behind them."""
    monkeypatch.setattr(items_module, "MAX_CHUNKS", 2)
    for n in range(5):
        put_filter_step(shelf, f"r{n}", n, ["x"], "E" if n == 0 else "K")
    pages = all_pages(reader, "x", 50, asked(verdict="eliminated"))
    assert [judged_by(page) for page in pages] == [[], [], [("r0", "eliminated")]]
    assert [page.completeness.steps_searched for page in pages] == [2, 2, 1]


def test_a_page_is_stable_under_new_runs(shelf: Shelf, reader: Reader):
    """What arrives while somebody pages neither repeats a decision nor pushes one out."""
    for n in range(4):
        put_filter_step(shelf, f"r{n}", n, ["x"], "K")
    first = reader.item_history("x", page=PageRequest(2))
    put_filter_step(shelf, "r9", 9, ["x"], "K")
    second = reader.item_history("x", page=PageRequest(50, first.next_cursor))
    assert [found.run_id for found in (*first.items, *second.items)] == ["r3", "r2", "r1", "r0"]


def test_a_cursor_belongs_to_its_item_and_filters(shelf: Shelf, reader: Reader):
    """A cursor of another item, or with other filters, is refused."""
    for n in range(2):
        put_filter_step(shelf, f"r{n}", n, ["x", "y"], "KK")
    cursor = reader.item_history("x", page=PageRequest(1)).next_cursor
    assert cursor is not None
    with pytest.raises(InvalidParameter, match="cursor"):
        reader.item_history("y", page=PageRequest(1, cursor))
    with pytest.raises(InvalidParameter, match="cursor"):
        reader.item_history("x", asked(verdict="kept"), PageRequest(1, cursor))


def test_completeness_counts_the_steps_that_cannot_be_seen(shelf: Shelf, reader: Reader):
    """Steps with a sample, with lost chunks, without decisions or still running are counted by kind."""
    put_filter_step(shelf, "full", 0, ["a", "b"], "KK")
    shelf.put(run_copy("source", 1), step_copy("source", "search", 1, candidates_out=5, step_type="search"))
    shelf.put(
        run_copy("sampled", 2),
        step_copy("sampled", "s", 2, candidates_in=9, capture_level="sampled", decisions_recorded=1),
        chunk("sampled", "s", ["a"], "K"),
    )
    shelf.put(
        run_copy("lost", 3),
        step_copy("lost", "s", 3, candidates_in=4, decisions_recorded=4, decisions_chunks=2),
        chunk("lost", "s", ["a", "b"], "KK", total=2),
    )
    shelf.put(run_copy("uncaptured", 4), step_copy("uncaptured", "s", 4, candidates_in=7))
    shelf.put(
        run_start("going on", 5),
        step_copy("going on", "s", 5, terminal=False, status=None, end_ns=None),
    )
    shelf.put(
        run_copy("damaged", 6),
        step_copy("damaged", "s", 6, candidates_in=2, decisions_recorded=2, decisions_chunks=1),
        DecisionChunk("damaged", "s", "1", 0, 1, 0, None, "no JSON"),
    )
    seen = reader.item_history("x").completeness
    assert (seen.state, seen.steps_searched) == ("partial", 7)
    assert (seen.running, seen.sampled, seen.partial, seen.none) == (1, 1, 2, 1)
    of_full = reader.item_history("x", asked(started_before="2025-03-01T12:00:02Z")).completeness
    assert (of_full.state, of_full.steps_searched) == ("exact", 2)


def test_decisions_that_wait_for_their_step_are_not_found(shelf: Shelf, reader: Reader):
    """A chunk that came before its step says nothing yet; with the step it is found."""
    shelf.put(chunk("r", "s", ["x"], "K"))
    assert judged_by(reader.item_history("x")) == []
    shelf.put(step_copy("r", "s"))
    assert judged_by(reader.item_history("x")) == [("r", "kept")]


def test_a_chunk_without_a_filter_is_opened(shelf: Shelf, reader: Reader):
    """No filter means that nobody knows; and a filter alone decides nothing."""
    columns = DecisionColumns(count=1, item=["x"], verdict="K")
    shelf.put(run_copy("r"), step_copy("r", "s"), DecisionChunk("r", "s", "1", 0, 1, 1, pack(columns)))
    put_filter_step(shelf, "other", 5, ["y"], "K")
    assert judged_by(reader.item_history("x")) == [("r", "kept")]
    journey = reader.journey("r", "x")
    assert journey is not None
    assert journey.final_verdict == "kept"


def test_a_chunk_whose_filter_rules_the_item_out_is_not_opened(shelf: Shelf, reader: Reader):
    """The filter is believed: data that nobody could unpack is not touched."""
    damaged = b"\x01 this is no zstd frame"
    shelf.put(
        run_copy("r"),
        step_copy("r", "s"),
        DecisionChunk("r", "s", "1", 0, 1, 1, damaged, item_filter=build(["y"])),
    )
    assert judged_by(reader.item_history("x")) == []
    assert reader.journey("r", "x") is None


def test_attempts_without_a_number_are_numbered_by_start(shelf: Shelf, reader: Reader):
    """The attempt is numbered as everywhere else."""
    for n, key in enumerate(("aaaaaaaaaaaaaaaa", "0bbbbbbbbbbbbbbb")):
        shelf.put(
            run_copy("r"),
            step_copy("r", "s", n, attempt=None, attempt_key=key),
            chunk("r", "s", ["x"], "K", attempt_key=key),
        )
    assert [found.attempt for found in reader.item_history("x").items] == [2, 1]
