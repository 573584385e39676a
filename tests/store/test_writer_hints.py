"""What a writer remembers of batches is a hint: whatever it says, the tables are the same."""

from __future__ import annotations

from typing import Any

import psycopg

from store import migrate
from store.assemble import assemble
from store.rows import Batch, DecisionChunk, Loss, StepCopy
from store.writer import PostgresWriter, RecentBatches
from tests.store.copy_strategies import BASE_NS


def step(run_id: str, step_id: str, **fields: Any) -> StepCopy:
    return StepCopy(
        run_id,
        step_id,
        "1",
        True,
        "filter",
        status="ok",
        start_ns=BASE_NS,
        end_ns=BASE_NS + 1000,
        start_sent_ns=BASE_NS,
        end_sent_ns=BASE_NS + 1000,
        **fields,
    )


def test_a_wrong_hint_changes_nothing(database_url, empty_database_url):
    """A writer that takes batches for stored which are not, or not whole, stores and counts them alike."""
    migrate.upgrade(empty_database_url)
    start = StepCopy("run-1", "s1", "1", False, "filter", start_ns=BASE_NS, start_sent_ns=BASE_NS)
    batches = [
        Batch(BASE_NS, steps=[step("run-1", "s1"), step("run-1", "s2")]),
        Batch(
            BASE_NS + 1000,
            steps=[start, step("run-1", "s2", kept=2), step("run-2", "s1")],
            decisions=[DecisionChunk("run-1", "s1", "1", n, 2, 1, b"\x01x") for n in range(2)],
        ),
        Batch(
            BASE_NS + 2000,
            steps=[step("run-1", "s1")],
            losses=[Loss("run-1", "shed", "decisions", "s/1/0", 2)],
        ),
    ]
    deceived = RecentBatches()
    deceived.add(assemble(batches).marks)
    for url, recent in ((database_url, RecentBatches()), (empty_database_url, deceived)):
        writer = PostgresWriter(url, recent)
        results = [writer.write(group) for group in (batches[:1], batches[1:], batches[:2])]
        writer.close()
        assert [[result.stored for result in group] for group in results] == [[2], [5, 2], [2, 5]]
    for table in ("runs", "steps", "decisions", "losses"):
        query = f"SELECT t::text FROM {table} t ORDER BY 1"
        with psycopg.connect(database_url) as one_, psycopg.connect(empty_database_url) as other:
            rows = one_.execute(query).fetchall()
            assert rows
            assert rows == other.execute(query).fetchall()
