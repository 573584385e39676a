"""
HTTP/1.1 connections that cannot be held for nothing.

uvicorn bounds how long a connection may idle between requests. For the rest of a header, for
the rest of a body that was answered early, and for a peer that does not read its answer it
waits as long as the peer likes, and it keeps as many pipelined requests as a peer sends. What
is malformed it answers with 400 in plain text, which stays so: no sender of OTLP gets there.
"""

from __future__ import annotations

import asyncio
import resource
from typing import Any, cast

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

KEEP_ALIVE_S = 75
"""Above the interval of any exporter's batches, or half of them would find the connection closed."""
_MOST_CONNECTIONS = 4096
MAX_PIPELINED = 16
"""Requests that may wait on one connection for the answer to an earlier one; no exporter does that."""


class BoundedProtocol(HttpToolsProtocol):
    """One connection; made by ``bounded_protocol``."""

    timeout_s: float
    """For a whole header, for the rest of a body nobody wants, for the peer to read its answer."""
    max_connections: int
    waiting: dict[BoundedProtocol, None]
    """Connections of this server that are in no request, longest first."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._deadline: asyncio.TimerHandle | None = None
        self._unread: asyncio.TimerHandle | None = None
        self._message_ended = True

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's
        super().connection_made(transport)
        if len(self.connections) > self.max_connections and self.waiting:
            # Others may be about to send, but who has been silent longest is the likeliest not to.
            next(iter(self.waiting)).abort()
        self.waiting[self] = None
        self._expect_header()

    def connection_lost(self, exc: Exception | None) -> None:
        self.waiting.pop(self, None)
        self._expect_nothing()
        self.resume_writing()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        # Bytes that begin no request (empty lines) end uvicorn's own timeout and must not end all of them.
        if self in self.waiting and self._deadline is None:
            self._expect_header()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._message_ended = False
        if self._deadline is None:
            self._expect_header()

    def on_headers_complete(self) -> None:
        self.waiting.pop(self, None)
        self._expect_nothing()
        if len(self.pipeline) >= MAX_PIPELINED:
            self.abort()
            # Ends the parsing of what was received already.
            raise ConnectionAbortedError("too many pipelined requests")
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._message_ended = True
        super().on_message_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.transport.is_closing():
            return
        if not self.pipeline:
            self.waiting[self] = None
        if not self._message_ended and self._deadline is None:
            self._expect_header()

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._unread is None:
            self._unread = self.loop.call_later(self.timeout_s, self.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None

    def abort(self) -> None:
        """Close at once, whatever is still to be sent."""
        self.waiting.pop(self, None)
        self.transport.abort()

    def _expect_header(self) -> None:
        self._expect_nothing()
        self._deadline = self.loop.call_later(self.timeout_s, self.abort)

    def _expect_nothing(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


def bounded_protocol(timeout_s: float, max_connections: int | None = None) -> type[asyncio.Protocol]:
    """
    Return the protocol of one server, as ``uvicorn.Config(http=…)`` takes it.

    max_connections: default a third of what the process may open, so that a second server of the
    process, gRPC and the database have theirs.
    """
    most = _max_connections() if max_connections is None else max_connections
    attributes = {"timeout_s": timeout_s, "max_connections": most, "waiting": {}}
    return cast(type[asyncio.Protocol], type("BoundedProtocol", (BoundedProtocol,), attributes))


def _max_connections() -> int:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _MOST_CONNECTIONS if soft == resource.RLIM_INFINITY else min(_MOST_CONNECTIONS, soft // 3)
