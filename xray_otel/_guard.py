"""The one place where a failure of X-Ray's ends, so that it never reaches the host program."""

from __future__ import annotations

import contextlib
import functools
import logging
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import ClassVar, Concatenate, ParamSpec, Protocol, TypeVar

from xray_otel import _mask
from xray_otel._encode import text_of
from xray_otel._words import counted
from xray_otel.errors import UsageError, XRayError
from xray_otel.settings import Mode

logger = logging.getLogger("xray_otel")

_LOG_INTERVAL_S = 60.0


class Guard:
    """Counts failures and logs one line a minute about them; raises them in strict mode."""

    def __init__(self, mode: Mode) -> None:
        self.strict = mode == "strict"
        self._lock = threading.RLock()  # a finalizer or signal handler may come here again
        self._failures: Counter[str] = Counter()
        self._next_line_s = 0.0
        self._silent = 0

    def failed(self, where: str, error: BaseException) -> None:
        """
        Takes note that ``where`` (the public name that was called) failed with ``error``.

        In strict mode it is raised, what is none of X-Ray's errors as UsageError.
        """
        if self.strict:
            if isinstance(error, XRayError):
                raise error
            raise UsageError(f"{where}: {described(error)}") from error
        self.note(where, described(error))

    def note(self, where: str, message: str, *, last: bool = False) -> None:
        """
        Counts, and logs when the last line is older than a minute; never raises.

        ``last``: nothing comes after it that could say it, so it is logged in any case.
        """
        # Masked as a whole, whatever was put into it.
        self.say(where, _mask.current.text(message), last=last)

    def say(self, where: str, message: str, *, last: bool = False) -> None:
        """As ``note``, of a message that holds nothing of the host's."""
        with self._lock:
            self._failures[where] += 1
            now_s = time.monotonic()
            if now_s < self._next_line_s and not last:
                self._silent += 1
                return
            self._next_line_s = now_s + _LOG_INTERVAL_S
            silent, self._silent = self._silent, 0
        more = f" ({counted(silent, 'message')} held back since the last line)" if silent else ""
        with contextlib.suppress(Exception):  # the host's logging handlers and filters may raise
            # The name, because without a configured handler Python prints the message alone.
            logger.warning("xray_otel %s: %s%s", where, message, more)

    @property
    def failures(self) -> dict[str, int]:
        """Failures so far, by the public name that was called."""
        with self._lock:
            return dict(self._failures)

    def reset_after_fork(self) -> None:
        """Replaces the lock, which another thread of the parent may have held."""
        self._lock = threading.RLock()


IDLE = Guard("best_effort")
"""For what is said to a run or step before it is entered, when no client is known yet."""


class _Guarded(Protocol):
    _called: ClassVar[str]
    """What messages call it: run or step."""
    _guard: Guard


Arguments = ParamSpec("Arguments")
Self = TypeVar("Self", bound=_Guarded)


def guarded(
    method: Callable[Concatenate[Self, Arguments], None],
) -> Callable[Concatenate[Self, Arguments], None]:
    """A method of a run or step from which nothing of X-Ray's comes out, unless the mode is strict."""

    @functools.wraps(method)
    def call(self: Self, /, *args: Arguments.args, **kwargs: Arguments.kwargs) -> None:
        try:
            method(self, *args, **kwargs)
        except Exception as error:  # noqa: BLE001 - recording must not harm the pipeline
            self._guard.failed(f"{self._called}.{method.__name__}", error)

    return call


def described(error: BaseException) -> str:
    """What a message says of an exception: class and text on one line, masked and cut to 200 bytes."""
    return f"{type(error).__name__}: {' '.join(text_of(error, 200).split())}"
