"""
The database of the settings: its state, its URL, its schema brought up to date.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cli.database import open_database, running_database
from cli.errors import Failure
from store import backup, distribution, migrate, public_views
from store.artifacts.open import shown
from store.artifacts.settings import ArtifactSettings
from store.erase import Eraser
from store.settings import StoreSettings, load, without_password
from store.sizes import Sizes, sizes
from store.upkeep_settings import UpkeepSettings
from store.wiping import ErasedItem, ErasedRun


@dataclass(frozen=True, slots=True)
class DatabaseState:
    """What ``xray db status`` says."""

    database: str
    """Without its password."""
    embedded: bool
    data_dir: str | None
    """Folder of the embedded server; None for a server of your own."""
    revision: str | None
    """None for an empty database."""
    revision_needed: str
    payloads: str | None
    """The object store for large payloads; None: all lie in the database."""
    inline_bytes: int
    """Up to this size they lie in the database anyway."""

    @property
    def up_to_date(self) -> bool:
        """Whether this version of the code can work with it."""
        return self.revision == self.revision_needed


def state() -> DatabaseState:
    """Look at the running database. Raises ``Failure`` when the embedded one is not running."""
    settings, artifacts = load(StoreSettings), load(ArtifactSettings)
    with running_database(settings) as found:
        revision = migrate.current(found)
        embedded = settings.database_url is None
        return DatabaseState(
            database=without_password(found),
            embedded=embedded,
            data_dir=str(settings.data_dir) if embedded else None,
            revision=revision,
            revision_needed=migrate.head(),
            payloads=None if artifacts.url is None else shown(artifacts.url),
            inline_bytes=artifacts.inline_bytes,
        )


def measured() -> Sizes:
    """How large the database is; it must be up to date. Raises ``Failure`` and ``Unavailable``."""
    with running_database(load(StoreSettings)) as found:
        return sizes(found, load(UpkeepSettings).policy)


def place() -> str:
    """Return which database the settings name, without its password."""
    settings = load(StoreSettings)
    return (
        f"{settings.data_dir}" if settings.database_url is None else without_password(settings.database_url)
    )


def erase_run(run_id: str) -> ErasedRun:
    """Erase a run everywhere. Raises ``Failure`` when nothing of it is known, and as ``state`` does."""
    with running_database(load(StoreSettings)) as found:
        erased = Eraser(found, load(ArtifactSettings).open()).run(run_id)
    if erased is None:
        raise Failure(f"no run {run_id} is known")
    return erased


def erase_item(item_id: str) -> ErasedItem:
    """Erase an item everywhere. Raises ``Failure`` as ``state`` does."""
    with running_database(load(StoreSettings)) as found:
        return Eraser(found).item(item_id)


def upgrade() -> tuple[str | None, str | None]:
    """Migrate, with the embedded server started if nobody runs it; return the revisions before and after."""
    with open_database(load(StoreSettings)) as found:
        before = migrate.current(found.url)
        migrate.upgrade(found.url)
        return before, migrate.current(found.url)


def back_up(file: Path) -> None:
    """Write a backup. Raises ``Failure`` when it cannot be, and as ``state`` does."""
    settings = load(StoreSettings)
    with running_database(settings) as found:
        try:
            backup.back_up(found, file, settings.pg_bin)
        except backup.CannotBackUp as error:
            raise Failure(str(error)) from error


def restore(file: Path) -> str | None:
    """Bring a backup into the empty database and migrate it; return the revision that it was of."""
    settings = load(StoreSettings)
    with open_database(settings) as found:
        try:
            backup.restore(found.url, file, settings.pg_bin)
        except backup.CannotBackUp as error:
            raise Failure(str(error)) from error
        before = migrate.current(found.url)
        migrate.upgrade(found.url)
        return before


def distribute() -> distribution.Distributed:
    """Place the tables on the nodes of Citus. Raises ``Failure`` when there is none."""
    settings = load(StoreSettings)
    if settings.database_url is None:
        raise Failure("the embedded server is a single one; set XRAY_DATABASE_URL to one with Citus")
    with running_database(settings) as found:
        try:
            return distribution.distribute(found)
        except distribution.NotDistributable as error:
            raise Failure(str(error)) from error


def url() -> str:
    """Return the running database's URL, with its password. Raises ``Failure`` as ``state`` does."""
    with running_database(load(StoreSettings)) as found:
        return found


def grant_reader(role: str) -> None:
    """Let a role read the public views. Raises ``Failure`` when it cannot be, and as ``state`` does."""
    with running_database(load(StoreSettings)) as found:
        try:
            public_views.grant_reader(found, role)
        except public_views.CannotGrant as error:
            raise Failure(str(error)) from error
