"""A step: one span with metrics, and events with the evidence for them."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar, cast

from opentelemetry import context as otel_context
from opentelemetry.trace import Status, StatusCode

from xray_otel import semconv
from xray_otel._artifacts import send_artifact
from xray_otel._buffer import Cause, Event, Priority
from xray_otel._client import Client
from xray_otel._columns import Recorder
from xray_otel._context import RUN_KEY, STEP_KEY, RunScope, current_scope, leave
from xray_otel._decisions import Chunk
from xray_otel._describing import Describing, text_or
from xray_otel._encode import shown
from xray_otel._evidence import Evidence
from xray_otel._figures import number
from xray_otel._guard import IDLE, described, guarded
from xray_otel._host_errors import error_message, error_type
from xray_otel._ids import new_step_id
from xray_otel._judging import CLOSED
from xray_otel._processor import is_taken
from xray_otel._setup import client
from xray_otel._wrapping import wrapped
from xray_otel.errors import UsageError
from xray_otel.settings import Capture, Settings

Function = TypeVar("Function", bound=Callable[..., Any])

DESCRIBED = "__xray_step__"
"""
Attribute of a decorated function: the Step that says what each call of it is, and the function.
Other decorators around it copy the attribute, and are told from it by that.
"""

_LEVELS = semconv.CAPTURE_LEVELS


class Step(Describing):
    """
    One step of a pipeline. Use it by ``with`` or ``async with``, or as a decorator of a
    function, coroutine function or generator function. A generator's step lasts until it
    ends, and the code that takes its items stays outside.

    Made by ``xray_otel.step`` and ``Run.step``. An exception that leaves the step marks it
    as failed and goes on unchanged. Recording is safe from several threads; the other
    methods are for the code inside the ``with``.
    """

    __slots__ = (
        "_arguments",
        "_client",
        "_entered",
        "_evidence",
        "_identity",
        "_index",
        "_level",
        "_name",
        "_process_id",
        "_resource",
        "_run",
        "_span",
        "_started_ns",
        "_token",
        "step_id",
    )

    def __init__(self, name: str | None = None, *, run: RunScope | None = None, **arguments: Any) -> None:
        self._name = name
        self._run = run
        self._arguments = arguments
        self._attributes = {}
        self._guard = IDLE
        self._metrics = 0
        self._declared = []
        self._declares = {}
        self._compared = []
        self._ranked = 0
        self._problems = []
        self._rules = None
        self._asked_for = None
        self._active = False
        self._rows = CLOSED
        self._recorder = None
        self._evidence: Evidence | None = None
        self._entered = False
        self._index: int | None = None
        self._client: Client | None = None
        self._token: Any = None
        self.step_id: str = ""
        """The step's id, unique in its run; empty before the step is entered."""

    def __enter__(self) -> Self:
        current = client()
        self._guard = current.guard
        try:
            if self._entered:
                raise UsageError(f"step {shown(self._name)} is entered twice; make a new one")
            self._entered = True
            if not current.settings.disabled:
                self._start(current)
        except Exception as error:  # noqa: BLE001 - recording must not harm the pipeline
            if self._token is None:  # else it goes on, entered twice
                self._close()
            self._guard.failed("step", error)
        return self

    def _start(self, current: Client) -> None:
        self._client = current
        arguments = self._arguments
        tracing = current.tracing
        context = otel_context.get_current()
        run = current_scope(context, accept=current.settings.accepts_baggage)
        if self._run is not None and self._run is not run:
            # In another thread, where the run's context did not come along.
            run = self._run
            context = otel_context.set_value(RUN_KEY, run, run.context or context)
        elif run is not None and run.run is None:
            context = otel_context.set_value(RUN_KEY, run, context)  # known by baggage until now
        self._run = run
        self._active = True  # the methods that describe the step record only while it is active
        try:
            schema = current.schema if run is None or run.schema is None else run.schema
            self._describe(self._name, schema, arguments)
        except Exception as error:  # noqa: BLE001 - a bad description must not lose the step
            self._guard.failed("step", error)
        self._name = name = text_or(self._name, "") or text_or(arguments.get("type"), "") or "step"
        attempt = arguments.get("attempt", 1)
        self.step_id = text_or(arguments.get("step_id"), "")
        if not self.step_id:
            derived = None if run is None else run.derived_step(name)
            self.step_id, attempt = derived or (new_step_id(), attempt)
        capture = self._capture_level(arguments.get("capture"), current.settings)
        self._level = capture
        self._followed = set() if run is None else run.followed
        self._identity = self._identify(attempt)
        if run is not None:
            self._index = run.next_step_index()
        self._resource = tracing.resource
        self._process_id = os.getpid()
        self._started_ns = time.time_ns()
        self._span, inside = tracing.begin(name, context, {STEP_KEY: self})
        self._token = otel_context.attach(inside)

    def _new_recorder(self) -> Recorder:
        seed = self.step_id if self._run is None else self._run.run_id
        sample_size = 0 if self._client is None else self._client.settings.sample_size
        self._evidence = Evidence(self._level, sample_size, seed, self._followed)
        return self._evidence.recorder

    def _capture_level(self, level: object, settings: Settings) -> Capture:
        """The call's own level, else what the settings say for the step or its pipeline (``capture_of``)."""
        if type(level) is str and level in _LEVELS:
            return cast(Capture, level)
        if level is not None:
            self._complain(f"capture {shown(level)} is none of {', '.join(sorted(_LEVELS))}")
        run = self._run
        pipeline = None if run is None else run.identity.get(semconv.PIPELINE_NAME)
        return settings.capture_of(pipeline, self._name)

    def _identify(self, attempt: object) -> dict[str, object]:
        figure = number(attempt)
        if figure is None or not 1 <= figure < 2**31:
            self._complain(f"attempt must be a number from 1, got {shown(attempt)}")
            figure = 1
        identity: dict[str, object] = dict(self._run.identity) if self._run is not None else {}
        return identity | {semconv.STEP_ID: self.step_id, semconv.STEP_ATTEMPT: int(figure)}

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._client is None or self._token is None:
            return
        self._close()
        leave(self._token)
        self._token = None
        if self._process_id != os.getpid():
            return  # forked inside the step, which its own process ends: two ends would be two stories
        try:
            self._finish(self._client, error)
        except Exception as failure:  # noqa: BLE001 - recording must not harm the pipeline
            self._span.end()
            if not is_taken(self._span):  # a processor of the team's may fail after X-Ray's, or before
                self._client.pipeline.lose(Priority.STEP, Cause.ENCODING, self._identity.get(semconv.RUN_ID))
            if error is None:
                self._guard.failed("step", failure)
            else:  # even a strict client does not replace the pipeline's own exception
                self._guard.note("step", described(failure))

    def _finish(self, current: Client, error: BaseException | None) -> None:
        if self._evidence is not None:
            try:
                self._evidence.rules = self._said_of_rules()
                self._evidence.finish(self._send_chunk)
            except Exception as failure:  # noqa: BLE001 - lost evidence must not take the metrics with it
                self._lose_evidence(current, failure)
        attributes = self._collect(error)
        if self._evidence is not None:
            for complaint in self._evidence.complaints(self._declared):
                self._guard.note("step", f"step {shown(self._name)}: {complaint}")
        span = self._span
        if span.get_span_context().trace_flags.sampled and span.is_recording():
            if error is not None:
                span.set_status(Status(StatusCode.ERROR, error_message(error)))
            span.set_attributes(attributes)
            span.end()
            return
        span.end()
        attributes[semconv.STEP_NAME] = self._name
        attributes[semconv.STEP_STATUS] = "ok" if error is None else "error"
        attributes[semconv.STEP_START_UNIX_NANO] = self._started_ns
        attributes[semconv.STEP_END_UNIX_NANO] = time.time_ns()
        if error is not None:
            attributes[semconv.STEP_ERROR_MESSAGE] = error_message(error)
        self._emit(current, Priority.STEP, semconv.EVENT_STEP, attributes)

    def _collect(self, error: BaseException | None) -> dict[str, Any]:
        """All attributes in the order of writing: identity last, where no limit evicts it."""
        if self._declared:
            self._recording()
        evidence = self._evidence
        attributes: dict[str, Any] = {}
        if evidence is not None:
            attributes = evidence.attributes(is_source=self._is_source, declared=self._declared)
        attributes |= self._attributes
        attributes |= self._violations()
        top_k = number(self._asked_for) if self._asked_for is not None else None
        if top_k is not None and 0 <= top_k < 2**63:
            attributes[semconv.STEP_TOP_K] = int(top_k)
        if error is not None:
            attributes[semconv.ERROR_TYPE] = error_type(error)
        if self._index is not None:
            attributes[semconv.STEP_INDEX] = self._index
        attributes[semconv.CAPTURE_LEVEL] = self._level
        attributes |= self._identity
        attributes[semconv.SPAN_KIND] = "step"
        return attributes

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.__exit__(kind, error, traceback)

    def __call__(self, function: Function) -> Function:
        """The function as a step of its own name; each call is one step."""
        name = self._name or getattr(function, "__name__", None)
        decorated = wrapped(function, lambda: self._anew(name))
        # For step engines, whose own step it may be.
        decorated.__dict__[DESCRIBED] = self._anew(name), decorated
        return decorated

    def described(self) -> dict[str, Any]:
        """The arguments that it was made with, and its name."""
        return {"name": self._name, **self._arguments}

    def _anew(self, name: str | None = None) -> Step:
        """One like this that is not entered yet, under another name if one is given."""
        return Step(name or self._name, run=self._run, **self._arguments)

    @guarded
    def artifact(
        self, kind: str, data: Any, *, content_type: str | None = None, name: str | None = None
    ) -> None:
        """
        Attaches a bulky payload, such as a prompt or a response.

        data: text, bytes, or any value, which is sent as JSON. Above ``XRAY_ARTIFACT_BYTES``
        only size and SHA-256 are sent, and the payload counts as lost (``too_large``).
        """
        if self._hears() and self._client is not None:
            send_artifact(self._client, self._event, self._identity, (kind, data, content_type, name))

    def _spill(self) -> None:
        if self._process_id != os.getpid():
            self._close()  # as in ``__exit__``; chunks of both processes would have the same names
        elif self._client is not None and self._evidence is not None:
            try:
                self._evidence.spill(self._send_chunk)
            except Exception as failure:  # noqa: BLE001 - recording must not harm the pipeline
                self._lose_evidence(self._client, failure)

    def _lose_evidence(self, current: Client, failure: Exception) -> None:
        evidence, run_id = self._evidence, self._identity.get(semconv.RUN_ID)
        if evidence is not None and evidence.lost:
            lost, evidence.lost = evidence.lost, 0
            current.pipeline.lose(Priority.DECISIONS, Cause.ENCODING, run_id, lost)
        self._guard.note("step", f"decisions are lost: {described(failure)}")

    def _judged(self) -> int:
        evidence = self._evidence
        return 0 if evidence is None else evidence.tally.judged + len(evidence.recorder)

    def _unheard(self) -> None:
        current = self._client or client()
        if not current.settings.disabled:
            message = "does not record: it is not entered, has ended or could not start"
            self._guard = current.guard
            self._guard.failed("step", UsageError(f"step {shown(self._name)} {message}"))

    def _send_chunk(self, chunk: Chunk, index: int, total: int | None) -> None:
        if self._client is None:
            return
        attributes: dict[str, object] = {
            semconv.DECISIONS_DATA: chunk.text,
            semconv.CHUNK_INDEX: index,
            semconv.CHUNK_COUNT: chunk.size,
            semconv.CHUNK_CHECKSUM: chunk.checksum,
        }
        if total is not None:
            attributes[semconv.CHUNK_TOTAL] = total
        attributes |= self._identity
        self._emit(self._client, Priority.DECISIONS, semconv.EVENT_STEP_DECISIONS, attributes)

    def _emit(self, current: Client, priority: Priority, name: str, attributes: dict[str, Any]) -> None:
        current.emit(priority, self._event(name, attributes))

    def _event(self, name: str, attributes: dict[str, Any]) -> Event:
        span_context = self._span.get_span_context()
        return Event(
            name, time.time_ns(), attributes, self._resource, span_context.trace_id, span_context.span_id
        )


