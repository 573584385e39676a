"""Log lines: their form, their level, and what never stands in them."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import io
import json
import logging
from collections.abc import Iterator

import pytest

from cli.logs import LogSettings, configure
from store.access import request_ids
from store.errors import SettingsError
from store.settings import load

SECRET = "sk-in-a-candidate"


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    yield
    root.handlers = handlers
    root.setLevel(level)


def _log_an_error(form: str) -> str:
    written = io.StringIO()
    configure(load(LogSettings, {"XRAY_LOG_FORMAT": form, "XRAY_LOG_LEVEL": "info"}), written)
    log = logging.getLogger("collector.intake")
    log.info("the database is back", extra={"away_s": 3.5})
    log.debug("too fine")
    try:
        raise ValueError(SECRET)
    except ValueError:
        log.exception("a write failed")
    return written.getvalue()


def test_lines_of_json() -> None:
    """Each line is one object with time, level, logger, event and what is known."""
    first, second = map(json.loads, _log_an_error("json").splitlines())
    assert (first["event"], first["away_s"], first["level"]) == ("the database is back", 3.5, "info")
    assert (second["error"], second["logger"]) == ("ValueError", "collector.intake")
    assert any("_log_an_error" in place for place in second["at"])


@pytest.mark.parametrize("form", ["text", "json"])
def test_no_payload(form: str) -> None:
    """An error is named by its type and place: its text may hold what somebody sent."""
    written = _log_an_error(form)
    assert "a write failed" in written
    assert "ValueError" in written
    assert SECRET not in written


@pytest.mark.parametrize("form", ["text", "json"])
def test_no_payload_of_a_forgotten_task(form: str) -> None:
    """asyncio writes the whole error of a task that nobody awaited into its message, after the first line."""
    written = io.StringIO()
    configure(load(LogSettings, {"XRAY_LOG_FORMAT": form}), written)

    async def fail() -> None:
        raise ValueError(SECRET)

    async def forget() -> None:
        forgotten = asyncio.ensure_future(fail())
        await asyncio.wait([forgotten])
        del forgotten
        gc.collect()

    asyncio.run(forget())
    assert "Task exception was never retrieved" in written.getvalue()
    assert "ValueError" in written.getvalue()
    assert SECRET not in written.getvalue()
    assert len(written.getvalue().splitlines()) == 1


def test_lines_name_the_request() -> None:
    """What is logged while a request is answered has its id; what is not has none."""
    in_a_request = contextvars.copy_context()
    in_a_request.run(request_ids.begin, "order-17")
    assert json.loads(in_a_request.run(_log_an_error, "json").splitlines()[0])["request_id"] == "order-17"
    outside = contextvars.Context()
    assert "request_id" not in json.loads(outside.run(_log_an_error, "json").splitlines()[0])


@pytest.mark.parametrize("variable", ["XRAY_LOG_LEVEL", "XRAY_LOG_FORMAT"])
def test_wrong_settings_are_named(variable: str) -> None:
    """A level or form that there is not stops the start."""
    with pytest.raises(SettingsError, match=f"{variable}='loud'"):
        load(LogSettings, {variable: "loud"})
