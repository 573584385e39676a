"""
The database that the commands work on: your own server, or the embedded one of the data folder.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from cli.errors import Failure
from cli.progress import Say, silent
from store import migrate
from store.embedded import EmbeddedPostgres
from store.errors import Unavailable
from store.settings import StoreSettings, without_password


def embedded(settings: StoreSettings) -> EmbeddedPostgres:
    """The embedded server of the data folder, not started."""
    return EmbeddedPostgres(settings.data_dir, pg_bin=settings.pg_bin)


class Database(NamedTuple):
    """A database that answered when it was opened."""

    url: str
    """With its password."""
    has_ended: Callable[[], bool]
    """Whether it is an embedded server that ended meanwhile, so that waiting for it is of no use."""


@contextmanager
def open_database(settings: StoreSettings, say: Say = silent) -> Iterator[Database]:
    """
    Yield a database that answers; an embedded server of ours stops afterwards.

    Must be entered in the main thread (``EmbeddedPostgres.start``). Raises
    ``store.errors.EmbeddedError``, and ``Failure`` when your own server does not answer.
    """
    if settings.database_url is not None:
        say(f"database   {without_password(settings.database_url)}")
        with _naming_the_setting():
            migrate.current(settings.database_url)
        # A server of your own comes back, and until then the senders are told to wait.
        yield Database(settings.database_url, lambda: False)
        return
    say(f"database   starting PostgreSQL in {settings.data_dir} …")
    server = embedded(settings)
    server.start()
    try:
        if not server.owner:
            say("database   shared with the X-Ray process that runs it, and gone when that one ends")
        yield Database(server.url, lambda: not server.alive)
    finally:
        server.stop()


@contextmanager
def running_database(settings: StoreSettings) -> Iterator[str]:
    """
    Yield the URL of a database that somebody else keeps running.

    Raises ``Failure`` when that is the embedded one and nobody runs it; a server of your own that
    does not answer what the block asks raises it too.
    """
    if settings.database_url is not None:
        with _naming_the_setting():
            yield settings.database_url
        return
    server = embedded(settings)
    away = Failure(
        f"no server runs on {settings.data_dir}; start one with `xray up`, "
        "or set XRAY_DATA_DIR or XRAY_DATABASE_URL as that one has it"
    )
    if server.pid is None:
        raise away
    server.start()
    try:
        # A killed server leaves its pid file behind: then it is we who just started it.
        if server.owner:
            raise away
        yield server.url
    finally:
        server.stop()


@contextmanager
def _naming_the_setting() -> Iterator[None]:
    try:
        yield
    except Unavailable as error:
        raise Failure(f"XRAY_DATABASE_URL: {error}") from error
