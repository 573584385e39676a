"""Cursors: opaque, bound to their question, not to be forged; pages that do not slip."""

from __future__ import annotations

import base64
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from store.queries.cursor import Cursors
from store.queries.errors import InvalidParameter
from store.queries.filters import PageRequest, parse
from store.queries.metrics import Grouping, parse_grouped
from store.queries.vocabulary import DECISIONS, RUNS, STEPS
from store.reader import Reader
from tests.fixtures.reading import Shelf, chunk, run_copy, step_copy

CURSORS = Cursors(b"k" * 32)
POSITIONS = st.lists(st.none() | st.text() | st.integers(-(2**53), 2**53) | st.booleans(), max_size=5)


@given(POSITIONS, st.text())
def test_a_cursor_gives_its_position_back(position: list, question: str) -> None:
    """What was encoded for a question is decoded for the same question."""
    assert CURSORS.decode(question, CURSORS.encode(question, position)) == position


@given(st.text())
def test_what_we_did_not_sign_is_refused(cursor: str) -> None:
    """Any other text is refused as the parameter cursor."""
    with pytest.raises(InvalidParameter) as refused:
        CURSORS.decode("q", cursor)
    assert refused.value.parameter == "cursor"


@given(st.data())
def test_a_changed_cursor_is_refused(data: st.DataObject) -> None:
    """Changing any byte of a cursor makes it worthless."""
    raw = bytearray(base64.urlsafe_b64decode(CURSORS.encode("q", ["2025", "key"]) + "=="))
    place = data.draw(st.integers(0, len(raw) - 1))
    raw[place] ^= data.draw(st.integers(1, 255))
    with pytest.raises(InvalidParameter):
        CURSORS.decode("q", base64.urlsafe_b64encode(bytes(raw)).rstrip(b"=").decode())


def test_a_cursor_of_another_key_is_refused() -> None:
    """A server with another key does not take it."""
    with pytest.raises(InvalidParameter):
        Cursors(b"other" * 8).decode("q", CURSORS.encode("q", [1]))


def test_a_cursor_belongs_to_its_filters(shelf: Shelf, reader: Reader) -> None:
    """A cursor with other filters, or of another list, is refused instead of answering something else."""
    shelf.put(*(run_copy(f"r{i}", i, pipeline="shop") for i in range(3)))
    shelf.put(*(step_copy(f"r{i}", "s", i) for i in range(3)))
    shop, page = parse(RUNS, [("pipeline", "shop"), ("limit", "1")])
    cursor = reader.runs(shop, page).next_cursor
    assert reader.runs(shop, PageRequest(5, cursor)).items
    for others in (parse(RUNS, [("pipeline", "zoo")])[0], parse(RUNS, [])[0]):
        with pytest.raises(InvalidParameter):
            reader.runs(others, PageRequest(1, cursor))
    with pytest.raises(InvalidParameter):
        reader.steps(parse(STEPS, [("pipeline", "shop")])[0], PageRequest(1, cursor))


def test_two_readers_share_cursors(shelf: Shelf, database_url: str) -> None:
    """A page may continue at another server of the same database, and after a restart."""
    shelf.put(*(run_copy(f"r{i}", i) for i in range(2)))
    first, second = Reader.open(database_url), Reader.open(database_url)
    cursor = first.runs(page=PageRequest(1)).next_cursor
    assert [run.run_id for run in second.runs(page=PageRequest(1, cursor)).items] == ["r0"]
    first.close()
    second.close()


def test_pages_are_stable_under_inserts(shelf: Shelf, reader: Reader) -> None:
    """Runs that arrive while somebody turns pages shift nothing: each older run is shown once, in order."""
    draw = random.Random(3)
    # Many share a start, so that ties are decided by key.
    shelf.put(*(run_copy(f"old{i}", draw.randrange(8)) for i in range(40)))
    expected = [run.run_id for run in reader.runs().items]
    seen: list[str] = []
    cursor, turn = None, 0
    while True:
        page = reader.runs(page=PageRequest(7, cursor))
        seen += [run.run_id for run in page.items]
        cursor, turn = page.next_cursor, turn + 1
        if cursor is None:
            break
        shelf.put(*(run_copy(f"new{turn}-{i}", 1000 + i) for i in range(10)))
    assert seen == expected


