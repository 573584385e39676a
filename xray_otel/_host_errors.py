"""What the record says about an exception of the host program."""

from __future__ import annotations

import asyncio

from xray_otel._encode import text_of
from xray_otel._text import NAME_BYTES, WHY_BYTES, unreadable


def error_type(error: BaseException) -> str:
    """The class's full name, a built-in one without its module (semantic convention ``error.type``)."""
    kind = type(error)
    try:
        return text_of(_full_name(kind), NAME_BYTES)
    except Exception:  # noqa: BLE001 - a metaclass of the host's may do anything when it is asked
        return unreadable(error)


def _full_name(kind: type[BaseException]) -> str:
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def error_message(error: BaseException) -> str:
    """The exception's text, at most 2 KiB; the class when it has none."""
    return text_of(error, WHY_BYTES) or error_type(error)


def run_status(error: BaseException | None) -> str:
    """completed, crashed or cancelled, by the exception that left the run."""
    if error is None:
        return "completed"
    if isinstance(error, asyncio.CancelledError | KeyboardInterrupt | GeneratorExit):
        return "cancelled"
    if isinstance(error, SystemExit) and not error.code:
        return "completed"
    return "crashed"
