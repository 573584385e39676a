"""
The collector as one thing that starts and stops: intake, gRPC, HTTP.
"""

from __future__ import annotations

import socket
import threading
from time import monotonic

import uvicorn

from collector.errors import CannotListen
from collector.grpc_receiver import GrpcReceiver
from collector.http_receiver import create_app
from collector.intake import Intake
from collector.receive import Receiver
from collector.settings import CollectorSettings
from collector.telemetry import Telemetry
from store.contract import Writer

_BACKLOG = 2048
_POLL_S = 0.01


class CollectorService:
    """
    One collector. ``start`` opens the ports, ``stop`` drains; both from one thread.

    The Writer stays the caller's: ``stop`` does not close it.
    """

    def __init__(self, settings: CollectorSettings, writer: Writer) -> None:
        self._settings = settings
        self.telemetry = Telemetry()
        self.intake = Intake(writer, settings.intake_max_bytes, settings.write_timeout_s)
        receiver = Receiver(self.intake, self.telemetry, settings.limits(), settings.write_timeout_s)
        self._grpc = GrpcReceiver(receiver, settings.host, settings.grpc_port, settings.max_request_bytes)
        self._http = uvicorn.Server(
            uvicorn.Config(
                create_app(receiver, settings.max_request_bytes, settings.cors_origins),
                log_level="warning",
                access_log=False,
                lifespan="off",
                server_header=False,
            )
        )
        self._http_thread: threading.Thread | None = None
        self._socket: socket.socket | None = None
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
        self.intake.start()
        try:
            self._start_http()
            self._grpc.start()
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
        self._http.should_exit = True
        # Requests under way wait for their commit, so the intake must still write while the receivers drain.
        self._grpc.stop(max(0.0, until - monotonic()))
        if self._http_thread is not None:
            self._http_thread.join(max(0.1, until - monotonic()))
            if self._http_thread.is_alive():
                self._http.force_exit = True
        self._stopped = self.intake.stop(max(0.0, until - monotonic()))
        if self._http_thread is not None:
            self._http_thread.join(1.0)
        if self._socket is not None:
            self._socket.close()
        return self._stopped

    def _start_http(self) -> None:
        self._socket = _listen(self._settings.host, self._settings.http_port)
        # In a thread of its own, uvicorn leaves the process's signal handlers alone.
        self._http_thread = threading.Thread(
            target=self._http.run, args=([self._socket],), name="xray-otlp-http", daemon=True
        )
        self._http_thread.start()
        # The socket listens already, so senders are never refused; this waits for the loop to take over.
        while not self._http.started and self._http_thread.is_alive():
            self._http_thread.join(_POLL_S)
        if not self._http.started:
            raise CannotListen(self._settings.host, self.http_port, "XRAY_HTTP_PORT")


def _listen(host: str, port: int) -> socket.socket:
    # Resolved and bound here, not by uvicorn, which ends the process when a port is taken.
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen(_BACKLOG)
        except BaseException:
            listener.close()
            raise
    except OSError as exc:
        raise CannotListen(host, port, "XRAY_HTTP_PORT") from exc
    return listener
