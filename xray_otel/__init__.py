"""X-Ray's client: records what each step of a pipeline did with its candidates, and why."""

from xray_otel._crossing import carry, current_run, inject, join_run
from xray_otel._encode import MISSING
from xray_otel._exporter import XRaySpanExporter, XRaySpanProcessor
from xray_otel._operations import Accept, Reject
from xray_otel._outcomes import outcome
from xray_otel._resume import EngineRun, resume_run
from xray_otel._resume_ids import DerivedIds, derive_ids
from xray_otel._resume_steps import EngineStep
from xray_otel._runs import Run, run
from xray_otel._schemas import Schema
from xray_otel._setup import configure, flush, shutdown
from xray_otel._steps import Step, current_step, step
from xray_otel._version import __version__
from xray_otel.errors import DeliveryError, SettingsError, UsageError, XRayError
from xray_otel.settings import Settings

__all__ = [
    "MISSING",
    "Accept",
    "DeliveryError",
    "DerivedIds",
    "EngineRun",
    "EngineStep",
    "Reject",
    "Run",
    "Schema",
    "Settings",
    "SettingsError",
    "Step",
    "UsageError",
    "XRayError",
    "XRaySpanExporter",
    "XRaySpanProcessor",
    "__version__",
    "carry",
    "configure",
    "current_run",
    "current_step",
    "derive_ids",
    "flush",
    "inject",
    "join_run",
    "outcome",
    "resume_run",
    "run",
    "shutdown",
    "step",
]
