"""
Sends the recorded pipeline by opentelemetry-python's OTLP/JSON exporter: ``python send.py …``.

Usage: ``send.py PIPELINE.json ENDPOINT RUN_ID``. A program of its own: the exporter's exact pins
need an environment of their own.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from opentelemetry.exporter.otlp.json.http._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.json.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from tests.acceptance.interop_emit import emit

if __name__ == "__main__":
    _file, _endpoint, _run_id = sys.argv[1:]
    _resource = Resource.create({"service.name": "interop-python-json"})
    _tracers, _loggers = TracerProvider(resource=_resource), LoggerProvider(resource=_resource)
    _tracers.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=f"{_endpoint}/v1/traces")))
    _loggers.add_log_record_processor(
        BatchLogRecordProcessor(OTLPLogExporter(endpoint=f"{_endpoint}/v1/logs"))
    )
    _pipeline = json.loads(Path(_file).read_text(encoding="utf-8"))
    emit(_pipeline, _tracers.get_tracer("interop"), _loggers.get_logger("interop"), _run_id)
    _flushed = _tracers.force_flush() and _loggers.force_flush()
    _tracers.shutdown()
    _loggers.shutdown()
    sys.exit(0 if _flushed else 1)
