"""
The JSON doors: ``POST /runs`` and ``POST /runs/{run_id}/events``, for programs without OpenTelemetry.

The composition root mounts the router under the API's prefix; the API's handlers turn
``HTTPException`` into the one error object.
"""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from time import time_ns
from typing import Any
from uuid import UUID

from fastapi import APIRouter, HTTPException, Request, Response
from starlette.concurrency import run_in_threadpool

from collector import body as request_body
from collector.decode.otlp_json import load
from collector.door_schemas import EVENTS_REQUEST, RUN_REQUEST, EventsStored, Refusal, RunCreated
from collector.errors import (
    BodyTooSlow,
    IntakeFull,
    IntakeStopped,
    ReceptionFull,
    TooLarge,
    Undecodable,
)
from collector.extract.door_fields import RUN_FIELDS, STEP_FIELDS
from collector.extract.doors import chunks_of, run_copy, step_copy_of, unknown_fields
from collector.extract.extraction import DEFAULT_LIMITS, Extraction, Limits
from collector.extract.identity import is_run_id
from collector.intake import Intake
from collector.outcome_doors import (
    OUTCOMES_OF_RUNS_REQUEST,
    OUTCOMES_REQUEST,
    OutcomesStored,
    read_outcomes,
)
from collector.receive import WAIT_MARGIN_S, counted_as, in_words
from collector.reception import Claim, Reception, Room
from collector.responses import RETRY_AFTER_S
from collector.telemetry import Telemetry
from store.errors import Unavailable
from store.rows import DecisionChunk, Row, WriteResult

MAX_EVENTS = 10_000
_MAX_REQUEST_BYTES = 64 * 1024 * 1024
_RECEIVE_MAX_BYTES = 96 * 1024 * 1024
_READ_TIMEOUT_S = 10.0
_STEP_EVENTS = ("step_start", "step_end")
_EVENT_TYPES = (*_STEP_EVENTS, "run_finish")
_RUN_ID_FORM = "1 to 128 characters of A-Z, a-z, 0-9, _ and -"


def router(
    intake: Intake,
    telemetry: Telemetry | None = None,
    max_request_bytes: int = _MAX_REQUEST_BYTES,
    write_timeout_s: float = 8.0,
    limits: Limits = DEFAULT_LIMITS,
    clock: Callable[[], int] = time_ns,
    reception: Reception | None = None,
) -> APIRouter:
    """
    Return the routes of the doors.

    clock: nanoseconds since the Unix epoch. reception: bounds their bodies; None: one of their own.
    """
    reception = reception or Reception(Room(_RECEIVE_MAX_BYTES), _READ_TIMEOUT_S)
    doors = _Doors(intake, telemetry or Telemetry(), write_timeout_s, limits, clock)
    routes = APIRouter(tags=["doors"])

    @routes.post("/runs", status_code=201, openapi_extra=RUN_REQUEST, responses={200: {"model": RunCreated}})
    async def create_run(request: Request, response: Response) -> RunCreated:
        """Begin a run; the same id again answers 200 and is the same run."""
        async with _object(request, max_request_bytes, reception) as (sent, size):
            created, answer = await run_in_threadpool(doors.create_run, sent, size)
        response.status_code = 201 if created else 200
        return answer

    @routes.post("/runs/{run_id}/events", openapi_extra=EVENTS_REQUEST)
    async def add_events(run_id: str, request: Request) -> EventsStored:
        """Add what happened in a run; sending it again changes nothing."""
        async with _object(request, max_request_bytes, reception) as (sent, size):
            return await run_in_threadpool(doors.add_events, run_id, sent, size)

    @routes.post("/runs/{run_id}/outcomes", openapi_extra=OUTCOMES_REQUEST)
    async def add_outcomes(run_id: str, request: Request) -> OutcomesStored:
        """Add what became known of a run or its items afterwards; of two that differ the later one holds."""
        _check_run_id(run_id)
        async with _object(request, max_request_bytes, reception) as (sent, size):
            return await run_in_threadpool(doors.add_outcomes, run_id, sent, size)

    @routes.post("/outcomes", openapi_extra=OUTCOMES_OF_RUNS_REQUEST)
    async def add_outcomes_of_runs(request: Request) -> OutcomesStored:
        """Add late outcomes of any runs; each names its own by run_id."""
        async with _object(request, max_request_bytes, reception) as (sent, size):
            return await run_in_threadpool(doors.add_outcomes, None, sent, size)

    return routes


