"""How requests reach the server: the interface, and OTLP/HTTP with protobuf."""

from __future__ import annotations

import contextlib
import email.utils
import encodings.idna  # noqa: F401 - or the sender would import it, see ``prepare`` in _client
import http.client
import socket
import time
import zlib
from collections.abc import Mapping
from enum import IntEnum
from typing import NamedTuple, Protocol
from urllib.parse import urlsplit

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from xray_otel._version import __version__
from xray_otel.settings import Settings


class Signal(IntEnum):
    """What a request carries. The numbers stand in the spool's files."""

    TRACES = 1
    LOGS = 2


class Payload(NamedTuple):
    """One request: the bytes of an Export…ServiceRequest, not compressed."""

    signal: Signal
    data: bytes


GZIP_LEVEL = 1
"""196 KB of decisions: 3.5 ms and 87 KB; level 6 takes 11.9 ms for 81 KB."""


_GZIP_WINDOW_BITS = 16 + zlib.MAX_WBITS
"""With gzip's head and checksum. ``gzip.compress`` would copy the body twice more to add them."""


class Answer(NamedTuple):
    """What became of one request."""

    delivered: bool
    rejected: int = 0
    """Records that the server did not take of a delivered request."""
    retryable: bool = False
    """Whether the same request may succeed later."""
    too_large: bool = False
    """Whether smaller requests with the same records may succeed."""
    retry_after_s: float | None = None
    """What the server asked to wait."""
    message: str = ""


class Transport(Protocol):
    """Sends one request at a time; used by one thread."""

    def send(self, payload: Payload, timeout_s: float) -> Answer:
        """Returns when the server has answered or it is sure that it will not; never raises OSError."""

    def close(self) -> None:
        """Releases the connection and ends a request that is under way, if that is possible."""


# OTLP/HTTP, section "Retryable Response Codes".
_RETRYABLE_STATUSES = frozenset({429, 502, 503, 504})
_MAX_ANSWER_BYTES = 1024 * 1024
_CONNECT_TIMEOUT_S = 1.0


class HttpTransport:
    """
    OTLP/HTTP over one kept-alive connection of the standard library.

    Proxies of the environment and ``.netrc`` are ignored on purpose: telemetry goes to
    the configured collector or nowhere.
    """

    def __init__(self, settings: Settings) -> None:
        url = urlsplit(settings.endpoint)
        self._host = url.hostname or ""
        self._port = url.port
        self._secure = url.scheme == "https"
        self._prefix = url.path.rstrip("/")
        self._base = settings.endpoint.rstrip("/")
        self._headers = {
            "Content-Type": "application/x-protobuf",
            "Content-Encoding": "gzip",
            "User-Agent": f"xray-otel/{__version__}",
        }
        if settings.api_key:
            self._headers["Authorization"] = f"Bearer {settings.api_key}"
        self._connection: http.client.HTTPConnection | None = None
        self._closed = False

    def send(self, payload: Payload, timeout_s: float) -> Answer:
        path = "/v1/traces" if payload.signal is Signal.TRACES else "/v1/logs"
        body = zlib.compress(payload.data, GZIP_LEVEL, _GZIP_WINDOW_BITS)
        reused = self._connection is not None
        try:
            try:
                return self._exchange(path, body, timeout_s, payload.signal)
            except (http.client.RemoteDisconnected, ConnectionError):
                # A server may close an idle connection at any time; only a fresh one says that it is away.
                if not reused or self._closed:
                    raise
                self._hang_up()
                return self._exchange(path, body, timeout_s, payload.signal)
        except (OSError, http.client.HTTPException) as error:
            self._hang_up()
            return Answer(False, retryable=True, message=_what_failed(error))

    def _exchange(self, path: str, body: bytes, timeout_s: float, signal: Signal) -> Answer:
        connection = self._connection or self._connect(timeout_s)
        self._connection = connection
        if self._closed:  # by another thread, which may have seen no connection yet
            raise ConnectionAbortedError("the client was shut down")
        connection.request("POST", self._prefix + path, body, self._headers)
        response = connection.getresponse()
        data = response.read(_MAX_ANSWER_BYTES)
        if response.will_close or not response.isclosed():
            self._hang_up()
        headers = {name.lower(): value for name, value in response.headers.items()}
        answer = read_answer(response.status, headers, data, signal)
        # The address, or nobody sees that it is the wrong port or has the path twice.
        return (
            answer if answer.delivered else answer._replace(message=f"{answer.message} of {self._base}{path}")
        )

    def _connect(self, timeout_s: float) -> http.client.HTTPConnection:
        kind = http.client.HTTPSConnection if self._secure else http.client.HTTPConnection
        connection = kind(self._host, self._port, timeout=min(_CONNECT_TIMEOUT_S, timeout_s))
        connection.connect()
        connection.auto_open = 0  # else a request that meets a close() would connect again, unseen
        connection.sock.settimeout(timeout_s)
        return connection

    def close(self) -> None:
        self._closed = True
        self._hang_up()

    def _hang_up(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(OSError):
                if connection.sock is not None:
                    connection.sock.shutdown(socket.SHUT_RDWR)  # wakes a thread that waits for the answer
            with contextlib.suppress(OSError):
                connection.close()


def _what_failed(error: Exception) -> str:
    # Of a server that hung up it is a subclass; else what came back is no HTTP, and not for people to read.
    if isinstance(error, http.client.BadStatusLine) and not isinstance(error, ConnectionError):
        return "its answer is no HTTP; where the port is one for OTLP/gRPC, set XRAY_PROTOCOL=grpc"
    return f"{type(error).__name__}: {error}"


def read_answer(status: int, headers: Mapping[str, str], data: bytes, signal: Signal) -> Answer:
    """
    The meaning of an OTLP/HTTP response; names of ``headers`` in lower case.

    Only 200 is success: a redirect is not followed, and counting it as success would lose
    data without a word. Source: OTLP specification, "OTLP/HTTP Response".
    """
    if status == 200:
        return read_success(data, signal)
    if status in _RETRYABLE_STATUSES:
        return Answer(
            False, retryable=True, retry_after_s=_retry_after_s(headers), message=f"HTTP status {status}"
        )
    return Answer(False, too_large=status == 413, message=f"HTTP status {status}")


def read_success(data: bytes, signal: Signal) -> Answer:
    """A success with its partial success; an unreadable body counts as full success."""
    response: ExportTraceServiceResponse | ExportLogsServiceResponse
    try:
        if signal is Signal.TRACES:
            response = ExportTraceServiceResponse.FromString(data)
        else:
            response = ExportLogsServiceResponse.FromString(data)
    except DecodeError:
        return Answer(True)
    return partial_answer(response)


def partial_answer(response: ExportTraceServiceResponse | ExportLogsServiceResponse) -> Answer:
    """A success that may have rejected some of the records."""
    if isinstance(response, ExportTraceServiceResponse):
        rejected = response.partial_success.rejected_spans
    else:
        rejected = response.partial_success.rejected_log_records
    return Answer(True, rejected=max(0, rejected), message=response.partial_success.error_message)


def _retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Seconds of a Retry-After header in either of its forms (RFC 9110, 10.2.3)."""
    value = headers.get("retry-after", "").strip()
    if value.isascii() and value.isdigit():
        return float(value[:6])
    with contextlib.suppress(ValueError, TypeError):
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    return None
