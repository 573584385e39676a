"""The lint of statements names each thing that a distributed store refuses; the store's own go through it."""

# ruff: noqa: E501 - a statement is a line

from __future__ import annotations

from importlib import import_module
from operator import attrgetter

import pytest

from store.reader import Reader
from tests.fixtures.reading import Shelf, run_copy, step_copy
from tests.fixtures.statements import Recorder, Sent, numbered, violations
from tests.lints.allowed import ALLOWED
from tests.lints.queries import look_at

_LINKED = "steps s JOIN runs r ON r.run_key = s.run_key AND r.run_day = s.run_day"

PLANTED = [
    ("recursive", "WITH RECURSIVE a AS (SELECT run_key, step_id FROM steps) SELECT * FROM a"),
    ("grouping-sets", "SELECT pipeline, count(*) FROM runs GROUP BY ROLLUP (pipeline)"),
    ("grouping-sets", "SELECT pipeline, count(*) FROM runs GROUP BY CUBE (pipeline)"),
    ("grouping-sets", "SELECT pipeline, count(*) FROM runs GROUP BY GROUPING SETS ((pipeline), ())"),
    ("row-locks", "SELECT run_key FROM runs WHERE run_day < $1 FOR UPDATE"),
    ("row-locks", "SELECT run_key FROM runs WHERE run_key = ANY ($1) FOR NO KEY UPDATE SKIP LOCKED"),
    ("row-locks", "SELECT t.run_key FROM unnest($1) k (run_key) JOIN runs t USING (run_key) FOR UPDATE OF t"),
    ("row-locks", "SELECT 1 FROM steps_p20261116 FOR SHARE"),
    ("join", "SELECT 1 FROM steps s JOIN runs r ON r.pipeline = s.pipeline"),
    ("join", "SELECT 1 FROM steps s, runs r WHERE r.run_day = s.run_day"),
    ("join", "SELECT 1 FROM steps s JOIN runs r ON r.run_key = s.run_key OR r.pipeline = s.pipeline"),
    ("join", "UPDATE steps s SET name = r.pipeline FROM runs r WHERE r.run_day = s.run_day"),
    ("join", "DELETE FROM decisions d USING steps s WHERE s.step_id = d.step_id"),
    ("join outer-join", "SELECT 1 FROM runs r LEFT JOIN steps s ON s.run_day = r.run_day"),
    ("join outer-join", "SELECT 1 FROM steps s FULL JOIN decisions d ON d.step_id = s.step_id"),
    ("outer-join", "SELECT 1 FROM runs r LEFT JOIN (SELECT pipeline FROM steps) s USING (pipeline)"),
    ("correlated", "SELECT 1 FROM runs r WHERE EXISTS (SELECT FROM steps s WHERE s.pipeline = r.pipeline)"),
    ("correlated", "SELECT (SELECT count(*) FROM steps s WHERE s.run_day = r.run_day) FROM runs r"),
    ("correlated", "SELECT 1 FROM unnest($1) k (p), LATERAL (SELECT 1 FROM runs r WHERE r.pipeline = k.p LIMIT 1) x"),
    ("volatile-upsert", "INSERT INTO runs (run_key) VALUES ($1) ON CONFLICT (run_key) DO UPDATE SET received_at = now()"),
    ("volatile-upsert", "INSERT INTO runs (run_key) VALUES ($1) ON CONFLICT (run_key) DO UPDATE SET received_at = current_timestamp"),
    ("merge", "MERGE INTO runs r USING (VALUES ($1)) v (k) ON r.run_key = v.k WHEN NOT MATCHED THEN DO NOTHING"),
    ("key-update", "UPDATE runs SET run_key = $1 WHERE run_key = $2"),
    ("local", "SELECT 1 FROM runs r JOIN api_keys k ON k.name = r.pipeline"),
    ("detach-concurrently", "ALTER TABLE steps DETACH PARTITION steps_p20261116 CONCURRENTLY"),
]  # fmt: skip

