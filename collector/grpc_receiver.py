"""
OTLP/gRPC: the Export calls of traces and logs on raw bytes, so that our own decoder reads them.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Awaitable, Callable

import grpc
import grpc.aio

from collector.auth import GrpcGate, credentials
from collector.errors import CannotListen, CollectorError, Undecodable
from collector.receive import Receiver, Taken, failure
from collector.reception import Reception
from collector.responses import (
    ANSWERS,
    METRICS_REFUSED,
    PROTOBUF,
    Outcome,
    Result,
    Signal,
    export_response,
    message,
    retry_trailers,
)
from store.access.guard import Guard
from store.access.tls import TlsFiles

_SERVICES = {
    "opentelemetry.proto.collector.trace.v1.TraceService": Signal.TRACES,
    "opentelemetry.proto.collector.logs.v1.LogsService": Signal.LOGS,
}
_METRICS_SERVICE = "opentelemetry.proto.collector.metrics.v1.MetricsService"
_RETURN_MARGIN_S = 0.3
"""Left of the sender's deadline for the way back, so that it hears that it should come again."""
_CONNECTION_OPTIONS = (
    # A connection that does not get as far as HTTP/2 is closed; one whose peer has vanished, too.
    ("grpc.server_handshake_timeout_ms", 10_000),
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    ("grpc.max_connection_idle_ms", 300_000),
    # Now and then senders connect anew, so that they spread over processes that were started later.
    ("grpc.max_connection_age_ms", 1_800_000),
    ("grpc.max_connection_age_grace_ms", 30_000),
    ("grpc.max_concurrent_streams", 256),
)

Handler = Callable[[AsyncIterator[bytes], grpc.aio.ServicerContext[bytes, bytes]], Awaitable[bytes]]


class GrpcReceiver:
    """
    The OTLP/gRPC server of one host and port, on the running event loop.

    Export is served as a call with a stream of requests, of which the first is read: the same on
    the wire, but a call is ours before its message has arrived, so that a sender which is slow or
    falls silent holds no thread, can be given a deadline and gets a retryable answer.
    """

    def __init__(
        self,
        receiver: Receiver,
        reception: Reception,
        host: str,
        port: int,
        max_request_bytes: int,
        guard: Guard | None = None,
        tls: TlsFiles | None = None,
        share_port: bool = False,
    ) -> None:
        """
        port: 0 for any free one. guard: checks API keys; None asks for none. tls: None = plain.

        share_port: other processes of ours listen on it, too.
        """
        self._receiver = receiver
        self._reception = reception
        self._host = host
        self._asked_port = port
        self._guard = guard
        self._tls = tls
        self._options = (
            # gRPC applies the limit after decompression, as OTLP 1.11 asks ("Request size").
            ("grpc.max_receive_message_length", max_request_bytes),
            # Two servers that share a port by accident would each see half of the data.
            ("grpc.so_reuseport", int(share_port)),
            *_CONNECTION_OPTIONS,
        )
        self._server: grpc.aio.Server | None = None
        self.port = 0
        """The port in use, after ``start``."""

    async def start(self) -> None:
        """Open the port. Raises ``CannotListen``."""
        server = grpc.aio.server(
            interceptors=[GrpcGate(self._guard, self._receiver.count)], options=self._options
        )
        server.add_generic_rpc_handlers(
            [_handlers(service, self._export(signal)) for service, signal in _SERVICES.items()]
            + [_handlers(_METRICS_SERVICE, self._refuse_metrics)]
        )
        host = f"[{self._host}]" if ":" in self._host else self._host
        address = f"{host}:{self._asked_port}"
        try:
            if self._tls is None:
                self.port = server.add_insecure_port(address)
            else:
                self.port = server.add_secure_port(address, credentials(self._tls))
        except RuntimeError as exc:
            raise CannotListen(self._host, self._asked_port, "XRAY_GRPC_PORT") from exc
        self._server = server
        await server.start()

    async def stop(self, grace_s: float) -> None:
        """Refuse new calls and wait up to grace_s for those under way; safe before ``start``."""
        if self._server is not None:
            await self._server.stop(grace_s)

    def _export(self, signal: Signal) -> Handler:
        async def export(
            _requests: AsyncIterator[bytes], context: grpc.aio.ServicerContext[bytes, bytes]
        ) -> bytes:
            try:
                taken = await self._take(signal, context)
            except CollectorError as exc:
                taken = Taken(failure(exc))
            result = await self._receiver.answer(taken)
            if result.outcome is Outcome.STORED:
                return export_response(result, signal, PROTOBUF)
            return _fail(result, context)

        return export

    async def _take(self, signal: Signal, context: grpc.aio.ServicerContext[bytes, bytes]) -> Taken:
        """Read and decode the request; when this returns, nothing holds its bytes."""
        with self._reception.claim() as claim:
            async with self._reception.reading(unmeasured=True):
                body = await context.read()
            if not isinstance(body, bytes):  # the end of the stream
                raise Undecodable("the call carries no message")
            claim.add(len(body))
            timeout_s = max(0.1, _time_left_s(context) - _RETURN_MARGIN_S)
            return await self._receiver.take(signal, PROTOBUF, lambda: body, timeout_s)

    async def _refuse_metrics(
        self, _requests: AsyncIterator[bytes], context: grpc.aio.ServicerContext[bytes, bytes]
    ) -> bytes:
        result = Result(Outcome.METRICS, (METRICS_REFUSED,))
        self._receiver.count(result)
        return _fail(result, context)


def _fail(result: Result, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
    context.set_trailing_metadata(retry_trailers(result))
    context.set_code(ANSWERS[result.outcome].grpc)
    context.set_details(message(result.messages))
    return b""


def _handlers(service: str, handler: Handler) -> grpc.GenericRpcHandler[bytes, bytes]:
    # Without serialisers the bytes pass as they are.
    return grpc.method_handlers_generic_handler(
        service, {"Export": grpc.stream_unary_rpc_method_handler(handler)}
    )


def _time_left_s(context: grpc.aio.ServicerContext[bytes, bytes]) -> float:
    # The stubs say float; a call without a deadline has None.
    left_s: float | None = context.time_remaining()
    return math.inf if left_s is None else left_s
