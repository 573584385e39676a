"""
The collector as one thing that starts and stops: intake, gRPC, HTTP.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from concurrent.futures import Future
from contextlib import suppress
from time import monotonic

import uvicorn
import uvloop

from collector import memory, operations
from collector.errors import CannotListen
from collector.grpc_receiver import GrpcReceiver
from collector.http_protocol import KEEP_ALIVE_S, bounded_protocol
from collector.http_receiver import create_app
from collector.intake import Intake
from collector.lanes import LARGE_MAX_BYTES, Lanes
from collector.operations import Ready
from collector.receive import Receiver
from collector.reception import Reception, Room
from collector.settings import CollectorSettings
from collector.telemetry import Telemetry
from store.access.guard import Guard
from store.contract import Writer

_BACKLOG = 2048
_POLL_S = 0.01
_LAST_WORDS_S = 1.0
"""For the answers to requests whose outcome was only known at the end."""
_GIVE_BACK_EVERY_S = 5.0


def _always() -> None:
    """Ready, for whoever has no database to ask."""


class CollectorService:
    """
    One collector. ``start`` opens the ports, ``stop`` drains; both from one thread.

    Both receivers live on one event loop in a thread of their own. The Writers stay the caller's:
    ``stop`` does not close them.
    """

    def __init__(
        self,
        settings: CollectorSettings,
        *writers: Writer,
        guard: Guard | None = None,
        share_ports: bool = False,
        telemetry: Telemetry | None = None,
        ready: Ready = _always,
        payload_writer: Writer | None = None,
        inline_bytes: int = 0,
    ) -> None:
        """
        writers: each writes in a thread of its own. guard: checks API keys; without one the settings
        must not ask for any. share_ports: other processes of ours listen on the same ports. ready: tells
        whether rows can be stored, for ``/readyz``. payload_writer: writes artifacts whose payloads have
        more than inline_bytes, and puts those into the object store; None: there is none.
        """
        if settings.asks_for_keys and guard is None:
            raise ValueError("the settings ask for API keys and nothing is given that checks them")
        self._settings = settings
        self._share_ports = share_ports
        self.telemetry = telemetry or Telemetry()
        self.intake = Intake(
            *writers,
            max_bytes=settings.intake_max_bytes,
            timeout_s=settings.write_timeout_s,
            telemetry=self.telemetry,
        )
        self._lanes: Intake | Lanes = self.intake
        if payload_writer is not None:
            large = Intake(
                payload_writer,
                max_bytes=LARGE_MAX_BYTES,
                timeout_s=settings.write_timeout_s,
                telemetry=self.telemetry,
                gauges="payloads",
            )
            self._lanes = Lanes(self.intake, large, inline_bytes)
        self._receiver = Receiver(
            self._lanes,
            self.telemetry,
            settings.limits(),
            settings.write_timeout_s,
            inference=settings.inference(),
        )
        self.room = Room(settings.receive_max_bytes)
        self._idle_bytes = memory.resident_bytes()
        self._reception = Reception(self.room, settings.read_timeout_s, self._memory_of_requests)
        tls = settings.tls
        self._grpc = GrpcReceiver(
            self._receiver,
            self._reception,
            settings.host,
            settings.grpc_port,
            settings.max_request_bytes,
            guard,
            tls,
            share_ports,
        )
        app = create_app(
            self._receiver,
            self._reception,
            settings.max_request_bytes,
            settings.cors_origins,
            guard,
            operations.routes(self.telemetry.registry, ready),
        )
        self._http = uvicorn.Server(
            uvicorn.Config(
                app,
                http=bounded_protocol(settings.read_timeout_s),
                timeout_keep_alive=KEEP_ALIVE_S,
                # The process has a logging configuration; this one would be uvicorn's own.
                log_config=None,
                access_log=False,
                lifespan="off",
                server_header=False,
                **(tls.for_uvicorn() if tls else {}),
            )
        )
        self._socket: socket.socket | None = None
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._started: Future[None] = Future()
        self._stop_by = 0.0
        """When the receivers must have ended, by ``monotonic``."""
        self._stop_asked: asyncio.Event | None = None
        self._stopped: bool | None = None

    @property
    def grpc_port(self) -> int:
        """Port of OTLP/gRPC in use, after ``start``."""
        return self._grpc.port

    @property
    def http_port(self) -> int:
        """Port of OTLP/HTTP in use, after ``start``."""
        return int(self._socket.getsockname()[1]) if self._socket else 0

    def start(self) -> None:
        """
        Open both ports and return when they answer.

        Raises ``CannotListen``; what was started before is stopped then.
        """
        self._lanes.start()
        try:
            self._socket = _listen(self._settings.host, self._settings.http_port, self._share_ports)
            # Not in the main thread: uvicorn leaves the process's signal handlers alone then.
            self._thread = threading.Thread(target=self._run, name="xray-receivers", daemon=True)
            self._thread.start()
            self._started.result()
        except BaseException:
            self.stop(0.0)
            raise

    def stop(self, deadline_s: float) -> bool:
        """
        Refuse what is new, write what was taken, close; return whether all of it was written.

        Safe to call twice and before ``start``.
        """
        if self._stopped is not None:
            return self._stopped
        until = monotonic() + deadline_s
        self._ask_to_stop(until + _LAST_WORDS_S)
        # Requests under way wait for their commit, so the intake writes while the receivers drain. What
        # it could not write by the deadline it gives back, and the receivers still say so.
        self._stopped = self._lanes.stop(deadline_s)
        if self._thread is not None:
            self._thread.join(max(0.0, until - monotonic()) + 2 * _LAST_WORDS_S)
        self._receiver.close()
        if self._socket is not None:
            self._socket.close()
        return self._stopped

    def _memory_of_requests(self) -> int:
        """Return what the process has grown by, without what waits for the database."""
        return memory.resident_bytes() - self._idle_bytes - self._lanes.waiting_bytes

    def _ask_to_stop(self, stop_by: float) -> None:
        self._stop_by = stop_by
        loop, event = self._loop, self._stop_asked
        if loop is not None and event is not None:
            with suppress(RuntimeError):  # the loop ended by itself
                loop.call_soon_threadsafe(event.set)

    def _run(self) -> None:
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(self._serve())
        except BaseException as exc:
            if self._started.done():
                raise
            self._started.set_exception(exc)

    async def _serve(self) -> None:
        assert self._socket is not None  # ``start`` made it
        self._loop, self._stop_asked = asyncio.get_running_loop(), asyncio.Event()
        await self._grpc.start()
        # The socket listens already, so senders are never refused; this waits for uvicorn to take over.
        http = asyncio.create_task(self._http.serve([self._socket]))
        while not self._http.started and not http.done():  # noqa: ASYNC110  # it offers no event
            await asyncio.sleep(_POLL_S)
        if http.done():
            raise CannotListen(self._settings.host, self.http_port, "XRAY_HTTP_PORT") from http.exception()
        self._started.set_result(None)
        await self._keep_small(self._stop_asked)
        self._reception.close()
        self._http.should_exit = True
        await self._grpc.stop(max(0.0, self._stop_by - monotonic()))
        # Connections whose peers do not go; uvicorn would wait for them for ever.
        with suppress(TimeoutError):
            await asyncio.wait_for(http, max(0.1, self._stop_by - monotonic()))

    async def _keep_small(self, until: asyncio.Event) -> None:
        """Give back what large requests took, until the event."""
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(until.wait(), _GIVE_BACK_EVERY_S)
                return
            if self.room.met_large():
                await asyncio.to_thread(memory.give_back)
            else:
                # What is kept between requests grows for a while; only what large ones take is to be seen.
                self._idle_bytes += self._memory_of_requests() - self.room.bytes_under_way


def _listen(host: str, port: int, share: bool) -> socket.socket:
    # Resolved and bound here, not by uvicorn, which ends the process when a port is taken.
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if share:
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            listener.bind(address)
            listener.listen(_BACKLOG)
        except BaseException:
            listener.close()
            raise
    except OSError as exc:
        raise CannotListen(host, port, "XRAY_HTTP_PORT") from exc
    return listener
