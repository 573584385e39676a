"""The lints of tables and migrations name each thing that is planted; the migrated database has none."""

# ruff: noqa: E501, ISC004 - a statement is a line

from __future__ import annotations

from datetime import date

import psycopg
import pytest
from alembic import command
from alembic.script import ScriptDirectory
from sqlalchemy import event

from store import migrate
from store.partitions import Partitions
from store.schema import DISTRIBUTED_TABLES, PARTITIONED_TABLES, REFERENCE_TABLES
from tests.lints import migrations
from tests.lints.catalog import RULES, breaches

_RELEASED = "0003"
_DISTRIBUTED = [table.name for table in DISTRIBUTED_TABLES]
_REFERENCE = [table.name for table in REFERENCE_TABLES]

_KEY = "run_key uuid NOT NULL"
PLANTED = [
    ("no-key", f"CREATE TABLE planted ({_KEY})"),
    ("key-first", "CREATE TABLE planted (id bigint, run_key uuid, PRIMARY KEY (id, run_key))"),
    ("key-first", f"CREATE TABLE planted ({_KEY} PRIMARY KEY, name text UNIQUE)"),
    ("key-first", f"CREATE TABLE planted ({_KEY} PRIMARY KEY, span int4range, EXCLUDE USING gist (span WITH &&))"),
    ("key-first", f"CREATE TABLE planted ({_KEY} PRIMARY KEY, n text); CREATE UNIQUE INDEX ON planted (lower(n))"),
    ("key-type", "CREATE TABLE planted (run_key text PRIMARY KEY)"),
    ("foreign-key", f"CREATE TABLE planted ({_KEY} PRIMARY KEY, k text REFERENCES api_keys (key_id))"),
    ("foreign-key", f"CREATE TABLE planted ({_KEY} PRIMARY KEY, parent uuid REFERENCES runs (run_key))"),
    ("foreign-key", f"CREATE TABLE planted ({_KEY} PRIMARY KEY);"
        " CREATE TABLE beside (k uuid REFERENCES planted (run_key))"),
    ("foreign-key", f"CREATE TABLE planted ({_KEY} PRIMARY KEY REFERENCES runs ON DELETE SET NULL)"),
    ("trigger", f"CREATE TABLE planted ({_KEY} PRIMARY KEY); CREATE TRIGGER t BEFORE UPDATE ON planted"
        " FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()"),
    ("sequence", f"CREATE TABLE planted ({_KEY} PRIMARY KEY, n serial)"),
    ("sequence", f"CREATE TABLE planted ({_KEY} PRIMARY KEY, n int GENERATED ALWAYS AS IDENTITY)"),
    ("levels", f"CREATE TABLE planted ({_KEY}, run_day date, PRIMARY KEY (run_key, run_day)) PARTITION BY RANGE (run_day);"
        " CREATE TABLE below PARTITION OF planted FOR VALUES FROM ('2026-01-01') TO ('2026-02-01')"
        " PARTITION BY HASH (run_key)"),
    ("partition", f"CREATE TABLE planted ({_KEY} PRIMARY KEY) PARTITION BY HASH (run_key)"),
    ("compression", f"CREATE TABLE planted ({_KEY} PRIMARY KEY, t text COMPRESSION pglz)"),
]  # fmt: skip

PLANTED_MIGRATIONS = [
    ("COMPRESSION", "ALTER TABLE runs ALTER input SET COMPRESSION lz4"),
    ("USING", "CREATE TABLE x (a int) USING columnar"),
    ("USING", "CREATE TABLE x (a int) PARTITION BY RANGE (a) USING heap"),
    ("TABLESPACE", "CREATE INDEX i ON runs (run_id) TABLESPACE fast"),
    ("trigger", "CREATE TRIGGER t BEFORE INSERT ON runs EXECUTE FUNCTION f()"),
    ("drop column", "ALTER TABLE steps DROP COLUMN why"),
    ("rename", "ALTER TABLE steps RENAME COLUMN why TO because"),
    ("rename", "ALTER TABLE steps RENAME TO stages"),
    ("type", "ALTER TABLE steps ALTER COLUMN top_k TYPE integer"),
    ("not null", "ALTER TABLE steps ALTER COLUMN why SET NOT NULL"),
    ("column without default", "ALTER TABLE steps ADD COLUMN weight integer NOT NULL"),
    ("drop table", "DROP TABLE schemas"),
    ("drop view", "DROP VIEW xray_public.steps"),
    ("constraint", "ALTER TABLE steps ADD CONSTRAINT c CHECK (top_k > 0)"),
]


