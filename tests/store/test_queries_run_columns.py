"""The decisions of several executions of a run, read at once."""

from __future__ import annotations

import hashlib

from sqlalchemy import event

from store.decisions import CODEC
from store.queries import run_columns
from store.rows import DecisionChunk
from tests.fixtures.reading import chunk, run_copy, step_copy

FIRST, SECOND = ("s1", "1"), ("s1", "2")


def test_steps_and_attempts_apart_and_chunks_in_order(shelf, reader):
    """Chunks that came in any order, the wanted one of two attempts, and nothing of another run."""
    shelf.put(
        run_copy("r"),
        step_copy("r", "s1"),
        step_copy("r", "s1", 1, attempt_key="2", attempt=2),
        chunk("r", "s1", ["c", "d"], "KK", index=1, total=2),
        chunk("r", "s1", ["a", "b"], "KE", index=0, total=2),
        chunk("r", "s1", ["a"], "E", attempt_key="2"),
    )
    shelf.put(run_copy("other"), step_copy("other", "s1"), chunk("other", "s1", ["z"], "K"))
    found = reader.run_columns("r", [FIRST, SECOND])
    items = {step: [(part.item, part.verdict) for part in parts] for step, parts in found.by_step.items()}
    assert items == {FIRST: [(["a", "b"], "KE"), (["c", "d"], "KK")], SECOND: [(["a"], "E")]}
    assert not found.unread
    assert reader.run_columns("r", [SECOND]).by_step.keys() == {SECOND}
    assert reader.run_columns("nowhere", [FIRST]).by_step == {}


def test_the_smallest_steps_are_read_when_there_are_too_many(shelf, reader):
    """What does not fit is named, and no step is read in part."""
    shelf.put(
        run_copy("r"),
        step_copy("r", "large"),
        step_copy("r", "small"),
        chunk("r", "large", ["a", "b", "c"], "KKK"),
        chunk("r", "small", ["a"], "K"),
    )
    found = reader.run_columns("r", [("large", "1"), ("small", "1")], 3)
    assert found.by_step.keys() == {("small", "1")}
    assert found.unread == {("large", "1")}


def test_attempts_that_do_not_fit_are_not_fetched(shelf, reader):
    """Nor those that nobody asked for: a step of the same name says nothing of their size."""
    shelf.put(
        run_copy("r"),
        step_copy("r", "s1"),
        step_copy("r", "s1", 1, attempt_key="2", attempt=2),
        chunk("r", "s1", ["a"], "K"),
        chunk("r", "s1", ["a", "b", "c"], "KKK", attempt_key="2"),
    )
    fetched = []

    def count(connection, cursor, statement, *_rest):
        if "decisions.data \n" in statement:
            fetched.append(cursor.rowcount)

    event.listen(reader._engine, "after_cursor_execute", count)
    assert reader.run_columns("r", [FIRST, SECOND], 2).by_step.keys() == {FIRST}
    assert reader.run_columns("r", [FIRST]).by_step.keys() == {FIRST}
    assert fetched == [1, 1]


def test_what_unpacks_to_too_much_is_unread(shelf, reader, monkeypatch):
    """A text that repeats itself is a thousand times smaller as it is stored."""
    monkeypatch.setattr(run_columns, "MAX_TEXT_BYTES", 100_000)
    shelf.put(
        run_copy("r"),
        step_copy("r", "long"),
        step_copy("r", "short"),
        chunk("r", "long", ["a"], "K", index=0, total=2),
        chunk("r", "long", ["b"], "K", index=1, total=2, texts=["x" * 200_000], text=[0]),
        chunk("r", "short", ["a", "b"], "KK"),
    )
    found = reader.run_columns("r", [("long", "1"), ("short", "1")])
    assert (found.by_step.keys(), found.unread) == ({("short", "1")}, {("long", "1")})


def test_what_another_version_packed_is_unread(shelf, reader):
    """A chunk with an unknown codec leaves its step unread, also beside readable ones."""
    shelf.put(
        run_copy("r"),
        step_copy("r", "s1"),
        chunk("r", "s1", ["a"], "K", index=0, total=2),
        DecisionChunk("r", "s1", "1", 1, 2, 1, bytes([CODEC[0] + 1]) + b"?"),
    )
    found = reader.run_columns("r", [FIRST])
    assert (found.by_step, found.unread) == ({}, {FIRST})


def test_long_columns_count_by_their_bytes(shelf, reader, monkeypatch):
    """A step whose few decisions have long texts is left out as one with too many decisions is."""
    monkeypatch.setattr(run_columns, "MAX_PACKED_BYTES", 2_000)
    texts = [hashlib.sha512(bytes([number])).hexdigest() for number in range(64)]
    shelf.put(
        run_copy("r"),
        step_copy("r", "long"),
        step_copy("r", "short"),
        chunk("r", "long", ["a"], "K", texts=texts, text=[0]),
        chunk("r", "short", ["a", "b"], "KK"),
    )
    found = reader.run_columns("r", [("long", "1"), ("short", "1")])
    assert (found.by_step.keys(), found.unread) == ({("short", "1")}, {("long", "1")})
