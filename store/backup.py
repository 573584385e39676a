"""
Backup and restore of the database, by PostgreSQL's own programs.

What lies in an object store is not part of it: its keys are hashes of the content, so a copy of the
objects made *after* the backup holds all that the backup names.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryFile, mkstemp
from typing import IO, Any

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from store.database import libpq_url
from store.embedded.binaries import Binaries, installed
from store.errors import Unavailable, XRayStoreError

_WHAT = ("--no-owner", "--no-privileges")
_NEW_IN_17 = b"SET transaction_timeout = 0;\n"
"""What pg_restore of 17 begins with whatever the server is, and what one before 17 refuses."""
_HEAD_BYTES = 4096
"""Before the first table, so that no data is touched."""
_HAS_TABLES = (
    "SELECT EXISTS (SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
    " WHERE c.relkind IN ('r', 'p', 'v') AND n.nspname IN ('public', 'xray_public')"
    # Of an extension: the server's, not ours.
    " AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = c.oid AND d.deptype = 'e'))"
)


class CannotBackUp(XRayStoreError):
    """No program fits the server, the database is not empty, or the program says why."""


def back_up(url: str, file: Path, pg_bin: Path | None = None) -> None:
    """
    Write the database as it is at one moment into a file in pg_dump's custom format.

    Others go on writing meanwhile. ``file`` is there when it is whole, and its owner's alone: what it
    holds is as private as the database. Raises ``CannotBackUp`` and ``Unavailable``.
    """
    major, _ = _server(url)
    program = _programs(major, pg_bin).program("pg_dump")
    if file.exists():
        raise CannotBackUp(f"{file} is there already")
    try:
        descriptor, name = mkstemp(prefix=f"{file.name}.", suffix=".part", dir=file.parent)
        os.close(descriptor)
        part = Path(name)
        try:
            target, environ = _target(url)
            _run([str(program), "--format=custom", *_WHAT, f"--file={part}", target], environ)
            part.replace(file)
        finally:
            part.unlink(missing_ok=True)
    except OSError as exc:
        raise CannotBackUp(f"{file} cannot be written ({exc.strerror})") from exc


def restore(url: str, file: Path, pg_bin: Path | None = None) -> None:
    """
    Bring a backup into an empty database; ``migrate.upgrade`` has to follow.

    In one transaction: what fails leaves the database as empty as it was. Raises ``CannotBackUp``, when
    there are tables already or what the file holds does not fit, and ``Unavailable``.
    """
    major, has_tables = _server(url)
    programs = _programs(major, pg_bin)
    if not file.is_file():
        raise CannotBackUp(f"there is no file {file}")
    if has_tables:
        raise CannotBackUp("the database is not empty; restore into a new one")
    target, environ = _target(url)
    # By way of psql: pg_restore itself would send a setting that a server before 17 does not know.
    reading = [str(programs.program("pg_restore")), *_WHAT, "--single-transaction", "--file=-", str(file)]
    writing = [str(programs.program("psql")), "--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", target]
    with TemporaryFile() as read_said, TemporaryFile() as write_said:
        with (
            subprocess.Popen(reading, env=environ, stdout=subprocess.PIPE, stderr=read_said) as reader,
            subprocess.Popen(
                writing, env=environ, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=write_said
            ) as writer,
        ):
            assert reader.stdout is not None  # both are pipes
            assert writer.stdin is not None
            with suppress(BrokenPipeError):
                head = reader.stdout.read(_HEAD_BYTES)
                writer.stdin.write(head.replace(_NEW_IN_17, b"", 1) if major < 17 else head)
                shutil.copyfileobj(reader.stdout, writer.stdin)
            reader.stdout.close()
            with suppress(BrokenPipeError):
                # Without its COMMIT at the end, when the reader has failed.
                writer.stdin.close()
        # One that cannot be written to makes the other fail: so the writer's word comes first.
        _check(writing, writer.returncode, _text(write_said))
        _check(reading, reader.returncode, _text(read_said))


def _server(url: str) -> tuple[int, bool]:
    """The server's major version, and whether the database has tables."""
    try:
        with psycopg.connect(libpq_url(url)) as connection:
            row = connection.execute(_HAS_TABLES).fetchone()
            return connection.info.server_version // 10_000, row == (True,)
    except psycopg.OperationalError as exc:
        raise Unavailable("the database cannot be reached") from exc


def _programs(major: int, pg_bin: Path | None) -> Binaries:
    """Programs no older than the server, which could not read it; those that fit best."""
    found = [
        each
        for each in installed(pg_bin)
        if all(each.program(name).is_file() for name in ("pg_dump", "pg_restore", "psql"))
    ]
    fitting = sorted((each for each in found if each.major >= major), key=lambda each: each.major)
    if not fitting:
        listed = ", ".join(map(str, found)) or "none"
        raise CannotBackUp(f"no pg_dump of PostgreSQL {major} or newer is here; found {listed}")
    return fitting[0]


def _target(url: str) -> tuple[str, dict[str, str]]:
    """The argument that names the database, and the environment of a program that is given it."""
    given: dict[str, Any] = conninfo_to_dict(libpq_url(url))
    environ = {**os.environ, "LC_ALL": "C"}  # its errors are looked for in what it says
    if "password" in given:
        # Others on the machine see a command line, not an environment.
        environ["PGPASSWORD"] = str(given.pop("password"))
    return f"--dbname={make_conninfo(**given)}", environ


def _run(command: Sequence[str], environ: dict[str, str]) -> None:
    ended = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    _check(command, ended.returncode, ended.stderr)


def _check(command: Sequence[str], code: int, said: str) -> None:
    if code != 0:
        # Of the kind "pg_restore: error: …", "psql:…: ERROR:  …"; what follows may be whole statements.
        found = re.search(r"(?:error|ERROR|FATAL): +(.*)", said)
        raise CannotBackUp(found[1] if found else f"{Path(command[0]).name} ended with {code}")


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode(errors="replace")
