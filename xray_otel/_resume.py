"""A run that a step engine drives: resumed in many processes, over days, some of it more than once."""

from __future__ import annotations

import datetime
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self, cast

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import NonRecordingSpan, SpanContext, Status, StatusCode, TraceFlags

from xray_otel import semconv
from xray_otel._buffer import Priority
from xray_otel._client import Client
from xray_otel._context import PLACE_KEY, RUN_KEY, STEP_KEY, Place, leave, with_baggage
from xray_otel._encode import shown, text_of
from xray_otel._figures import number
from xray_otel._guard import guarded
from xray_otel._host_errors import error_message, error_type
from xray_otel._resume_ids import derive_ids, hashed_where_masked, time_in
from xray_otel._resume_steps import DerivedIdGenerator, EngineScope, EngineStep, Execution, next_ids
from xray_otel._runs import Run
from xray_otel._schemas import Schema
from xray_otel._setup import client
from xray_otel._steps import Step
from xray_otel._text import NAME_BYTES
from xray_otel.errors import UsageError
from xray_otel.settings import Capture


class EngineRun(Run):
    """
    A run by the id that a step engine gave it. Made by ``xray_otel.resume_run``.

    It records nothing by being made or left: the first step that really executes announces
    the run, and ``finish`` ends it. Each may happen in another process, and again. With
    ``with``, code inside finds the run and its steps; ``step``, ``wait`` and ``finish`` work
    without. What else is said to it (``outcome``, ``tag``, …) goes out with its ``finish``.
    """

    def __init__(
        self,
        run_id: str,
        pipeline: str | None = None,
        *,
        engine: str | None = None,
        started_at: datetime.datetime | float | None = None,
        **arguments: Any,
    ) -> None:
        self._engine_id = _text(run_id)
        self._ids = hashed_where_masked(derive_ids(self._engine_id))
        super().__init__(pipeline, run_id=self._ids.run_id, **arguments)
        self._engine = engine
        self._started_ns = _nanoseconds(started_at) or time_in(self._engine_id)
        self._made_ns = time.time_ns()
        self._scope = EngineScope(self, self.run_id, {semconv.RUN_ID: self.run_id})
        self._keys: Counter[str] = Counter()
        self._lock = threading.RLock()  # a signal handler may come here again
        self._announced = False

    def _opened(self) -> bool:
        """Whether it records; makes it ready at first use. Raises in strict mode alone."""
        if self._client is None:
            current = client()
            self._guard = current.guard
            if current.settings.disabled:
                return False
            try:
                self._start(current)
            except Exception as error:  # noqa: BLE001 - recording must not harm the pipeline
                self._active = False
                self._guard.failed("resume_run", error)
        return self._active

    def __enter__(self) -> Self:
        try:
            if self._opened():
                self._token = otel_context.attach(self._inside(otel_context.get_current()))
        except Exception as error:  # noqa: BLE001 - likewise
            self._guard.failed("resume_run", error)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # Leaving it does not end the run: after an error the engine may well try again.
        leave(self._token)
        self._token = None
        if self._client is None:
            return
        self._client.pipeline.run_ended()  # for this process it has
        if self._guard.strict and error is None:
            self._check_delivery(self._client)

    def _start(self, current: Client) -> None:
        self._client = current
        tracing = current.tracing
        self._resource = tracing.resource
        self._lost_before = sum(current.pipeline.losses.values()) if self._guard.strict else 0
        self._active = True
        name = None if self._pipeline is None else text_of(self._pipeline, NAME_BYTES)
        if name:
            self._scope.identity = {semconv.PIPELINE_NAME: name, semconv.RUN_ID: self.run_id}
        generator = getattr(tracing.tracer, "id_generator", None)
        if generator is not None and not isinstance(generator, DerivedIdGenerator):
            # Of X-Ray's own tracer alone: the team's spans keep the ids that its provider makes.
            tracing.tracer.id_generator = DerivedIdGenerator(generator)  # type: ignore[union-attr]
        self._span = NonRecordingSpan(
            SpanContext(
                int(self._ids.trace_id, 16),
                int(self._ids.root_span_id, 16),
                is_remote=True,
                trace_flags=TraceFlags(TraceFlags.SAMPLED),
            )
        )
        try:
            self._follow(self._arguments.get("schema"), current)
            self._describe({**self._arguments, "run_id": None})
            if self._engine is not None:
                self.tag("engine", self._engine)
        except Exception as error:  # noqa: BLE001 - a bad description must not lose the run
            self._guard.failed("resume_run", error)

    def _inside(self, context: Context) -> Context:
        """The context with the run in it, over whatever else it holds."""
        sends = self._client is not None and self._client.settings.sends_baggage
        context = with_baggage(
            self.run_id if sends else None, otel_context.set_value(STEP_KEY, None, context)
        )
        # The run's span is the parent of X-Ray's own spans, but never the current one: it lies in
        # a trace of its own, and the program's spans must stay in theirs (decision 0027).
        place = Place(self._span, trace.get_current_span(context))
        context = otel_context.set_value(PLACE_KEY, place, context)
        self._scope.context = otel_context.set_value(RUN_KEY, self._scope, context)
        return self._scope.context

    def _announce(self) -> None:
        """The run's start, once per resumption and with its first step: a replay records nothing."""
        with self._lock:
            if self._announced or self._client is None:
                return
            self._announced = True
        pipeline = self._scope.identity.get(semconv.PIPELINE_NAME)
        level = {semconv.CAPTURE_LEVEL: self._client.settings.capture_of(pipeline)}
        event = self._event(semconv.EVENT_RUN_START, self._attributes | level | self._scope.identity)
        self._client.emit(Priority.RUN, event._replace(time_ns=self._started_ns or event.time_ns))

    def _hears(self) -> bool:
        return self._opened() or super()._hears()

    def step(  # type: ignore[override]  # told apart by its key, not by an id that is new each time
        self,
        name: str | None = None,
        *,
        key: str | None = None,
        attempt: int = 1,
        index: int | None = None,
        recovered: bool = False,
        suspended_by: tuple[type[BaseException], ...] = (),
        type: str = "custom",  # noqa: A002 - the word of the domain, as on the wire
        why: str | None = None,
        input: Any = None,  # noqa: A002 - likewise
        reasoning: Any = None,
        top_k: int | None = None,
        parents: Sequence[str | Step] | str | Step | None = None,
        capture: Capture | None = None,
        config: Any = None,
    ) -> EngineStep:
        """
        One execution of a step, to be put inside what the engine executes and never replays.

        key: tells the step from all others of the run, the same in every repetition;
        default: the name, with ``:1``, ``:2``, … where this run object has used it before.
        attempt: the engine's, counted from 1. index: the step's place in the run; give it for
        all steps or none. recovered: it is executed after the engine took the run up again, which
        is recorded as the metric ``recovered``. suspended_by: exceptions by which the engine puts
        the step to sleep, to execute it from its top later; they leave no record. The rest: as
        ``xray_otel.step``.
        """
        if key is None:
            called = _text(name)
            with self._lock:
                again, self._keys[called] = self._keys[called], self._keys[called] + 1
            key = f"{called}:{again}" if again else called
        figure = number(attempt)
        ids = derive_ids(self._engine_id, _text(key), 1 if figure is None else int(figure))
        ids = hashed_where_masked(ids)
        return EngineStep(
            name,
            run=self._scope,
            engine=Execution(self, ids, index, recovered, suspended_by),
            step_id=ids.step_id,
            attempt=attempt,
            type=type,
            why=why,
            input=input,
            reasoning=reasoning,
            top_k=top_k,
            parents=parents,
            capture=capture,
            config=config,
        )

    @guarded
    def finish(
        self,
        status: str = "completed",
        *,
        error: BaseException | None = None,
        started_at: datetime.datetime | float | None = None,
        final: bool = True,
    ) -> None:
        """
        Says how the run ended: ``completed``, ``crashed`` or ``cancelled``. Safe to repeat.

        started_at: an aware datetime or seconds since 1970, where the run's id does not tell.
        final: the engine ends a run once, so that of repetitions the first holds; False where
        a finished run may go on and end again: then the last holds.
        """
        if not self._hears() or self._client is None:
            return
        if status not in semconv.RUN_STATUSES:
            raise UsageError(
                f"status must be one of {', '.join(sorted(semconv.RUN_STATUSES))}, got {shown(status)}"
            )
        attributes = dict(self._attributes)
        attributes[semconv.RUN_STATUS] = status
        attributes[semconv.RUN_FINAL] = final
        if error is not None:
            attributes[semconv.ERROR_TYPE] = error_type(error)
        attributes |= self._scope.identity
        started_ns = _nanoseconds(started_at) or self._started_ns or self._made_ns
        name = cast(str, self._scope.identity.get(semconv.PIPELINE_NAME, "run"))
        token = next_ids.set(self._ids)
        try:
            tracer = self._client.tracing.tracer
            span = tracer.start_span(name, Context(), start_time=min(started_ns, time.time_ns()))
        finally:
            next_ids.reset(token)
        if span.get_span_context().trace_flags.sampled and span.is_recording():
            if status == "crashed":
                span.set_status(Status(StatusCode.ERROR, None if error is None else error_message(error)))
            span.set_attributes({**attributes, semconv.SPAN_KIND: "run"})
            span.end()
            return
        span.end()
        if error is not None:
            attributes[semconv.RUN_ERROR_MESSAGE] = error_message(error)
        self._announce()  # the end as event says nothing of the start
        self._emit(semconv.EVENT_RUN_END, attributes)


