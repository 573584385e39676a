"""The public views: the answers of the API in SQL, for a role that can read them and nothing else."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from psycopg import sql
from psycopg.rows import dict_row

from store.database import libpq_url
from store.public_views import SCHEMA, VIEWS, CannotGrant, grant_reader
from store.queries.filters import PageRequest
from store.reader import Reader
from store.rollups import Rollups
from store.rows import FINAL_END, Outcome, RunWait
from tests.fixtures.reading import START, Clock, Shelf, chunk, ns, run_copy, run_start, seconds, step_copy

ALL = PageRequest(limit=1000)
STATUSES = ["completed", "crashed", "cancelled"]


def _step(draw: random.Random, run_id: str, number: int) -> Any:
    def maybe(value: Any) -> Any:
        return None if draw.random() < 0.3 else value

    attempt = maybe(draw.randint(1, 2))
    at = draw.choice([0, 0, 1, 2])
    return step_copy(
        run_id,
        draw.choice(["a", "b", "c"]),
        at,
        attempt_key=str(attempt) if attempt else f"{number:016x}",
        attempt=attempt,
        step_index=number if draw.random() < 0.7 else None,
        end_ns=maybe(ns(seconds(at + draw.choice([0, 1])))),
        candidates_in=maybe(draw.choice([0, 5, 100])),
        candidates_out=maybe(draw.choice([0, 5, 30])),
        pipeline=maybe("own"),
        reason_codes=("too_dear", "old"),
        reason_counts=(draw.randrange(9), 0),
        metrics={"recall": 0.5},
        reasoning={"max_price": 50},
        decisions_recorded=maybe(2),
    )


@pytest.fixture
def shelved(shelf: Shelf) -> Shelf:
    """Sixty runs in every state, with steps in every order."""
    draw = random.Random(5)
    for number in range(60):
        run_id = f"r{number}"
        ended = draw.random() < 0.5
        began: Any = (
            run_copy(run_id, 0, status=draw.choice(STATUSES), pipeline="shop", tags={"market": "US"})
            if ended
            else run_start(run_id, 0, pipeline="shop", timeout_s=draw.choice([None, 1.0, 1e9]))
        )
        if ended and number % 2:
            began = began._replace(end_sent_ns=FINAL_END)
        if draw.random() < 0.3:
            until = draw.choice([None, ns(seconds(draw.choice([3, 10_000])))])
            shelf.put(began, RunWait(run_id, ns(seconds(draw.choice([0.5, 1.5]))), until))
        else:
            shelf.put(began)
        steps = {
            (s.step_id, s.attempt_key): s for s in (_step(draw, run_id, n) for n in range(draw.randrange(6)))
        }
        shelf.put(*steps.values())
        for step_id, attempt_key in list(steps)[:1]:
            shelf.put(chunk(run_id, step_id, ["x", "y"], "KE", attempt_key=attempt_key))
    shelf.put(
        Outcome("r1", "bad_match", "x", True, ns(START)), Outcome("r1", "refund", None, None, ns(START))
    )
    return shelf


@pytest.fixture
def reading_role(database_url: str) -> Iterator[str]:
    """A role that was let read."""
    name = f"reader_{random.SystemRandom().randrange(10**9)}"
    with psycopg.connect(libpq_url(database_url), autocommit=True) as admin:
        admin.execute(sql.SQL("CREATE ROLE {}").format(sql.Identifier(name)))
        try:
            grant_reader(database_url, name)
            yield name
        finally:
            admin.execute(sql.SQL("DROP OWNED BY {}").format(sql.Identifier(name)))
            admin.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(name)))


def _view(url: str, name: str) -> list[dict[str, Any]]:
    with psycopg.connect(libpq_url(url), row_factory=dict_row) as connection:
        connection.execute("SET TIME ZONE 'UTC'")
        return connection.execute(
            sql.SQL("SELECT * FROM xray_public.{}").format(sql.Identifier(name))
        ).fetchall()


def test_runs_are_those_of_the_api(shelved: Shelf, reader: Reader, clock: Clock, database_url: str) -> None:
    """Status, times, funnel and the rest equal what the reader answers at the same time."""
    with psycopg.connect(libpq_url(database_url)) as connection:
        now = connection.execute("SELECT now()").fetchone()
    assert now is not None
    (clock.now,) = now
    runs = reader.runs(page=ALL).items
    seen = {row["run_id"]: row for row in _view(database_url, "runs")}
    assert len({run.status for run in runs}) > 3
    assert len(seen) == len(runs)
    for run in runs:
        row = seen[run.run_id]
        names = [name for name in row if name not in ("run_day", "tags", "flags")]
        assert {name: row[name] for name in names} == {name: getattr(run, name) for name in names}
        assert (row["tags"] or {}) == run.tags


def test_steps_are_those_of_the_api(shelved: Shelf, reader: Reader, database_url: str) -> None:
    """Places, attempts, identity and counts equal what the reader answers."""
    steps = reader.steps(page=ALL).items
    seen = {
        (row["run_id"], row["step_id"], row["attempt"], row["index"]): row
        for row in _view(database_url, "steps")
    }
    assert len(steps) > 100
    assert len(seen) == len(steps)
    for step in steps:
        row = seen[step.run_id, step.step_id, step.attempt, step.index]
        names = [
            name
            for name in row
            if hasattr(step, name) and name not in ("flags", "fields", "sources", "metrics")
        ]
        assert {name: row[name] for name in names} == {name: getattr(step, name) for name in names}
        assert row["metrics"] == step.metrics
        assert (row["kept"], row["score_p50"]) == (step.counts.kept, step.score.p50)
        assert row["decisions_stored"] == step.completeness.decisions_stored
    counted = [
        (row["run_id"], row["step_id"], row["attempt"], row["reason"], row["candidates"])
        for row in _view(database_url, "reasons")
    ]
    wanted = [
        (step.run_id, step.step_id, step.attempt, reason, candidates)
        for step in steps
        for reason, candidates in step.reasons.items()
    ]
    assert sorted(counted) == sorted(wanted)


def test_what_is_not_selected_is_not_computed(shelf: Shelf, database_url: str) -> None:
    """A list of runs and a count of steps read nothing of other steps: dashboards pay for what they show."""
    with psycopg.connect(libpq_url(database_url)) as connection:
        for asked, absent in (
            ("SELECT run_id, outcome FROM xray_public.runs ORDER BY started_at DESC LIMIT 9", "WindowAgg"),
            ("SELECT name, count(*) FROM xray_public.steps GROUP BY name", "SubPlan"),
        ):
            plan = "\n".join(line for (line,) in connection.execute("EXPLAIN " + asked))
            assert absent not in plan, plan


def test_the_timeout_of_runs_is_a_setting_of_the_session(shelf: Shelf, database_url: str) -> None:
    """Where the server has another XRAY_RUN_TIMEOUT_S, the database is told so."""
    shelf.put(run_start("r"), received=START)
    with psycopg.connect(libpq_url(database_url)) as connection:
        asked = "SELECT status FROM xray_public.runs"
        assert connection.execute(asked).fetchall() == [("incomplete",)]
        connection.execute("SET xray.run_timeout_s = '1e12'")
        assert connection.execute(asked).fetchall() == [("running",)]


def test_a_reader_reads_the_views_and_nothing_else(
    shelved: Shelf, database_url: str, reading_role: str
) -> None:
    """The role sees rows of each view, can write none of them, and is refused every table."""
    with psycopg.connect(libpq_url(database_url), autocommit=True) as connection:
        tables = [
            name
            for (name,) in connection.execute(
                "SELECT relname FROM pg_class WHERE relkind IN ('r', 'p') "
                "AND relnamespace = 'public'::regnamespace"
            )
        ]
        Rollups().turn(connection)
        connection.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(reading_role)))
        for view in VIEWS:
            name = sql.Identifier(SCHEMA, view)
            counted = connection.execute(sql.SQL("SELECT count(*) FROM {}").format(name)).fetchone()
            assert counted is not None
            assert counted[0] > 0
            for write in (
                "DELETE FROM {}",
                "UPDATE {} SET pipeline = 'x'",
                "INSERT INTO {} (run_id) VALUES ('x')",
                "DROP VIEW {}",
                "CREATE OR REPLACE VIEW {} AS SELECT 1",
            ):
                with pytest.raises(psycopg.Error):
                    connection.execute(sql.SQL(write).format(name))
        assert {"runs", "steps", "api_keys", "server_secrets"} <= set(tables)
        for table in tables:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(sql.SQL("SELECT 1 FROM {}").format(sql.Identifier("public", table)))


def test_outcomes_that_stand_are_there(shelved: Shelf, database_url: str) -> None:
    """A row per late outcome, with its run; what was withdrawn is none."""
    (row,) = _view(database_url, "outcomes")
    assert (row["run_id"], row["name"], row["item_id"], row["value"]) == ("r1", "bad_match", "x", True)
    assert row["observed_at"] == START


def test_an_unknown_role_is_named(database_url: str) -> None:
    """Rights for a role that nobody made are refused, with its name, however it is written."""
    with pytest.raises(CannotGrant, match="nobody"):
        grant_reader(database_url, 'nobody"; DROP SCHEMA xray_public CASCADE; --')
    assert _view(database_url, "runs") == []
