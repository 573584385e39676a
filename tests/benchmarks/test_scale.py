"""The bench of many steps: what it seeds is what the product stores, and every question has an answer."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import psycopg
import pytest

from benchmarks.scale import questions, seed, templates
from benchmarks.scale.asking import by_reader, measure
from benchmarks.scale.seed import Plan, Seeded
from store.decisions import unpack
from store.item_filter import fingerprint
from store.queries.filters import parse
from store.queries.vocabulary import ITEM_HISTORY, STEPS
from store.reader import Reader
from tests.fixtures.postgres import TestServer

ROOT = Path(__file__).parents[2]
PLAN = Plan(steps=3_000, runs=300, days=3, decided=0.5)
LAST_DAY = date(2025, 3, 5)


@pytest.fixture(scope="module")
def seeded_url(postgres: TestServer) -> Iterator[str]:
    """URL of a database that was seeded once for this module."""
    url = postgres.create("scale_bench")
    seed.seed(url, PLAN, LAST_DAY, say=lambda _: None)
    yield url
    postgres.drop("scale_bench")


@pytest.fixture(scope="module")
def reader(seeded_url: str) -> Iterator[Reader]:
    """A reader of the seeded database."""
    opened = Reader.open(seeded_url)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def stands(seeded_url: str) -> Seeded:
    """What the database says that it holds."""
    found = seed.seeded(seeded_url)
    assert found is not None
    return found


def test_as_many_rows_as_asked_for(stands):
    """Steps, runs and days as in the plan; decisions on about the share of the runs."""
    assert (stands.steps, stands.runs, stands.days) == (PLAN.steps, PLAN.runs, PLAN.days)
    assert 0.3 * PLAN.runs < stands.chunks < 0.7 * PLAN.runs
    assert stands.first_day == date(2025, 3, 3)


def test_runs_are_found_by_their_ids(reader, stands):
    """The keys are those that the product derives, and each run has its steps in order."""
    for day in range(stands.days):
        detail = reader.run_detail(seed.run_id_of(day, 7))
        assert detail is not None
        assert [step.name for step in detail.steps] == [name for name, _ in templates.STEPS]
        assert detail.run.completeness.state == "complete"
        for step in detail.steps:
            assert step.drop_ratio == (step.candidates_in - step.candidates_out) / step.candidates_in
            assert not step.reasons or sum(step.reasons.values()) == step.counts.eliminated


def test_an_item_is_found_where_a_chunk_names_it(seeded_url, reader, stands):
    """A stored chunk's own text and filter agree, and the history of one of its items leads to it."""
    with psycopg.connect(seeded_url) as connection:
        row = connection.execute(
            "SELECT data, item_filter FROM decisions ORDER BY run_key LIMIT 1"
        ).fetchone()
    assert row is not None
    item = unpack(row[0]).item[0]
    assert fingerprint(item) in row[1]
    window = [("started_after", "2025-03-03T00:00:00Z"), ("started_before", "2025-03-06T00:00:00Z")]
    history = reader.item_history(item, *parse(ITEM_HISTORY, window))
    assert history.items
    assert history.completeness.steps_searched > 0


@pytest.mark.parametrize("threshold", ["0.4", "0.6", "0.9", "0.995"])
def test_a_threshold_finds_the_same_along_every_index(seeded_url, reader, threshold):
    """Of one type and of all, below, between and above what the partial indexes hold."""
    for of_type in ([], [("step_type", "rank")]):
        asked = [*of_type, ("drop_ratio_gt", threshold), ("limit", "1000")]
        found = [(step.run_id, step.step_id) for step in reader.steps(*parse(STEPS, asked)).items]
        with psycopg.connect(seeded_url) as connection:
            connection.execute("SET LOCAL enable_indexscan = off")
            connection.execute("SET LOCAL enable_bitmapscan = off")
            expected = connection.execute(
                "SELECT r.run_id, s.step_id FROM steps s JOIN runs r USING (run_key)"
                " WHERE s.drop_ratio > %s AND (%s OR s.step_type = 'rank')"
                " ORDER BY s.started_at DESC, s.run_key, s.step_id, s.attempt_key LIMIT 1000",
                [float(threshold), not of_type],
            ).fetchall()
        assert found == expected


def test_every_question_is_answered(reader, stands):
    """Each kind of question is asked with some parameters; none is refused, none cancelled."""
    for question in questions.questions(stands):
        times = measure(question, by_reader(reader), seed=1, times=3, warm=0)
        assert (times.number, times.cancelled) == (3, 0), question.name


def test_equal_seeds_draw_equal_questions(stands):
    """So that what is compared was asked the same."""
    for question in questions.questions(stands):
        assert question.draw(random.Random(5)) == question.draw(random.Random(5))


def test_the_command_measures_a_seeded_database(seeded_url):
    """It seeds nothing again, and reports the questions of a group as JSON."""
    command = [sys.executable, "-m", "benchmarks.scale", "--database-url", seeded_url, "--only", "run"]
    done = subprocess.run(
        [*command, "--no-load", "--no-rest", "--times", "5", "--json"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["context"]["seeded"]["steps"] == PLAN.steps
    (row,) = report["questions"]
    assert row["alone"]["number"] == 5
