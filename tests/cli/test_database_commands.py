"""``xray db`` and ``xray --version``."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import uuid
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
from psycopg import sql

from store import migrate
from store.partitions import week_of
from store.rows import Batch
from store.writer import PostgresWriter
from tests.fixtures.command import xray
from tests.fixtures.reading import chunk, step_copy
from tests.fixtures.services import ROOT, ServiceProcess, environment


def test_upgrade_then_status(empty_database_url: str) -> None:
    """Status ends with 1 on an empty database and with 0 after the upgrade; the upgrade may be repeated."""
    before = xray("db", "status", "--json", XRAY_DATABASE_URL=empty_database_url)
    assert (before.returncode, json.loads(before.stdout)["up_to_date"]) == (1, False)

    first = xray("db", "upgrade", XRAY_DATABASE_URL=empty_database_url)
    again = xray("db", "upgrade", XRAY_DATABASE_URL=empty_database_url)
    assert (first.returncode, again.returncode) == (0, 0), first.stderr + again.stderr
    assert "was there already" in again.stdout

    place = "file:///somewhere/payloads"
    after = xray("db", "status", XRAY_DATABASE_URL=empty_database_url, XRAY_ARTIFACT_URL=place)
    assert after.returncode == 0
    assert f"{migrate.head()}, up to date" in after.stdout
    assert f"above 262,144 bytes at {place}" in " ".join(after.stdout.split())


def test_a_reader_is_let_in_by_name(database_url: str) -> None:
    """``db grant-reader`` names what may be read; a role that is not there is a failure of one line."""
    role = f"reader_{uuid.uuid4().hex}"
    unknown = xray("db", "grant-reader", role, XRAY_DATABASE_URL=database_url)
    assert (unknown.returncode, len(unknown.stderr.splitlines())) == (1, 1)
    assert role in unknown.stderr
    with psycopg.connect(database_url, autocommit=True) as admin:
        admin.execute(sql.SQL("CREATE ROLE {}").format(sql.Identifier(role)))
        try:
            known = xray("db", "grant-reader", role, XRAY_DATABASE_URL=database_url)
            assert (known.returncode, "xray_public.runs" in known.stdout) == (0, True), known.stderr
            admin.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(role)))
            assert admin.execute("SELECT count(*) FROM xray_public.runs").fetchone() == (0,)
            admin.execute("RESET ROLE")
        finally:
            admin.execute(sql.SQL("DROP OWNED BY {}").format(sql.Identifier(role)))
            admin.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(role)))


def test_url_of_the_running_embedded_server(tmp_path: Path) -> None:
    """``db url`` prints the embedded server's URL while it runs, and says how to start it when not."""
    away = xray("db", "url", XRAY_DATA_DIR=str(tmp_path))
    assert (away.returncode, away.stdout) == (1, "")
    assert "xray up" in away.stderr
    assert list(tmp_path.iterdir()) == []

    ports = {"XRAY_GRPC_PORT": "0", "XRAY_HTTP_PORT": "0", "XRAY_API_PORT": "0"}
    server = ServiceProcess("up", {"XRAY_DATA_DIR": str(tmp_path), **ports})
    try:
        url = xray("db", "url", XRAY_DATA_DIR=str(tmp_path)).stdout.strip()
        with psycopg.connect(url) as connection:
            assert connection.execute("SELECT count(*) FROM runs").fetchone() == (0,)
    finally:
        assert server.terminate() == 0


def test_status_hides_the_password(free_port: int) -> None:
    """A database that is away is one line without its password."""
    done = xray("db", "status", XRAY_DATABASE_URL=f"postgresql://u:hunter2@127.0.0.1:{free_port}/d")
    assert done.returncode == 1
    assert "hunter2" not in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_version_and_help() -> None:
    """``--version`` and ``--help`` end with 0; no command at all shows the help."""
    assert re.fullmatch(r"xray \d+\.\d+\.\d+\S*\n", xray("--version").stdout)
    shown = xray("--help")
    assert shown.returncode == 0
    for command in ("up", "collector", "api", "demo", "runs", "run", "explain", "steps", "item", "db"):
        assert f" {command} " in shown.stdout
    assert "4317" in xray("up", "--help").stdout


def test_unknown_option_is_a_usage_error() -> None:
    """An option that does not exist ends with 2, and so does a percentage where a share is asked for."""
    assert xray("runs", "--colour").returncode == 2
    assert xray("steps", "--drop-ratio-gt", "90").returncode == 2


