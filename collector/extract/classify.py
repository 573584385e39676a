"""
What a span or event is to us (``contract.md``: "What a span or event is to us").

A name alone says something, whatever its value: that is its marks. Those of all attributes of
a span, OR-ed, and the value of ``xray.span.kind`` say what the span is.
"""

from __future__ import annotations

from enum import Enum
from typing import Any, Final

from xray_otel import semconv

STEP: Final = 1
"""Only a step has it: ``xray.step.type``, ``xray.candidates.*``."""
RUN: Final = 2
"""Only a run has it: ``xray.pipeline.name``, ``xray.run.*`` beside the id."""
OF_STEP: Final = 4
"""``xray.step.*``: no run's, and alone no step either."""
MEMBER: Final = 8
"""``xray.run.id``."""
FLAGGED: Final = 16
"""Something is wrong with the value."""
ELSEWHERE: Final = 32
"""Not one of our names: a team's own for it, or one that an ``Inference`` wants."""
REASONS: Final = 64
"""A part of the reasons' histogram."""
SCORES: Final = 128
"""A number of the scores' summary."""
TABLES: Final = 256
"""A column of the statistics of fields or of the counts of sources."""
RENAMED_BITS: Final = 16
"""What a team's own name stands for is marked this much higher."""

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


def marks_of(name: str) -> int:
    """Return what the presence of an attribute says."""
    if name == semconv.RUN_ID:
        return MEMBER
    if name == semconv.PIPELINE_NAME or name.startswith(_RUN):
        return RUN
    if name.startswith(_CANDIDATES):
        return STEP
    if name.startswith(_STEP):
        return STEP | OF_STEP if name == semconv.STEP_TYPE else OF_STEP
    return 0


def with_renamed(marks: int) -> int:
    """Return the marks as if a team's own names were ours."""
    return marks | marks >> RENAMED_BITS


# As names of this module: a member of an Enum takes five times as long to look up.
_STEP_KIND, _RUN_KIND = Kind.STEP, Kind.RUN


def kind_of(said: Any, marks: int) -> Kind:
    """Return what a span is whose ``xray.span.kind`` is what it said, None when absent."""
    if said == "step":
        return _STEP_KIND
    if said == "run":
        return _RUN_KIND
    if marks & STEP:
        return _STEP_KIND
    if marks & RUN and not marks & OF_STEP:
        return _RUN_KIND
    return Kind.MEMBER if marks & MEMBER else Kind.FOREIGN
