"""
OTLP/gRPC: the Export calls of traces and logs on raw bytes, so that our own decoder reads them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import grpc

from collector.errors import CannotListen
from collector.receive import Receiver
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

_SERVICES = {
    "opentelemetry.proto.collector.trace.v1.TraceService": Signal.TRACES,
    "opentelemetry.proto.collector.logs.v1.LogsService": Signal.LOGS,
}
_METRICS_SERVICE = "opentelemetry.proto.collector.metrics.v1.MetricsService"
_THREADS = 32
"""Requests that may wait for their commit at once; more queue in gRPC."""
_RETURN_MARGIN_S = 0.3
"""Left of the sender's deadline for the way back, so that it hears that it should come again."""

Handler = Callable[[bytes, grpc.ServicerContext], bytes]


class GrpcReceiver:
    """The OTLP/gRPC server of one host and port."""

    def __init__(self, receiver: Receiver, host: str, port: int, max_request_bytes: int) -> None:
        """port: 0 for any free one."""
        self._receiver = receiver
        self._host = host
        self._asked_port = port
        self._server = grpc.server(
            ThreadPoolExecutor(_THREADS, thread_name_prefix="xray-grpc"),
            handlers=[self._handlers(service, self._export(signal)) for service, signal in _SERVICES.items()]
            + [self._handlers(_METRICS_SERVICE, self._refuse_metrics)],
            options=[
                # gRPC applies the limit after decompression, as OTLP 1.11 asks ("Request size").
                ("grpc.max_receive_message_length", max_request_bytes),
                # Two servers that share a port by accident would each see half of the data.
                ("grpc.so_reuseport", 0),
            ],
        )
        self.port = 0
        """The port in use, after ``start``."""

    def start(self) -> None:
        """Open the port. Raises ``CannotListen``."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        try:
            self.port = self._server.add_insecure_port(f"{host}:{self._asked_port}")
        except RuntimeError as exc:
            raise CannotListen(self._host, self._asked_port, "XRAY_GRPC_PORT") from exc
        self._server.start()

    def stop(self, grace_s: float) -> None:
        """Refuse new calls and wait up to grace_s for those under way; safe before ``start``."""
        self._server.stop(grace_s).wait(grace_s + 1.0)

    def _export(self, signal: Signal) -> Handler:
        def export(body: bytes, context: grpc.ServicerContext) -> bytes:
            timeout_s = max(0.1, _time_left_s(context) - _RETURN_MARGIN_S)
            result = self._receiver.receive(signal, PROTOBUF, body, timeout_s)
            if result.outcome is Outcome.STORED:
                return export_response(result, signal, PROTOBUF)
            return self._fail(result, context)

        return export

    def _refuse_metrics(self, _body: bytes, context: grpc.ServicerContext) -> bytes:
        result = Result(Outcome.METRICS, (METRICS_REFUSED,))
        self._receiver.count(result)
        return self._fail(result, context)

    @staticmethod
    def _fail(result: Result, context: grpc.ServicerContext) -> bytes:
        context.set_trailing_metadata(retry_trailers(result))
        context.set_code(ANSWERS[result.outcome].grpc)
        context.set_details(message(result.messages))
        return b""

    @staticmethod
    def _handlers(service: str, handler: Handler) -> grpc.GenericRpcHandler[bytes, bytes]:
        # Without serialisers the bytes pass as they are.
        return grpc.method_handlers_generic_handler(
            service, {"Export": grpc.unary_unary_rpc_method_handler(handler)}
        )


def _time_left_s(context: grpc.ServicerContext) -> float:
    # The stubs say float; a call without a deadline has None.
    left_s: float | None = context.time_remaining()
    return math.inf if left_s is None else left_s