class _Doors:
    """What the routes do, in a thread of its own each."""

    def __init__(
        self,
        intake: Intake,
        telemetry: Telemetry,
        write_timeout_s: float,
        limits: Limits,
        clock: Callable[[], int],
    ) -> None:
        self._intake = intake
        self._telemetry = telemetry
        self._write_timeout_s = write_timeout_s
        self._limits = limits
        self._clock = clock

    def create_run(self, sent: Mapping[str, Any], size_bytes: int) -> tuple[bool, RunCreated]:
        received_ns = self._clock()
        run_id = sent.get("run_id")
        if run_id is None:
            run_id = new_run_id(received_ns)
        _check_run_id(run_id)
        if not isinstance(sent.get("pipeline"), str) or not sent["pipeline"]:
            raise _invalid("pipeline", "pipeline must be the name of the pipeline, a text")
        extraction = Extraction(received_ns)
        extraction.runs.append(run_copy(run_id, sent, received_ns, terminal=False))
        extraction.records["run"] += 1
        written = self._write(extraction, size_bytes)
        if written.refused:
            raise _refused_by_database(in_words(written.refused[0]))
        warnings = unknown_fields(sent, RUN_FIELDS | {"run_id"})
        return run_id in written.created_runs, RunCreated(run_id=run_id, warnings=warnings)

    def add_events(self, run_id: str, sent: Mapping[str, Any], size_bytes: int) -> EventsStored:
        _check_run_id(run_id)
        events = _checked_events(sent)
        reading = _Reading(run_id, Extraction(self._clock(), self._limits))
        for index, event in enumerate(events):
            reading.read(index, event)
        if not reading.extraction.is_empty():
            written = self._write(reading.extraction, size_bytes)
            for refused in written.refused:
                reading.refuse(reading.index_of(refused.row), counted_as(refused), in_words(refused))
        self._telemetry.add_all("refused", reading.reasons)
        return EventsStored(
            stored=len(events) - len(reading.not_stored),
            refused=len(reading.refusals),
            refusals=sorted(reading.refusals, key=lambda refusal: refusal.index),
            warnings=reading.warnings,
        )

    def add_outcomes(self, run_id: str | None, sent: Mapping[str, Any], size_bytes: int) -> OutcomesStored:
        extraction = Extraction(self._clock())
        reading = read_outcomes(run_id, _objects(sent, "outcomes"), extraction)
        if extraction.outcomes:
            written = self._write(extraction, size_bytes)
            for refused in written.refused:
                reading.refuse(reading.index_of(refused.row), counted_as(refused), in_words(refused))
            reading.created_runs = written.created_runs
        self._telemetry.add_all("refused", reading.reasons)
        return reading.answer()

    def _write(self, extraction: Extraction, size_bytes: int) -> WriteResult:
        self._telemetry.add("bytes", "doors", size_bytes)
        self._telemetry.add_all("records", extraction.records)
        self._telemetry.add_all("flags", extraction.flags())
        try:
            future = self._intake.submit(extraction.batch(size_bytes), self._write_timeout_s)
            return future.result(self._write_timeout_s + WAIT_MARGIN_S)
        except IntakeFull as exc:
            raise _come_again("overloaded", str(exc)) from None
        except (Unavailable, IntakeStopped) as exc:
            raise _come_again("unavailable", str(exc)) from None
        except TimeoutError:
            future.cancel()
            raise _come_again("unavailable", "the database did not answer in time") from None


@dataclass(slots=True)
class _Reading:
    """The events of one request, on their way to rows."""

    run_id: str
    extraction: Extraction
    refusals: list[Refusal] = field(default_factory=list)
    reasons: Counter[str] = field(default_factory=Counter)
    not_stored: set[int] = field(default_factory=set)
    warnings: list[str] = field(default_factory=list)
    _origins: dict[int, int] = field(default_factory=dict)
    """``id`` of a row → index of its event; the rows live in the extraction."""

    def read(self, index: int, event: Mapping[str, Any]) -> None:
        """Turn one event into rows, or note why not."""
        known = STEP_FIELDS if event["type"] in _STEP_EVENTS else RUN_FIELDS
        self.warnings += [
            f"events[{index}].{name} is not read" for name in unknown_fields(event, known | {"type"})
        ]
        self.extraction.records[event["type"]] += 1
        if event["type"] == "run_finish":
            run = run_copy(self.run_id, event, self.extraction.received_ns, terminal=True)
            self.extraction.runs.append(run)
            self._origins[id(run)] = index
            return
        terminal = event["type"] == "step_end"
        step = step_copy_of(self.run_id, event, self.extraction.received_ns, terminal=terminal)
        if step is None:
            self.refuse(index, "no_step_id", "step_id must be a text that is not empty")
            self.not_stored.add(index)
            return
        self.extraction.steps.append(step)
        self._origins[id(step)] = index
        if (decisions := event.get("decisions")) is None:
            return
        for chunk in chunks_of(step, decisions):
            self._origins[id(chunk)] = index
            if refusal := self.extraction.take_decisions(chunk):
                self.refuse(index, refusal.reason, refusal.message)

    def refuse(self, index: int, reason: str, message: str) -> None:
        """Note what is not stored of an event."""
        self.refusals.append(Refusal(index=index, message=message))
        self.reasons[reason] += 1

    def index_of(self, refused: Row) -> int:
        """Return the event that a refused row came from; the event itself is lost when the row is its own."""
        index = self._origins[id(refused)]
        if not isinstance(refused, DecisionChunk):
            self.not_stored.add(index)
        return index


