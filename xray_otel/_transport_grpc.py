"""OTLP/gRPC. Imported only when it is configured, because gRPC takes some 70 ms to load."""

from __future__ import annotations

import contextlib
from typing import Any
from urllib.parse import urlsplit

import grpc
from google.protobuf.message import DecodeError
from google.rpc.error_details_pb2 import RetryInfo  # type: ignore[import-untyped]
from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from xray_otel._transport import Answer, Payload, Signal, partial_answer
from xray_otel._version import __version__
from xray_otel.settings import Settings

# OTLP/gRPC, section "Failures". RESOURCE_EXHAUSTED only counts with RetryInfo.
_RETRYABLE_CODES = frozenset(
    {
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.ABORTED,
        grpc.StatusCode.OUT_OF_RANGE,
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DATA_LOSS,
        grpc.StatusCode.UNKNOWN,
    }
)
_SERVICE = "/opentelemetry.proto.collector"


class GrpcTransport:
    """OTLP/gRPC over one channel, which connects again by itself; proxies are ignored."""

    def __init__(self, settings: Settings) -> None:
        url = urlsplit(settings.endpoint)
        target = f"{url.hostname}:{url.port or (443 if url.scheme == 'https' else 4317)}"
        options = (
            ("grpc.enable_http_proxy", 0),
            ("grpc.primary_user_agent", f"xray-otel/{__version__}"),
            ("grpc.max_reconnect_backoff_ms", 2_000),
        )
        if url.scheme == "https":
            self._channel = grpc.secure_channel(
                target, grpc.ssl_channel_credentials(), options, grpc.Compression.Gzip
            )
        else:
            self._channel = grpc.insecure_channel(target, options, grpc.Compression.Gzip)
        self._metadata = (("authorization", f"Bearer {settings.api_key}"),) if settings.api_key else ()
        self._traces = self._method("trace.v1.TraceService", ExportTraceServiceResponse.FromString)
        self._logs = self._method("logs.v1.LogsService", ExportLogsServiceResponse.FromString)

    def _method(self, service: str, deserialize: Any) -> Any:
        return self._channel.unary_unary(
            f"{_SERVICE}.{service}/Export",
            request_serializer=None,  # it is bytes already
            response_deserializer=deserialize,
        )

    def send(self, payload: Payload, timeout_s: float) -> Answer:
        method = self._traces if payload.signal is Signal.TRACES else self._logs
        try:
            response = method(payload.data, timeout=timeout_s, metadata=self._metadata)
        except grpc.RpcError as error:
            return _failure(error)
        except ValueError as error:  # the channel was closed by another thread
            return Answer(False, retryable=True, message=str(error))
        return partial_answer(response)

    def close(self) -> None:
        self._channel.close()


def _failure(error: Any) -> Answer:
    code = error.code()
    retry_after_s = _retry_after_s(error.trailing_metadata() or ())
    retryable = code in _RETRYABLE_CODES or (
        code is grpc.StatusCode.RESOURCE_EXHAUSTED and retry_after_s is not None
    )
    return Answer(
        False,
        retryable=retryable,
        # Without RetryInfo it is the size: what gRPC itself says of a message above the receiver's limit.
        too_large=code is grpc.StatusCode.RESOURCE_EXHAUSTED and not retryable,
        retry_after_s=retry_after_s,
        message=f"gRPC status {code.name}: {error.details()}"[:300],
    )


def _retry_after_s(metadata: Any) -> float | None:
    for key, value in metadata:
        if key != "grpc-status-details-bin":
            continue
        with contextlib.suppress(DecodeError):
            for detail in Status.FromString(value).details:
                info = RetryInfo()
                if detail.Unpack(info):
                    return max(0.0, float(info.retry_delay.ToNanoseconds()) / 1e9)
    return None
