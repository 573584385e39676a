"""
Runs the API's app on uvicorn, in a thread of this process.

In a thread because the main thread belongs to the signals and to the embedded database,
whose life the kernel ties to the thread that started it.
"""

from __future__ import annotations

import errno
import socket
import threading
import time

import uvicorn
from fastapi import FastAPI

from cli.errors import Failure
from collector.http_protocol import KEEP_ALIVE_S, bounded_protocol
from store.access.tls import TlsFiles

_START_DEADLINE_S = 20.0
_POLL_S = 0.01
_BACKLOG = 2048


class ApiServer:
    """
    One HTTP server. ``start`` returns when it answers; ``stop`` is safe before start and twice.

    Raises ``Failure`` from ``start`` when the port is taken or the app does not come up.
    """

    def __init__(
        self, app: FastAPI, host: str, port: int, tls: TlsFiles | None = None, read_timeout_s: float = 10.0
    ) -> None:
        """read_timeout_s: for a request's header, and for the peer to read its answer."""
        self._host = host
        self._port = port
        self._socket: socket.socket | None = None
        self._thread: threading.Thread | None = None
        # No logging configuration of uvicorn's own: the process has one. Access lines off:
        # the API counts and times its requests itself.
        self._tls = tls
        options = tls.for_uvicorn() if tls else {}
        self._server = uvicorn.Server(
            uvicorn.Config(
                app,
                http=bounded_protocol(read_timeout_s),
                timeout_keep_alive=KEEP_ALIVE_S,
                log_config=None,
                access_log=False,
                lifespan="on",
                **options,
            )
        )

    def start(self) -> str:
        """Bind, serve, and return the base URL with the port that was really bound."""
        self._socket = bind(self._host, self._port, "XRAY_API_PORT")
        self._thread = threading.Thread(
            target=self._server.run, args=([self._socket],), name="xray-api", daemon=True
        )
        self._thread.start()
        deadline = time.monotonic() + _START_DEADLINE_S
        while not self._server.started:
            if not self._thread.is_alive() or time.monotonic() > deadline:
                self.stop(0.0)
                raise Failure("the API did not start; the reason stands in the log lines above")
            time.sleep(_POLL_S)
        return base_url(self._host, self._socket.getsockname()[1], tls=self._tls is not None)

    def stop(self, deadline_s: float) -> None:
        """Refuse new connections, let open requests end until the deadline, then cut them."""
        if self._thread is not None:
            self._server.should_exit = True
            self._thread.join(deadline_s)
            self._server.force_exit = True
            self._thread.join(1.0)
            self._thread = None
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def bind(host: str, port: int, setting: str) -> socket.socket:
    """
    Return a listening socket; port 0 means any free one.

    Raises ``Failure`` naming the setting when the port is taken or not ours to take.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    found = socket.socket(family, socket.SOCK_STREAM)
    # A server that was killed leaves connections in TIME_WAIT; they must not block a restart.
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        found.bind((host, port))
        found.listen(_BACKLOG)
    except OSError as error:
        found.close()
        if error.errno == errno.EADDRINUSE:
            raise Failure(
                f"port {port} on {host} is in use; stop the other program or set {setting} "
                "to another port (0 = any free port)"
            ) from error
        raise Failure(f"{setting}={port} on {host} cannot be bound: {error.strerror}") from error
    return found


def base_url(host: str, port: int, *, tls: bool = False) -> str:
    """``http://127.0.0.1:8000``; an IPv6 host gets its brackets, a wildcard becomes loopback."""
    shown = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    scheme = "https" if tls else "http"
    return f"{scheme}://[{shown}]:{port}" if ":" in shown else f"{scheme}://{shown}:{port}"