def new_run_id(now_ns: int) -> str:
    """Return a fresh run id that sorts by time (RFC 9562, UUID version 7)."""
    millis = (now_ns // 1_000_000) & ((1 << 48) - 1)
    value = millis << 80 | 0x7 << 76 | secrets.randbits(12) << 64 | 0b10 << 62 | secrets.randbits(62)
    return str(UUID(int=value))


@asynccontextmanager
async def _object(
    request: Request, max_request_bytes: int, reception: Reception
) -> AsyncIterator[tuple[Mapping[str, Any], int]]:
    """Yield the object that the body is, and the body's size; it is counted until the end of the block."""
    content_encoding = request.headers.get("content-encoding", "").strip().lower()
    if not request_body.is_supported(content_encoding):
        raise HTTPException(415, {"code": "unsupported_media", "message": "send JSON, plain or gzip"})
    with reception.claim() as claim:
        try:
            async with reception.reading():
                raw = await request_body.read(request.stream(), max_request_bytes, claim)
            sent, size = await run_in_threadpool(_loaded, raw, content_encoding, max_request_bytes, claim)
        except ReceptionFull as exc:
            raise _come_again("overloaded", str(exc)) from None
        except BodyTooSlow as exc:
            raise _come_again("unavailable", str(exc), {"Connection": "close"}) from None
        except TooLarge as exc:
            raise HTTPException(413, {"code": "too_large", "message": str(exc)}) from None
        except Undecodable as exc:
            raise HTTPException(400, {"code": "malformed_body", "message": str(exc)}) from None
        if not isinstance(sent, dict):
            raise HTTPException(400, {"code": "malformed_body", "message": "the body must be a JSON object"})
        yield sent, size


def _loaded(raw: bytes, content_encoding: str, limit_bytes: int, claim: Claim) -> tuple[Any, int]:
    body = request_body.decompressed(raw, content_encoding, limit_bytes, claim)
    request_body.check_json(body)
    return load(body), len(body)


def _checked_events(sent: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    events = _objects(sent, "events")
    for index, event in enumerate(events):
        if event.get("type") not in _EVENT_TYPES:
            raise _invalid(
                f"events[{index}].type",
                f"events[{index}].type must be one of {', '.join(_EVENT_TYPES)}, "
                f"got {str(event.get('type'))[:40]!r}",
            )
    return events


def _objects(sent: Mapping[str, Any], field: str) -> list[Mapping[str, Any]]:
    objects = sent.get(field)
    if not isinstance(objects, list):
        raise _invalid(field, f"{field} must be an array of objects")
    if len(objects) > MAX_EVENTS:
        raise _invalid(
            field, f"{field} must be at most {MAX_EVENTS}, got {len(objects)}; send several requests"
        )
    for index, each in enumerate(objects):
        if not isinstance(each, dict):
            raise _invalid(f"{field}[{index}]", f"{field}[{index}] must be an object")
    return objects


def _check_run_id(run_id: Any) -> None:
    if not is_run_id(run_id):
        raise _invalid("run_id", f"run_id must be {_RUN_ID_FORM}")


def _invalid(parameter: str, message: str) -> HTTPException:
    return HTTPException(422, {"code": "invalid_parameter", "message": message, "parameter": parameter})


def _refused_by_database(message: str) -> HTTPException:
    return HTTPException(422, {"code": "refused", "message": message})


def _come_again(code: str, message: str, headers: Mapping[str, str] | None = None) -> HTTPException:
    return HTTPException(
        503,
        {"code": code, "message": message},
        headers={"Retry-After": str(RETRY_AFTER_S), **(headers or {})},
    )