def test_status_tells_sizes_and_what_goes_when(database_url: str) -> None:
    """By table, week and kind, with the day on which the policy frees it; --json has the same numbers."""
    today = datetime.now(UTC)
    with closing(PostgresWriter(database_url)) as writer:
        steps = [step_copy("r", f"s{number}") for number in range(300)]
        evidence = [chunk("r", "s0", [f"item-{number}" for number in range(500)], "K" * 500)]
        writer.write([Batch(int(today.timestamp()) * 10**9, steps=steps, decisions=evidence)])
    young = json.loads(xray("db", "status", "--json", XRAY_DATABASE_URL=database_url).stdout)["sizes"]
    assert {each["table"]: each["rows"] for each in young["tables"]}["steps"] == 300  # without ANALYZE
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("ANALYZE")
    policy = {"XRAY_RETENTION_RUNS_DAYS": "60", "XRAY_RETENTION_DECISIONS_DAYS": "10"}
    told = xray("db", "status", "--json", XRAY_DATABASE_URL=database_url, **policy)
    assert told.returncode == 0, told.stderr
    sizes = json.loads(told.stdout)["sizes"]
    week = week_of(today.date())
    by_kind = {each["kind"]: each for each in sizes["weeks"] if each["week"] == str(week)}
    assert by_kind["runs"]["expires_on"] == str(week + timedelta(days=67))
    assert by_kind["decisions"]["expires_on"] == str(week + timedelta(days=17))
    assert by_kind["artifacts"]["expires_on"] == str(week + timedelta(days=67))
    assert by_kind["runs"]["rows"] == 300
    tables = {each["table"]: each for each in sizes["tables"]}
    assert tables["steps"]["rows"] == 300
    assert sizes["bytes_per_step"] == tables["steps"]["bytes"] / 300
    assert sizes["bytes_per_decision"] == tables["decisions"]["bytes"] / 500
    assert sizes["bytes"] > tables["steps"]["bytes"] > 0
    assert sizes["bytes_per_day"] > 0
    shown = xray("db", "status", XRAY_DATABASE_URL=database_url, **policy)
    assert f"until {week + timedelta(days=17)}" in shown.stdout
    assert re.search(r"^steps +\S+ [kM]B +~300", shown.stdout, re.MULTILINE), shown.stdout


def test_erase_takes_one_run_or_one_item(database_url: str) -> None:
    """What is not known, or both at once, is said."""
    with closing(PostgresWriter(database_url)) as writer:
        writer.write(
            [Batch(10**18, steps=[step_copy("r", "s")], decisions=[chunk("r", "s", ["a", "b"], "KK")])]
        )
    item = xray("db", "erase", "--item", "a", "--yes", XRAY_DATABASE_URL=database_url)
    assert (item.returncode, item.stdout.split()) == (
        0,
        ["erased", "1", "chunks,", "0", "steps,", "0", "outcomes"],
    )
    run = xray("db", "erase", "--run", "r", "--yes", "--json", XRAY_DATABASE_URL=database_url)
    assert json.loads(run.stdout) == {"steps": 1, "decisions": 1, "artifacts": 0, "outcomes": 0}
    unknown = xray("db", "erase", "--run", "nobody", "-y", XRAY_DATABASE_URL=database_url)
    assert (unknown.returncode, "nobody" in unknown.stderr) == (1, True)
    for arguments in ((), ("--run", "r", "--item", "a")):
        assert xray("db", "erase", *arguments, XRAY_DATABASE_URL=database_url).returncode == 2


def test_erase_asks_before(database_url: str) -> None:
    """A person may say no; where nobody can be asked, nothing is erased."""
    with closing(PostgresWriter(database_url)) as writer:
        writer.write([Batch(10**18, steps=[step_copy("r", "s")])])

    def is_there() -> bool:
        with psycopg.connect(database_url) as connection:
            return connection.execute("SELECT FROM runs WHERE run_id = 'r'").fetchone() is not None

    unasked = xray("db", "erase", "--run", "r", XRAY_DATABASE_URL=database_url)
    assert (unasked.returncode, unasked.stdout, is_there()) == (2, "", True)
    assert "--yes" in unasked.stderr
    command = [sys.executable, "-m", "cli", "db", "erase", "--run", "r", "--json"]
    for said, code, stays in ((b"\n", 1, True), (b"y\n", 0, False)):
        person, terminal = os.openpty()
        try:
            os.write(person, said)
            done = subprocess.run(
                command,
                cwd=ROOT,
                env=environment({"XRAY_DATABASE_URL": database_url}),
                stdin=terminal,
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
        finally:
            os.close(terminal)
            os.close(person)
        assert (done.returncode, is_there()) == (code, stays), done.stderr
        assert "Erase run r from postgresql://" in done.stderr
    assert json.loads(done.stdout)["steps"] == 1


def test_backup_and_restore(database_url: str, empty_database_url: str, tmp_path: Path) -> None:
    """What is backed up by one command is restored by the other, once; a refusal is one line."""
    with closing(PostgresWriter(database_url)) as writer:
        writer.write([Batch(1, steps=[step_copy("r", "s")])])
    file = str(tmp_path / "xray.dump")
    saved = xray("db", "backup", file, XRAY_DATABASE_URL=database_url)
    assert saved.returncode == 0, saved.stderr
    restored = xray("db", "restore", file, XRAY_DATABASE_URL=empty_database_url)
    assert (restored.returncode, migrate.head() in restored.stdout) == (0, True), restored.stderr
    with psycopg.connect(empty_database_url) as connection:
        assert connection.execute("SELECT step_id FROM steps").fetchall() == [("s",)]
    again = xray("db", "restore", file, XRAY_DATABASE_URL=empty_database_url)
    assert (again.returncode, len(again.stderr.splitlines())) == (1, 1)
    assert "not empty" in again.stderr


def test_distributing_needs_a_server_that_can(database_url: str, tmp_path: Path) -> None:
    """Neither a server without Citus nor the embedded one is taken, and each says why in one line."""
    plain = xray("db", "distribute", XRAY_DATABASE_URL=database_url)
    embedded = xray("db", "distribute", XRAY_DATA_DIR=str(tmp_path))
    for refused, reason in ((plain, "no Citus"), (embedded, "embedded")):
        assert (refused.returncode, refused.stdout, len(refused.stderr.splitlines())) == (1, "", 1)
        assert reason in refused.stderr
    assert list(tmp_path.iterdir()) == []
