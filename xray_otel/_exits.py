"""
The ways a process ends, as far as Python lets anybody hear of them.

atexit covers the end of the program, ``sys.exit``, an unhandled exception and SIGINT.
Workers of multiprocessing and of celery leave by ``os._exit`` and have hooks of their own.
For SIGTERM there is only a signal handler; one is set while the program has none. After
SIGKILL and a bare ``os._exit`` it is the spool that counts, and what had been sent by then.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import sys
import threading
from types import FrameType
from typing import Any, Protocol


class Deliver(Protocol):
    """Sends or stores what waits; ``last``: nothing of the program runs after it."""

    def __call__(self, *, last: bool) -> None: ...


class _Token:
    """multiprocessing wants an object to tie a hook to, and holds it weakly."""


_deliver: Deliver | None = None
_token = _Token()
_pid = os.getpid()
"""Of the process that has loaded this; forked children have it from their parent."""
_armed: set[str] = set()
"""What hears of the end already; a forked child inherits both this and the hooks."""
_LAST = -1_000
"""Priority of multiprocessing's finalizer: after all others, which may record something."""


def arm(deliver: Deliver, *, sigterm: bool) -> None:
    """Has ``deliver`` called before this process, or one that it forks, ends. Safe to call again."""
    global _deliver
    _deliver = deliver
    if "forks" not in _armed:
        _armed.add("forks")
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=_arm_worker)
    process = sys.modules.get("multiprocessing.process")
    if process is not None and process.parent_process() is not None:
        _arm_finalizer()  # this is a worker already, started afresh (spawn, forkserver)
    _arm_celery()
    if sigterm:
        _arm_sigterm()


def is_worker() -> bool:
    """Whether this process was forked, or is one of multiprocessing's: its parent may wait for its end."""
    process = sys.modules.get("multiprocessing.process")
    return os.getpid() != _pid or (process is not None and process.parent_process() is not None)


def _end() -> None:
    if _deliver is not None:
        _deliver(last=True)


# At import, not when armed: what is registered first runs last, and a team's TracerProvider, usually
# made later, hands over at the exit what its batch processor still holds.
atexit.register(_end)


def _arm_worker() -> None:
    """In a forked child: multiprocessing forgets all finalizers, and then runs the hooks set here."""
    util = sys.modules.get("multiprocessing.util")
    if util is not None and "fork" not in _armed:
        _armed.add("fork")
        util.register_after_fork(_token, _arm_finalizer)
    _arm_celery()


def _arm_finalizer(_token: object = None) -> None:
    util: Any = sys.modules["multiprocessing.util"]
    util.Finalize(None, _end, exitpriority=_LAST)


def _arm_celery() -> None:
    """A celery worker that has done its share of tasks says so, and leaves by ``os._exit``."""
    signals = sys.modules.get("celery.signals")
    if signals is not None and "celery" not in _armed:
        _armed.add("celery")
        signals.worker_process_shutdown.connect(_on_celery_shutdown, weak=False)


def _on_celery_shutdown(**_arguments: object) -> None:
    _end()


def _arm_sigterm() -> None:
    # Only the main thread may, and a handler of the program's, or its wish to ignore it, stays.
    if threading.current_thread() is not threading.main_thread():
        return
    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        with contextlib.suppress(ValueError):  # not the main interpreter
            signal.signal(signal.SIGTERM, _on_sigterm)


def _on_sigterm(number: int, _frame: FrameType | None) -> None:
    if _deliver is None:
        return
    if signal.getsignal(number) is not _on_sigterm:
        # A handler of the program's called the one that it found. It would have found the default,
        # which cannot be called, so it does not count on the process ending here.
        _deliver(last=False)
        return
    try:
        _deliver(last=True)
    finally:
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
