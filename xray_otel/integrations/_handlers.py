"""What an engine is given to execute, inside X-Ray's step."""

from __future__ import annotations

import contextlib
import functools
import inspect
import types
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from xray_otel._resume import EngineRun
from xray_otel._resume_steps import EngineStep
from xray_otel._setup import client
from xray_otel._steps import DESCRIBED


def described(handler: Callable[..., Any]) -> tuple[Mapping[str, Any], Callable[..., Any]]:
    """
    What ``@xray.step(…)`` says of a function, and the function without it: (arguments, function).

    The engine's step and the decorated function are one step, not one inside the other. The
    function may be bound, or a partial; of any other there are no arguments.
    """
    if isinstance(handler, functools.partial):
        said, function = described(handler.func)
        return said, functools.partial(function, *handler.args, **handler.keywords) if said else handler
    called: Any = getattr(handler, "__func__", handler)  # of a method
    marker: Any = getattr(called, DESCRIBED, None)
    if marker is None or marker[1] is not called:
        return {}, handler
    bound_to = getattr(handler, "__self__", None)
    bare = called.__wrapped__
    return marker[0].described(), bare if bound_to is None else types.MethodType(bare, bound_to)


def inside(
    make: Callable[[Mapping[str, Any]], EngineStep | None], handler: Callable[..., Any], *, awaited: bool
) -> Callable[..., Any]:
    """
    The handler, each of its executions inside the step that ``make`` makes of its description.

    Where there is none to make, or that fails, it is executed all the same.
    awaited: the engine awaits what comes back if it can be (a lambda may return a coroutine).
    """
    said, function = described(handler)
    if awaited:

        @functools.wraps(handler)
        async def execute_async(*args: Any, **kwargs: Any) -> Any:
            with _step(make, said):
                result = function(*args, **kwargs)
                return await result if inspect.isawaitable(result) else result

        return execute_async

    @functools.wraps(handler)
    def execute(*args: Any, **kwargs: Any) -> Any:
        with _step(make, said):
            return function(*args, **kwargs)

    return execute


def _step(
    make: Callable[[Mapping[str, Any]], EngineStep | None], said: Mapping[str, Any]
) -> contextlib.AbstractContextManager[Any]:
    step = None
    with harmless("step"):
        step = make(said)
    return contextlib.nullcontext() if step is None else step


def step_of(run: EngineRun, name: str, said: Mapping[str, Any], **arguments: Any) -> EngineStep:
    """A step of the run: ``name`` and ``arguments`` are the engine's, ``said`` is the decorator's."""
    kept = {key: value for key, value in said.items() if key not in ("step_id", "attempt", "name")}
    return run.step(said.get("name") or name, **{**arguments, **kept})


@contextlib.contextmanager
def harmless(where: str) -> Iterator[None]:
    """Nothing of X-Ray's goes on into the engine or the pipeline, unless the mode is strict."""
    try:
        yield
    except Exception as error:  # noqa: BLE001 - recording must not harm the pipeline
        client().guard.failed(where, error)
