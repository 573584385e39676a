"""
Puts the server's parts together: database, collector, API, in one process or some of them.

This is the only place that knows all packages. The order matters twice: a part starts after
what it stands on, and at the end senders are refused first, then what was taken in is
written, and the database goes last.
"""

from __future__ import annotations

import os
from contextlib import ExitStack

from fastapi import APIRouter

from api.app import create_app
from api.routes import alerts, contracts, erase, schemas
from cli.api_server import ApiServer, base_url
from cli.database import Database, open_database
from cli.errors import UsageError
from cli.metrics import process_registry
from cli.parts import Addresses, Parts
from cli.processes import CollectorProcesses
from cli.progress import Say, silent
from cli.settings import Settings
from cli.upkeep import STOP_S as _UPKEEP_STOP_S
from cli.upkeep import upkeep
from collector import doors
from collector.intake import Intake
from collector.reception import Reception, Room
from collector.service import CollectorService
from collector.telemetry import Telemetry
from store import migrate
from store.access.guard import Guard
from store.access.keyring import KeyRing
from store.access.keys import Scope
from store.adoption import Adopter
from store.alerts import AlertShelf
from store.artifacts.placing import PlacingWriter
from store.contract_shelf import ContractShelf
from store.erase import Eraser
from store.network import is_loopback
from store.probe import Probe
from store.reader import Reader
from store.schemas import SchemaShelf
from store.settings import without_password
from store.writer import PostgresWriter, RecentBatches

FLUSH_DEADLINE_S = 10.0
"""How long a stop may take to write what was taken in: above the wait of one request."""
_API_STOP_S = 3.0
_LAST_S = 5.0
"""For a collector process to end, after it has flushed."""


