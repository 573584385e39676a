"""
Decisions that a step's own span carries, for senders that cannot send log events.

Three shapes, of which the first that is there is taken: packed text (span events
``xray.decisions``, or the attribute ``xray.decisions.data``), parallel arrays in attributes, and
one span event ``xray.decision`` per candidate. SDKs keep 128 events of a span and remove the
oldest in silence; the number that they report as dropped is what makes that visible.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import repeat
from typing import Any

from collector.decisions import parse
from collector.errors import DecisionsUnreadable
from collector.extract.fields import INT64_MAX, WHY_BYTES, name, number, text
from collector.extract.flags import DECISIONS_UNREADABLE, WRONG_TYPE, flag
from collector.inference.candidates import Candidate, item_id, verdict_letter
from collector.inference.finding import Finding
from collector.records import SpanEvent, SpanRecord
from store.decisions import DecisionColumns, Scalar
from xray_otel import semconv

_ARRAYS = frozenset(
    {
        semconv.DECISIONS_ITEMS,
        semconv.DECISIONS_VERDICTS,
        semconv.DECISIONS_REASONS,
        semconv.DECISIONS_SCORES,
        semconv.DECISIONS_VALUES,
        semconv.DECISIONS_THRESHOLDS,
    }
)
NAMES = _ARRAYS | {semconv.DECISIONS_DATA}
"""Attributes that the shapes consist of."""
_reason_text = text(WHY_BYTES)


def carried(span: SpanRecord, sent: Mapping[str, Any], finding: Finding) -> None:
    """Add the decisions that the span carries; they go before any that were inferred of it."""
    packed = [event.attributes for event in span.events if event.name == semconv.EVENT_DECISIONS]
    if semconv.DECISIONS_DATA in sent:
        packed.append(sent)
    try:
        if packed:
            finding.chunks = [_unpacked(attributes.get(semconv.DECISIONS_DATA)) for attributes in packed]
        elif not _ARRAYS.isdisjoint(sent):
            candidates = _parallel(sent, finding)
            finding.judge(candidates)
            finding.attributes[semconv.CANDIDATES_IN] = len(candidates)
        elif span.events:
            _one_by_one(span, finding)
    except DecisionsUnreadable as exc:
        finding.unreadable = exc.reason


def _unpacked(data: Any) -> DecisionColumns:
    if isinstance(data, str):
        data = data.encode("utf-8", "surrogatepass")
    if not isinstance(data, bytes):
        raise DecisionsUnreadable(f"{semconv.DECISIONS_DATA} is no text")
    return parse(data).columns


def _parallel(sent: Mapping[str, Any], finding: Finding) -> list[Candidate]:
    items = _array(sent, semconv.DECISIONS_ITEMS, None)
    verdicts = _array(sent, semconv.DECISIONS_VERDICTS, len(items))
    optional = (
        semconv.DECISIONS_REASONS,
        semconv.DECISIONS_SCORES,
        semconv.DECISIONS_VALUES,
        semconv.DECISIONS_THRESHOLDS,
    )
    columns = [
        _array(sent, attribute, len(items)) if attribute in sent else repeat(None) for attribute in optional
    ]
    candidates: list[Candidate] = []
    for item, verdict, reason, score, value, threshold in zip(items, verdicts, *columns, strict=False):
        fields = (item, verdict, reason, None, score, value, threshold)
        candidate = _candidate(fields, "xray.decisions.items", finding)
        if candidate is None:
            raise DecisionsUnreadable(f"candidate {len(candidates)} has no item or no known verdict")
        candidates.append(candidate)
    return candidates


def _array(sent: Mapping[str, Any], attribute: str, length: int | None) -> Sequence[Any]:
    """Return an array of this length; a text is one of letters. Raises ``DecisionsUnreadable``."""
    column = sent.get(attribute)
    if not isinstance(column, list) and not (
        isinstance(column, str) and attribute == semconv.DECISIONS_VERDICTS
    ):
        raise DecisionsUnreadable(f"{attribute} is not an array")
    if length is not None and len(column) != length:
        raise DecisionsUnreadable(f"{attribute} has {len(column)} values for {length} candidates")
    return column


def _one_by_one(span: SpanRecord, finding: Finding) -> None:
    events = [event for event in span.events if event.name == semconv.EVENT_DECISION]
    candidates = [candidate for event in events if (candidate := _candidate_of(event, finding))]
    if len(candidates) < len(events):
        lost = f"{len(events) - len(candidates)} of {len(events)} events have no item or no known verdict"
        finding.flags.append(flag(DECISIONS_UNREADABLE, semconv.EVENT_DECISION, lost))
    if not candidates:
        return
    countable = not span.dropped_events and len(candidates) == len(events)
    finding.judge(candidates, countable=countable)
    if countable:
        finding.attributes[semconv.CANDIDATES_IN] = len(candidates)
    if span.dropped_events:
        finding.lost = span.dropped_events
        dropped = f"{span.dropped_events} events dropped by the sender"
        finding.flags.append(flag("decisions_missing", semconv.EVENT_DECISION, dropped))


def _candidate_of(event: SpanEvent, finding: Finding) -> Candidate | None:
    sent = event.attributes
    fields = (
        sent.get(semconv.DECISION_ITEM_ID),
        sent.get(semconv.DECISION_VERDICT),
        sent.get(semconv.DECISION_REASON),
        sent.get(semconv.DECISION_REASON_TEXT),
        sent.get(semconv.DECISION_SCORE),
        sent.get(semconv.DECISION_VALUE),
        sent.get(semconv.DECISION_THRESHOLD),
    )
    return _candidate(fields, semconv.EVENT_DECISION, finding)


def _candidate(fields: Sequence[Any], field: str, finding: Finding) -> Candidate | None:
    sent_item, sent_verdict, reason, reason_text, score, value, threshold = fields
    flags = finding.flags
    item, verdict = item_id(sent_item, None, field, flags), verdict_letter(sent_verdict)
    if item is None or verdict is None:
        return None
    return Candidate(
        item,
        verdict,
        name(reason, semconv.DECISION_REASON, flags),
        _reason_text(reason_text, semconv.DECISION_REASON_TEXT, flags),
        # An array has no null: NaN stands for "no score", as it does for field statistics.
        None if score != score else number(score, semconv.DECISION_SCORE, flags),
        _scalar(value, semconv.DECISION_VALUE, finding),
        _scalar(threshold, semconv.DECISION_THRESHOLD, finding),
    )


def _scalar(value: Any, field: str, finding: Finding) -> Scalar:
    if value is None or isinstance(value, bool) or (isinstance(value, int) and abs(value) <= INT64_MAX):
        return value
    if isinstance(value, float):
        return number(value, field, finding.flags) if value == value else None
    if isinstance(value, str):
        return name(value, field, finding.flags)  # type: ignore[no-any-return]
    finding.flags.append(flag(WRONG_TYPE, field, value))
    return None
