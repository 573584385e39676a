"""
Which run and step the current code belongs to.

Kept in OpenTelemetry's context, not beside it, so that whatever carries a trace to
another task or thread carries the run with it.
"""

from __future__ import annotations

import contextlib
import itertools
import multiprocessing
import os
from contextvars import Token
from dataclasses import dataclass, field
from multiprocessing.util import register_after_fork
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from opentelemetry import baggage
from opentelemetry import context as otel_context
from opentelemetry.context import Context
from opentelemetry.trace import Span

from xray_otel._ids import is_run_id, leaves_whole
from xray_otel.semconv import RUN_ID

if TYPE_CHECKING:
    from xray_otel._schemas import Compiled

RUN_KEY = otel_context.create_key("xray-run")
"""Holds a RunScope."""
STEP_KEY = otel_context.create_key("xray-step")
"""Holds a Step."""
PLACE_KEY = otel_context.create_key("xray-place")
"""Holds a Place."""

ASIDE = object()
"""In place of a token: entered, but its context is attached only now and then (generators)."""

_POOLS = ("concurrent.futures.process", "multiprocessing.pool")


class Place(NamedTuple):
    """The innermost span of X-Ray's, and the span that was OpenTelemetry's current one in it."""

    span: Span
    current: Span


@dataclass(slots=True, eq=False)
class RunScope:
    """
    What the steps and spans inside a run need to know of it.

    ``run`` is the Run itself, None for one that is known by baggage alone. Only where the
    run was started are its steps counted: others cannot know how many there were before.
    """

    run: object | None
    run_id: str
    identity: dict[str, object]
    """Attributes that each span and event of the run carries."""
    schema: Compiled | None = None
    """What the steps follow; None: the schema of the client, if there is one."""
    context: Context | None = None
    """OpenTelemetry's context inside the run; None before it is entered."""
    followed: set[str] = field(default_factory=set)
    """Items whose decisions are kept in every step (``Step.follow``)."""
    is_home: bool = True
    """Whether the run was started here, not in a process that this one works for."""
    _process_id: int = field(default_factory=os.getpid)
    _step_indexes: itertools.count[int] = field(default_factory=itertools.count)

    def next_step_index(self) -> int | None:
        """
        The position of the step that starts now, counted from 0; safe from any thread.

        None away from home, also in a forked child: the server then orders by start.
        """
        if not self.is_home or self._process_id != os.getpid():
            return None
        return next(self._step_indexes)

    def derived_step(self, name: str) -> tuple[str, int] | None:  # noqa: ARG002 - for runs of step engines
        """Id and attempt of a step that was given no id; None: a new id, and the attempt that was given."""
        return None


def current_scope(context: Context | None = None, *, accept: bool = False) -> RunScope | None:
    """
    The scope of the run that encloses the calling code, or None outside of any.

    accept: whether the run id in the baggage of a caller counts as well.
    """
    scope = cast(RunScope | None, otel_context.get_value(RUN_KEY, context))
    if scope is not None or not accept:
        return scope
    run_id = received_run_id(context)
    return None if run_id is None else scope_elsewhere(run_id)


def received_run_id(context: Context | None = None) -> str | None:
    """The run id in the baggage, if it is one that is not masked here: what a caller sent may be anything."""
    run_id = baggage.get_baggage(RUN_ID, context)
    return run_id if is_run_id(run_id) and leaves_whole(run_id) else None


def scope_elsewhere(run_id: str) -> RunScope:
    """The scope of a run that was started in another process."""
    return RunScope(None, run_id, {RUN_ID: run_id}, is_home=False)


def with_baggage(run_id: str | None, context: Context) -> Context:
    """
    The context with this run id first in its baggage, where no limit of a propagator
    cuts it off; None takes out what a caller sent.
    """
    others = baggage.get_all(context)
    if run_id is None and RUN_ID not in others:
        return context
    context = baggage.clear(context)
    if run_id is not None:
        context = baggage.set_baggage(RUN_ID, run_id, context)
    for name, value in others.items():
        if name != RUN_ID:
            context = baggage.set_baggage(name, value, context)
    return context


def leave(token: Any) -> None:
    """
    Detaches what ``attach`` gave ``token`` for, in silence.

    A generator that is abandoned inside a ``with`` ends in another task or thread, where its
    token means nothing and nothing is to be undone. OpenTelemetry's own ``detach`` would
    log a traceback there.
    """
    if not isinstance(token, Token):
        if token is not ASIDE and token is not None:
            otel_context.detach(token)
        return
    with contextlib.suppress(ValueError, RuntimeError):
        token.var.reset(token)


def _forget_in_pool_worker(_: object) -> None:
    """
    A pool's worker outlives the run that it happened to be forked in, and works for others;
    ``carry`` says for which. A plain Process goes on in the run.
    """
    target = getattr(multiprocessing.current_process(), "_target", None)
    if getattr(target, "__module__", None) in _POOLS and current_scope(accept=True) is not None:
        context = with_baggage(None, otel_context.get_current())
        ours = (RUN_KEY, STEP_KEY, PLACE_KEY)
        otel_context.attach(Context({key: value for key, value in context.items() if key not in ours}))


register_after_fork(_forget_in_pool_worker, _forget_in_pool_worker)
