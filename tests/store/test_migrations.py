"""The schema in the database is the one that the code names."""

from __future__ import annotations

from contextlib import closing
from datetime import date

import psycopg
import pytest
from alembic import command

from store import migrate
from store.database import libpq_url, sqlalchemy_url
from store.errors import Unavailable
from store.partitions import Partitions, partition_name, week_of
from store.records import (
    ArtifactRow,
    BlobRow,
    DecisionRow,
    LossRow,
    RunRow,
    SchemaRow,
    SenderLossRow,
    StepRow,
    TraceRow,
)
from store.rows import Batch
from store.schema import PARTITIONED_TABLES, VOLATILE_COLUMNS, metadata
from store.writer import PostgresWriter
from tests.fixtures.reading import run_copy, step_copy
from tests.fixtures.tables import dump_tables


def test_migrating_to_head_gives_the_metadata(empty_database_url):
    """An empty database that is upgraded differs in nothing from store/schema.py."""
    assert migrate.current(empty_database_url) is None
    migrate.upgrade(empty_database_url)
    assert migrate.current(empty_database_url) == migrate.head()
    assert migrate.check(empty_database_url) == []


def test_upgrading_again_changes_nothing(database_url):
    """A database that is at head, with partitions made, stays as it is."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        Partitions().ensure(connection, [date(2026, 11, 20)])
    migrate.upgrade(database_url)
    assert migrate.check(database_url) == []


def test_rows_outlive_an_upgrade_from_the_first_revision(database_url):
    """A database of the first revision that is in use keeps its rows, and is then like any other."""
    trace = b"\xa1" * 16
    with closing(PostgresWriter(database_url)) as writer:
        batch = Batch(1, runs=[run_copy("r", trace_id=trace)], steps=[step_copy("r", "s", trace_id=trace)])
        (result,) = writer.write([batch])
    assert not result.refused
    before = dump_tables(database_url)
    with migrate._connection(database_url) as connection:
        command.downgrade(migrate._config(connection), "0001")
    assert migrate.current(database_url) == "0001"
    migrate.upgrade(database_url)
    assert migrate.check(database_url) == []
    assert len(before["steps"]) == 1
    assert dump_tables(database_url) == before | {"traces": []}


def test_comments_are_in_the_catalog(database_url):
    """Each table says in the database what its rows are."""
    with psycopg.connect(database_url) as connection:
        found: dict[str, str] = dict(
            connection.execute(
                "SELECT relname, obj_description(oid, 'pg_class') FROM pg_class WHERE relkind IN ('r', 'p')"
                " AND relnamespace = 'public'::regnamespace AND relname <> 'alembic_version'"
            ).fetchall()
        )
    assert found == {table.name: table.comment for table in metadata.sorted_tables}


def test_an_unreachable_database_is_unavailable(tmp_path):
    """Migrating without a server raises Unavailable, not an error of the driver."""
    with pytest.raises(Unavailable):
        migrate.upgrade(f"postgresql:///xray?host={tmp_path}&user=xray")


@pytest.mark.parametrize("url", ["postgresql://u@h/d", "postgres://u@h/d", "postgresql+psycopg://u@h/d"])
def test_urls_are_taken_in_every_usual_spelling(url):
    """Whatever the scheme says, libpq and SQLAlchemy each get theirs."""
    assert libpq_url(url) == "postgresql://u@h/d"
    assert sqlalchemy_url(url) == "postgresql+psycopg://u@h/d"


@pytest.mark.parametrize(
    ("table", "row"),
    [
        ("runs", RunRow),
        ("steps", StepRow),
        ("decisions", DecisionRow),
        ("artifacts", ArtifactRow),
        ("artifact_blobs", BlobRow),
        ("losses", LossRow),
        ("sender_losses", SenderLossRow),
        ("schemas", SchemaRow),
        ("traces", TraceRow),
    ],
)
def test_records_have_the_columns_in_their_order(table, row):
    """Rows are sent by position: the record's fields are the table's columns."""
    assert list(row._fields) == [column.name for column in metadata.tables[table].columns]


def test_every_table_says_what_is_volatile():
    """VOLATILE_COLUMNS names each table, and only columns that it has."""
    assert set(VOLATILE_COLUMNS) == set(metadata.tables)
    for name, columns in VOLATILE_COLUMNS.items():
        assert columns <= set(metadata.tables[name].columns.keys())


def test_partitions_are_made_a_week_ahead_and_only_once(database_url):
    """Asking for a day makes its week and the next, whoever asks, however often."""
    day = date(2026, 11, 20)
    with psycopg.connect(database_url, autocommit=True) as connection:
        for partitions in (Partitions(), Partitions()):
            partitions.ensure(connection, [day])
            partitions.ensure(connection, [day])
        found = connection.execute("SELECT relname FROM pg_class WHERE relispartition AND relkind = 'r'")
        names = sorted(name for (name,) in found)
    weeks = [date(2026, 11, 16), date(2026, 11, 23)]
    assert week_of(day) == weeks[0]
    assert names == sorted(partition_name(table.name, week) for table in PARTITIONED_TABLES for week in weeks)
