"""
Inngest: ``inngest.Inngest(…, middleware=[XRayMiddleware])``, and nothing in the functions.

Inngest calls the function again for every step and answers the finished ones from memory. So
what is recorded hangs on the functions given to ``step.run``, which are called once per real
execution. A function is a pipeline, its Inngest run the run. Code between steps is repeated
with every call and belongs to no run; what X-Ray is to see must be inside ``step.run``.
"""

from __future__ import annotations

import datetime
import inspect
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import inngest

from xray_otel._host_errors import run_status
from xray_otel._resume import EngineRun, resume_run
from xray_otel._setup import client, flush
from xray_otel.integrations._handlers import harmless, inside, step_of

_FAILED, _CANCELLED = "inngest/function.failed", "inngest/function.cancelled"
_CLOSER = "xray-close-cancelled-runs"


class XRayMiddleware(inngest.MiddlewareSync):  # type: ignore[misc,unused-ignore]
    """
    For async and sync functions; of the client, or of single functions.

    Options by ``functools.partial(XRayMiddleware, types={"search": "search"})``.
    types: step type by step id, for steps that are not decorated with ``@xray.step``.
    describe: from the context to arguments of ``resume_run`` (``entity``, ``input``, …), from
    the triggering event alone, so that every call gives the same. flush_timeout_s: on platforms
    that freeze the process after each response, how long a response may wait for delivery.
    """

    def __init__(
        self,
        client: Any,
        raw_request: Any,
        *,
        types: Mapping[str, str] | None = None,
        describe: Callable[[Any], Mapping[str, Any]] | None = None,
        flush_timeout_s: float | None = None,
    ) -> None:
        super().__init__(client, raw_request)
        self._types = types or {}
        self._describe = describe
        self._flush_timeout_s = flush_timeout_s
        self._run: EngineRun | None = None
        self._is_failure_handler = False
        self._attempts: tuple[int, int | None] = (1, None)
        self._met: Counter[str] = Counter()
        self._lock = threading.Lock()

    def transform_input(self, ctx: Any, function: Any, steps: Any) -> None:  # noqa: ARG002
        """Before the function is called: puts X-Ray into this call's ``step.run``."""
        with harmless("inngest"):
            if function.local_id == _CLOSER:
                return
            # The handler of a failure has a run id of its own, but belongs to the run that failed.
            self._is_failure_handler = (
                ctx.event.name == _FAILED and ctx.event.data.get("function_id") == function.id
            )
            said: Mapping[str, Any] = {}
            if self._describe is not None and not self._is_failure_handler:
                with harmless("inngest describe"):
                    said = self._describe(ctx)
            self._run = run = resume_run(
                ctx.event.data["run_id"] if self._is_failure_handler else ctx.run_id,
                **{"pipeline": function.local_id, "engine": "inngest", **said},
            )
            self._attempts = (ctx.attempt + 1, _max_attempts(ctx))
            step = ctx.step
            step.run = self._running(step.run)
            step.sleep_until = _waiting(run, step.sleep_until, _until)
            step.wait_for_event = _waiting(run, step.wait_for_event, None)
            step.invoke_by_id = _waiting(run, step.invoke_by_id, None)

    def transform_output(self, result: Any) -> None:
        """After the function: ends the run when the function is through, or has failed for good."""
        with harmless("inngest"):
            if result.step is not None or self._is_failure_handler or self._run is None:
                return
            error = result.error
            if error is not None:
                attempt, most = self._attempts
                is_last = most is not None and attempt >= most
                if getattr(error, "is_retriable", True) and not is_last:
                    return
            self._run.finish(run_status(error), error=error)

    def before_response(self) -> None:
        """Delivers before a serverless platform freezes the process."""
        with harmless("inngest"):
            if self._flush_timeout_s is not None:
                flush(self._flush_timeout_s)
            else:
                client().pipeline.run_ended()  # waits where the environment is known to freeze

    def _running(self, usual: Callable[..., Any]) -> Callable[..., Any]:
        awaited = inspect.iscoroutinefunction(usual)

        def run(step_id: str, handler: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
            with harmless("inngest"):
                handler = self._recorded(step_id, handler, awaited)
            return usual(step_id, handler, *args, **kwargs)

        return run

    def _recorded(self, step_id: str, handler: Callable[..., Any], awaited: bool) -> Callable[..., Any]:
        current = self._run
        assert current is not None  # transform_input has set it
        with self._lock:
            again, place = self._met[step_id], self._met.total()
            self._met[step_id] += 1
        # As Inngest itself tells repeated ids apart, before it hashes them.
        key = f"{step_id}:{again}" if again else step_id
        identity: dict[str, Any] = {"key": key, "attempt": self._attempts[0], "index": place}
        if self._is_failure_handler:
            identity |= {"key": f"on_failure/{key}", "index": None}
        kind = self._types.get(step_id)
        typed = {} if kind is None else {"type": kind}
        return inside(
            lambda said: step_of(current, step_id, said, **identity, **typed), handler, awaited=awaited
        )


def close_cancelled_runs(client: Any) -> Any:
    """
    A function to serve beside the others, which marks the runs that Inngest cancels.

    A cancelled run is never called again, so without it X-Ray takes the run for incomplete.
    """

    @client.create_function(fn_id=_CLOSER, trigger=inngest.TriggerEvent(event=_CANCELLED))  # type: ignore[untyped-decorator,unused-ignore]
    def close(ctx: Any) -> None:
        pipeline = str(ctx.event.data.get("function_id", "")).removeprefix(f"{client.app_id}-")
        run = resume_run(ctx.event.data["run_id"], pipeline=pipeline or None, engine="inngest")
        run.finish("cancelled")

    return close


def _waiting(
    run: EngineRun, usual: Callable[..., Any], until: Callable[..., Any] | None
) -> Callable[..., Any]:
    """The waiting operation; when it interrupts the function, the run sleeps from then on."""

    def say(stop: BaseException, args: Any, kwargs: Any) -> None:
        if type(stop).__name__ == "ResponseInterrupt":  # newly planned; not exported by the SDK
            with harmless("inngest"):
                run.wait(None if until is None else until(*args, **kwargs))

    if inspect.iscoroutinefunction(usual):

        async def wait_async(*args: Any, **kwargs: Any) -> Any:
            try:
                return await usual(*args, **kwargs)
            except BaseException as stop:
                say(stop, args, kwargs)
                raise

        return wait_async

    def wait(*args: Any, **kwargs: Any) -> Any:
        try:
            return usual(*args, **kwargs)
        except BaseException as stop:
            say(stop, args, kwargs)
            raise

    return wait


def _until(step_id: str, until: datetime.datetime) -> datetime.datetime:  # noqa: ARG001 - given by name, too
    return until.astimezone(datetime.UTC)  # one without a zone is local, as Inngest takes it


def _max_attempts(ctx: Any) -> int | None:
    """How often Inngest tries; not on the context, so taken from where the SDK itself looks."""
    execution = getattr(ctx.step, "_execution", None)
    request = getattr(execution, "_request", None)
    most = getattr(getattr(request, "ctx", None), "max_attempts", None)
    return most if isinstance(most, int) else None
