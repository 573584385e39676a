"""A run: one passage of a pipeline, with a start event, a span, and its steps inside."""

from __future__ import annotations

import datetime
import os
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from types import TracebackType
from typing import Any, ClassVar, Self, TypeVar

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.trace import Span, Status, StatusCode

from xray_otel import semconv
from xray_otel._artifacts import send_artifact
from xray_otel._buffer import Cause, Event, Priority
from xray_otel._client import Client
from xray_otel._context import RUN_KEY, STEP_KEY, RunScope, leave, with_baggage
from xray_otel._encode import json_text, named_text, shown, text_of
from xray_otel._figures import number
from xray_otel._guard import IDLE, described, guarded
from xray_otel._host_errors import error_message, error_type, run_status
from xray_otel._ids import is_run_id, leaves_whole, new_run_id
from xray_otel._processor import is_taken
from xray_otel._schemas import MAX_PROBLEMS, Rules, Schema, report
from xray_otel._setup import client
from xray_otel._steps import Step
from xray_otel._text import NAME_BYTES, WHY_BYTES
from xray_otel._wrapping import wrapped
from xray_otel.errors import DeliveryError, UsageError
from xray_otel.settings import Capture

Function = TypeVar("Function", bound=Callable[..., Any])

_MAX_TAGS = 64


