"""
The API keys of the database of the settings.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from cli.database import open_database
from store import migrate
from store.access.keys import KeyTable
from store.settings import StoreSettings, load


@contextmanager
def open_keys(*, prepare: bool = False) -> Iterator[KeyTable]:
    """
    Yield the keys, with the embedded server started for as long if nobody runs it.

    prepare: give an empty database its tables first, so that keys can be made before the first start.
    """
    with open_database(load(StoreSettings)) as found:
        if prepare and migrate.current(found.url) is None:
            migrate.upgrade(found.url)
        yield KeyTable(found.url)
