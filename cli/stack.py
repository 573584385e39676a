"""
Puts the server's parts together: database, collector, API, in one process or some of them.

This is the only place that knows all packages. The order matters twice: a part starts after
what it stands on, and at the end senders are refused first, then what was taken in is
written, and the database goes last.
"""

from __future__ import annotations

from contextlib import ExitStack

from fastapi import APIRouter

from api.app import create_app
from cli.api_server import ApiServer, base_url
from cli.database import Database, open_database
from cli.parts import Addresses, Parts
from cli.progress import Say, silent
from cli.settings import Settings
from collector import doors
from collector.intake import Intake
from collector.service import CollectorService
from collector.telemetry import Telemetry
from store import migrate
from store.reader import Reader
from store.settings import without_password
from store.writer import PostgresWriter

FLUSH_DEADLINE_S = 10.0
"""How long a stop may take to write what was taken in: above the wait of one request."""
_API_STOP_S = 3.0


class Stack:
    """
    The running parts of one process.

    ``start`` in the main thread; ``stop`` is safe twice and after a failed start.
    """

    def __init__(self, settings: Settings, parts: Parts, say: Say = silent) -> None:
        self._settings = settings
        self._parts = parts
        self._say = say
        self._opened = ExitStack()
        self._complete = True
        self._database: Database | None = None

    def start(self) -> Addresses:
        """
        Start every part and return where each answers.

        Raises ``EmbeddedError``, ``Unavailable``, ``CannotListen`` and ``Failure``; whatever was
        started before is stopped then.
        """
        try:
            return self._start()
        except BaseException:
            self.stop()
            raise

    def database_has_ended(self) -> bool:
        """Whether the embedded database ended by itself while the stack runs."""
        return self._database is not None and self._database.has_ended()

    def stop(self) -> bool:
        """Stop in reverse order; return whether everything that was taken in is written."""
        self._opened.close()
        return self._complete

    def _start(self) -> Addresses:
        self._database = self._opened.enter_context(open_database(self._settings.store, self._say))
        url = self._database.url
        self._say("schema     bringing it up to date …")
        migrate.upgrade(url)
        grpc, http, service = None, None, None
        # The API starts last and so stops first: its doors use the collector's intake.
        if Parts.COLLECTOR in self._parts:
            service = self._start_collector(url)
            host = self._settings.collector.host
            grpc, http = base_url(host, service.grpc_port), base_url(host, service.http_port)
        api = None
        if Parts.API in self._parts:
            api = self._start_api(url, self._doors(url, service))
        return Addresses(without_password(url), grpc, http, api)

    def _start_collector(self, url: str) -> CollectorService:
        service = CollectorService(self._settings.collector, self._open_writer(url))
        self._opened.callback(lambda: self._note(service.stop(FLUSH_DEADLINE_S)))
        service.start()
        return service

    def _start_intake(self, url: str) -> Intake:
        """An intake for the JSON doors of an API that runs without a collector."""
        settings = self._settings.collector
        intake = Intake(self._open_writer(url), settings.intake_max_bytes, settings.write_timeout_s)
        self._opened.callback(lambda: self._note(intake.stop(FLUSH_DEADLINE_S)))
        intake.start()
        return intake

    def _doors(self, url: str, service: CollectorService | None) -> APIRouter:
        settings = self._settings.collector
        return doors.router(
            service.intake if service else self._start_intake(url),
            telemetry=service.telemetry if service else Telemetry(),
            max_request_bytes=settings.max_request_bytes,
            write_timeout_s=settings.write_timeout_s,
            limits=settings.limits(),
        )

    def _start_api(self, url: str, door: APIRouter) -> str:
        settings = self._settings.api
        reader = Reader.open(
            url, statement_timeout_ms=settings.statement_timeout_ms, run_timeout_s=settings.run_timeout_s
        )
        self._opened.callback(reader.close)
        app = create_app(settings, reader, routers=(door,))
        server = ApiServer(app, settings.host, settings.api_port)
        self._opened.callback(server.stop, _API_STOP_S)
        return server.start()

    def _open_writer(self, url: str) -> PostgresWriter:
        writer = PostgresWriter(url)
        self._opened.callback(writer.close)
        return writer

    def _note(self, complete: bool) -> None:
        self._complete = self._complete and complete
