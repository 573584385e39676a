"""The steps of a run that a step engine drives, and the ids of their spans."""
# ruff: noqa: SLF001 - a run and its steps are one thing in two modules

from __future__ import annotations

from collections import Counter
from contextvars import ContextVar
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple, Self, cast

from opentelemetry import context as otel_context
from opentelemetry.sdk.trace.id_generator import IdGenerator

from xray_otel._context import RunScope, leave
from xray_otel._resume_ids import DerivedIds, derive_ids, hashed_where_masked
from xray_otel._steps import Step

if TYPE_CHECKING:
    from xray_otel._resume import EngineRun

_ENGINE_STEP_KEY = otel_context.create_key("xray-engine-step")
"""Holds the EngineStep that the code is inside of."""

next_ids: ContextVar[DerivedIds | None] = ContextVar("xraynext_ids", default=None)
"""Of the span that is about to start here, when it has derived ones."""


class Execution(NamedTuple):
    """What the engine knows of one execution of a step."""

    run: EngineRun
    ids: DerivedIds
    place: int | None
    recovered: bool
    suspended_by: tuple[type[BaseException], ...]


class EngineStep(Step):
    """One execution of a step engine's step, made by ``EngineRun.step``."""

    __slots__ = ("_ambient", "_execution", "_nested", "attempt")

    def __init__(
        self,
        name: str | None,
        *,
        run: RunScope | None,
        engine: Execution,
        **arguments: Any,
    ) -> None:
        super().__init__(name, run=run, **arguments)
        self._execution = engine
        self._ambient: Any = None
        self._nested: Counter[str] = Counter()
        self.attempt: int = arguments["attempt"]
        """The engine's attempt, counted from 1."""

    def _anew(self, name: str | None = None) -> Step:
        return EngineStep(name or self._name, run=self._run, engine=self._execution, **self._arguments)

    def __enter__(self) -> Self:
        run, ids = self._execution.run, self._execution.ids
        if not run._opened():
            return super().__enter__()  # X-Ray is off: it says and records nothing
        try:
            context = run._inside(otel_context.get_current())
            self._ambient = otel_context.attach(otel_context.set_value(_ENGINE_STEP_KEY, self, context))
            run._announce()
        except Exception as error:  # noqa: BLE001 - recording must not harm the pipeline
            if run._guard.strict:
                self._leave()
            run._guard.failed("step", error)
        token = next_ids.set(ids)
        try:
            super().__enter__()
            if self._execution.recovered:
                self.metric("recovered", 1)
            return self
        except BaseException:  # of a strict client
            self._leave()
            raise
        finally:
            next_ids.reset(token)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if isinstance(error, self._execution.suspended_by) and self._token is not None:
                self._active = False
                leave(self._token)  # and its span is never ended, hence never sent
                self._token = None
            else:
                super().__exit__(kind, error, traceback)
        finally:
            self._leave()

    def _leave(self) -> None:
        leave(self._ambient)
        self._ambient = None

    def derived(self, name: str) -> tuple[str, int]:
        """Id and attempt of a step inside this one, the same whenever the engine repeats this one."""
        run = self._execution.run
        with run._lock:
            again, self._nested[name] = self._nested[name], self._nested[name] + 1
        key = f"{self.step_id}/{name}:{again}" if again else f"{self.step_id}/{name}"
        return hashed_where_masked(derive_ids(run._engine_id, key)).step_id, self.attempt

    @property
    def place(self) -> int | None:
        """Its index in the run, if the engine told it."""
        return self._execution.place


class EngineScope(RunScope):
    """What the spans inside an engine's run need to know of it."""

    __slots__ = ()

    def next_step_index(self) -> int | None:
        """The place of the engine's step around; the steps inside it follow by their start."""
        around = _step_around()
        return None if around is None else around.place

    def derived_step(self, name: str) -> tuple[str, int] | None:
        """A step inside an engine's step is repeated with it, and must be known again."""
        around = _step_around()
        return None if around is None else around.derived(name)


def _step_around() -> EngineStep | None:
    return cast("EngineStep | None", otel_context.get_value(_ENGINE_STEP_KEY))


class DerivedIdGenerator(IdGenerator):
    """Gives out the ids that are due here, else those of the generator in its place before."""

    def __init__(self, usual: IdGenerator) -> None:
        self._usual = usual

    def generate_span_id(self) -> int:
        due = next_ids.get()
        return int(due.span_id or due.root_span_id, 16) if due else self._usual.generate_span_id()

    def generate_trace_id(self) -> int:
        due = next_ids.get()
        return int(due.trace_id, 16) if due else self._usual.generate_trace_id()

    def is_trace_id_random(self) -> bool:
        usual = getattr(self._usual, "is_trace_id_random", None)  # not in every supported release
        return next_ids.get() is None and usual is not None and bool(usual())
