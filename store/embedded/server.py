"""The embedded server: made when missing, shared by the commands of one user, stopped with its owner."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote

from store.embedded import identity as identities
from store.embedded import process
from store.embedded.binaries import Binaries, choose
from store.embedded.folder import PORT, Folder
from store.errors import StartFailed

DATABASE = "xray"
USER = "xray"
POLL_S = 0.01

SERVER_SETTINGS: Mapping[str, str] = {
    "listen_addresses": "",
    "port": str(PORT),
    "unix_socket_permissions": "0700",
    # Zone arithmetic is never done in SQL: the wheel relies on the system's tzdata.
    "timezone": "UTC",
    "log_timezone": "UTC",
    "shared_buffers": "256MB",
    # COPY bursts fill the default 1 GB of WAL within a minute, and each forced checkpoint
    # makes the next touch of every page a full-page write.
    "max_wal_size": "4GB",
    "jit": "off",
    "log_checkpoints": "off",
    "cluster_name": "xray",
}
LZ4_SETTINGS: Mapping[str, str] = {"default_toast_compression": "lz4", "wal_compression": "lz4"}
"""Five times faster to write wide values with than pglz, the default; not in every build."""


class EmbeddedPostgres:
    """
    A PostgreSQL server in a folder.

    The first process that starts it owns it: the server stops with that process, cleanly even
    after SIGKILL. Processes that start it meanwhile share it by its socket, and lose it when
    the owner ends. Not thread-safe; ``start`` belongs to the main thread, because Linux ties
    the server's life to the *thread* that started it.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        pg_bin: Path | None = None,
        settings: Mapping[str, str] | None = None,
        identity: str | None = None,
        start_timeout_s: float = 30.0,
    ) -> None:
        """
        data_dir: folder of the server, made when missing; the server lives in ``postgres/`` below it.

        pg_bin: folder of the programs (``XRAY_PG_BIN``). settings: server settings over ours.
        identity: as ``identity.choose`` returns it, which decides when this is None.
        """
        self._folder = Folder(data_dir / "postgres")
        self._pg_bin = pg_bin
        self._settings = {**SERVER_SETTINGS, **(settings or {})}
        self._identity = identity
        self._start_timeout_s = start_timeout_s
        self._server: subprocess.Popen[bytes] | None = None
        self._socket_dir: Path | None = None

    @property
    def url(self) -> str:
        """The database ``xray`` as a ``postgresql://`` URL; the server must have been started."""
        return self.database_url(DATABASE)

    def database_url(self, name: str) -> str:
        """Return the URL of another database of this server."""
        if self._socket_dir is None:
            raise RuntimeError("the embedded server has not been started")
        return f"postgresql:///{quote(name)}?host={quote(str(self._socket_dir), safe='/')}&user={USER}"

    @property
    def owner(self) -> bool:
        """Whether this process runs the server, in contrast to sharing another's."""
        return self._server is not None

    @property
    def alive(self) -> bool:
        """Whether the server takes connections now."""
        if self._server is not None and self._server.poll() is not None:
            return False
        return self._socket_dir is not None and self._folder.answering() is not None

    @property
    def pid(self) -> int | None:
        """Process id of the server, None when it does not run."""
        found = self._folder.pid_file()
        return found.pid if found is not None else None

    @property
    def log_path(self) -> Path:
        """File with the server's own words."""
        return self._folder.log

    def start(self) -> Self:
        """
        Start the server, or find the one that runs; return when it takes connections.

        Raises ``EmbeddedError``. Safe to call again after ``stop`` and after the server died.
        """
        if threading.current_thread() is not threading.main_thread():
            raise RuntimeError("start the embedded server from the main thread: it ends with the thread")
        if self.alive:
            return self
        self.stop()
        self._folder.make()
        deadline = time.monotonic() + self._start_timeout_s
        while not self._folder.try_lock():
            found = self._folder.answering()
            if found is not None:
                self._socket_dir = found.socket_dir
                return self
            # The owner is making, starting or stopping it: wait for either outcome.
            self._pause(deadline)
        try:
            self._own(deadline)
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self, timeout_s: float = 30.0) -> None:
        """
        Stop the server when this process owns it; safe to call twice or before ``start``.

        Transactions that run are rolled back. After timeout_s it is ended without a
        checkpoint: the next start recovers from the log and loses nothing committed.
        """
        if self._server is not None:
            end(self._server, timeout_s)
            self._server = None
            if self._socket_dir is not None:
                self._folder.remove_socket_dir(self._socket_dir)
        self._socket_dir = None
        self._folder.unlock()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _own(self, deadline: float) -> None:
        """Make the data when missing and run the server; we hold the lock."""
        folder = self._folder
        identity = self._identity if self._identity is not None else identities.choose()
        identities.check_passable(folder.root, identity)
        identities.hand_over(folder.root, identity)
        binaries = choose(folder.data, folder.recorded_major(), self._pg_bin)
        binaries = identities.reachable(binaries, identity, folder.root)
        if folder.recorded_major() is None:
            initialise(folder, binaries, identity)
        socket_dir = folder.socket_dir(identities.user_id(identity))
        identities.hand_over(socket_dir, identity)
        settings = {**self._settings, "unix_socket_directories": _quoted(socket_dir)}
        if _accepts(binaries, folder, LZ4_SETTINGS, identity):
            settings = {**LZ4_SETTINGS, **settings}
        while not self._attempt(binaries, settings, identity, deadline):
            self._pause(deadline)
        self._socket_dir = socket_dir

    def _attempt(
        self, binaries: Binaries, settings: Mapping[str, str], identity: str, deadline: float
    ) -> bool:
        """
        Start the server once and wait until it is ready; False when the last one still blocks it.

        For a second or two after SIGKILL the old server is a zombie that init has not
        collected, or is still stopping because its owner just died. PostgreSQL then sees its
        pid alive and refuses ``postmaster.pid``; only time helps.
        """
        with self._folder.open_log() as log:
            offset = log.seek(0, os.SEEK_END)
            arguments = ["-D", str(self._folder.data), *_options(settings)]
            self._server = process.spawn(binaries.program("postgres"), arguments, identity=identity, log=log)
        while self._server.poll() is None:
            found = self._folder.pid_file()
            if found is not None and found.pid == self._server.pid and self._folder.answering() is not None:
                return True
            self._pause(deadline, lambda: self._folder.log_since(offset))
        self._server = None
        said = self._folder.log_since(offset)
        stale = self._folder.pid_file()
        if "postmaster.pid" not in said and "shared memory block" not in said:
            raise StartFailed(f"PostgreSQL {binaries} did not start on {self._folder.data}", said)
        if stale is not None:
            # As process 1 of a container nobody else collects the zombie.
            with suppress(ChildProcessError):
                os.waitpid(stale.pid, os.WNOHANG)
        time.sleep(10 * POLL_S)
        return False

    def _pause(self, deadline: float, log: Callable[[], str] | None = None) -> None:
        if time.monotonic() > deadline:
            said = log() if log is not None else self._folder.log_since(0)
            raise StartFailed(
                f"PostgreSQL on {self._folder.data} was not ready within {self._start_timeout_s:g} s", said
            )
        time.sleep(POLL_S)


