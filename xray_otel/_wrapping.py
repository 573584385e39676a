"""
Runs and steps as decorators: of functions, coroutine functions and generator functions.

A generator's body runs in pieces, each in the context of whoever asks for the next item,
perhaps another task or thread each time. So its run or step is current only while the
body runs: the consumer never sees it, and no context is detached where it was not attached.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, Protocol, TypeVar, cast

from opentelemetry import context as otel_context
from opentelemetry.context import Context

from xray_otel._context import ASIDE, leave

Function = TypeVar("Function", bound=Callable[..., Any])


class Scoped(Protocol):
    """A Run or Step that is not entered yet."""

    _token: Any

    def __enter__(self) -> Any: ...

    def __exit__(self, kind: Any, error: BaseException | None, traceback: Any, /) -> None: ...


def wrapped(function: Function, make: Callable[[], Scoped]) -> Function:
    """The function with each call, or each generator that it makes, inside a Run or Step of its own."""
    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def call_async(*args: Any, **kwargs: Any) -> Any:
            with make():
                return await function(*args, **kwargs)

        return cast(Function, call_async)
    if inspect.isgeneratorfunction(function):
        return _wrapped_generator(function, make)
    if inspect.isasyncgenfunction(function):
        return _wrapped_async_generator(function, make)

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        with make():
            return function(*args, **kwargs)

    return cast(Function, call)


class _Pieces:
    """A run or step around a body that runs in pieces; ``with`` it around each piece."""

    def __init__(self, scoped: Scoped) -> None:
        self._scoped = scoped
        self._context: Context | None = None
        self._token: Any = None
        scoped.__enter__()
        if scoped._token is not None:  # noqa: SLF001 - the two classes that are wrapped know of it
            self._context = otel_context.get_current()
            leave(scoped._token)  # noqa: SLF001
            scoped._token = ASIDE  # noqa: SLF001

    def __enter__(self) -> None:
        if self._context is not None:
            self._token = otel_context.attach(self._context)

    def __exit__(self, *_: object) -> None:
        if self._context is not None:
            # A step that the body holds open over a yield is in here, and goes on with the next piece.
            self._context = otel_context.get_current()
            leave(self._token)

    def end(self, error: BaseException | None) -> None:
        """Ends the run or step. A generator that is closed before its end has not failed."""
        if isinstance(error, GeneratorExit):
            error = None
        self._scoped.__exit__(None if error is None else type(error), error, None)


def _wrapped_generator(function: Function, make: Callable[[], Scoped]) -> Function:
    @functools.wraps(function)
    def generate(*args: Any, **kwargs: Any) -> Any:
        body = function(*args, **kwargs)
        piece = _Pieces(make())
        failure: BaseException | None = None
        advance: Callable[[], Any] = functools.partial(next, body)
        try:
            while True:
                try:
                    with piece:
                        item = advance()
                except StopIteration as stop:
                    return stop.value
                try:
                    advance = functools.partial(body.send, (yield item))
                except GeneratorExit:
                    with piece:
                        body.close()
                    raise
                except BaseException as error:  # noqa: BLE001 - all that the consumer throws is the body's
                    advance = functools.partial(body.throw, error)
        except BaseException as error:
            failure = error
            raise
        finally:
            piece.end(failure)

    return cast(Function, generate)


def _wrapped_async_generator(function: Function, make: Callable[[], Scoped]) -> Function:
    @functools.wraps(function)
    async def generate(*args: Any, **kwargs: Any) -> Any:
        body = function(*args, **kwargs)
        piece = _Pieces(make())
        failure: BaseException | None = None
        advance: Callable[[], Any] = functools.partial(body.asend, None)
        try:
            while True:
                try:
                    with piece:
                        item = await advance()
                except StopAsyncIteration:
                    return
                try:
                    advance = functools.partial(body.asend, (yield item))
                except GeneratorExit:
                    with piece:
                        await body.aclose()
                    raise
                except BaseException as error:  # noqa: BLE001 - all that the consumer throws is the body's
                    advance = functools.partial(body.athrow, error)
        except BaseException as error:
            failure = error
            raise
        finally:
            piece.end(failure)

    return cast(Function, generate)