def current_step() -> Step:
    """
    The innermost step that encloses the calling code.

    Outside of any, and while X-Ray is disabled, a step that records nothing.
    """
    return cast("Step | None", otel_context.get_value(STEP_KEY)) or Step()


def step(
    name: str | None = None,
    *,
    type: str = "custom",  # noqa: A002 - the word of the domain, as on the wire
    why: str | None = None,
    input: Any = None,  # noqa: A002 - likewise
    reasoning: Any = None,
    top_k: int | None = None,
    parents: Sequence[str | Step] | str | Step | None = None,
    step_id: str | None = None,
    attempt: int = 1,
    capture: Capture | None = None,
    config: Any = None,
) -> Step:
    """
    A step of the run that encloses the calling code, as context manager or decorator.

    name: the same in all runs; as decorator the function's name is the default.
    type: search, filter, rank, select, llm or custom, or a common alias (``retrieval``).
    why: reason in words. input, reasoning: any value, recorded as JSON of at most 16 KiB.
    top_k: how many candidates were asked for. parents: steps whose output it takes, when
    that is not the step before. step_id: own id, unique in the run (default: a new one).
    attempt: counted from 1; give it with a ``step_id`` of your own when a step is retried.
    capture: evidence of this step, instead of the setting. config: version of the applied
    rules as text, or the rules themselves, of which a hash is recorded.

    Raises nothing in the mode ``best_effort``; UsageError for a bad argument in ``strict``,
    when the step is entered.
    """
    return Step(
        name,
        type=type,
        why=why,
        input=input,
        reasoning=reasoning,
        top_k=top_k,
        parents=parents,
        step_id=step_id,
        attempt=attempt,
        capture=capture,
        config=config,
    )