SOUND = [
    ("run", "SELECT 1 FROM runs WHERE run_key = $1 FOR UPDATE"),
    ("run", f"SELECT 1 FROM {_LINKED} WHERE r.run_key = $1::uuid GROUP BY ROLLUP (s.name)"),
    ("run", "SELECT 1 FROM decisions WHERE run_key = $1 AND run_day = (SELECT run_day FROM runs WHERE run_key = $2)"),
    ("fleet", f"SELECT s.name, count(*) FROM {_LINKED} GROUP BY s.name"),
    ("fleet", "SELECT 1 FROM runs r WHERE EXISTS (SELECT FROM steps s WHERE s.run_key = r.run_key AND s.name = r.pipeline)"),
    ("fleet", "SELECT 1 FROM runs r LEFT JOIN LATERAL (SELECT 1 FROM steps s WHERE s.run_key = r.run_key LIMIT 1) x ON true"),
    ("fleet", "SELECT 1 FROM runs r LEFT JOIN (SELECT run_key, count(*) FROM steps GROUP BY run_key) s ON s.run_key = r.run_key"),
    ("fleet", "SELECT 1 FROM unnest($1) k (run_key) JOIN runs r USING (run_key) JOIN steps s ON s.run_key = k.run_key"),
    ("fleet", "WITH picked AS (SELECT run_key AS k FROM runs) SELECT 1 FROM picked JOIN steps s ON s.run_key = picked.k"),
    ("fleet", "DELETE FROM steps t USING unnest($1, $2) AS k (run_key, step_id) WHERE t.run_key = k.run_key"),
    ("fleet", "INSERT INTO runs (run_key) VALUES ($1) ON CONFLICT (run_key) DO UPDATE SET received_at = $2"),
    ("fleet", "SELECT 1 FROM runs WHERE run_day >= (SELECT first_day FROM retention_floors WHERE kind = 'runs')"),
    ("other", "SELECT value FROM server_secrets WHERE name = $1 FOR UPDATE"),
    ("other", "SAVEPOINT attempt; ROLLBACK TO SAVEPOINT attempt"),
]  # fmt: skip


@pytest.mark.parametrize(("rules", "statement"), PLANTED)
def test_a_planted_violation_is_named(rules: str, statement: str) -> None:
    """Each rule is broken at least once, and the lint says which one, and no other."""
    assert {finding.rule for finding in look_at(statement).findings} == set(rules.split())


@pytest.mark.parametrize(("kind", "statement"), SOUND)
def test_what_is_accepted_is_let_through(kind: str, statement: str) -> None:
    """What an engine takes is not named, and classed by whether each run is given."""
    look = look_at(statement)
    assert (look.kind, look.findings) == (kind, frozenset())


def test_what_the_store_sends_is_noted_with_its_sender(
    database_url: str, shelf: Shelf, sent_statements: Recorder
) -> None:
    """A batch that comes twice sends what COPY and what locking take; and nothing of the test is noted."""
    for _ in range(2):
        shelf.put(run_copy("r"), step_copy("r", "s"))
    senders = {each.sender for each in sent_statements.sent}
    assert {"store/wire.py:CopyForm.send", "store/landing.py:_read"} <= senders
    assert all(sender.startswith("store/") for sender in senders)


def test_what_is_kept_is_noted_with_who_asks(shelf: Shelf, reader: Reader, sent_statements: Recorder) -> None:
    """Not with the function that all of them go through: an allowance for one would be one for all."""
    shelf.put(run_copy("r"), step_copy("r", "s"))
    assert reader.run_detail("r") is not None
    by_sender = {(each.sender, each.text[:11]) for each in sent_statements.sent}
    assert {
        ("store/queries/runs.py:run_detail", "SELECT step"),
        ("store/queries/shown.py:day_of", "SELECT runs"),
    } <= by_sender
    assert not [sender for sender, _ in by_sender if sender.startswith("store/kept.py")]


def test_a_violation_is_allowed_by_its_sender_alone() -> None:
    """The same statement is refused from anywhere else; the report names sender and rule."""
    text = "SELECT 1 FROM runs WHERE run_day = $1 FOR UPDATE"
    assert violations({Sent("store/landing.py:_read", text)}) == []
    (line,) = violations({Sent("store/landing.py:_other", text)})
    assert line.startswith("store/landing.py:_other: row-locks: runs")


def test_every_allowance_has_a_reason_and_a_sender() -> None:
    """Nothing is let through in silence, nor for what is not there any more."""
    assert all(reason.strip() for reason in ALLOWED.values())
    for sender, _ in ALLOWED:
        path, _, function = sender.partition(":")
        module = import_module(path.removesuffix(".py").replace("/", "."))
        assert callable(attrgetter(function)(module)), sender


def test_placeholders_become_numbers() -> None:
    """As the server gets them: a name keeps its number, a doubled sign is one."""
    assert numbered("SELECT %s, %(a)s, %(b)t, %(a)s, 5 %% 2, %b") == "SELECT $1, $2, $3, $2, 5 % 2, $4"