def end(server: subprocess.Popen[bytes], timeout_s: float) -> None:
    """
    End a server and collect it: SIGINT rolls back what runs and writes a checkpoint.

    SIGQUIT and SIGKILL follow when that takes longer (Shutting Down the Server, PostgreSQL manual).
    """
    for number, patience_s in ((signal.SIGINT, timeout_s), (signal.SIGQUIT, 5.0), (signal.SIGKILL, 5.0)):
        server.send_signal(number)
        with suppress(subprocess.TimeoutExpired):
            server.wait(patience_s)
            return


def initialise(folder: Folder, binaries: Binaries, identity: str) -> None:
    """
    Make the data folder with the database ``xray`` in it, all or nothing. Raises ``StartFailed``.

    It is made under another name and renamed at the end: whoever is interrupted leaves no
    half-made data that a later start would take for real.
    """
    unfinished = folder.root / "data.unfinished"
    options = ["-D", str(unfinished), "-U", USER, "-A", "trust", "-E", "UTF8"]
    # Not every system has C.UTF-8. Plain C sorts the same and only knows ASCII letters.
    for locale in ("C.UTF-8", "C"):
        shutil.rmtree(unfinished, ignore_errors=True)
        made = process.run(binaries.program("initdb"), [*options, f"--locale={locale}"], identity=identity)
        if made.returncode == 0:
            break
    else:
        raise StartFailed(f"initdb of PostgreSQL {binaries} failed for {folder.data}", made.stdout[-4096:])
    single = process.run(
        binaries.program("postgres"),
        ["--single", "-D", str(unfinished), "postgres"],
        identity=identity,
        stdin=f"CREATE DATABASE {DATABASE};\n",
    )
    # Single-user mode returns 0 even after a failed statement.
    if single.returncode != 0 or "ERROR" in single.stdout:
        raise StartFailed(f"PostgreSQL {binaries} could not make its database", single.stdout[-4096:])
    unfinished.rename(folder.data)


def _accepts(binaries: Binaries, folder: Folder, settings: Mapping[str, str], identity: str) -> bool:
    """Return whether this build knows these values: ``postgres -C`` checks them and starts nothing."""
    arguments = ["-D", str(folder.data), *_options(settings), "-C", next(iter(settings))]
    return process.run(binaries.program("postgres"), arguments, identity=identity).returncode == 0


def _options(settings: Mapping[str, str]) -> list[str]:
    return [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]


def _quoted(path: Path) -> str:
    """Return the path as one element of a list setting: a comma in it would split it otherwise."""
    return '"' + str(path).replace('"', '""') + '"'
