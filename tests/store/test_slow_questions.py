"""A question that takes too long is given up with its own code, and ingest goes on meanwhile."""

from __future__ import annotations

import threading
from contextlib import closing
from datetime import timedelta

import psycopg
import pytest

from store.partitions import partition_name, week_of
from store.queries.errors import ExportTimeout, QueryTimeout
from store.reader import Reader
from store.rows import Batch
from store.writer import PostgresWriter
from tests.fixtures.reading import START, ns, run_copy, seconds, step_copy

WEEK_S = 7 * 86_400.0


def test_ingest_goes_on_while_questions_wait(database_url, shelf):
    """Sixteen of them at once hold every connection of the readers, each gives up, none takes a writer's."""
    shelf.put(run_copy("old"), step_copy("old", "s"), received=START)
    shelf.put(run_copy("new", WEEK_S), step_copy("new", "s", WEEK_S), received=seconds(WEEK_S))
    ended = []
    with (
        closing(Reader.open(database_url, statement_timeout_ms=2_000)) as reader,
        closing(PostgresWriter(database_url)) as writer,
        psycopg.connect(database_url) as blocker,
    ):
        # What a question over all weeks waits for, and a writer of this week does not need.
        week = week_of(START.date())
        blocker.execute(f"LOCK TABLE {partition_name('steps', week)} IN ACCESS EXCLUSIVE MODE")

        def ask(question):
            try:
                question()
            except QueryTimeout as error:
                ended.append(error.timeout_ms)

        questions = [reader.steps, reader.step_metrics, lambda: list(reader.every_step())]
        threads = [
            threading.Thread(target=ask, args=[question]) for question in [*questions, *[reader.steps] * 13]
        ]
        for thread in threads:
            thread.start()
        stored = 0
        while any(thread.is_alive() for thread in threads):
            stored += 1
            at = WEEK_S + stored
            (result,) = writer.write(
                [
                    Batch(
                        ns(seconds(at)),
                        runs=[run_copy(f"r{stored}", at)],
                        steps=[step_copy("new", f"s{stored}", at)],
                    )
                ]
            )
            assert not result.refused
        for thread in threads:
            thread.join()
        blocker.rollback()
        assert ended == [2_000] * 16
        assert len(reader.steps().items) == 2 + min(stored, 48)


def test_an_export_ends_in_time_however_slowly_it_is_fetched(database_url, shelf):
    """What was given are whole batches; the connection is free again."""
    for part in range(3):
        shelf.put(
            *(step_copy("r", f"s{part}-{number}", number) for number in range(400)),
            received=START + timedelta(seconds=part),
        )
    with closing(Reader.open(database_url, export_timeout_s=0.0)) as reader:
        with pytest.raises(ExportTimeout, match="longer than 0 s"):
            list(reader.every_step())
        assert len(reader.steps().items) == 50
    with closing(Reader.open(database_url)) as reader:
        assert sum(map(len, reader.every_step())) == 1200
