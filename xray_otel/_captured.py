"""Requests as the server gets them → what ``xray_otel.testing`` shows."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Status

from xray_otel import semconv
from xray_otel._recorded import Artifact, Decision, RecordedRun, RecordedStep
from xray_otel._transport import Payload, Signal

Attributes = dict[str, Any]

_COUNTS = {
    word: getattr(semconv, f"CANDIDATES_{word.upper()}") for word in sorted(set(semconv.VERDICTS.values()))
}


class Wire:
    """The records of all requests so far, by what they say."""

    def __init__(self, payloads: Iterable[Payload]) -> None:
        self.runs: dict[str, Attributes] = {}
        self.steps: dict[tuple[str, str, int], Attributes] = {}
        self.chunks: dict[tuple[str, str, int], dict[int, Attributes]] = {}
        self.artifacts: list[Attributes] = []
        self.losses: list[Attributes] = []
        for payload in payloads:
            if payload.signal == Signal.TRACES:
                self._read_spans(payload.data)
            else:
                self._read_events(payload.data)

    def _read_spans(self, data: bytes) -> None:
        for group in ExportTraceServiceRequest.FromString(data).resource_spans:
            for span in (span for scope in group.scope_spans for span in scope.spans):
                found = _plain(span.attributes)
                found |= {
                    "name": span.name,
                    "error": span.status.message if span.status.code == Status.STATUS_CODE_ERROR else None,
                    "start": span.start_time_unix_nano,
                    "end": span.end_time_unix_nano,
                }
                found.setdefault(semconv.RUN_ID, span.trace_id.hex())
                if found.get(semconv.SPAN_KIND) == "run":
                    self.runs.setdefault(found[semconv.RUN_ID], {}).update(found)
                elif found.get(semconv.SPAN_KIND) == "step" or semconv.STEP_TYPE in found:
                    found.setdefault(semconv.STEP_ID, span.span_id.hex())
                    self.steps.setdefault(_key(found), found)

    def _read_events(self, data: bytes) -> None:
        for group in ExportLogsServiceRequest.FromString(data).resource_logs:
            for record in (record for scope in group.scope_logs for record in scope.log_records):
                found = _plain(record.attributes)
                found.setdefault(semconv.RUN_ID, record.trace_id.hex())
                reader = _READERS.get(record.event_name)
                if reader is not None:
                    reader(self, found, record.time_unix_nano)

    def _start(self, found: Attributes, time_ns: int) -> None:
        run = self.runs.setdefault(found[semconv.RUN_ID], {})
        for name, value in {"start": time_ns, **found}.items():
            run.setdefault(name, value)

    def _end(self, found: Attributes, time_ns: int) -> None:
        found |= {"end": time_ns, "error": found.get(semconv.RUN_ERROR_MESSAGE)}
        self.runs.setdefault(found[semconv.RUN_ID], {}).update(found)

    def _step(self, found: Attributes, time_ns: int) -> None:
        failed = found.get(semconv.STEP_STATUS) == "error"
        found |= {
            "name": found.get(semconv.STEP_NAME, ""),
            "error": found.get(semconv.STEP_ERROR_MESSAGE, "") if failed else None,
            "start": found.get(semconv.STEP_START_UNIX_NANO, time_ns),
            "end": found.get(semconv.STEP_END_UNIX_NANO, time_ns),
        }
        self.steps.setdefault(_key(found), found)

    def _chunk(self, found: Attributes, _: int) -> None:
        self.chunks.setdefault(_key(found), {})[found[semconv.CHUNK_INDEX]] = found

    def _artifact(self, found: Attributes, _: int) -> None:
        self.artifacts.append(found)

    def _loss(self, found: Attributes, _: int) -> None:
        self.losses.append(found)

    def recorded_steps(self) -> tuple[RecordedStep, ...]:
        """All steps in the order in which they began."""
        steps = [self._recorded_step(key, found) for key, found in self.steps.items()]
        return tuple(sorted(steps, key=lambda step: (step.started_ns, step.index or 0)))

    def recorded_runs(self) -> tuple[RecordedRun, ...]:
        """All runs in the order in which they began, each with its steps."""
        steps = self.recorded_steps()
        runs = [self._recorded_run(run_id, found, steps) for run_id, found in self.runs.items()]
        return tuple(sorted(runs, key=lambda run: run.started_ns))

    def _recorded_run(self, run_id: str, found: Attributes, steps: Sequence[RecordedStep]) -> RecordedRun:
        prefix = semconv.RUN_TAG_PREFIX
        return RecordedRun(
            run_id=run_id,
            pipeline=found.get(semconv.PIPELINE_NAME),
            version=found.get(semconv.PIPELINE_VERSION),
            entity=found.get(semconv.RUN_ENTITY),
            status=found.get(semconv.RUN_STATUS, "running"),
            error=found.get("error"),
            outcome=found.get(semconv.RUN_OUTCOME),
            outcome_reason=found.get(semconv.RUN_OUTCOME_REASON),
            tags={name[len(prefix) :]: value for name, value in found.items() if name.startswith(prefix)},
            input=_json(found.get(semconv.RUN_INPUT)),
            output=_json(found.get(semconv.RUN_OUTPUT)),
            started_ns=found.get("start", 0),
            ended_ns=found.get("end"),
            steps=tuple(step for step in steps if step.run_id == run_id),
            artifacts=tuple(
                _artifact(one)
                for one in self.artifacts
                if one[semconv.RUN_ID] == run_id and semconv.STEP_ID not in one
            ),
            attributes=_sent(found),
        )

    def _recorded_step(self, key: tuple[str, str, int], found: Attributes) -> RecordedStep:
        prefix = semconv.METRIC_PREFIX
        codes, counts = found.get(semconv.REASONS_CODES, ()), found.get(semconv.REASONS_COUNTS, ())
        chunks = self.chunks.get(key, {})
        return RecordedStep(
            run_id=key[0],
            step_id=key[1],
            attempt=key[2],
            index=found.get(semconv.STEP_INDEX),
            name=found["name"],
            type=found.get(semconv.STEP_TYPE, "custom"),
            status="ok" if found["error"] is None else "error",
            error=found["error"],
            why=found.get(semconv.STEP_WHY),
            input=_json(found.get(semconv.STEP_INPUT)),
            output=_json(found.get(semconv.STEP_OUTPUT)),
            reasoning=_json(found.get(semconv.STEP_REASONING)),
            parents=tuple(found.get(semconv.STEP_PARENTS, ())),
            candidates_in=found.get(semconv.CANDIDATES_IN),
            candidates_out=found.get(semconv.CANDIDATES_OUT),
            counts={word: found[name] for word, name in _COUNTS.items() if name in found},
            reasons=dict(zip(codes, counts, strict=False)),
            metrics={name[len(prefix) :]: value for name, value in found.items() if name.startswith(prefix)},
            capture_level=found.get(semconv.CAPTURE_LEVEL),
            started_ns=found["start"],
            ended_ns=found["end"],
            decisions=tuple(
                decision
                for _, chunk in sorted(chunks.items())
                for decision in _decisions(json.loads(chunk[semconv.DECISIONS_DATA]))
            ),
            artifacts=tuple(
                _artifact(one)
                for one in self.artifacts
                if one.get(semconv.STEP_ID) == key[1] and _key(one) == key
            ),
            attributes=_sent(found),
        )


_READERS: Mapping[str, Callable[[Wire, Attributes, int], None]] = {
    semconv.EVENT_RUN_START: Wire._start,  # noqa: SLF001 - of the class above
    semconv.EVENT_RUN_END: Wire._end,  # noqa: SLF001
    semconv.EVENT_STEP: Wire._step,  # noqa: SLF001
    semconv.EVENT_STEP_DECISIONS: Wire._chunk,  # noqa: SLF001
    semconv.EVENT_ARTIFACT: Wire._artifact,  # noqa: SLF001
    semconv.EVENT_LOSSES: Wire._loss,  # noqa: SLF001
}


def _key(found: Attributes) -> tuple[str, str, int]:
    return found[semconv.RUN_ID], found[semconv.STEP_ID], found.get(semconv.STEP_ATTEMPT, 1)


def _sent(found: Attributes) -> Attributes:
    return {name: value for name, value in found.items() if "." in name}


def _artifact(found: Attributes) -> Artifact:
    return Artifact(
        kind=found[semconv.ARTIFACT_KIND],
        name=found.get(semconv.ARTIFACT_NAME),
        content_type=found.get(semconv.ARTIFACT_CONTENT_TYPE),
        size_bytes=found[semconv.ARTIFACT_SIZE],
        sha256=found[semconv.ARTIFACT_SHA256],
        data=found.get(semconv.ARTIFACT_DATA),
    )


def _decisions(columns: dict[str, Any]) -> list[Decision]:
    missing = frozenset(columns.get("missing", ()))
    checks = columns.get("checks") or {}
    return [
        Decision(
            item_id=item,
            verdict=semconv.VERDICTS[columns["verdict"][at]],
            reason=_word(columns, "reasons", "reason", at),
            reason_text=_word(columns, "texts", "text", at),
            score=_entry(columns.get("score"), at),
            value=_entry(columns.get("value"), at),
            threshold=_entry(columns.get("threshold"), at),
            value_missing=at in missing,
            probability=_entry(columns.get("p"), at),
            checks=tuple(checks[at] or ()) if checks else (),
        )
        for at, item in enumerate(columns["item"])
    ]


def _word(columns: dict[str, Any], words: str, name: str, at: int) -> str | None:
    index = _entry(columns.get(name), at)
    return None if index is None else columns[words][index]


def _entry(column: Any, at: int) -> Any:
    return column[at] if isinstance(column, list) else column


def _json(text: Any) -> Any:
    return None if text is None else json.loads(text)


def _plain(pairs: Iterable[KeyValue]) -> Attributes:
    return {pair.key: _value(pair.value) for pair in pairs}


def _value(value: AnyValue) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(entry) for entry in value.array_value.values]
    if kind == "kvlist_value":
        return _plain(value.kvlist_value.values)
    return None if kind is None else getattr(value, kind)
