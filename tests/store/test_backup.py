"""A backup that is restored elsewhere is the same database."""

from __future__ import annotations

import stat
import subprocess
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from store import migrate
from store.backup import CannotBackUp, back_up, restore
from store.embedded import EmbeddedPostgres
from store.embedded.binaries import installed
from tests.fixtures.full_store import answers, everything, fill


def test_every_row_and_every_answer_comes_back(
    database_url: str, empty_database_url: str, tmp_path: Path
) -> None:
    """All tables byte for byte, all answers of the API, and the schema; the restored database goes on."""
    fill(database_url)
    rows, said = everything(database_url), answers(database_url)
    assert [name for name, stored in rows.items() if not stored] == []

    back_up(database_url, tmp_path / "xray.dump")
    restore(empty_database_url, tmp_path / "xray.dump")

    assert [path.name for path in tmp_path.iterdir()] == ["xray.dump"]
    assert everything(empty_database_url) == rows
    assert migrate.check(empty_database_url) == []
    migrate.upgrade(empty_database_url)
    assert everything(empty_database_url) == rows
    assert answers(empty_database_url) == said


def test_what_is_there_is_not_written_over(database_url: str, tmp_path: Path) -> None:
    """Neither a file nor a database that holds something; what is no backup is refused in one line."""
    file = tmp_path / "xray.dump"
    back_up(database_url, file)
    before = file.read_bytes()
    with pytest.raises(CannotBackUp, match="is there already"):
        back_up(database_url, file)
    assert file.read_bytes() == before
    with pytest.raises(CannotBackUp, match="not empty"):
        restore(database_url, file)


def test_what_is_no_backup_leaves_nothing(database_url: str, empty_database_url: str, tmp_path: Path) -> None:
    """A file that is cut off is refused, and the database is as empty as before."""
    with pytest.raises(CannotBackUp, match="no file"):
        restore(empty_database_url, tmp_path / "none")
    back_up(database_url, tmp_path / "whole")
    whole = (tmp_path / "whole").read_bytes()
    for name, held in (("header", b"PGDMP"), ("half", whole[: len(whole) // 2]), ("last", whole[:-1_000])):
        (tmp_path / name).write_bytes(held)
        with pytest.raises(CannotBackUp):
            restore(empty_database_url, tmp_path / name)
        assert migrate.current(empty_database_url) is None
    restore(empty_database_url, tmp_path / "whole")


def test_a_backup_is_its_owners_alone(database_url: str, tmp_path: Path) -> None:
    """It holds payloads and secrets, whatever the umask; a folder that is not there is said."""
    file = tmp_path / "xray.dump"
    back_up(database_url, file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    with pytest.raises(CannotBackUp, match="cannot be written"):
        back_up(database_url, tmp_path / "none" / "xray.dump")


def test_programs_may_be_newer_than_the_server(tmp_path: Path) -> None:
    """Those of 17 set what a server before does not know."""
    found = installed()
    old = [each for each in found if each.major < 17]
    new = [each for each in found if each.major >= 17]
    if not old or not new:
        pytest.skip("needs PostgreSQL before 17, and 17 or newer")
    server = EmbeddedPostgres(tmp_path / "data", pg_bin=old[0].folder)
    server.start()
    try:
        with psycopg.connect(server.url, autocommit=True) as connection:
            connection.execute("CREATE DATABASE restored")
        restored = make_conninfo(server.url, dbname="restored")
        with psycopg.connect(server.url) as connection:
            connection.execute("CREATE TABLE told (word text)")
            # Data that look like what is left out.
            connection.execute("INSERT INTO told VALUES ('SET transaction_timeout = 0;')")
        back_up(server.url, tmp_path / "xray.dump", new[0].folder)
        restore(restored, tmp_path / "xray.dump", new[0].folder)
        with psycopg.connect(restored) as connection:
            found_there = connection.execute("SELECT word FROM told").fetchall()
        assert found_there == [("SET transaction_timeout = 0;",)]
    finally:
        server.stop()


def test_a_program_no_older_than_the_server_is_taken(database_url: str, tmp_path: Path) -> None:
    """A folder of programs that has none is named in the refusal."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("initdb", "postgres"):
        (folder / name).symlink_to(installed()[0].program(name))
    with pytest.raises(CannotBackUp, match="no pg_dump of PostgreSQL"):
        back_up(database_url, tmp_path / "xray.dump", folder)
    assert not (tmp_path / "xray.dump").exists()


def test_a_password_is_on_no_command_line(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others on the machine can read command lines."""
    seen: list[list[str]] = []
    run = subprocess.run

    def noting(command, **options):
        seen.append([str(word) for word in command])
        return run(command, **options)

    monkeypatch.setattr(subprocess, "run", noting)
    back_up(f"{database_url}&password=hunter2", tmp_path / "xray.dump")
    assert any("pg_dump" in command[0] for command in seen)
    assert "hunter2" not in str(seen)
    with psycopg.connect(database_url) as connection:
        assert connection.info.password == ""