def test_the_migrated_database_could_be_distributed(database_url: str) -> None:
    """With partitions made, no table that is registered as distributed or reference breaks a rule."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        Partitions().ensure(connection, [date(2026, 11, 20)])
        assert breaches(connection, _DISTRIBUTED, _REFERENCE) == set()
        found = connection.execute("SELECT relname FROM pg_class WHERE relkind = 'p'").fetchall()
    assert {name for (name,) in found} == {table.name for table in PARTITIONED_TABLES} <= set(_DISTRIBUTED)


@pytest.mark.parametrize(("rule", "tables"), PLANTED)
def test_a_planted_table_is_named(module_database: str, rule: str, tables: str) -> None:
    """Each rule is broken at least once, and the lint says which one, and no other."""
    with psycopg.connect(module_database) as connection:
        connection.execute(tables)
        found = breaches(connection, [*_DISTRIBUTED, "planted"], _REFERENCE)
        connection.rollback()
    assert {name for name, *_ in found} == {rule}


def test_every_rule_is_planted() -> None:
    """No rule of the catalog goes untested."""
    assert {rule.name for rule in RULES} == {name for name, _ in PLANTED}


@pytest.fixture(scope="module")
def module_database(new_module_database) -> str:
    """A migrated database for tables that are planted and taken back."""
    return str(new_module_database())


@pytest.mark.parametrize(("rule", "statement"), PLANTED_MIGRATIONS)
def test_a_planted_migration_is_named(rule: str, statement: str) -> None:
    """Each rule is broken once; what a comment says is no statement."""
    found = list(migrations.breaches(f"{statement}; COMMENT ON TABLE runs IS '{statement}'", additive=True))
    assert [breach.rule for breach in found] == [rule]


def test_sound_migrations_are_let_through() -> None:
    """What a server of the version before does not notice."""
    text = (
        "CREATE TABLE x (a uuid, PRIMARY KEY (a)) PARTITION BY RANGE (a); CREATE INDEX i ON x USING btree (a);"
        " ALTER TABLE steps ADD COLUMN weight integer; ALTER TABLE steps ADD COLUMN n integer NOT NULL DEFAULT 0;"
        " ALTER TABLE steps ADD CONSTRAINT c CHECK (top_k > 0) NOT VALID; DROP INDEX ix_steps_started;"
        " CREATE VIEW v AS SELECT 1; CREATE OR REPLACE VIEW v AS SELECT 2"
    )
    assert list(migrations.breaches(text, additive=True)) == []


def test_migrations_run_on_any_server_and_beside_the_version_before(empty_database_url: str) -> None:
    """No migration names what not every server has; none after those released takes anything away."""
    revisions = [script.revision for script in ScriptDirectory(str(migrate._SCRIPTS)).walk_revisions()][::-1]
    sent: list[str] = []
    found = {}
    with migrate._connection(empty_database_url) as connection:
        event.listen(connection, "before_cursor_execute", lambda *call: sent.append(call[2]))
        for number, revision in enumerate(revisions):
            sent.clear()
            command.upgrade(migrate._config(connection), revision)
            additive = number > revisions.index(_RELEASED)
            assert len(sent) > 1
            found[revision] = list(migrations.breaches(";".join(sent), additive=additive))
    assert found == {revision: [] for revision in revisions}