def _text(value: object) -> str:
    """As text, whatever it is: an object of the program may fail to say."""
    try:
        return str(value)
    except Exception:  # noqa: BLE001 - what the host's objects do is not ours to trust
        return type(value).__name__


def _nanoseconds(at: datetime.datetime | float | None) -> int | None:
    if at is None:
        return None
    try:
        seconds = at.timestamp() if isinstance(at, datetime.datetime) else number(at)
    except (OverflowError, OSError, ValueError):  # of the year 1, for one
        return None
    return None if seconds is None or not 0 < seconds < 2**33 else int(seconds * 1e9)


def resume_run(
    run_id: str,
    *,
    pipeline: str | None = None,
    engine: str | None = None,
    version: str | None = None,
    entity: str | None = None,
    input: Any = None,  # noqa: A002 - the word of the domain, as on the wire
    tags: Mapping[str, str] | None = None,
    timeout_s: float | None = None,
    started_at: datetime.datetime | float | None = None,
    schema: Schema | None = None,
) -> EngineRun:
    """
    The run that a step engine (Inngest, DBOS, Temporal, …) knows by ``run_id``.

    Call it in every process and as often as the engine repeats its work: ids are derived
    (``derive_ids``), so that all of it is one run, and each step in it one step per attempt.
    engine: its name, recorded as the tag ``engine``. started_at: when the run began, as aware
    datetime or seconds since 1970; default: what the id tells, if it is a ULID or UUIDv7.
    The rest: as ``run``; say the same in each call.

    Raises nothing in the mode ``best_effort``; UsageError for a bad argument in ``strict``,
    when the run is first used.
    """
    return EngineRun(
        run_id,
        pipeline,
        engine=engine,
        started_at=started_at,
        version=version,
        entity=entity,
        input=input,
        tags=tags,
        timeout_s=timeout_s,
        schema=schema,
    )
