"""
Sends the recorded pipeline by opentelemetry-python: ``python interop_senders.py …``.

Usage: ``interop_senders.py PIPELINE.json ENDPOINT grpc|http RUN_ID``. Ends with 0 when every
export succeeded. The twin in JavaScript is ``js/send.mjs``.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter as GrpcLogs
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcTraces
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter as HttpLogs
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpTraces
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from tests.acceptance.interop_emit import emit


def send(pipeline: dict[str, Any], endpoint: str, protocol: str, run_id: str) -> bool:
    """Send spans and events; return whether both flushed in time."""
    resource = Resource.create({"service.name": f"interop-python-{protocol}"})
    tracers = TracerProvider(resource=resource)
    loggers = LoggerProvider(resource=resource)
    if protocol == "grpc":
        tracers.add_span_processor(BatchSpanProcessor(GrpcTraces(endpoint=endpoint, insecure=True)))
        loggers.add_log_record_processor(BatchLogRecordProcessor(GrpcLogs(endpoint=endpoint, insecure=True)))
    else:
        tracers.add_span_processor(BatchSpanProcessor(HttpTraces(endpoint=f"{endpoint}/v1/traces")))
        loggers.add_log_record_processor(BatchLogRecordProcessor(HttpLogs(endpoint=f"{endpoint}/v1/logs")))
    emit(pipeline, tracers.get_tracer("interop"), loggers.get_logger("interop"), run_id)
    flushed = tracers.force_flush() and loggers.force_flush()
    tracers.shutdown()
    loggers.shutdown()
    return flushed


if __name__ == "__main__":
    _file, _endpoint, _protocol, _run_id = sys.argv[1:]
    _ok = send(json.loads(Path(_file).read_text(encoding="utf-8")), _endpoint, _protocol, _run_id)
    sys.exit(0 if _ok else 1)
