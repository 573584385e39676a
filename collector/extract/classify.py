"""
What a span or event is to us (``contract.md``: "What a span or event is to us").
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import Enum
from typing import Any

from xray_otel import semconv

_CANDIDATES = "xray.candidates."
_STEP = "xray.step."
_RUN = "xray.run."


class Kind(Enum):
    """What a span is to us."""

    RUN = "run"
    STEP = "step"
    MEMBER = "member"
    """Carries the run id that baggage stamped and nothing else of ours: counted, not stored."""
    FOREIGN = "foreign"


def kind_of(attributes: Mapping[str, Any]) -> Kind:
    """Return what a span with these attributes is."""
    said = attributes.get(semconv.SPAN_KIND)
    if said == "step":
        return Kind.STEP
    if said == "run":
        return Kind.RUN
    if semconv.STEP_TYPE in attributes or _any_starts(attributes, _CANDIDATES):
        return Kind.STEP
    if _names_a_run(attributes) and not _any_starts(attributes, _STEP):
        return Kind.RUN
    return Kind.MEMBER if semconv.RUN_ID in attributes else Kind.FOREIGN


def _names_a_run(attributes: Mapping[str, Any]) -> bool:
    return semconv.PIPELINE_NAME in attributes or any(
        name.startswith(_RUN) and name != semconv.RUN_ID for name in attributes
    )


def _any_starts(names: Iterable[str], prefix: str) -> bool:
    return any(name.startswith(prefix) for name in names)
