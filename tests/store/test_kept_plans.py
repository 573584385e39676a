"""Statements whose plans are kept, over what happens to their connections and tables."""

from __future__ import annotations

import psycopg
import pytest

from store.errors import Unavailable
from store.reader import Reader
from tests.fixtures.reading import Shelf, run_copy


def test_a_migration_under_kept_plans(shelf: Shelf, reader: Reader, database_url: str) -> None:
    """A column of another type is no defect of ours: who asks is told to ask again, once."""
    shelf.put(run_copy("r", entity="P1"))
    assert reader.run("r") is not None
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("DROP SCHEMA xray_public CASCADE")
        connection.execute("ALTER TABLE runs ALTER COLUMN entity TYPE varchar(100)")
    with pytest.raises(Unavailable, match="ask again"):
        reader.run("r")
    run = reader.run("r")
    assert run is not None
    assert run.entity == "P1"