class Stack:
    """
    The running parts of one process.

    ``start`` in the main thread; ``stop`` is safe twice and after a failed start.
    """

    def __init__(
        self, settings: Settings, parts: Parts, say: Say = silent, share_ports: bool = False
    ) -> None:
        """share_ports: other processes listen on the collector's ports, too (``cli/processes.py``)."""
        self._settings = settings
        self._parts = parts
        self._say = say
        self._share_ports = share_ports
        self._processes: CollectorProcesses | None = None
        self._opened = ExitStack()
        self._complete = True
        self._telemetry = Telemetry(process_registry())
        self._database: Database | None = None
        self._objects = settings.artifacts.open()

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

    def broken(self) -> str | None:
        """Return what ended by itself while the stack ran, so that going on is of no use; else None."""
        if self._database is not None and self._database.has_ended():
            return "the embedded database ended by itself"
        if self._processes is not None and self._processes.broken():
            return "collector processes end by themselves, again and again"
        return None

    def stop(self) -> bool:
        """Stop in reverse order; return whether everything that was taken in is written."""
        self._opened.close()
        return self._complete

    def _start(self) -> Addresses:
        self._database = self._opened.enter_context(open_database(self._settings.store, self._say))
        url = self._database.url
        self._say("schema     bringing it up to date …")
        migrate.upgrade(url)
        guard = self._guard(url)
        grpc, http, service = None, None, None
        # The API starts last and so stops first: its doors use the collector's intake.
        if Parts.COLLECTOR in self._parts:
            host, tls = self._settings.collector.host, self._settings.collector.tls is not None
            if self._settings.collector.processes > 1 and not self._share_ports:
                grpc_port, http_port = self._start_processes(url)
            else:
                service = self._start_collector(url, guard)
                grpc_port, http_port = service.grpc_port, service.http_port
            grpc, http = base_url(host, grpc_port, tls=tls), base_url(host, http_port, tls=tls)
        api = None
        if Parts.API in self._parts:
            api = self._start_api(url, self._doors(url, service), guard)
        return Addresses(without_password(url), grpc, http, api)

    def _guard(self, url: str) -> Guard | None:
        """Who checks API keys; None when nobody is asked for one."""
        settings = self._settings.collector
        if not settings.asks_for_keys:
            return None
        keyring = KeyRing(url)
        self._opened.callback(keyring.close)
        keyring.start()
        needed = Scope.INGEST if Parts.COLLECTOR in self._parts else Scope.READ
        if not keyring.has_key_for(needed):
            why = "XRAY_REQUIRE_KEYS=true" if settings.require_keys else f"XRAY_HOST={settings.host}"
            raise UsageError(
                f"{why}: an API key is asked for and the database has none with the scope {needed}; make one "
                f"with `xray keys create --name NAME --scope {needed}`"
                + ("" if settings.require_keys else ", or let everybody in with XRAY_ALLOW_ANONYMOUS=true")
            )
        if settings.tls is None and not is_loopback(settings.host):
            self._say("warning    API keys and data cross the network unencrypted: XRAY_TLS_CERT is not set")
        return Guard(keyring, settings.rate_limit)

    def _start_collector(self, url: str, guard: Guard | None) -> CollectorService:
        adopter = Adopter(url, self._settings.collector.max_artifacts_per_run)
        self._opened.callback(adopter.close)
        adopter.start()
        service = CollectorService(
            self._settings.collector,
            *self._open_writers(url),
            guard=guard,
            share_ports=self._share_ports,
            telemetry=self._telemetry,
            ready=Probe(url).check,
            payload_writer=self._open_payload_writer(url),
            inline_bytes=self._settings.artifacts.inline_bytes,
        )
        self._opened.callback(lambda: self._note(service.stop(FLUSH_DEADLINE_S)))
        service.start()
        self._start_upkeep(url)
        return service

    def _start_upkeep(self, url: str) -> None:
        """In every collector process: any of them may end while the others go on."""
        care = upkeep(self._settings, url, self._telemetry.registry, self._objects)
        self._opened.callback(care.stop, _UPKEEP_STOP_S)
        care.start()

    def _start_processes(self, url: str) -> tuple[int, int]:
        settings = self._settings.collector
        ports = {"XRAY_GRPC_PORT": str(settings.grpc_port), "XRAY_HTTP_PORT": str(settings.http_port)}
        environ = {**os.environ, "XRAY_DATABASE_URL": url, **ports}
        self._processes = CollectorProcesses(settings.processes, settings.host, environ, self._say)
        # Theirs to flush, and a second more to end.
        self._opened.callback(lambda: self._note(self._processes_stopped()))
        return self._processes.start()

    def _processes_stopped(self) -> bool:
        return self._processes is None or self._processes.stop(FLUSH_DEADLINE_S + _LAST_S)

    def _start_intake(self, url: str) -> Intake:
        """An intake for the JSON doors of an API that runs without a collector."""
        settings = self._settings.collector
        intake = Intake(
            *self._open_writers(url), max_bytes=settings.intake_max_bytes, timeout_s=settings.write_timeout_s
        )
        self._opened.callback(lambda: self._note(intake.stop(FLUSH_DEADLINE_S)))
        intake.start()
        return intake

    def _doors(self, url: str, service: CollectorService | None) -> APIRouter:
        settings = self._settings.collector
        return doors.router(
            service.intake if service else self._start_intake(url),
            telemetry=self._telemetry,
            max_request_bytes=settings.max_request_bytes,
            write_timeout_s=settings.write_timeout_s,
            limits=settings.limits(),
            # What comes by the doors and by OTLP fills one memory.
            reception=Reception(
                service.room if service else Room(settings.receive_max_bytes), settings.read_timeout_s
            ),
        )

    def _start_api(self, url: str, door: APIRouter, guard: Guard | None) -> str:
        settings = self._settings.api
        reader = Reader.open(
            url,
            statement_timeout_ms=settings.statement_timeout_ms,
            run_timeout_s=settings.run_timeout_s,
            export_timeout_s=settings.export_timeout_s,
            bad_outcomes=settings.bad_outcomes,
        )
        self._opened.callback(reader.close)
        routers = (
            door,
            schemas.writing(SchemaShelf(url)),
            erase.router(Eraser(url, self._objects)),
            contracts.storing(ContractShelf(url)),
            alerts.storing(AlertShelf(url), allow_private=settings.alert_private_addresses),
        )
        app = create_app(
            settings,
            reader,
            routers=routers,
            guard=guard,
            registry=self._telemetry.registry,
            objects=self._objects,
        )
        server = ApiServer(
            app, settings.host, settings.api_port, settings.tls, self._settings.collector.read_timeout_s
        )
        self._opened.callback(server.stop, _API_STOP_S)
        return server.start()

    def _open_writers(self, url: str) -> list[PostgresWriter]:
        # What one has stored another need not try to copy again.
        recent = RecentBatches()
        settings = self._settings.collector
        writers = [
            PostgresWriter(url, recent, settings.max_artifacts_per_run) for _ in range(settings.writers)
        ]
        for writer in writers:
            self._opened.callback(writer.close)
        return writers

    def _open_payload_writer(self, url: str) -> PlacingWriter | None:
        if self._objects is None:
            return None
        writer = PlacingWriter(
            url,
            self._objects,
            self._settings.collector.max_artifacts_per_run,
            timeout_s=self._settings.artifacts.timeout_s,
            count=lambda result, count: self._telemetry.add("payloads", result, count),
        )
        self._opened.callback(writer.close)
        return writer

    def _note(self, complete: bool) -> None:
        self._complete = self._complete and complete
