"""X-Ray's client: records what each step of a pipeline did with its candidates, and why."""

from xray_otel._encode import MISSING
from xray_otel._operations import Accept, Reject
from xray_otel._runs import Run, current_run, run
from xray_otel._setup import configure, flush, shutdown
from xray_otel._steps import Step, current_step, step
from xray_otel._version import __version__
from xray_otel.errors import DeliveryError, SettingsError, UsageError, XRayError
from xray_otel.settings import Settings

__all__ = [
    "MISSING",
    "Accept",
    "DeliveryError",
    "Reject",
    "Run",
    "Settings",
    "SettingsError",
    "Step",
    "UsageError",
    "XRayError",
    "__version__",
    "configure",
    "current_run",
    "current_step",
    "flush",
    "run",
    "shutdown",
    "step",
]
