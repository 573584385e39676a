"""All decisions of a run, read at once."""

from __future__ import annotations

from store.decisions import CODEC
from store.queries.run_decisions import run_decisions
from store.rows import DecisionChunk
from tests.fixtures.reading import chunk, run_copy, step_copy


def test_steps_and_attempts_apart_and_chunks_in_order(shelf, reader):
    """Chunks that came in any order, two attempts of one step, and nothing of another run."""
    shelf.put(
        run_copy("r"),
        step_copy("r", "s1"),
        step_copy("r", "s1", 1, attempt_key="2", attempt=2),
        chunk("r", "s1", ["c", "d"], "KK", index=1, total=2),
        chunk("r", "s1", ["a", "b"], "KE", index=0, total=2),
        chunk("r", "s1", ["a"], "E", attempt_key="2"),
    )
    shelf.put(run_copy("other"), step_copy("other", "s1"), chunk("other", "s1", ["z"], "K"))
    found = reader.run_decisions("r")
    items = {step: [(one.item_id, one.verdict) for one in made] for step, made in found.by_step.items()}
    assert items == {
        ("s1", "1"): [("a", "kept"), ("b", "eliminated"), ("c", "kept"), ("d", "kept")],
        ("s1", "2"): [("a", "eliminated")],
    }
    assert not found.unread
    assert reader.run_decisions("nowhere").by_step == {}


def test_the_smallest_steps_are_read_when_there_are_too_many(shelf, reader):
    """What does not fit is named, and no step is read in part."""
    shelf.put(
        run_copy("r"),
        step_copy("r", "large"),
        step_copy("r", "small"),
        chunk("r", "large", ["a", "b", "c"], "KKK"),
        chunk("r", "small", ["a"], "K"),
    )
    with reader._connection() as connection:
        found = run_decisions(connection, "r", limit=3)
    assert found.by_step.keys() == {("small", "1")}
    assert found.unread == {("large", "1")}


def test_what_another_version_packed_is_unread(shelf, reader):
    """A chunk with an unknown codec leaves its step unread, also beside readable ones."""
    shelf.put(
        run_copy("r"),
        step_copy("r", "s1"),
        chunk("r", "s1", ["a"], "K", index=0, total=2),
        DecisionChunk("r", "s1", "1", 1, 2, 1, bytes([CODEC[0] + 1]) + b"?"),
    )
    found = reader.run_decisions("r")
    assert (found.by_step, found.unread) == ({}, {("s1", "1")})
