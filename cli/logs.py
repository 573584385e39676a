"""
Log lines of the server: one per event, readable or JSON, never with anything that was sent.

Modules log by the standard library with what is known in ``extra``; structlog renders it. An
error is logged by its type and the places it passed, not by its text: a driver's message may
hold values of rows. Of a message only the first line is written: asyncio puts whole errors into
the others.
"""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import MutableMapping
from typing import Any, Literal, TextIO

import structlog
from pydantic_settings import BaseSettings, SettingsConfigDict

from store.access import request_ids
from store.settings import setting

Level = Literal["debug", "info", "warning", "error"]
Form = Literal["text", "json"]


class LogSettings(BaseSettings):
    """What is logged, and how."""

    model_config = SettingsConfigDict(env_prefix="XRAY_", frozen=True, extra="ignore")

    log_level: Level = setting(
        "warning", "Least severe log line that is written.", accepted="debug, info, warning or error"
    )
    log_format: Form = setting(
        "text",
        "Form of the log lines on stderr: for people or one JSON object each.",
        accepted="text or json",
    )


class _JsonHandler(logging.StreamHandler[TextIO]):
    """One JSON object a line."""


def configure(settings: LogSettings, stream: TextIO | None = None) -> None:
    """Send every logger's lines to the stream (default: stderr) in the form asked for."""
    stream = sys.stderr if stream is None else stream
    # Our own events carry no positional arguments of senders; what uvicorn logs is below warning.
    common: list[Any] = [
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _with_request_id,
        _without_payload,
    ]
    last: Any = (
        structlog.processors.JSONRenderer(sort_keys=True, default=str)
        if settings.log_format == "json"
        else structlog.dev.ConsoleRenderer(colors=stream.isatty())
    )
    handler = (_JsonHandler if settings.log_format == "json" else logging.StreamHandler)(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=common,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, last],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(settings.log_level.upper())
    # A line for each malformed request would let anybody fill the disk; they are counted instead.
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)


def writes_json() -> bool:
    """Tell whether logging was configured to write JSON: then nothing else is written to stderr."""
    handlers = logging.getLogger().handlers
    return any(isinstance(handler, _JsonHandler) for handler in handlers)


def _with_request_id(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    if request_id := request_ids.current.get():
        event.setdefault("request_id", request_id)
    return event


def _without_payload(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    event["event"] = str(event["event"]).partition("\n")[0]
    info = event.pop("exc_info", None)
    if info is True:
        info = sys.exc_info()
    if isinstance(info, tuple) and info[1] is not None:
        error: BaseException = info[1]
        event["error"] = type(error).__qualname__
        event["at"] = [
            f"{frame.filename.rpartition('/')[2]}:{frame.lineno} {frame.name}"
            for frame in traceback.extract_tb(error.__traceback__)
        ]
    # ProcessorFormatter would let logging render it once more, text and all.
    record = event.get("_record")
    if record is not None:
        record.exc_info = record.exc_text = None
    return event
