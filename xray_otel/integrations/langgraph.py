"""
LangGraph: ``@recorded_node("pipeline")`` on node functions, ``settle(…)`` after ``graph.invoke``.

A thread is the run. A node that interrupts is executed from its top again when the thread is
resumed: the interrupted execution leaves no step, the one that comes to an end does, with the
metric ``recovered``.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from langgraph.config import get_config
from langgraph.errors import GraphBubbleUp
from langgraph.runtime import get_runtime

from xray_otel._resume import resume_run
from xray_otel._resume_steps import EngineStep
from xray_otel.integrations._handlers import harmless, inside, step_of

Function = TypeVar("Function", bound=Callable[..., Any])


def recorded_node(pipeline: str, **described: Any) -> Callable[[Function], Function]:
    """The node's function as a step; described: as for ``xray_otel.step``, or decorate with that one too."""

    def decorate(function: Any) -> Any:
        def make(said: Mapping[str, Any]) -> EngineStep | None:
            try:
                told = get_config()["configurable"]
            except RuntimeError:
                return None  # called as a plain function, outside any graph
            info = get_runtime().execution_info
            # LangGraph marks what it tries again after an error likewise.
            is_resumed = bool(told.get("__pregel_resuming")) and info.node_attempt == 1
            run = resume_run(
                str(info.thread_id or info.run_id or info.task_id), pipeline=pipeline, engine="langgraph"
            )
            identity = {"key": f"{function.__name__}:{info.task_id}", "attempt": info.node_attempt}
            known = {"recovered": is_resumed, "suspended_by": (GraphBubbleUp,)}
            return step_of(run, function.__name__, {**described, **said}, **identity, **known)

        return inside(make, function, awaited=inspect.iscoroutinefunction(function))

    return decorate


def settle(pipeline: str, config: Mapping[str, Any], result: Any, **said: Any) -> None:
    """
    Says how the thread stands after ``result = graph.invoke(…, config)``: waiting, or completed.

    said: as for ``resume_run``. A thread may go on after it has completed, and ends again then.
    """
    with harmless("langgraph"):
        run = resume_run(
            str(config["configurable"]["thread_id"]), pipeline=pipeline, engine="langgraph", **said
        )
        if isinstance(result, Mapping) and result.get("__interrupt__"):
            run.wait()
        else:
            run.finish(final=False)
