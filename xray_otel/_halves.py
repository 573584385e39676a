"""A stored request that is too large for the server: its records in smaller ones, down to single ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from typing import Any, NamedTuple

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans

from xray_otel import semconv
from xray_otel._buffer import Part, Priority, known_run_id
from xray_otel._transport import Answer, Payload, Signal

_EVENT_PRIORITIES = {
    semconv.EVENT_STEP: Priority.STEP,
    semconv.EVENT_STEP_DECISIONS: Priority.DECISIONS,
    semconv.EVENT_ARTIFACT: Priority.ARTIFACT,
}
"""All other events tell of the run."""


class Answered(NamedTuple):
    """What the server said to a request, and what would be lost with it."""

    answer: Answer
    parts: Sequence[Part]


def send_in_parts(
    send: Callable[[Payload], Answer], payload: Payload, parts: Sequence[Part]
) -> list[Answered]:
    """
    The answer to the request; where it is too large, those to its halves, and so on.

    Ends with the first answer that is retryable: the last one says whether it came to the end.
    """
    answer = send(payload)
    halves = _halves(payload) if answer.too_large else ()
    if not halves:
        return [Answered(answer, parts)]
    found: list[Answered] = []
    for half in halves:
        found += send_in_parts(send, half, _parts_of(half))
        if found[-1].answer.retryable:
            break
    return found


def exact_parts(payload: Payload, parts: tuple[Part, ...]) -> tuple[Part, ...]:
    """These, of a stored request, with outcomes told from the other records of their runs."""
    if payload.signal is not Signal.LOGS or semconv.EVENT_OUTCOME.encode() not in payload.data:
        return parts
    try:
        return tuple(_parts_of(payload))
    except DecodeError:
        return parts


def _halves(payload: Payload) -> tuple[Payload, ...]:
    """None where there is but one record, or nothing that can be read."""
    try:
        first, second = _parsed(payload), _parsed(payload)
    except DecodeError:
        return ()
    count = sum(len(records) for resource in _resources(first) for records in _records(resource))
    if count < 2:
        return ()
    _cut(first, 0, count // 2)
    _cut(second, count // 2, count)
    return tuple(Payload(payload.signal, half.SerializeToString()) for half in (first, second))


def _parsed(payload: Payload) -> Any:
    kind = ExportTraceServiceRequest if payload.signal is Signal.TRACES else ExportLogsServiceRequest
    return kind.FromString(payload.data)


def _resources(request: Any) -> Any:
    return request.resource_spans if isinstance(request, ExportTraceServiceRequest) else request.resource_logs


def _records(resource: Any) -> Iterator[Any]:
    """The list of records of each scope."""
    if isinstance(resource, ResourceSpans):
        yield from (scope.spans for scope in resource.scope_spans)
    else:
        yield from (scope.log_records for scope in resource.scope_logs)


def _cut(request: Any, start: int, end: int) -> None:
    """Leaves the records from ``start`` to before ``end``, and no resource without any."""
    resources = _resources(request)
    position = 0
    for resource in resources:
        for records in _records(resource):
            count = len(records)
            del records[max(0, end - position) :]
            del records[: max(0, start - position)]
            position += count
    for number in reversed(range(len(resources))):
        if not any(_records(resources[number])):
            del resources[number]


def _parts_of(payload: Payload) -> list[Part]:
    """As ``parts_of`` of the records that were encoded."""
    records: Counter[tuple[str, Priority, str]] = Counter()
    amounts: Counter[tuple[str, Priority, str]] = Counter()
    for resource in _resources(_parsed(payload)):
        for record in chain.from_iterable(_records(resource)):
            values = {pair.key: pair.value for pair in record.attributes}
            priority, kind = Priority.STEP, ""
            if payload.signal is Signal.LOGS:
                priority = _EVENT_PRIORITIES.get(record.event_name, Priority.RUN)
                if record.event_name == semconv.EVENT_LOSSES:
                    continue
                kind = "outcome" if record.event_name == semconv.EVENT_OUTCOME else ""
            elif semconv.SPAN_KIND in values and values[semconv.SPAN_KIND].string_value == "run":
                priority = Priority.RUN
            run_id = known_run_id(values[semconv.RUN_ID].string_value) if semconv.RUN_ID in values else ""
            amount = 1
            if priority is Priority.DECISIONS and semconv.CHUNK_COUNT in values:
                amount = values[semconv.CHUNK_COUNT].int_value
            records[run_id, priority, kind] += 1
            amounts[run_id, priority, kind] += amount
    return [
        Part(run_id, priority, count, amounts[run_id, priority, kind], kind)
        for (run_id, priority, kind), count in records.items()
    ]
