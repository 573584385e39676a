"""
Spans by other names than ours: asks an ``Inference`` and joins its answer to what the span says itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from collector.errors import DecisionsUnreadable
from collector.extract.classify import Kind, kind_of, with_renamed
from collector.extract.evidence import packed
from collector.extract.extraction import Extraction
from collector.extract.foreign import Inference, Inferred
from collector.extract.readings import fill, flags_of, others, renamed
from collector.extract.vocabulary import OURS, RUN_SLOTS, SLOT_OF, STEP_SLOTS
from collector.records import Reading, SpanRecord
from store.rows import DecisionChunk, Flag, Loss, StepCopy
from xray_otel import semconv

_SAID = SLOT_OF[semconv.SPAN_KIND]
_TYPE, _CHUNKS = SLOT_OF[semconv.STEP_TYPE], SLOT_OF[semconv.DECISIONS_CHUNKS]
_DECISIONS = "xray.decisions."


class Found(NamedTuple):
    """What a span is, with all that was found in it."""

    kind: Kind
    marks: int
    detailed: list[Reading]
    inferred: bool
    """It is a step, but not by names of ours."""
    flags: Sequence[Flag] = ()
    """Of what was found."""
    answer: Inferred | None = None


def look_further(
    inference: Inference, span: SpanRecord, values: list[Any], marks: int, detailed: list[Reading]
) -> Found:
    """
    Return what the span is when names other than ours are read too.

    Fills gaps of ``values``. The rest is as ``collect`` returned it.
    """
    is_step = kind_of(values[_SAID], marks) is Kind.STEP
    taken = fill(values, detailed, renamed(detailed))
    kind = kind_of(values[_SAID], with_renamed(marks))
    answer: Inferred | None = None
    if kind is not Kind.RUN and ((sent := others(detailed)) or span.events):
        answer = inference.infer(span, sent, kind is Kind.STEP)
        if answer is not None:
            kind = Kind.STEP
            answer = _beside(values, answer)
            taken += fill(values, [*detailed, *taken], OURS.read(answer.attributes))
    for _, _, mark, _ in taken:
        marks |= mark
    flags = flags_of(taken, RUN_SLOTS if kind is Kind.RUN else STEP_SLOTS)
    if answer is not None:
        flags += answer.flags
    return Found(kind, marks, [*detailed, *taken], kind is Kind.STEP and not is_step, flags, answer)


def _beside(values: list[Any], answer: Inferred) -> Inferred:
    """Return what of an answer can stand beside what the span says itself."""
    attributes = dict(answer.attributes)
    if values[_CHUNKS] is not None:
        # The decisions come as log events: the first chunks of both would compete for one key.
        kept = {name: value for name, value in attributes.items() if not name.startswith(_DECISIONS)}
        return answer._replace(attributes=kept, decisions=(), unreadable=None, lost=0)
    said = values[_TYPE] or attributes.get(semconv.STEP_TYPE)
    if (said[0] if isinstance(said, tuple) else said) == "search":
        # A source has candidates that came out alone.
        attributes.pop(semconv.CANDIDATES_IN, None)
    return answer._replace(attributes=attributes)


def add_decisions(step: StepCopy, answer: Inferred, extraction: Extraction) -> None:
    """Add the decisions that came inside a step's span."""
    key = (step.run_id, step.step_id, step.attempt_key)
    chunks: list[DecisionChunk] = []
    try:
        if answer.unreadable is not None:
            raise DecisionsUnreadable(answer.unreadable)
        for index, columns in enumerate(answer.decisions):
            chunks.append(packed(*key, index, len(answer.decisions), columns))
    except DecisionsUnreadable as exc:
        chunks = [DecisionChunk(*key, 0, None, 0, None, exc.reason)]
    for chunk in chunks:
        if refusal := extraction.take_decisions(chunk):
            extraction.refused.append(refusal)
    if answer.lost:
        subject = f"{step.step_id}/{step.attempt_key}/span"
        loss = Loss(
            step.run_id, "client_policy", "decisions", subject, answer.lost, step.step_id, step.attempt_key
        )
        extraction.losses.append(loss)
