"""
Whatever is killed, cut or full: acknowledged = stored + shed, and all heals by itself.

One round of every trouble; XRAY_TEST_CHAOS_S=60 repeats them for as many seconds.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import LiteralString
from urllib.parse import urlsplit

import psycopg
import pytest
from psycopg import sql

from store import migrate
from store.embedded import EmbeddedPostgres, identity
from tests.fixtures.link import Link, linked
from tests.fixtures.services import ServiceProcess, StartService, service_starter
from tests.fixtures.small_disk import NOT_RUN, SmallDisk
from tests.fixtures.traffic import Sender, Shape, acknowledged, check, lost, traffic
from tests.fixtures.waiting import wait_until

CHAOS_S = float(os.environ.get("XRAY_TEST_CHAOS_S", "0"))
SENDERS = 6
SHAPE = Shape(steps=10, candidates=200, artifact_bytes=2000, repeat_every=5)
TIGHT = {"XRAY_INTAKE_MAX_BYTES": "300000"}
"""So little that evidence is shed whenever senders wait at the same time."""
PROGRESS_STEPS = 100
"""Acknowledged after each trouble, before the next one."""
HEAL_S = 90.0
DATABASE = "chaos"


class World:
    """A database of its own, a link to it, a collector, and what can happen to them."""

    def __init__(self, server: EmbeddedPostgres, disk: SmallDisk | None, stack: ExitStack) -> None:
        self._server = server
        self._disk = disk
        self.database_url = self._make_database()
        self._link: Link = stack.enter_context(linked(self.database_url))
        self._start: StartService = stack.enter_context(service_starter(self._link.url))
        self.collector: ServiceProcess = self._start("collector", **TIGHT)
        self.urls = (self.collector.otlp_http, self.collector.otlp_grpc)
        self.senders: list[Sender] = stack.enter_context(traffic(SENDERS, lambda: self.urls, SHAPE))

    def heals(self) -> None:
        """Wait until every sender gets on."""
        before = [len(sender.acknowledged.steps) for sender in self.senders]

        def everybody_got_on() -> bool:
            now = [len(sender.acknowledged.steps) for sender in self.senders]
            gained = [after - former for after, former in zip(now, before, strict=True)]
            return min(gained) > 0 and sum(gained) >= PROGRESS_STEPS

        wait_until(everybody_got_on, timeout_s=HEAL_S, what="every sender is acknowledged again")

    def kill_the_collector(self) -> None:
        """kill -9, and a new one on the same ports."""
        self.collector.kill()
        http, rpc = (str(urlsplit(url).port) for url in self.urls)
        self.collector = self._start("collector", XRAY_HTTP_PORT=http, XRAY_GRPC_PORT=rpc, **TIGHT)

    def kill_the_database(self) -> None:
        """kill -9 of the server; it is away until senders notice, and recovers from its log."""
        assert self._server.pid is not None
        os.kill(self._server.pid, signal.SIGKILL)
        self._senders_are_refused()
        self._server.start()

    def cut_the_link(self) -> None:
        """The network between collector and database is gone for a while."""
        self._link.cut()
        self._senders_are_refused()
        self._link.mend()

    def fill_the_disk(self) -> None:
        """No room for another page of a table, until somebody makes room."""
        assert self._disk is not None
        self._disk.fill()
        try:
            self._senders_are_refused()
            with psycopg.connect(self.database_url) as connection, pytest.raises(psycopg.errors.DiskFull):
                connection.execute("CREATE TABLE too_much AS SELECT generate_series(1, 1000000)")
        finally:
            self._disk.free()

    def troubles(self) -> list[Callable[[], None]]:
        """What can happen here."""
        all_of_them = [self.kill_the_collector, self.kill_the_database, self.cut_the_link]
        return all_of_them if self._disk is None else [*all_of_them, self.fill_the_disk]

    def _senders_are_refused(self) -> None:
        before = self._refusals()
        wait_until(
            lambda: self._refusals() >= before + SENDERS, timeout_s=HEAL_S, what="senders are asked to wait"
        )

    def _refusals(self) -> int:
        return sum(sender.answers["again"] for sender in self.senders)

    def _make_database(self) -> str:
        tablespace: LiteralString | sql.Composed = ""
        with psycopg.connect(self._server.url, autocommit=True) as connection:
            if self._disk is not None:
                # Tables alone on the disk that fills: the log of a server must have room, or it stops.
                identity.hand_over(self._disk.folder, identity.choose())
                folder = sql.Literal(str(self._tables_folder()))
                connection.execute(sql.SQL("CREATE TABLESPACE small LOCATION {}").format(folder))
                tablespace = "TABLESPACE small"
            connection.execute(f"CREATE DATABASE {DATABASE} {tablespace}")
        url = self._server.database_url(DATABASE)
        migrate.upgrade(url)
        return url

    def _tables_folder(self) -> Path:
        assert self._disk is not None
        folder = self._disk.folder / "tables"
        folder.mkdir(mode=0o700)
        identity.hand_over(folder, identity.choose())
        return folder


@pytest.fixture
def world(tmp_path: Path, disk: SmallDisk | None) -> Iterator[World]:
    """A server that may be killed, with senders that send."""
    with (
        EmbeddedPostgres(tmp_path / "data", settings={"shared_buffers": "64MB"}) as server,
        ExitStack() as stack,
    ):
        yield World(server, disk, stack)


def test_chaos(world: World):
    """Collector and database killed, link cut, disk full, under load with repeats, one after the other."""
    ends = time.monotonic() + CHAOS_S
    world.heals()
    while True:
        for trouble in world.troubles():
            trouble()
            world.heals()
        if time.monotonic() > ends:
            break
    wait_until(lambda: lost(world.database_url)["decisions"], timeout_s=HEAL_S, what="evidence is shed")
    for sender in world.senders:
        sender.stop()
    for sender in world.senders:
        sender.join()
    assert world.collector.terminate() == 0, world.collector.stderr
    assert check(world.senders, world.database_url) > 0


def test_a_full_disk_refuses_no_row(world: World, disk: SmallDisk | None):
    """A full disk is the database's trouble, not the rows': nothing is refused for good, and it heals."""
    if disk is None:
        pytest.skip(NOT_RUN)
    world.heals()
    world.fill_the_disk()
    world.heals()
    assert all(set(sender.answers) <= {"stored", "again"} for sender in world.senders)
    assert acknowledged(world.senders).steps
