"""What the record says about an exception of the host program."""

from __future__ import annotations

import asyncio

from xray_otel._encode import NAME_BYTES, WHY_BYTES, text_of


def error_type(error: BaseException) -> str:
    """The class's full name, a built-in one without its module (semantic convention ``error.type``)."""
    kind = type(error)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    return text_of(name, NAME_BYTES)


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
