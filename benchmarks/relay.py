"""
A TCP relay in front of a collector that counts what a client sends through it.

It passes bytes on unchanged and reads the HTTP requests out of them afterwards, so what it
counts is what went over the socket.
"""

from __future__ import annotations

import gzip
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import NamedTuple, Self
from urllib.parse import urlsplit

_BUFFER_BYTES = 1 << 18


class Wire(NamedTuple):
    """What some requests took, in bytes."""

    requests: int
    heads: int
    """Request lines and headers."""
    compressed: int
    """Bodies as sent."""
    plain: int
    """Bodies after decompression."""

    @property
    def sent(self) -> int:
        """Heads and bodies, as they went over the socket."""
        return self.heads + self.compressed


class Relay:
    """
    Listens on a free loopback port (``endpoint``) and relays to ``target``, an HTTP URL.

    For clients that send one request at a time, with gzip and a Content-Length.
    """

    def __init__(self, target: str) -> None:
        url = urlsplit(target)
        if url.hostname is None or url.port is None:
            raise ValueError(f"the relay needs host and port, got {target!r}")
        self._target = (url.hostname, url.port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.endpoint = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._lock = threading.Lock()
        self._streams: list[bytearray] = []
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []

    def take(self) -> Wire:
        """
        What was sent since the last call.

        Call it while no request is under way: an answered request has been counted whole.
        """
        found = Wire(0, 0, 0, 0)
        with self._lock:
            for stream in self._streams:
                while stream:
                    found = Wire(*map(sum, zip(found, _first(stream), strict=True)))
        return found

    def __enter__(self) -> Self:
        self._start(self._accept)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Closing alone does not wake a thread that waits in accept().
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for end in self._sockets:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(5.0)
        for end in self._sockets:
            end.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._target)
                stream = bytearray()
                with self._lock:
                    self._streams.append(stream)
                    self._sockets += (client, server)
                self._start(self._pump, client, server, stream)
                self._start(self._pump, server, client, None)

    def _pump(self, source: socket.socket, sink: socket.socket, stream: bytearray | None) -> None:
        for end in (source, sink):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with suppress(OSError):
            while data := source.recv(_BUFFER_BYTES):
                if stream is not None:
                    with self._lock:
                        stream += data
                sink.sendall(data)
        with suppress(OSError):
            sink.shutdown(socket.SHUT_WR)

    def _start(self, target: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=target, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()


def _first(stream: bytearray) -> Wire:
    """Takes the first request off the stream."""
    head_bytes = stream.index(b"\r\n\r\n") + 4
    [length] = [
        int(line.split(b":")[1])
        for line in bytes(stream[:head_bytes]).lower().split(b"\r\n")
        if line.startswith(b"content-length:")
    ]
    body = bytes(stream[head_bytes : head_bytes + length])
    del stream[: head_bytes + length]
    return Wire(1, head_bytes, length, len(gzip.decompress(body)))
