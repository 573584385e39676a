"""
What a question can fail with, beside ``store.errors.Unavailable``::

    XRayStoreError
    ├── InvalidParameter     a filter, limit or cursor that is not accepted
    ├── QueryTimeout         the answer took longer than the statement timeout
    │   └── ExportTimeout    an export took longer than all of it may
    └── TooManyExports       as many exports run as may at once
"""

from __future__ import annotations

from store.errors import XRayStoreError


class InvalidParameter(XRayStoreError):
    """A filter, limit or cursor that is not accepted; the message names it and the accepted form."""

    def __init__(self, parameter: str, message: str, column: int | None = None) -> None:
        super().__init__(message)
        self.parameter = parameter
        """The parameter as it was sent."""
        self.column = column
        """Where in its value, in characters from 1; None: all of it is meant."""


class QueryTimeout(XRayStoreError):
    """The answer took longer than the statement timeout; a narrower question may succeed."""

    def __init__(
        self, timeout_ms: int, advice: str = "narrow it with started_after and started_before"
    ) -> None:
        super().__init__(f"the answer took longer than {timeout_ms} ms; {advice}")
        self.timeout_ms = timeout_ms


class ExportTimeout(QueryTimeout):
    """An export took longer than it may, whoever was slow; what came before is whole batches."""

    def __init__(self, timeout_s: float) -> None:
        super().__init__(int(timeout_s * 1000))
        self.args = (
            f"the export took longer than {timeout_s:g} s; export shorter times one after the other",
        )


class TooManyExports(XRayStoreError):
    """As many exports run as may at once: each holds a connection and a snapshot. Later may succeed."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"{limit} exports run at once, which is all that may; try again when one has ended")
