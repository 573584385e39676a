"""Raw OTLP requests over gRPC or HTTP, with as little work around them as there can be."""

from __future__ import annotations

import http.client
from collections.abc import Mapping
from typing import Protocol
from urllib.parse import urlsplit

import grpc

_TIMEOUT_S = 120.0
"""Longer than the slowest peer takes for 512 spans on a busy machine: a time-out would count as a failure."""
_GRPC_METHODS = {
    "traces": "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
    "logs": "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
}
_HTTP_PATHS = {"traces": "/v1/traces", "logs": "/v1/logs"}
_GRPC_RETRYABLE = (
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.DEADLINE_EXCEEDED,
)
_HTTP_RETRYABLE = (429, 502, 503, 504)


class Failed(Exception):
    """A request that was not acknowledged whole."""

    def __init__(self, said: str, *, retryable: bool) -> None:
        super().__init__(said)
        self.retryable = retryable


class Connection(Protocol):
    """A connection that one thread uses."""

    def send(self, signal: str, body: bytes) -> None:
        """Return when the body was acknowledged. Raises ``Failed``."""


def connect(target: str, headers: Mapping[str, str]) -> Connection:
    """target: ``http://host:port`` for HTTP, ``host:port`` for gRPC."""
    return _Http(target, headers) if target.startswith("http://") else _Grpc(target, headers)


class _Grpc:
    def __init__(self, target: str, headers: Mapping[str, str]) -> None:
        # A pool of its own makes a connection of its own: channels of one process share them otherwise.
        channel = grpc.insecure_channel(target, options=[("grpc.use_local_subchannel_pool", 1)])
        self._metadata = tuple((name.lower(), value) for name, value in headers.items())
        # Without serialisers the bytes pass as they are.
        self._calls = {
            signal: channel.unary_unary(method, request_serializer=None, response_deserializer=None)
            for signal, method in _GRPC_METHODS.items()
        }

    def send(self, signal: str, body: bytes) -> None:
        try:
            answer: bytes = self._calls[signal](body, timeout=_TIMEOUT_S, metadata=self._metadata)
        except grpc.RpcError as error:
            code = error.code()
            raise Failed(f"{code.name}: {error.details()}", retryable=code in _GRPC_RETRYABLE) from None
        _check(answer)


class _Http:
    def __init__(self, target: str, headers: Mapping[str, str]) -> None:
        url = urlsplit(target)
        assert url.hostname is not None  # checked by the caller's form
        self._connection = http.client.HTTPConnection(url.hostname, url.port, timeout=_TIMEOUT_S)
        self._headers = {"Content-Type": "application/x-protobuf", **headers}

    def send(self, signal: str, body: bytes) -> None:
        try:
            self._connection.request("POST", _HTTP_PATHS[signal], body, self._headers)
            response = self._connection.getresponse()
            answer = response.read()
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            raise Failed(f"{type(error).__name__}: {error}", retryable=True) from None
        if response.status != 200:
            raise Failed(f"{response.status}: {answer[:500]!r}", retryable=response.status in _HTTP_RETRYABLE)
        if response.getheader("Content-Type", "").startswith("application/x-protobuf"):
            _check(answer)


def _check(answer: bytes) -> None:
    if answer:
        raise Failed(f"acknowledged in part only: {answer[:500]!r}", retryable=False)
