"""
Errors of the client.

XRayError
├── SettingsError    a setting has a value that is not accepted
├── UsageError       a call says something that cannot be recorded
└── DeliveryError    a run's telemetry was not acknowledged

In the mode ``best_effort`` none of them reaches the host program: they are counted and
logged. In ``strict`` they are raised, DeliveryError at the exit of the run.
"""

from __future__ import annotations

from xray_otel._words import counted


class XRayError(Exception):
    """Anything that X-Ray's client raises on its own account."""


class SettingsError(XRayError):
    """A setting has a value that is not accepted."""

    def __init__(self, variable: str, value: object, accepted: str) -> None:
        super().__init__(f"{variable}={value!r}: {accepted} is accepted")
        self.variable = variable
        self.value = value
        self.accepted = accepted


class UsageError(XRayError, ValueError):
    """A call says something that cannot be recorded as it stands."""


class DeliveryError(XRayError):
    """A run ended and not all of its telemetry was acknowledged by the server."""

    def __init__(self, run_id: str, lost: int, pending: int) -> None:
        super().__init__(
            f"run {run_id}: {counted(lost, 'record')} lost, {pending} not acknowledged; "
            "look at the log of xray_otel, or raise XRAY_EXPORT_TIMEOUT_S"
        )
        self.run_id = run_id
        self.lost = lost
        self.pending = pending
