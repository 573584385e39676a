"""The one version of both distributions, ``xray-otel`` and ``xray-otel-server``."""

__version__ = "0.1.0"
