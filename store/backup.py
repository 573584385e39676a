"""
Backup and restore of the database, by PostgreSQL's own programs.

What lies in an object store is not part of it: its keys are hashes of the content, so a copy of the
objects made *after* the backup holds all that the backup names.
"""

from __future__ import annotations

import os
import re
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from store.database import libpq_url
from store.embedded.binaries import Binaries, installed
from store.errors import Unavailable, XRayStoreError

_DUMP = ("--format=custom", "--no-owner", "--no-privileges")
_RESTORE = ("--no-owner", "--no-privileges", "--exit-on-error", "--single-transaction")
"""In one transaction: what fails leaves the database as empty as it was."""


class CannotBackUp(XRayStoreError):
    """No program fits the server, the database is not empty, or the program says why."""


def back_up(url: str, file: Path, pg_bin: Path | None = None) -> None:
    """
    Write the database as it is at one moment into a file in pg_dump's custom format.

    Others go on writing meanwhile. ``file`` is there when it is whole. Raises ``CannotBackUp`` and
    ``Unavailable``.
    """
    program = _program("pg_dump", _major(url), pg_bin)
    if file.exists():
        raise CannotBackUp(f"{file} is there already")
    part = file.with_name(f"{file.name}.part")
    try:
        _run([str(program), *_DUMP, f"--file={part}"], url)
        part.replace(file)
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


def restore(url: str, file: Path, pg_bin: Path | None = None) -> None:
    """
    Bring a backup into an empty database; ``migrate.upgrade`` has to follow.

    Raises ``CannotBackUp``, when there are tables already or what the file holds does not fit, and
    ``Unavailable``.
    """
    program = _program("pg_restore", _major(url), pg_bin)
    if not file.is_file():
        raise CannotBackUp(f"there is no file {file}")
    if _has_tables(url):
        raise CannotBackUp("the database is not empty; restore into a new one")
    _run([str(program), *_RESTORE, str(file)], url)


def _major(url: str) -> int:
    try:
        with psycopg.connect(libpq_url(url)) as connection:
            return connection.info.server_version // 10_000
    except psycopg.OperationalError as exc:
        raise Unavailable("the database cannot be reached") from exc


def _has_tables(url: str) -> bool:
    with psycopg.connect(libpq_url(url)) as connection:
        found = connection.execute(
            "SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
            " WHERE c.relkind IN ('r', 'p', 'v') AND n.nspname IN ('public', 'xray_public')"
            # Of an extension: the server's, not ours.
            " AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = c.oid AND d.deptype = 'e') LIMIT 1"
        )
        return found.fetchone() is not None


def _program(name: str, major: int, pg_bin: Path | None) -> Path:
    """One no older than the server, which could not read it; the one that fits best."""
    found = [each for each in installed(pg_bin) if each.program(name).is_file()]
    fitting = sorted((each for each in found if each.major >= major), key=lambda each: each.major)
    if not fitting:
        raise CannotBackUp(f"no {name} of PostgreSQL {major} or newer is here; found {_listed(found)}")
    return fitting[0].program(name)


def _listed(found: list[Binaries]) -> str:
    return ", ".join(map(str, found)) or "none"


def _run(command: list[str], url: str) -> None:
    given: dict[str, Any] = conninfo_to_dict(libpq_url(url))
    # Others on the machine see a command line, not an environment.
    secret = {"PGPASSWORD": str(given.pop("password"))} if "password" in given else {}
    command = [*command, f"--dbname={make_conninfo(**given)}"]
    ended = subprocess.run(command, env={**os.environ, **secret}, capture_output=True, text=True, check=False)
    if ended.returncode != 0:
        # Of the kind "pg_restore: error: …"; what follows may be whole statements.
        said = re.search(r"error: (.*)", ended.stderr)
        raise CannotBackUp(said[1] if said else f"{Path(command[0]).name} ended with {ended.returncode}")
