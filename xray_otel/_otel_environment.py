"""What X-Ray takes over from OpenTelemetry's own variables, and when."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from urllib.parse import unquote

_PREFIX = "OTEL_EXPORTER_OTLP_"
_STANDARD_PORTS = {"4317": "grpc", "4318": "http/protobuf"}


def borrowed(environ: Mapping[str, str]) -> Iterator[tuple[str, str, str]]:
    """
    (setting, variable, value) of what ``OTEL_EXPORTER_OTLP_*`` says of where to send to.

    Only where X-Ray was asked for by ``OTEL_TRACES_EXPORTER`` and no exporter of OTLP beside
    it: otherwise they name the team's tracing backend, and evidence does not belong there.
    """
    exporters = {word.strip() for word in environ.get("OTEL_TRACES_EXPORTER", "").split(",")}
    if "xray" not in exporters or any(word.startswith("otlp") for word in exporters):
        return
    endpoint = environ.get(_PREFIX + "ENDPOINT", "").strip()
    if endpoint:
        yield "endpoint", _PREFIX + "ENDPOINT", endpoint
    protocol = _protocol(endpoint, environ.get(_PREFIX + "PROTOCOL", "").strip())
    if protocol:
        yield "protocol", _PREFIX + "PROTOCOL", protocol
    for pair in environ.get(_PREFIX + "HEADERS", "").split(","):
        name, _, value = pair.partition("=")
        scheme, _, key = unquote(value.strip()).partition(" ")
        if name.strip().lower() == "authorization" and scheme.lower() == "bearer" and key.strip():
            yield "api_key", _PREFIX + "HEADERS", key.strip()


def _protocol(endpoint: str, given: str) -> str:
    """
    What the endpoint speaks; empty when nothing says it.

    OpenTelemetry's distribution sets ``grpc`` where the user has set nothing, so the standard
    ports are believed first, and gRPC only where it is installed.
    """
    standard = _STANDARD_PORTS.get(endpoint.rstrip("/").rpartition(":")[2], "")
    if standard:
        return standard
    if given.startswith("http/"):
        return "http/protobuf"
    return "" if given == "grpc" and find_spec("grpc") is None else given
