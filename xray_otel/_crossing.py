"""Runs across threads, processes and services: what goes out with the work, and what came in with it."""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable, Mapping, MutableMapping
from typing import Any, Generic, ParamSpec, TypeVar, cast
from urllib.parse import quote

from opentelemetry import context as otel_context
from opentelemetry import propagate
from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.context import Context

from xray_otel._client import Client
from xray_otel._context import (
    RUN_KEY,
    STEP_KEY,
    current_scope,
    leave,
    received_run_id,
    scope_elsewhere,
    with_baggage,
)
from xray_otel._encode import shown
from xray_otel._guard import described
from xray_otel._ids import is_run_id, leaves_whole
from xray_otel._runs import Run
from xray_otel._setup import client
from xray_otel._wrapping import Function, wrapped
from xray_otel.errors import UsageError
from xray_otel.semconv import RUN_ID

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

_BAGGAGE = "baggage"
_FIELDS = ("traceparent", "tracestate", _BAGGAGE)


class JoinedRun(Run):
    """A run that was started elsewhere: steps go into it, and nothing is said of the run itself."""

    def __init__(self, carrier: Mapping[str, str] | None, run_id: str | None) -> None:
        super().__init__(None)
        self._carrier = carrier
        self._given = run_id
        self.run_id = ""

    def _start(self, current: Client) -> None:
        context = otel_context.get_current()
        if self._carrier is not None:
            try:
                context = _extracted(self._carrier, context)
            except Exception as error:
                if self._given is None:
                    raise
                self._guard.note("join_run", described(error))  # the run is known without it
        run_id = self._given if self._given is not None else self._received(context, current)
        if run_id is None:
            where = "the baggage and the environment" if self._carrier is None else "the carrier"
            why = f"{where} names none" if current.settings.accepts_baggage else "XRAY_BAGGAGE says not to"
            raise UsageError(f"no run to join: {why}")
        if not is_run_id(run_id):
            raise UsageError(f"no run to join: {shown(run_id)} is not 1 to 128 of A-Z a-z 0-9 _ -")
        if not leaves_whole(run_id):
            raise UsageError(f"no run to join: {shown(run_id)} is masked")
        self._client = current
        self.run_id = run_id
        scope = scope_elsewhere(run_id)
        scope.run = self
        self._scope = scope
        context = with_baggage(run_id if current.settings.sends_baggage else None, context)
        context = otel_context.set_value(STEP_KEY, None, otel_context.set_value(RUN_KEY, scope, context))
        scope.context = context
        self._lost_before = sum(current.pipeline.losses.values()) if self._guard.strict else 0
        self._token = otel_context.attach(context)

    def _received(self, context: Context, current: Client) -> str | None:
        if not current.settings.accepts_baggage:
            return None
        run_id = received_run_id(context)
        if run_id is None and self._carrier is None:
            run_id = received_run_id(_extracted(os.environ, context))
        return run_id

    def _finish(self, error: BaseException | None) -> None:
        """Its end is said where it was started."""

    def __call__(self, function: Function) -> Function:
        """The function with each call inside the run that it finds then."""
        return wrapped(function, lambda: JoinedRun(self._carrier, self._given))

    def _hears(self) -> bool:
        """Never: what describes a run is said where it was started."""
        if not (self._client or client()).settings.disabled:
            self._complain(f"run {self.run_id} was started elsewhere, and only there it is described")
        return False


def join_run(carrier: Mapping[str, str] | None = None, *, run_id: str | None = None) -> Run:
    """
    The run of a caller, as context manager or decorator: steps inside belong to it.

    It neither starts nor ends the run and makes no second one; what describes the run
    (``tag``, ``outcome`` …) is said where it was started. A service whose requests come in
    through OpenTelemetry's instrumentation needs none: there a step outside of any run
    belongs to the run in the baggage.

    carrier: what ``inject`` filled, for instance the headers of a request or message; the
    case of its keys does not matter. Default: the current baggage, then the environment.
    run_id: the run itself, where it came another way.

    What came from outside is believed when it has the form of a run id and the setting
    ``baggage`` is ``on`` or ``accept``; ``run_id`` always. Without a run to join, the steps
    inside are recorded outside of it, and in the mode ``strict`` UsageError is raised when it
    is entered. Raises nothing in ``best_effort``. Cost: 20 µs.
    """
    return JoinedRun(carrier, run_id)


def current_run() -> Run:
    """
    The run that encloses the calling code.

    In a service that was called from a run: that run, as ``join_run`` gives it. Outside of
    any, and while X-Ray is disabled, a run that records nothing.
    """
    scope = current_scope()
    if scope is None:
        settings = client().settings
        if settings.accepts_baggage and not settings.disabled:
            scope = current_scope(accept=True)
    if scope is None:
        return Run(None)
    if scope.run is None:
        return _joined(scope.run_id)
    return cast(Run, scope.run)