def test_pages_of_steps_cover_all_once(shelf: Shelf, reader: Reader) -> None:
    """Turning pages of any size shows every step once, in the order of one large page."""
    draw = random.Random(4)
    for run in range(6):
        steps = [step_copy(f"r{run}", f"s{i}", draw.randrange(3)) for i in range(8)]
        shelf.put(run_copy(f"r{run}"), *steps)
    filters, _ = parse(STEPS, [("step_type", "filter")])
    whole = reader.steps(filters, PageRequest(1000)).items
    assert len(whole) == 48
    for limit in (1, 7, 48):
        seen: list[Any] = []
        cursor = None
        while True:
            page = reader.steps(filters, PageRequest(limit, cursor))
            assert len(page.items) <= limit
            seen += page.items
            cursor = page.next_cursor
            if cursor is None:
                break
        assert seen == whole


def test_pages_of_a_run_keep_its_order(shelf: Shelf, reader: Reader) -> None:
    """The steps of a run page by page are its steps in order."""
    shelf.put(run_copy("r"), *(step_copy("r", f"s{i}", (i * 7) % 10 // 3) for i in range(10)))
    detail = reader.run_detail("r")
    assert detail is not None
    seen: list[Any] = []
    cursor = None
    while True:
        page = reader.run_steps("r", PageRequest(3, cursor))
        assert page is not None
        seen += page.items
        cursor = page.next_cursor
        if cursor is None:
            break
    assert seen == list(detail.steps)


def test_pages_of_decisions_cross_chunks_and_attempts(shelf: Shelf, reader: Reader) -> None:
    """Decisions come in the order judged, over chunks and attempts, whatever the size of the page."""
    shelf.put(run_copy("r"))
    for attempt in ("2", "1"):
        shelf.put(step_copy("r", "s", int(attempt), attempt_key=attempt, attempt=int(attempt)))
        for index in reversed(range(20)):
            items = [f"{attempt}.{index}.{i}" for i in range(3)]
            shelf.put(chunk("r", "s", items, "KEK", index=index, total=20, attempt_key=attempt))
    whole = reader.decisions("r", "s", page=PageRequest(1000))
    assert whole is not None
    expected = [f"{attempt}.{index}.{i}" for attempt in "12" for index in range(20) for i in range(3)]
    assert [decision.item_id for decision in whole.items] == expected
    eliminated, _ = parse(DECISIONS, [("verdict", "eliminated")])
    for filters, wanted in ((parse(DECISIONS, [])[0], expected), (eliminated, expected[1::3])):
        seen: list[Any] = []
        cursor = None
        while True:
            page = reader.decisions("r", "s", filters, PageRequest(7, cursor))
            assert page is not None
            seen += [decision.item_id for decision in page.items]
            cursor = page.next_cursor
            if cursor is None:
                break
        assert seen == wanted


@pytest.mark.parametrize("bucket", [None, "1m"])
def test_pages_of_metrics_cover_all_once(shelf: Shelf, reader: Reader, bucket: str | None) -> None:
    """Pages of groups show each group once, also the group of those that have no value."""
    for run, pipeline in enumerate(["b", None, "", "a", "b"]):
        step = step_copy(f"r{run}", f"s{run}", run * 40, reason_codes=("x", "y"), reason_counts=(run, 2))
        shelf.put(run_copy(f"r{run}", run * 40, pipeline=pipeline), step)
    sent = [("group_by", "pipeline,name"), *([("bucket", bucket)] if bucket else [])]
    filters, grouping, _ = parse_grouped(sent)
    assert grouping == Grouping(("pipeline", "name"), bucket)
    for ask in (reader.step_metrics, reader.reason_metrics):
        whole = ask(filters, grouping, PageRequest(1000)).items
        seen: list[Any] = []
        cursor = None
        while True:
            page = ask(filters, grouping, PageRequest(2, cursor))
            seen += page.items
            cursor = page.next_cursor
            if cursor is None:
                break
        assert seen == list(whole)
        assert len({repr(item) for item in seen}) == len(seen)
