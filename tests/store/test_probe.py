"""Whether the database can store now."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest

from store.errors import Unavailable
from store.probe import Probe


def test_a_migrated_database_is_ready(database_url: str) -> None:
    """A database with our tables is ready, however often one asks."""
    probe = Probe(database_url)
    probe.check()
    probe.check()


def test_an_empty_database_is_not_ready(empty_database_url: str) -> None:
    """A database without our tables cannot store."""
    with pytest.raises(Unavailable, match="lacks our tables"):
        Probe(empty_database_url).check()


def test_options_of_the_url_hold(database_url: str) -> None:
    """What the URL asks of the server, such as the schema with our tables, is asked here too."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("ALTER SCHEMA public RENAME TO tables_of_ours")
    found = f"{database_url}{'&' if '?' in database_url else '?'}options=-csearch_path%3Dtables_of_ours"
    with pytest.raises(Unavailable, match="lacks our tables"):
        Probe(database_url).check()
    Probe(found).check()


def test_no_database_is_not_ready(tmp_path: Path) -> None:
    """Nobody behind the address: said without the address, which may hold a password."""
    with pytest.raises(Unavailable, match=r"^the database cannot be reached$"):
        Probe(f"postgresql:///xray?host={tmp_path}&user=xray").check()