class Run:
    """
    One run of a pipeline. Use it by ``with`` or ``async with``, or as a decorator of a
    function, where each call is a run of its own: also of a coroutine function, and of a
    generator function, where the run lasts until the generator ends.

    Made by ``xray_otel.run``. An exception that leaves it marks it as crashed (an
    interruption or cancellation as cancelled) and goes on unchanged.
    """

    _called: ClassVar[str] = "run"

    def __init__(self, pipeline: str | None, **arguments: Any) -> None:
        self._pipeline = pipeline
        self._arguments = arguments
        self._attributes: dict[str, Any] = {}
        self._tags = 0
        self._rules: Rules | None = None
        self._client: Client | None = None
        self._guard = IDLE
        self._token: Any = None
        self._entered = False
        self._active = False
        self._span: Span = trace.INVALID_SPAN
        self._resource = Resource.get_empty()
        self._lost_before = 0
        self._process_id = 0
        given = arguments.get("run_id")
        self.run_id: str = given if is_run_id(given) and leaves_whole(given) else new_run_id()
        """The run's id. Give it to the people who will ask about the run."""
        self._scope = RunScope(self, self.run_id, {semconv.RUN_ID: self.run_id})

    def __enter__(self) -> Self:
        current = client()
        self._guard = current.guard
        try:
            if self._entered:
                raise UsageError(f"run {self.run_id} is entered twice; make a new one")
            self._entered = True
            if not current.settings.disabled:
                self._start(current)
        except Exception as error:  # noqa: BLE001 - recording must not harm the pipeline
            self._active = self._token is not None  # it goes on, entered twice
            self._guard.failed("run", error)
        return self

    def _start(self, current: Client) -> None:
        arguments = self._arguments
        given = arguments.get("run_id")
        if given is not None and given is not self.run_id:
            wanted = "1 to 128 of A-Z a-z 0-9 _ -, and not masked"
            self._complain(f"run_id {shown(given)} is not {wanted}; {self.run_id} is used")
        self._client = current
        self._process_id = os.getpid()
        self._active = True  # the methods that describe the run record only while it is active
        tracing = current.tracing
        self._resource = tracing.resource
        self._lost_before = sum(current.pipeline.losses.values()) if self._guard.strict else 0
        name = "run" if self._pipeline is None else text_of(self._pipeline, NAME_BYTES) or "run"
        self._scope.identity = {semconv.PIPELINE_NAME: name, semconv.RUN_ID: self.run_id}
        try:
            self._follow(arguments.get("schema"), current)
            self._describe(arguments)
        except Exception as error:  # noqa: BLE001 - a bad description must not lose the run
            self._guard.failed("run", error)
        run_id = self.run_id if current.settings.sends_baggage else None
        context = with_baggage(run_id, otel_context.get_current())
        self._span, inside = tracing.begin(name, context, {RUN_KEY: self._scope, STEP_KEY: None})
        self._scope.context = inside
        level = {semconv.CAPTURE_LEVEL: current.settings.capture_of(name)}
        start = self._attributes | level | self._scope.identity
        self._emit(semconv.EVENT_RUN_START, start)
        self._token = otel_context.attach(inside)

    def _describe(self, arguments: Mapping[str, Any]) -> None:
        if arguments.get("version") is not None:
            version = text_of(arguments["version"], NAME_BYTES)
            self._scope.identity = {semconv.PIPELINE_VERSION: version} | self._scope.identity
        if arguments.get("entity") is not None:
            self._attributes[semconv.RUN_ENTITY] = text_of(arguments["entity"], NAME_BYTES)
        if arguments.get("input") is not None:
            self.set_input(arguments["input"])
        timeout_s = arguments.get("timeout_s")
        if timeout_s is not None:
            figure = number(timeout_s)
            if figure is None or figure <= 0:
                self._complain(f"timeout_s must be a number of seconds above 0, got {shown(timeout_s)}")
            else:
                self._attributes[semconv.RUN_TIMEOUT_S] = figure
        if arguments.get("tags") is not None:
            tags = arguments["tags"]
            if not isinstance(tags, Mapping):
                raise UsageError(f"tags must be a mapping, got {shown(tags)}")
            for key, value in islice(tags.items(), _MAX_TAGS + 1):
                self.tag(key, value)

    def _follow(self, given: object, current: Client) -> None:
        """Has the run and its steps follow a schema, and tells the server of it."""
        schema = current.schema
        if given is not None:
            try:
                schema = self._scope.schema = current.schema_of(given)
            except UsageError as error:
                self._guard.failed("run", error)
        if schema is not None:
            current.announce(schema)
            self._rules = schema.run
            self._attributes |= {semconv.SCHEMA_ID: schema.id, semconv.SCHEMA_VERSION: schema.version}

    def _payload(self, section: str, value: Any) -> str:
        if self._rules is None:
            return json_text(value)
        text, problems = self._rules.payload(section, value)
        if problems:
            told = self._attributes.get(semconv.SCHEMA_VIOLATIONS, []) + list(map(str, problems))
            self._attributes[semconv.SCHEMA_VIOLATIONS] = told[:MAX_PROBLEMS]
            report(self._guard, self._rules.mode, "run", problems)
        return text

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._client is None or self._token is None:
            return
        self._active = False
        leave(self._token)
        self._token = None
        if self._process_id not in (0, os.getpid()):
            # Forked inside the run, which its own process ends; what was recorded here goes out.
            self._client.pipeline.run_ended()
            return
        try:
            self._finish(error)
        except Exception as failure:  # noqa: BLE001 - recording must not harm the pipeline
            self._span.end()
            if not is_taken(self._span):
                self._client.pipeline.lose(Priority.RUN, Cause.ENCODING, self.run_id)
            if error is None:
                self._guard.failed("run", failure)
            else:  # even a strict client does not replace the pipeline's own exception
                self._guard.note("run", described(failure))
        if self._guard.strict and error is None:
            self._check_delivery(self._client)
        self._client.pipeline.run_ended()

    def _finish(self, error: BaseException | None) -> None:
        status = run_status(error)
        attributes = dict(self._attributes)
        attributes[semconv.RUN_STATUS] = status
        if error is not None and status != "completed":
            attributes[semconv.ERROR_TYPE] = error_type(error)
        attributes |= self._scope.identity
        span = self._span
        if span.get_span_context().trace_flags.sampled and span.is_recording():
            if error is not None and status == "crashed":
                span.set_status(Status(StatusCode.ERROR, error_message(error)))
            attributes[semconv.SPAN_KIND] = "run"
            span.set_attributes(attributes)
            span.end()
            return
        span.end()
        if error is not None and status != "completed":
            attributes[semconv.RUN_ERROR_MESSAGE] = error_message(error)
        self._emit(semconv.EVENT_RUN_END, attributes)

    def _check_delivery(self, current: Client) -> None:
        settled = current.pipeline.flush(current.settings.export_timeout_s)
        lost = sum(current.pipeline.losses.values()) - self._lost_before
        # What other threads have recorded since then is not this run's.
        pending = 0 if settled else current.pipeline.pending
        if lost or not settled:
            raise DeliveryError(self.run_id, lost, pending)

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
        """The function as a pipeline; each call is one run."""
        pipeline = self._pipeline or getattr(function, "__name__", None)

        return wrapped(function, lambda: Run(pipeline, **self._arguments))

    def step(
        self,
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
        """As ``xray_otel.step``, but of this run also in a thread that the context did not reach."""
        return Step(
            name,
            run=self._scope if self.run_id else None,  # there may have been none to join
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

    @guarded
    def set_input(self, value: Any) -> None:
        """What the run was given: any value, recorded as JSON of at most 16 KiB."""
        if self._hears():
            self._attributes[semconv.RUN_INPUT] = self._payload("input", value)

    @guarded
    def set_output(self, value: Any) -> None:
        """What the run returned: any value, recorded as JSON of at most 16 KiB."""
        if self._hears():
            self._attributes[semconv.RUN_OUTPUT] = self._payload("output", value)

    @guarded
    def outcome(self, outcome: str, reason: str | None = None) -> None:
        """A short word for how the run ended (``matched``), and why in words."""
        if not self._hears():
            return
        self._attributes[semconv.RUN_OUTCOME] = text_of(outcome, NAME_BYTES)
        if reason is not None:
            self._attributes[semconv.RUN_OUTCOME_REASON] = text_of(reason, WHY_BYTES)

    @guarded
    def tag(self, key: str, value: str) -> None:
        """A label to group and filter runs by; at most 64 per run."""
        if not self._hears():
            return
        name = f"{semconv.RUN_TAG_PREFIX}{text_of(key, NAME_BYTES)}"
        if name not in self._attributes:
            if self._tags >= _MAX_TAGS:
                raise UsageError(f"a run has at most {_MAX_TAGS} tags; {shown(key)} is left out")
            self._tags += 1
        self._attributes[name] = named_text(key, value, NAME_BYTES)

    @guarded
    def wait(self, until: datetime.datetime | float | None = None) -> None:
        """
        Says that the run sleeps from now on, for instance until a callback comes.

        until: when it will go on, as an aware datetime or seconds since the Unix epoch;
        None when that is unknown. The next step or event of the run ends the wait.
        """
        if not self._hears():
            return
        if isinstance(until, datetime.datetime):
            seconds = None if until.tzinfo is None else until.timestamp()
        else:
            seconds = number(until)
        if seconds is None and until is not None:
            wanted = "an aware datetime or seconds since the Unix epoch"
            self._complain(f"until must be {wanted}, got {shown(until)}")
        attributes = dict(self._scope.identity)
        if seconds is not None:
            attributes[semconv.RUN_WAIT_UNTIL_UNIX_NANO] = max(0, min(int(seconds * 1e9), 2**63 - 1))
        self._emit(semconv.EVENT_RUN_WAIT, attributes)

    @guarded
    def artifact(
        self, kind: str, data: Any, *, content_type: str | None = None, name: str | None = None
    ) -> None:
        """Attaches a bulky payload to the run itself; as ``Step.artifact``."""
        if self._hears() and self._client is not None:
            send_artifact(self._client, self._event, self._scope.identity, (kind, data, content_type, name))

    def _emit(self, name: str, attributes: Mapping[str, object]) -> None:
        if self._client is not None:
            self._client.emit(Priority.RUN, self._event(name, dict(attributes)))

    def _event(self, name: str, attributes: dict[str, Any]) -> Event:
        span_context = self._span.get_span_context()
        return Event(
            name, time.time_ns(), attributes, self._resource, span_context.trace_id, span_context.span_id
        )

    def _hears(self) -> bool:
        """Whether the run records now; says so when it does not although X-Ray is on."""
        if not self._active:
            current = self._client or client()
            if not current.settings.disabled:
                message = "does not record: it is not entered, has ended or could not start"
                self._guard = current.guard
                self._guard.failed("run", UsageError(f"run {shown(self._pipeline)} {message}"))
        return self._active

    def _complain(self, message: str) -> None:
        self._guard.failed("run", UsageError(message))


def run(
    pipeline: str | None = None,
    *,
    version: str | None = None,
    entity: str | None = None,
    input: Any = None,  # noqa: A002 - the word of the domain, as on the wire
    tags: Mapping[str, str] | None = None,
    run_id: str | None = None,
    timeout_s: float | None = None,
    schema: Schema | None = None,
) -> Run:
    """
    A run of ``pipeline``, as context manager or decorator.

    pipeline: its name, the same in all runs; as decorator the function's name is the
    default. version: of its code, rules or model. entity: what the run is about.
    input: any value, recorded as JSON of at most 16 KiB. tags: labels, at most 64.
    run_id: 1 to 128 of ``A-Z a-z 0-9 _ -``; default: a new one that sorts by time.
    timeout_s: seconds of silence after which the server takes the run for incomplete.
    schema: what its steps follow, instead of that of ``configure``.

    Raises nothing in the mode ``best_effort``. In ``strict``: UsageError for a bad argument
    when the run is entered, and DeliveryError when it ends and was not all acknowledged.
    """
    return Run(
        pipeline,
        version=version,
        entity=entity,
        input=input,
        tags=tags,
        run_id=run_id,
        timeout_s=timeout_s,
        schema=schema,
    )
