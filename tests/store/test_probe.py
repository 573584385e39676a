"""Whether the database can store now."""

from __future__ import annotations

from pathlib import Path

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


def test_no_database_is_not_ready(tmp_path: Path) -> None:
    """Nobody behind the address: said without the address, which may hold a password."""
    with pytest.raises(Unavailable, match=r"^the database cannot be reached$"):
        Probe(f"postgresql:///xray?host={tmp_path}&user=xray").check()
