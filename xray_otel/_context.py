"""
Which run and step the current code belongs to.

Kept in OpenTelemetry's context, not beside it, so that whatever carries a trace to
another task or thread carries the run with it.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import cast

from opentelemetry import context as otel_context
from opentelemetry.context import Context

RUN_KEY = otel_context.create_key("xray-run")
"""Holds a RunScope."""
STEP_KEY = otel_context.create_key("xray-step")
"""Holds a Step."""


@dataclass(slots=True, eq=False)
class RunScope:
    """What the steps and spans inside a run need to know of it; ``run`` is the Run itself."""

    run: object
    run_id: str
    identity: dict[str, object]
    """Attributes that each span and event of the run carries."""
    context: Context | None = None
    """OpenTelemetry's context inside the run; None before it is entered."""
    _step_indexes: itertools.count[int] = field(default_factory=itertools.count)

    def next_step_index(self) -> int:
        """The position of the step that starts now, counted from 0; safe from any thread."""
        return next(self._step_indexes)


def current_scope(context: Context | None = None) -> RunScope | None:
    """The scope of the run that encloses the calling code, or None outside of any."""
    return cast(RunScope | None, otel_context.get_value(RUN_KEY, context))
