"""The registry of a server process: what the parts count, beside the process itself."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Info, PlatformCollector, ProcessCollector

from xray_otel._version import __version__


def process_registry() -> CollectorRegistry:
    """Return a registry that shows this process; every part adds its own metrics."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    Info("xray_build", "Version of X-Ray.", registry=registry).info({"version": __version__})
    return registry