def _joined(run_id: str) -> Run:
    run = JoinedRun(None, run_id)
    run.run_id = run_id
    run._scope = scope_elsewhere(run_id)  # noqa: SLF001 - a run made here
    run._scope.run = run  # noqa: SLF001
    return run


def inject(carrier: MutableMapping[str, str]) -> None:
    """
    Puts the current run and trace into headers, message properties or an environment.

    For calls that no instrumentation of OpenTelemetry's takes care of; ``join_run`` reads it
    on the other side. Fills ``traceparent`` and ``baggage`` by the program's own propagators,
    and ``baggage`` also where those leave it out. Does nothing about the run outside of
    any, or with the setting ``baggage`` ``off`` or ``accept``.

    In an environment the keys are as everywhere; ``join_run`` reads them in any case. Raises
    nothing unless the mode is ``strict``. Cost: 10 µs.
    """
    current = client()
    try:
        propagate.inject(carrier)
        scope = current_scope(accept=current.settings.accepts_baggage)
        if scope is not None and current.settings.sends_baggage and not current.settings.disabled:
            _add_run(carrier, scope.run_id)
    except Exception as error:  # noqa: BLE001 - a propagator or carrier of the program's may do anything
        current.guard.failed("inject", error)


def _add_run(carrier: MutableMapping[str, str], run_id: str) -> None:
    entry = f"{RUN_ID}={quote(run_id)}"
    others = [text for text in carrier.get(_BAGGAGE, "").split(",") if text.strip()]
    if not any(text.partition("=")[0].strip() == RUN_ID for text in others):
        carrier[_BAGGAGE] = ",".join([entry, *others])


def _extracted(carrier: Mapping[str, str], context: Context) -> Context:
    """The context with the trace and baggage of the carrier. Raises what a strange carrier raises."""
    found = {str(key).lower(): value for key, value in carrier.items()}
    context = propagate.extract(found, context)
    if received_run_id(context) is None:
        context = W3CBaggagePropagator().extract(found, context)
    return context


class Carried(Generic[Arguments, Result]):
    """What ``carry`` returns: call it in place of the function."""

    def __init__(self, function: Callable[Arguments, Result]) -> None:
        self._function = function
        self._context = otel_context.get_current()
        functools.update_wrapper(self, function)

    def __call__(self, *args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        token = otel_context.attach(self._context)
        try:
            result = self._function(*args, **kwargs)
        finally:
            leave(token)
        if inspect.iscoroutine(result):
            return cast(Result, self._finished(result))
        return result

    async def _finished(self, coroutine: Any) -> Any:
        """The coroutine's result, where its own body sees the context as well."""
        token = otel_context.attach(self._context)
        try:
            return await coroutine
        finally:
            leave(token)

    def __reduce__(self) -> tuple[Any, ...]:
        """For another process: contexts do not travel, the run's id and the trace do."""
        return _unpacked, (self._function, *_packed(self._context))


class _Arrived(Generic[Arguments, Result]):
    """What ``carry`` returned, after the way into another process."""

    def __init__(self, function: Callable[Arguments, Result], run_id: str, fields: dict[str, str]) -> None:
        self._function = function
        self._run_id = run_id
        self._fields = fields

    def __call__(self, *args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        with JoinedRun(self._fields, self._run_id):
            return self._function(*args, **kwargs)


def _packed(context: Context) -> tuple[str | None, dict[str, str]]:
    current = client()
    scope = current_scope(context, accept=current.settings.accepts_baggage)
    fields: dict[str, str] = {}
    try:
        propagate.inject(fields, context)
    except Exception as error:  # noqa: BLE001 - a propagator of the program's may do anything
        current.guard.note("carry", described(error))
    return None if scope is None else scope.run_id, {key: fields[key] for key in _FIELDS if key in fields}


def _unpacked(
    function: Callable[Arguments, Result], run_id: str | None, fields: dict[str, str]
) -> Callable[Arguments, Result]:
    return function if run_id is None else _Arrived(function, run_id, fields)


def carry(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """
    The function, with the run and step of here wherever it is called::

        pool.submit(xray.carry(score), item)
        await loop.run_in_executor(None, xray.carry(score), item)
        threading.Thread(target=xray.carry(work))

    Threads and executors do not take the context along; tasks and ``asyncio.to_thread`` do and
    need no help. May be called any number of times, from several threads at once, also after
    the run has ended. For process pools it is sent by pickle, if the function can be, and joins
    the run in the worker as ``join_run`` does. OpenTelemetry's current span comes along too.

    Raises nothing of its own; in mode ``strict`` UsageError for what cannot be called. Cost: 1 µs a call.
    """
    given: object = function
    if not callable(given):
        client().guard.failed("carry", UsageError(f"carry takes a function, got {shown(given)}"))
    return Carried(function)
