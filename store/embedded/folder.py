"""
What lies in the embedded server's folder: the data, its lock, its log, its socket.

::

    ROOT/lock         held by the process that runs the server
    ROOT/server.log   the server's words, begun anew when it grows beyond LOG_BYTES
    ROOT/data/        the data; ``PG_VERSION`` in it is the record of the major version
    ROOT/socket/      the Unix socket, unless the path is too long for one
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import socket
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, NamedTuple

from store.errors import FolderRefused

LOG_BYTES = 10 * 1024 * 1024
PORT = 5432
"""Only part of the socket's name: nothing listens on TCP."""
SOCKET_NAME = f".s.PGSQL.{PORT}"
SOCKET_PATH_BYTES = 107
"""sun_path of unix(7) without its closing zero."""


class PidFile(NamedTuple):
    """``postmaster.pid`` of a server that runs, or of one that was killed."""

    pid: int
    socket_dir: Path
    status: str
    """``starting``, ``ready``, ``stopping`` or ``standby``; empty in the first milliseconds."""


class Folder:
    """The folder of one embedded server. Making it does nothing; ``make`` does."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        self.data = self.root / "data"
        self.log = self.root / "server.log"
        self._lock: IO[bytes] | None = None

    def make(self) -> None:
        """Make the folder, closed to others. Raises ``FolderRefused``."""
        try:
            self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as exc:
            raise self._refused(exc) from exc

    def _refused(self, exc: OSError) -> FolderRefused:
        return FolderRefused(f"{self.root}: {exc.strerror}; set XRAY_DATA_DIR to a folder you own")

    def recorded_major(self) -> int | None:
        """Return the major version that made the data, None when there is no data."""
        try:
            return int((self.data / "PG_VERSION").read_text(encoding="ascii").split(".")[0])
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as exc:
            raise FolderRefused(f"{self.data / 'PG_VERSION'}: {exc}") from exc

    def try_lock(self) -> bool:
        """Take the lock and keep it until ``unlock`` or our end; False when another process has it."""
        try:
            file = open(self.root / "lock", "ab")  # noqa: SIM115 - stays open while the lock is held
        except OSError as exc:
            raise self._refused(exc) from exc
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            return False
        self._lock = file
        return True

    def unlock(self) -> None:
        """Release the lock, when we have it."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def pid_file(self) -> PidFile | None:
        """Return what the server wrote about itself (storage of lines: PostgreSQL's ``pidfile.h``)."""
        try:
            lines = (self.data / "postmaster.pid").read_text(encoding="utf-8").splitlines()
            return PidFile(int(lines[0]), Path(lines[4]), lines[7].strip() if len(lines) > 7 else "")
        except (OSError, ValueError, IndexError):
            # Missing, or read while it was being written: the caller asks again.
            return None

    def answering(self) -> PidFile | None:
        """Return the server that is ready *and* takes connections; a killed one leaves its file behind."""
        found = self.pid_file()
        if found is None or found.status != "ready" or not _connects(found.socket_dir):
            return None
        return found

    def socket_dir(self, owner: int) -> Path:
        """
        Return a folder for the socket, closed to others: in our root, or a short one when that cannot be.

        owner: uid that may have it from an earlier start, beside ours. Raises ``FolderRefused``
        when somebody else has the short one.
        """
        inside = self.root / "socket"
        # libpq takes a comma in a host for the end of the first of several hosts.
        if len(os.fsencode(inside / SOCKET_NAME)) <= SOCKET_PATH_BYTES and "," not in str(inside):
            inside.mkdir(mode=0o700, exist_ok=True)
            return inside
        digest = hashlib.blake2b(os.fsencode(self.root.resolve()), digest_size=6).hexdigest()
        short = Path(tempfile.gettempdir()) / f"xray-{os.geteuid()}-{digest}"
        if len(os.fsencode(short / SOCKET_NAME)) > SOCKET_PATH_BYTES:
            short = Path("/tmp") / short.name
        with suppress(FileExistsError):
            short.mkdir(mode=0o700)
        # The name can be guessed, so whoever made it first may not be us.
        found = short.lstat()
        ours = stat.S_ISDIR(found.st_mode) and found.st_uid in (os.geteuid(), owner)
        if not ours or found.st_mode & 0o077:
            raise FolderRefused(
                f"{short} is not a private folder of ours; set XRAY_DATA_DIR to a shorter path"
            )
        return short

    def remove_socket_dir(self, path: Path) -> None:
        """Remove the folder that ``socket_dir`` made outside the root, once it is empty."""
        if path.parent != self.root:
            with suppress(OSError):
                path.rmdir()

    @contextmanager
    def open_log(self) -> Iterator[IO[bytes]]:
        """Open the log to append; an overlong one is begun anew."""
        with open(self.log, "ab") as file:
            if file.tell() > LOG_BYTES:
                file.truncate(0)
            yield file

    def log_since(self, offset: int) -> str:
        """Return the log from an offset in bytes, at most its last 4 kB."""
        with suppress(OSError), open(self.log, "rb") as file:
            file.seek(max(offset, os.fstat(file.fileno()).st_size - 4096))
            return file.read().decode("utf-8", "replace")
        return ""


def _connects(socket_dir: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(socket_dir / SOCKET_NAME))
        except OSError:
            return False
    return True
