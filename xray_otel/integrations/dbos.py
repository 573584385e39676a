"""
DBOS: ``@recorded_workflow("name")`` under ``@DBOS.workflow()``, ``@recorded_step()`` under ``@DBOS.step()``.

DBOS calls a workflow again to recover it and answers the finished steps from its database.
The workflow id is the run, so a recovered workflow, in whatever process, goes on in its run;
steps that it then really executes have the metric ``recovered``.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

from dbos import DBOS

from xray_otel._host_errors import run_status
from xray_otel._resume import EngineRun, resume_run
from xray_otel._resume_steps import EngineStep
from xray_otel.integrations._handlers import harmless, inside, step_of

Function = TypeVar("Function", bound=Callable[..., Any])

_execution: contextvars.ContextVar[tuple[EngineRun, str, bool] | None] = contextvars.ContextVar(
    "xray_dbos_execution", default=None
)
"""Run, workflow id, and whether the workflow was recovered, of the workflow that is being executed here."""


def recorded_workflow(pipeline: str, **arguments: Any) -> Callable[[Function], Function]:
    """The workflow function as a pipeline; arguments: as for ``resume_run``."""

    def decorate(function: Any) -> Any:
        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def work_async(*args: Any, **kwargs: Any) -> Any:
                # Outside of the workflow's context, where DBOS would record the question as a step.
                asking = asyncio.create_task(
                    _was_recovered_async(DBOS.workflow_id), context=contextvars.Context()
                )
                with _executing(pipeline, arguments, await asking):
                    return await function(*args, **kwargs)

            return work_async

        @functools.wraps(function)
        def work(*args: Any, **kwargs: Any) -> Any:
            with _executing(pipeline, arguments, contextvars.Context().run(_was_recovered, DBOS.workflow_id)):
                return function(*args, **kwargs)

        return work

    return decorate


def recorded_step(**described: Any) -> Callable[[Function], Function]:
    """The step function as a step; described: as for ``xray_otel.step``, or decorate with that one too."""

    def decorate(function: Any) -> Any:
        def make(said: Mapping[str, Any]) -> EngineStep | None:
            if DBOS.workflow_id is None:
                return None  # called as a plain function, outside any workflow
            status, known = DBOS.step_status, _execution.get()
            run, recovered = (
                known[::2] if known else (resume_run(str(DBOS.workflow_id), engine="dbos"), False)
            )
            number = DBOS.step_id
            identity = {"key": f"{function.__name__}:{number}", "index": number, "recovered": recovered}
            attempt = (status.current_attempt or 0) + 1 if status else 1
            return step_of(run, function.__name__, {**described, **said}, **identity, attempt=attempt)

        return inside(make, function, awaited=inspect.iscoroutinefunction(function))

    return decorate


@contextmanager
def _executing(pipeline: str, arguments: Mapping[str, Any], recovered: bool) -> Iterator[None]:
    workflow_id = str(DBOS.workflow_id)
    run = resume_run(workflow_id, **{"pipeline": pipeline, "engine": "dbos", **arguments})
    token = _execution.set((run, workflow_id, recovered))
    try:
        with run:
            try:
                yield
            except BaseException as error:
                is_cancelled = type(error).__name__ == "DBOSWorkflowCancelledError"
                # Not the last word: DBOS resumes failed and cancelled workflows when asked to.
                run.finish("cancelled" if is_cancelled else run_status(error), error=error, final=False)
                raise
            # The process may still die before DBOS has it written down, and then it ends again.
            run.finish()
    finally:
        _execution.reset(token)


def _was_recovered(workflow_id: str | None) -> bool:
    status = None
    with harmless("dbos"):
        status = DBOS.get_workflow_status(str(workflow_id))
    return _is_repeated(status)


async def _was_recovered_async(workflow_id: str | None) -> bool:
    status = None
    with harmless("dbos"):
        status = await DBOS.get_workflow_status_async(str(workflow_id))
    return _is_repeated(status)


def _is_repeated(status: Any) -> bool:
    return status is not None and (status.recovery_attempts or 0) > 1
